-- SPDX-License-Identifier: MIT

--- How functions become tools: `agent.cache` and `agent.invalidator`.
-- @module perigee.agent.definition

local action = require "perigee.agent.action"
local arguments = require "perigee.memo.arguments"
local atomic = require "perigee.atomic"
local backup = require "perigee.backup"
local cache_face = require "perigee.cache"
local counts = require "perigee.agent.counts"
local guard = require "perigee.agent.guard"
local legible = require "perigee.agent.legible"
local looking = require "perigee.cache.looking"
local options = require "perigee.options"
local paths = require "perigee.agent.paths"
local remote = require "perigee.remote"
local sharing = require "perigee.sharing"
local tags = require "perigee.tags"
local tool_face = require "perigee.agent.tool"
local writes = require "perigee.agent.writes"

local kinds = options.kinds
local SIGNATURE = arguments.SIGNATURE

local _M = {}

-- Where a tool keeps what is nobody's business.
local INSIDE = {}

local numbers = 0

local next_number = atomic(function()
  numbers = numbers + 1
  return numbers
end)

-- Tools that read -----------------------------------------------------------------------------

local SCOPE = options.one_of { "global", "session" }
local NEG_ERRORS = { "a number of seconds > 0, or a function of the error", function(value)
  return options.is_callable(value) or kinds.duration[2](value)
end }

local CACHE = { resource = paths.RESOURCE, scope = SCOPE,
  kind = options.one_of { "read", "poll", "exec" }, ttl = kinds.duration, name = kinds.name,
  maxsize = kinds.bound, skip_args = kinds.bound, key_fn = kinds.callable, tags = paths.TAGS,
  backup = backup.KIND, remote_cache = remote.KIND, shared = sharing.KIND,
  neg_errors = NEG_ERRORS,
  classify = kinds.callable, loop_key = kinds.callable, result_key = kinds.callable }

-- What both need: the resource.
local function check_options(where, opts, specs)
  options.argument(where, "opts", kinds.list, opts, 3)
  options.check(where, opts, specs, 3)
  options.argument(where, "option \"resource\"", paths.RESOURCE, opts.resource, 3)
end

local TIERS = { "backup", "remote_cache", "shared" }

local function has_tiers(opts)
  return opts.backup ~= nil or opts.remote_cache ~= nil or opts.shared ~= nil
end

local function check_tiers(opts)
  if opts.shared then sharing.check("agent.cache", opts.shared, 3) end
  for _, tier in ipairs(TIERS) do
    if opts[tier] and opts.scope == "session" then
      error(("agent.cache: option %q goes with scope \"global\": the copies of a session vanish "
        .. "with it"):format(tier), 3)
    end
    if opts[tier] and not opts.name then
      error(("agent.cache: option %q needs option \"name\": the entries are kept under it")
        :format(tier), 3)
    end
    if opts[tier] and opts.kind == "exec" then
      error(("agent.cache: option %q is not for kind \"exec\", which is not cached")
        :format(tier), 3)
    end
  end
end

-- Definitions raise where they are written: this is called in the tail.
local function defined(made, ...)
  if not made then error((...), 2) end
  return ...
end

-- How many tools without a name were defined at a place: a name tells one from another.
local unnamed = {}

local function name_of(opts, fn)
  if opts.name then return opts.name end
  local place = arguments.place(fn)
  unnamed[place] = (unnamed[place] or 0) + 1
  local suffix = unnamed[place] > 1 and "#" .. unnamed[place] or ""
  return ("%s@%s%s"):format(opts.resource, place, suffix)
end

-- What all tools have.
local function new_tool(where, opts, fn, kind)
  local count, open = arguments.of(fn)
  return {
    -- Unlike any other's in this process; with tiers also the same in others.
    mark = has_tiers(opts) and "=" .. opts.name or tostring(next_number()),
    where = where,
    name = name_of(opts, fn),
    resource = opts.resource,
    scoped = opts.scope == "session",
    fn = fn, count = count, open = open,
    kind = guard.CALL_KINDS[kind],
    counts = counts.new(),
    classify = opts.classify, loop_key = opts.loop_key, result_key = opts.result_key,
  }
end

-- Methods --------------------------------------------------------------------------------------

local function inside_of(self, method)
  local tool = type(self) == "table" and rawget(self, INSIDE)
  if not tool then error(("tool:%s: call it with a colon, on a tool"):format(method), 3) end
  return tool
end

local action_methods, reader_methods = {}, {}

--- What was done with the tool, in all sessions and outside.
-- @treturn table numbers by name: see `agent.get_metrics`
function action_methods:get_metrics()
  return counts.table(inside_of(self, "get_metrics").counts)
end

--- The same; and `size`, entries, of which `invalidated` ones are dead and not yet reclaimed.
-- @treturn table numbers by name
function reader_methods:get_metrics()
  local tool = inside_of(self, "get_metrics")
  local metrics = counts.table(tool.counts)
  local of_cache = tool.cache:get_metrics()
  metrics.size, metrics.invalidated = of_cache.size, of_cache.invalidated
  return metrics
end

--- A fresh call; the old answer stays until it succeeds.
-- @param ... arguments of the function
-- @return as the function
function reader_methods:refresh(...)
  return tool_face.refresh(inside_of(self, "refresh"), ...)
end

--- Forgets the answer to the call with these arguments; of scope `"session"`: the current
-- session's. Loads that run now are not kept.
-- @param ... arguments of the function
-- @treturn boolean true
-- @treturn string|nil why it is not known that the remote cache forgot it, too
function reader_methods:invalidate_cache(...)
  return tool_face.forget(inside_of(self, "invalidate_cache"), ...)
end

--- Forgets all answers, of all sessions.
-- @treturn boolean true
-- @treturn string|nil why it is not known that the remote cache forgot them, too
function reader_methods:clear_cache()
  return tool_face.clear(inside_of(self, "clear_cache"))
end

--- Saves to the backup. Without one there is nothing to do.
-- @treturn number how many entries were saved
function reader_methods:save_to_backup()
  return inside_of(self, "save_to_backup").cache:save_to_backup()
end

--- Loads from the backup. Without one there is nothing to do.
-- @treturn number how many entries were loaded
function reader_methods:load_from_backup()
  return inside_of(self, "load_from_backup").cache:load_from_backup()
end

-- Wrapping ---------------------------------------------------------------------------------------

local function callable(tool, call, count, class)
  return setmetatable({ cache = tool.cache, fn = tool.fn, call = call, name = tool.name,
    [INSIDE] = tool, [SIGNATURE] = tool }, {
    __index = class,
    __call = arguments.metacall(call, count),
    __name = "perigee.agent.tool",
    __tostring = function() return ("%s(%s)"):format(tool.where, tool.name) end,
  })
end

-- Through pcall: an error of its would point here.
local function cache_of(opts)
  local made, cache = pcall(cache_face.new, { name = has_tiers(opts) and opts.name or nil,
    maxsize = opts.maxsize or 1024, default_ttl = opts.ttl, backup = opts.backup,
    remote_cache = opts.remote_cache, shared = opts.shared }, writes.registry)
  if not made then error(cache, 0) end
  return cache
end

local function define_reader(opts, fn)
  local where, skip = "agent.cache", opts.skip_args or 0
  local tool = new_tool(where, opts, fn, opts.kind or "read")
  arguments.check_skip(where, skip, tool.count, tool.open, -1)
  tool.tags_of = paths.tagger(where, tags.parts(opts.resource), opts.tags, tool.count, tool.open)
  tool.key_of = arguments.keyed(where, tool.count, tool.open, skip, opts.key_fn)
  tool.guard_key_of = tool_face.guard_key(where, opts.loop_key)
  tool.ttl = opts.ttl or math.huge
  tool.neg_errors = opts.neg_errors
  tool.cache = cache_of(opts)
  tool.cache.describe = function() return ("the tool %q"):format(tool.name) end
  tool.cache.spell = legible.key
  writes.enter(opts.resource, tool)
  local is_plain = skip == 0 and not (opts.key_fn or opts.loop_key or tool.open)
  local call, count = tool_face.call(tool, where, is_plain and tool.count)
  if tool.cache.below then call = looking.first(tool.cache.below, call, count) end
  return callable(tool, call, count, reader_methods)
end

local function define_action(where, opts, fn, kind)
  local tool = new_tool(where, opts, fn, kind)
  tool.key_of = arguments.keyed(where, tool.count, tool.open, 0, nil)
  return tool, callable(tool, function(...) return action.call(tool, ...) end, nil, action_methods)
end

--- Wraps a tool that reads. Its answers are cached by its arguments; in a session its calls are
-- guarded.
-- @tparam table opts `resource` (needed): what its tags begin with; `scope`: `"global"`, or
--   `"session"`: each session has copies of its own; `kind`: `"read"`, `"poll"` (asks how something
--   goes on) or `"exec"` (guarded, and not cached); `ttl` (for ever), `maxsize` (1024), `name`
--   (resource and place of definition), `skip_args`, `key_fn`, `tags` (`"cart:{1}"`: with the first
--   argument; or a function of the arguments), `backup`, `remote_cache`, `shared` (inside nginx),
--   `neg_errors` (seconds, or a function of the error), `classify(err)` -> `"error"` or
--   `"transient"`, `loop_key(...)`, `result_key(...)`
-- @treturn function takes the function, `fn(...) -> value [, err [, { ttl =, tags =, cache = }]]`;
--   returns the tool
-- @raise on a mistake in the options
function _M.cache(opts)
  check_options("agent.cache", opts, CACHE)
  check_tiers(opts)
  return function(fn)
    options.argument("agent.cache", "fn", kinds.callable, fn, 2)
    if opts.kind == "exec" then
      local _, tool = define_action("agent.cache", opts, fn, "exec")
      return tool
    end
    return defined(pcall(define_reader, opts, fn))
  end
end

-- Tools that write --------------------------------------------------------------------------------

local INVALIDATOR = { resource = paths.RESOURCE, scope = SCOPE, clear_all = kinds.boolean,
  key_fn = kinds.callable, name = kinds.name, tags = paths.TAGS, classify = kinds.callable,
  loop_key = kinds.callable, result_key = kinds.callable }

-- `reads_of(...)` -> the arguments of the reads to forget: without `key_fn`, its own.
local function define_invalidator(opts, fn)
  local where = "agent.invalidator"
  local tool, made = define_action(where, opts, fn, "write")
  local resource, clear_all = tags.parts(opts.resource), opts.clear_all
  if clear_all == nil then clear_all = not (opts.tags or opts.key_fn) end
  tool.writes = true
  if clear_all then
    tool.tags_of = function() return { resource } end
    return made
  end
  if opts.tags then
    tool.tags_of = paths.tagger(where, resource, opts.tags, tool.count, tool.open)
  end
  tool.reads_of = opts.key_fn or not opts.tags and function(...) return ... end
  return made
end

--- Wraps a tool that writes. What it makes old is forgotten before it runs and again after, also
-- when it raises; what is loaded meanwhile is not kept. In a session its calls are guarded.
-- @tparam table opts `resource` (needed); `scope`: `"global"`: for everybody, or `"session"`: in
--   the current session's copies only; `clear_all`: forget the whole resource (true unless `tags`
--   or `key_fn` is given); `key_fn(...)` -> the arguments of the reads to forget; `tags`, `name`,
--   `classify`, `loop_key` and `result_key` as for `cache`
-- @treturn function takes the function, returns the tool
-- @raise on a mistake in the options
function _M.invalidator(opts)
  if type(opts) == "table" and opts.skip_args ~= nil then
    error("agent.invalidator: option \"skip_args\" is not for invalidators; give option "
      .. "\"key_fn\": it gets the mutation's arguments and returns those of the reads to forget", 2)
  end
  check_options("agent.invalidator", opts, INVALIDATOR)
  return function(fn)
    options.argument("agent.invalidator", "fn", kinds.callable, fn, 2)
    return defined(pcall(define_invalidator, opts, fn))
  end
end

return _M

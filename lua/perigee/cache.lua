-- SPDX-License-Identifier: MIT
--- The cache: one store, its loads and its batches behind one set of methods.
--
-- The hit path is `get` down to its first return: one C call and two table reads, compiled, with
-- no garbage. Everything else may be slower, and is elsewhere: `load`, `load/batch`, `inspection`.
-- @classmod perigee.cache

local C = require("perigee.lib").core
local backup = require "perigee.backup"
local batch = require "perigee.load.batch"
local bit = require "bit"
local copying = require "perigee.value.copying"
local events = require "perigee.events"
local ffi = require "ffi"
local flight = require "perigee.load.flight"
local inspection = require "perigee.cache.inspection"
local landing = require "perigee.load.landing"
local levels = require "perigee.cache.levels"
local load = require "perigee.load"
local losing = require "perigee.load.losing"
local metrics = require "perigee.metrics"
local names = require "perigee.value.names"
local options = require "perigee.options"
local runtime = require "perigee.runtime"
local settings = require "perigee.cache.settings"
local spaces = require "perigee.store.spaces"
local store_face = require "perigee.store"
local tags = require "perigee.tags"
local turns = require "perigee.store.turns"
local warmup = require "perigee.cache.warmup"

local band, rshift, type = bit.band, bit.rshift, type
local kinds, is_callable, handlers = options.kinds, options.is_callable, events.handlers
local identity = store_face.identity
local SEGMENT_BITS, SEGMENT_MASK = store_face.SEGMENT_BITS, store_face.SEGMENT_MASK
local store_get = C.perigee_store_get
local start, missing = load.start, load.missing
local lifetime_of, keep = landing.lifetime, landing.keep
local NEW, GET, check_set = settings.NEW, settings.GET, settings.check_set
local look = inspection.look

local _M = {}
local mt = { __index = _M, __name = "perigee.cache" }

runtime.on_turn(function() return turns.turn(C.perigee_clock_now(runtime.clock)) end)
runtime.on_turn(losing.look_after)

local KEY = kinds.key
local is_key = KEY[2]
local MISS = store_face.MISS
local VERSIONS = ffi.typeof "perigee_tags *"

local function check_key(where, self, key)
  options.method(where, self, 3)
  if not is_key(key) then options.fail(where, "key", KEY[1], key, 3) end
end

--- Makes a cache. Options: see `docs/api.md`, section 1.
-- @tparam[opt] table opts options
-- @tparam[opt] cdata versions of tags that it shares with other caches (`tags.h`); default: its own
-- @treturn perigee.cache the cache
-- @raise on an unknown option or a value it does not take; on a name that is in use
function _M.new(opts, versions)
  if not ffi.istype(VERSIONS, versions) then versions = nil end -- C would take a userdata for them
  opts = opts or {}
  options.argument("perigee.new", "opts", kinds.list, opts, 2)
  options.check("perigee.new", opts, NEW, 2)
  settings.check_together(opts, 2)
  local swr, sie = opts.stale_while_revalidate or 0, opts.stale_if_error or 0
  local self = setmetatable({
    number = flight.new_number(),
    space = 0,       -- whose keys these are in the store: 0 is this API
    whole = false,   -- the cache this one is a part of
    parts = setmetatable({}, { __mode = "k" }),
    name = opts.name,
    version = 0,     -- how often it was cleared
    tagged = versions ~= nil, -- whether any tag was ever used
    closed = false,
    open = {},       -- open batches by batch loader
    maxsize = opts.maxsize or 128,
    default_ttl = opts.default_ttl or math.huge,
    neg_ttl = opts.neg_ttl,
    stale_while_revalidate = swr,
    stale_if_error = sie,
    load_timeout = opts.load_timeout or math.huge,
    batch_window = (opts.batch_window_ms or 5) / 1000,
    max_batch_size = opts.max_batch_size or 100,
    weigh = opts.weigh,
    copy = opts.copy or false,
    detach = opts.detach or false,
    leads_aside = opts.detach or opts.load_timeout ~= nil, -- see `perigee.load.landing`
    takeover = opts.takeover or 1,
    -- With tiers also `backup`, `shared`, `remote`, `below` (the upper one of the two), and
    -- `restoring`, the backup until it is loaded.
    spaces = levels.are_in(opts) and spaces.new() or nil,
  }, mt)
  self.store = store_face.new({
    name = opts.name,
    maxsize = self.maxsize,
    maxweight = opts.maxweight or math.huge,
    grace = math.max(swr, sie),
    ttl_jitter = opts.ttl_jitter or 0,
    policy = opts.policy or "auto",
    on_evict = opts.on_evict,
  }, runtime.clock, versions)
  inspection.reset_counters(self)
  if self.copy then copying.wrap(self, _M) end
  metrics.register(self, 2)
  levels.attach(self, _M, opts, 2)
  return self
end

--- Whether a value is a cache that is open.
-- @param value anything
-- @treturn boolean
function _M.is(value)
  return type(value) == "table" and getmetatable(value) == mt
end

--- How the cache is called in messages.
-- @treturn string
function _M:describe()
  return self.name and ("cache %q"):format(self.name) or "an unnamed cache"
end

-- Reading ---------------------------------------------------------------------------------

local LOADER = { "a loader (a function or a callable table) or a table of options", kinds.list[2] }

local function check_get(where, opts)
  options.argument(where, "loader", LOADER, opts, 3)
  options.check(where, opts, GET, 3)
  if opts.loader and opts.batch_loader then
    error(where .. ": give either option \"loader\" or option \"batch_loader\"", 3)
  end
end

-- Any call of `get` but the plain ones: other keys, options, callable tables, mistakes.
local function get_any(self, key, opts)
  check_key("cache:get", self, key)
  local loader, spec, starter = opts, false, load.start
  if opts ~= nil and not is_callable(opts) then
    check_get("cache:get", opts)
    spec, loader = opts, opts.loader
    if opts.batch_loader then loader, starter = opts.batch_loader, batch.start end
    if opts.use_cache == false then
      if not loader then error("cache:get: use_cache = false needs a loader", 3) end
      return load.fresh(self, key, starter, loader, spec)
    end
  end
  local slot, value = self.store:get(key, 0)
  if slot >= 0 then return value, nil, "memory" end
  return missing(self, key, slot, starter, loader, spec)
end

--- The value of a key, loaded if it is not there.
-- @tparam string|number|boolean key the key
-- @tparam[opt] function|table opts `loader(key) -> value [, err [, hints]]`, or options: `loader`,
--   `batch_loader(keys) -> results [, errors]`, `ttl`, `neg_ttl`, `tags`, `timeout` (seconds),
--   `use_cache` (`false`: a fresh load)
-- @return value
-- @return err what the loader returned beside it; `"timeout"`
-- @treturn string source: `"memory"`, `"stale"`, `"load"`, `"wait"` or `"miss"`
-- @raise what the loader raises, the same object in every caller that waited; a cycle of loads
function _M:get(key, opts)
  local kind = type(opts)
  if type(key) == "string" and (kind == "nil" or kind == "function") then
    local store = self.store
    if not store.busy then
      store.busy = true
      local slot = store_get(store.handle, key, 0)
      if slot >= 0 then
        local value = store.values[rshift(slot, SEGMENT_BITS)][band(slot, SEGMENT_MASK)]
        store.busy = false
        return value, nil, "memory"
      end
      store.busy = false
      return missing(self, key, slot, start, opts, false)
    end
  end
  return get_any(self, key, opts)
end

--- The values of many keys: one batch, no window.
-- @tparam table keys list of keys
-- @tparam[opt] table opts as for `get`
-- @treturn table values by key
-- @treturn table|nil errors by key; nil when there are none
-- @treturn table sources by key
-- @raise what the loader raises
function _M:get_many(keys, opts)
  options.argument("cache:get_many", "keys", kinds.list, keys, 2)
  for i = 1, #keys do
    if not is_key(keys[i]) then
      options.fail("cache:get_many", ("keys[%d]"):format(i), KEY[1], keys[i], 2)
    end
  end
  if opts == nil then
    opts = {}
  elseif is_callable(opts) then
    opts = { batch_loader = opts }
  end
  check_get("cache:get_many", opts)
  return batch.get_many(self, keys, opts)
end

--- A fresh load, which starts after this call; the old value stays until it succeeds.
-- @tparam string|number|boolean key the key
-- @tparam function|table loader as for `get`
-- @return as `get`
function _M:refresh(key, loader)
  check_key("cache:refresh", self, key)
  local spec, starter = false, load.start
  if not is_callable(loader) then
    check_get("cache:refresh", loader)
    spec, loader = loader, loader.loader
    if spec.batch_loader then loader, starter = spec.batch_loader, batch.start end
    if not loader then error("cache:refresh: a loader is needed", 2) end
  end
  return load.fresh(self, key, starter, loader, spec)
end

-- Writing ---------------------------------------------------------------------------------

-- What runs for a key must not overwrite what is done to it now.
local function fence(self, key)
  if not flight.any() then return end
  local s, n = identity(key)
  flight.fence(self.number, s, n)
end

local function tell(self)
  if self.store.queued > 0 then self.store:tell() end
end

-- Writes an entry here and, if `send`, there: "more" when others follow at once, "added" when the
-- shared dictionary has it, false for all workers of this nginx only; nil: here only.
local function write(self, key, value, ttl, list, send)
  fence(self, key)
  if list and #list > 0 then self.tagged = true else list = nil end
  ttl = ttl or lifetime_of(self, value, false, nil)
  keep(self, key, value, ttl, list, true)
  local level = send and self.below or self.shared
  if not level or send == nil or send == "added" then return end
  if not ttl then return level:delete("", key, not send) end
  level:set("", key, value, ttl, list, send == "more", not send)
end

--- Stores a value.
-- @tparam string|number|boolean key the key
-- @param value anything; nil means "there is none"
-- @tparam[opt] number|table opts ttl in seconds, or `{ ttl =, tags =, write_remote = }`
-- @treturn boolean true
function _M:set(key, value, opts)
  check_key("cache:set", self, key)
  local ttl, list, send = check_set("cache:set", opts)
  write(self, key, value, ttl, list, send)
  tell(self)
  return true
end

--- Stores a value if the key is absent.
-- @tparam string|number|boolean key the key
-- @param value anything
-- @tparam[opt] number|table opts as for `set`
-- @treturn boolean whether it was stored
function _M:add(key, value, opts)
  check_key("cache:add", self, key)
  local ttl, list, send = check_set("cache:add", opts)
  local left = look(self, key)
  if left and left > 0 then return false end
  if self.below then
    local ok, found, err, source = pcall(missing, self, key, MISS, start, nil, false)
    if not ok and found == "cancelled" then error(found, 0) end
    if ok and err == nil and source ~= "miss" then return false end
    left = look(self, key) -- somebody else may have waited for the same answer
    if left and left > 0 then return false end
  end
  ttl = ttl or lifetime_of(self, value, false, nil)
  if self.shared and ttl then
    if not self.shared:add(key, value, ttl, list, not send) then return false end
    send = "added"
  end
  write(self, key, value, ttl, list, send)
  tell(self)
  return true
end

--- Stores many values.
-- @tparam table map values by key
-- @tparam[opt] number|table opts as for `set`
-- @treturn boolean true
function _M:set_many(map, opts)
  options.argument("cache:set_many", "map", { "a table of values by key", kinds.list[2] }, map, 2)
  local ttl, list, send = check_set("cache:set_many", opts)
  local keys = names.of(map)
  for i = 1, #keys do check_key("cache:set_many", self, keys[i]) end
  for i = 1, #keys do write(self, keys[i], map[keys[i]], ttl, list, send and "more") end
  if self.remote then self.remote.writes:start() end
  tell(self)
  return true
end

local NUMBER = { "a number", function(v) return type(v) == "number" end }

--- Adds to a number, in memory. An absent key begins at `initial`, with a lifetime of its own; a
-- present one keeps its lifetime.
-- @tparam string|number|boolean key the key
-- @tparam number by how much
-- @tparam[opt=0] number initial where an absent key begins
-- @tparam[opt] number ttl seconds, for an absent key; default: `default_ttl`
-- @treturn number the sum
-- @raise when the value there is no number
function _M:incr(key, by, initial, ttl)
  check_key("cache:incr", self, key)
  options.argument("cache:incr", "by", NUMBER, by, 2)
  if initial ~= nil then options.argument("cache:incr", "initial", NUMBER, initial, 2) end
  if ttl ~= nil then options.argument("cache:incr", "ttl", kinds.duration, ttl, 2) end
  local store = self.store
  local left, value = look(self, key)
  if not left or left <= 0 then
    local sum = (initial or 0) + by
    write(self, key, sum, ttl, nil)
    tell(self)
    return sum
  end
  if type(value) ~= "number" then
    options.fail("cache:incr", "the value of the key", "a number", value, 2)
  end
  fence(self, key)
  local weight = self.weigh and landing.weight_of(self, key, value + by)
  if not store:replace(key, value, value + by, weight or nil) then -- somebody else came first
    return self:incr(key, by, initial, ttl)
  end
  tell(self)
  return value + by
end

--- Forgets a key. Loads of it that run now are not kept.
-- @tparam string|number|boolean key the key
-- @treturn boolean true
-- @treturn string|nil why it is not known that the remote cache forgot it, too
function _M:delete(key)
  check_key("cache:delete", self, key)
  fence(self, key)
  self.store:delete(key, 0)
  if handlers.invalidate then
    events.emit("invalidate", { cache = self.name or "", key = key })
  end
  tell(self)
  if not self.below then return true end
  return self.below:delete("", key)
end

--- Forgets everything and resets the metrics.
-- @treturn boolean true
-- @treturn string|nil why it is not known that the remote cache forgot it, too
function _M:clear()
  options.method("cache:clear", self, 2)
  self.version = self.version + 1
  for part in names.each(self.parts) do part.version = part.version + 1 end
  self.store:clear()
  inspection.reset_counters(self)
  if handlers.invalidate then
    events.emit("invalidate", { cache = self.name or "", all = true })
  end
  tell(self)
  if not self.below then return true end
  return self.below:clear()
end

--- Forgets the entries under one or more tags.
-- @param ... tags: paths split at `:`, or lists of parts
-- @treturn boolean true
-- @treturn string|nil why it is not known that the remote cache forgot them, too
function _M:invalidate_tags(...)
  local list = { ... }
  for i = 1, math.max(1, select("#", ...)) do
    options.argument("cache:invalidate_tags", ("argument %d"):format(i), tags.TAG, list[i], 2)
  end
  local store = self.store
  self.tagged = true
  for i = 1, #list do store:write_tag(list[i]) end
  if handlers.invalidate then
    events.emit("invalidate", { cache = self.name or "", tags = list })
  end
  if store.on_evict or handlers.evict then store:reclaim() end
  tell(self)
  if not self.below then return true end
  return self.below:invalidate_tags(list)
end

--- Gives a live entry a new lifetime.
-- @tparam string|number|boolean key the key
-- @tparam number ttl seconds
-- @treturn boolean whether there is one
function _M:touch(key, ttl)
  check_key("cache:touch", self, key)
  options.argument("cache:touch", "ttl", kinds.duration, ttl, 2)
  look(self, key) -- it may be on its way here
  local s, n = identity(key)
  local touched = C.perigee_store_touch(self.store.handle, 0, s, n, ttl * 1000)
  if touched == C.PERIGEE_NO_MEMORY then error(store_face.OUT_OF_MEMORY, 0) end
  return touched == 1
end

--- Changes the bound on entries; what is too much goes at once.
-- @tparam number maxsize entries, or math.huge
function _M:resize(maxsize)
  options.argument("cache:resize", "maxsize", kinds.bound, maxsize, 2)
  self.maxsize = maxsize
  self.store:resize(maxsize)
  tell(self)
end

--- Loads many keys side by side, each with its own loader; present keys are skipped.
-- @tparam table loaders `{ [key] = loader }`
-- @tparam[opt] table opts `{ concurrency = 16 }`
-- @treturn true|nil true, or nil when a load failed
-- @treturn table errors by key
function _M:warmup(loaders, opts)
  return warmup.run(self, loaders, opts)
end

local closed_mt = { __name = "perigee.cache", __index = function(self, method)
  if not _M[method] then return nil end
  error(("cache:%s: %s is closed"):format(method, self:describe()), 2)
end }

--- Ends the cache: what has changed is saved, and all dropped; its name is free; later calls raise.
function _M:close()
  options.method("cache:close", self, 2)
  local name = self:describe()
  levels.close(self)
  self.closed = true
  self.version = self.version + 1
  self.store.on_evict = false
  self.store:clear()
  self.store:reclaim()
  metrics.forget(self)
  for method in names.each(_M) do self[method] = nil end -- those that copy, or look first
  self.describe = function() return name end
  setmetatable(self, closed_mt)
end

_M.peek, _M.contains, _M.ttl = inspection.peek, inspection.contains, inspection.ttl
_M.entries, _M.get_metrics = inspection.entries, inspection.get_metrics
_M.save_to_backup, _M.load_from_backup = backup.save_to_backup, backup.load_from_backup

return _M

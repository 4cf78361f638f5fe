-- SPDX-License-Identifier: MIT

--- Functions that remember: `perigee.lru`, `perigee.ttl`, and the invalidators.
--
--     local get_user = perigee.lru { maxsize = 1000 } (function(id) return db:user(id) end)
--     local update_user = perigee.lru_invalidator(get_user) (function(id, data)
--       return db:update(id, data)
--     end)
--
-- A wrapped function is a part of a cache: its keys are its arguments. One string, number or
-- boolean is the key itself; two or three of them are encoded without garbage; all else is
-- encoded by `perigee.value.keys`.
-- @module perigee.memo

local arguments = require "perigee.memo.arguments"
local cache_face = require "perigee.cache"
local copying = require "perigee.value.copying"
local each = require("perigee.value.names").each
local keys = require "perigee.value.keys"
local looking = require "perigee.cache.looking"
local options = require "perigee.options"
local part_face = require "perigee.memo.part"
local returns = require "perigee.value.returns"
local settings = require "perigee.cache.settings"

local select, type, unpack = select, type, unpack
local kinds = options.kinds
local pack, unpack_value, unpack_failure = returns.pack, returns.unpack, returns.unpack_failure

local _M = {}

-- Where a wrapped function keeps what is nobody's business.
local INSIDE = {}
local SIGNATURE = arguments.SIGNATURE

-- Calls -----------------------------------------------------------------------------------

-- A loader that calls the function with these arguments, whatever the key is.
local function with_arguments(fn, n, ...)
  local list = { ... }
  return function() return pack(fn(unpack(list, 1, n))) end
end

local function given(part, value)
  if part.copy then value = copying.copy(value) end
  return unpack_value(value)
end

-- What a load gave, as the function would have returned it.
local function landed(part, value, err)
  if err ~= nil then return unpack_failure(err) end
  return given(part, value)
end

local function load(part, key, slot, loader)
  return landed(part, part_face.load(part, key, slot, loader))
end

-- The cached call of a function of no, one, two, three or any number of arguments. The first
-- four are compiled from their head; a function with `...` never is.
local CALLS = {}

CALLS[0] = function(part, fn, where)
  local key = keys.encode(where, 3, 0)
  local function loader() return pack(fn()) end
  return function()
    local slot, value = part.store:get(key, part.space)
    if slot >= 0 then return given(part, value) end
    return load(part, key, slot, loader)
  end
end

CALLS[1] = function(part, fn, where)
  local function loader(argument) return pack(fn(argument)) end
  return function(a)
    local key = keys.one(where, a)
    local slot, value = part.store:get(key, part.space)
    if slot >= 0 then return given(part, value) end
    if key ~= a then return load(part, key, slot, with_arguments(fn, 1, a)) end
    return load(part, key, slot, loader)
  end
end

CALLS[2] = function(part, fn, where)
  return function(a, b)
    local key = keys.two(where, a, b)
    local slot, value = part.store:get(key, part.space)
    if slot >= 0 then return given(part, value) end
    return load(part, key, slot, with_arguments(fn, 2, a, b))
  end
end

CALLS[3] = function(part, fn, where)
  return function(a, b, c)
    local key = keys.three(where, a, b, c)
    local slot, value = part.store:get(key, part.space)
    if slot >= 0 then return given(part, value) end
    return load(part, key, slot, with_arguments(fn, 3, a, b, c))
  end
end

-- The same for methods, whose object does not count: of one and two arguments beside it.
local METHOD_CALLS = {}

METHOD_CALLS[2] = function(part, fn, where)
  return function(object, a)
    local key = keys.one(where, a)
    local slot, value = part.store:get(key, part.space)
    if slot >= 0 then return given(part, value) end
    return load(part, key, slot, with_arguments(fn, 2, object, a))
  end
end

METHOD_CALLS[3] = function(part, fn, where)
  return function(object, a, b)
    local key = keys.two(where, a, b)
    local slot, value = part.store:get(key, part.space)
    if slot >= 0 then return given(part, value) end
    return load(part, key, slot, with_arguments(fn, 3, object, a, b))
  end
end

local BY_SKIPPED = { [0] = CALLS, METHOD_CALLS }

local function call_with_any(part, fn, key_of)
  return function(...)
    local key = key_of(...)
    local slot, value = part.store:get(key, part.space)
    if slot >= 0 then return given(part, value) end
    return load(part, key, slot, with_arguments(fn, select("#", ...), ...))
  end
end

-- Methods ---------------------------------------------------------------------------------

local methods = {}

local function inside_of(self, method)
  local inside = type(self) == "table" and rawget(self, INSIDE)
  if not inside then
    error(("f:%s: call it with a colon, on a wrapped function"):format(method), 3)
  end
  return inside
end

--- A fresh call; the old result stays until it succeeds.
-- @param ... arguments of the function
-- @return as the function
function methods:refresh(...)
  local inside = inside_of(self, "refresh")
  local loader = with_arguments(self.fn, select("#", ...), ...)
  return landed(inside.part, part_face.refresh(inside.part, inside.key_of(...), loader))
end

--- Forgets the result of the call with these arguments. Loads that run now are not kept.
-- @param ... arguments of the function
-- @treturn boolean true
-- @treturn string|nil why it is not known that the remote cache forgot it, too
function methods:invalidate_cache(...)
  local inside = inside_of(self, "invalidate_cache")
  return part_face.delete(inside.part, inside.key_of(...))
end

--- Forgets all results.
-- @treturn boolean true
-- @treturn string|nil why it is not known that the remote cache forgot them, too
function methods:clear_cache()
  local inside = inside_of(self, "clear_cache")
  if inside.shares then return part_face.clear(inside.part) end
  return self.cache:clear()
end

--- What the function's cache has done; on a cache of yours: the function's share of it.
-- @treturn table numbers by name, as `cache:get_metrics`
function methods:get_metrics()
  local inside = inside_of(self, "get_metrics")
  if inside.shares then return part_face.get_metrics(inside.part) end
  return self.cache:get_metrics()
end

--- Saves to the backup. Without one there is nothing to do.
-- @treturn number how many entries were saved
function methods:save_to_backup()
  inside_of(self, "save_to_backup")
  return self.cache:save_to_backup()
end

--- Loads from the backup. Without one there is nothing to do.
-- @treturn number how many entries were loaded
function methods:load_from_backup()
  inside_of(self, "load_from_backup")
  return self.cache:load_from_backup()
end

-- Wrapping --------------------------------------------------------------------------------

local CACHE = { "an open cache, made by perigee.new", cache_face.is }

local function specification(extra)
  local specs = { skip_args = kinds.bound, key_fn = kinds.callable, cache = CACHE }
  for name, kind in each(settings.NEW) do specs[name] = kind end
  for name, kind in each(extra) do specs[name] = kind end
  return specs
end

local LRU = specification {}
local TTL = specification { time_to_live = kinds.duration }

-- The options of the cache to be made. When there is one, none may be given.
local function cache_options(where, opts, defaults)
  local own = {}
  for name in each(settings.NEW) do
    if opts[name] ~= nil then
      if opts.cache and name ~= "name" then
        error(("%s: option %q belongs to the cache given as option \"cache\"")
          :format(where, name), 3)
      end
      own[name] = opts[name]
    end
  end
  for name, value in each(defaults) do
    if own[name] == nil then own[name] = value end
  end
  return own
end

local function wrap(where, opts, cache, ttl, fn)
  local count, open = arguments.of(fn)
  local skip = opts.skip_args or 0
  arguments.check_skip(where, skip, count, open, 2)
  local label = ("%s(%s)"):format(where, arguments.place(fn))
  local inside = { count = count, open = open, shares = opts.cache ~= nil }
  local made, part = pcall(part_face.new, cache, ttl, label, opts.name, inside)
  if not made then error(("%s: %s"):format(where, part), 3) end
  inside.part = part
  inside.key_of = arguments.keyed(where, count, open, skip, opts.key_fn)
  local straight = not open and not opts.key_fn and BY_SKIPPED[skip]
  local by_count = straight and straight[count]
  local call
  if by_count then
    call = by_count(inside.part, fn, where)
  else
    call = call_with_any(inside.part, fn, inside.key_of)
  end
  if cache.below then call = looking.first(cache.below, call, by_count and count) end
  return setmetatable({ cache = cache, fn = fn, call = call, [INSIDE] = inside,
    [SIGNATURE] = inside }, {
    __index = methods,
    __call = arguments.metacall(call, by_count and count),
    __name = "perigee.function",
    __tostring = function() return label end,
  })
end

-- Through pcall: an error of its would point here, and is to point at who called the wrapper.
local function new_cache(own)
  local made, cache = pcall(cache_face.new, own)
  if not made then error(cache, 3) end
  return cache
end

-- Called in the tail, so that errors of level 2 point at the user.
local function wrapper(where, opts, specs, defaults)
  opts = opts == nil and {} or opts
  options.argument(where, "opts", { "a function or a table of options", kinds.list[2] }, opts, 2)
  options.check(where, opts, specs, 2)
  local own = cache_options(where, opts, defaults)
  local ttl = nil
  if specs == TTL then ttl = opts.time_to_live or opts.default_ttl or 60 end
  own.default_ttl = ttl or own.default_ttl
  return function(fn)
    options.argument(where, "fn", kinds.callable, fn, 2)
    return wrap(where, opts, opts.cache or new_cache(own), ttl, fn)
  end
end

--- Wraps a function in a cache of the least recently used results.
-- @tparam[opt] function|table opts the function, or options: all of `perigee.new` (`maxsize` 128,
--   `policy` `"lru"`), `skip_args` (0), `key_fn(...)` -> the values to key by, `cache`: a cache of
--   yours in place of a new one
-- @treturn function|table a function that takes the function; the wrapped one if `opts` is that
-- @raise on a mistake in the options
function _M.lru(opts)
  local defaults = { maxsize = 128, policy = "lru" }
  if options.is_callable(opts) then
    return wrapper("perigee.lru", nil, LRU, defaults)(opts)
  end
  return wrapper("perigee.lru", opts, LRU, defaults)
end

--- Wraps a function in a cache whose results expire.
-- @tparam[opt] function|table opts as for `lru` (`maxsize` 1024, `policy` `"auto"`), and
--   `time_to_live` (60): seconds
-- @treturn function|table as `lru`
-- @raise on a mistake in the options
function _M.ttl(opts)
  local defaults = { maxsize = 1024, policy = "auto" }
  if options.is_callable(opts) then
    return wrapper("perigee.ttl", nil, TTL, defaults)(opts)
  end
  return wrapper("perigee.ttl", opts, TTL, defaults)
end

-- Invalidators ----------------------------------------------------------------------------

local function is_wrapped(value)
  return type(value) == "table" and rawget(value, INSIDE) ~= nil
end

local WRAPPED = { "a function wrapped by perigee.lru or perigee.ttl", is_wrapped }
local INVALIDATOR = { clear_all = kinds.boolean, key_fn = kinds.callable }

-- What a mutation with these arguments makes wrong: `key_of(...)`, or nothing for everything.
local function key_of_mutation(f, opts)
  local key_of, key_fn = f[INSIDE].key_of, opts.key_fn
  if opts.clear_all then return function() end end
  if key_fn then return function(...) return key_of(key_fn(...)) end end
  return key_of
end

local function forget(f, key)
  if key == nil then return f:clear_cache() end
  part_face.delete(f[INSIDE].part, key)
end

local function finish(f, key, ok, ...)
  forget(f, key)
  if not ok then error((...), 0) end
  return ...
end

-- Called in the tail, like `wrapper`.
local function invalidator(where, f, opts)
  options.argument(where, "f", WRAPPED, f, 2)
  opts = opts == nil and {} or opts
  options.argument(where, "opts", kinds.list, opts, 2)
  if opts.skip_args ~= nil then
    error(where .. ": option \"skip_args\" is not for invalidators; give option \"key_fn\": it "
      .. "gets the mutation's arguments and returns those of the cached function", 2)
  end
  options.check(where, opts, INVALIDATOR, 2)
  local key_of = key_of_mutation(f, opts)
  return function(mutation)
    options.argument(where, "mutation", kinds.callable, mutation, 2)
    return function(...)
      local key = key_of(...) -- once: the mutation may change its arguments
      forget(f, key)
      return finish(f, key, pcall(mutation, ...))
    end
  end
end

--- Makes mutations forget what they change. The result goes before the mutation runs, and again
-- after, also when it raises: no load that began before it ended is kept.
-- @tparam table f a wrapped function
-- @tparam[opt] table opts `clear_all` (false): forget all results; `key_fn(...)` -> the arguments
--   of `f`; by default the mutation's first arguments are taken, as many as `f` has parameters
-- @treturn function takes the mutation, returns it with that added: it returns and raises the same
-- @raise on a mistake in the options
function _M.lru_invalidator(f, opts)
  return invalidator("perigee.lru_invalidator", f, opts)
end

--- The same, for a function wrapped by `perigee.ttl`.
-- @tparam table f a wrapped function
-- @tparam[opt] table opts as for `lru_invalidator`
-- @treturn function as `lru_invalidator`
-- @raise on a mistake in the options
function _M.ttl_invalidator(f, opts)
  return invalidator("perigee.ttl_invalidator", f, opts)
end

return _M

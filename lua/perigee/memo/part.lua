-- SPDX-License-Identifier: MIT

--- A part of a cache: keys in a space of their own, loads of their own, counters of their own;
-- room, policy and options are those of the whole. What `load` does with a cache, it does with a
-- part.
-- @module perigee.memo.part

local C = require("perigee.lib").core
local events = require "perigee.events"
local flight = require "perigee.load.flight"
local inspection = require "perigee.cache.inspection"
local load = require "perigee.load"
local spaces = require "perigee.store.spaces"
local store_face = require "perigee.store"

local handlers = events.handlers
local identity = store_face.identity
local start = load.start

local _M = {}

-- Gives the space back when nobody has the part any more.
local function guard(part)
  local proxy, store, space = newproxy(true), part.whole.store, part.space
  getmetatable(proxy).__gc = function() C.perigee_store_drop_space(store.handle, space) end
  return proxy
end

-- In a cache with tiers a part has a name, and its space stays when nobody has the part any more:
-- its entries wait there for the next one of that name.
local function named_space(cache, name, owner)
  if not name then
    error(("a wrapped function needs option \"name\" on %s, which has tiers: its entries are kept "
      .. "under it"):format(cache:describe()), 0)
  end
  return spaces.take(cache, name, owner) or
    error(("there is a function named %q on %s already"):format(name, cache:describe()), 0)
end

local function tell(part)
  if part.store.queued > 0 then part.store:tell() end
end

-- Forgets the part's entries here, and only here.
local function forget_all(part)
  part.version = part.version + 1
  part.space = part.store:clear_space(part.space)
  if part.kept_as then spaces.renumber(part, part.kept_as, part.space) end
  tell(part)
end

--- Makes a part.
-- @tparam perigee.cache cache the whole
-- @tparam number|nil ttl seconds; nil: `default_ttl` of the cache
-- @tparam string label how it is called in messages
-- @tparam string|nil name what its entries are kept under in tiers
-- @tparam table owner who has the name, as long as he lives
-- @treturn table the part
-- @raise when the cache has tiers and the name is missing, or in use
function _M.new(cache, ttl, label, name, owner)
  local part = {
    whole = cache,
    number = flight.new_number(),
    space = cache.spaces and named_space(cache, name, owner) or cache.store:new_space(),
    kept_as = cache.spaces and name,
    version = 0,
    default_ttl = ttl,
    describe = function() return label end,
    forget_all = forget_all,
  }
  inspection.reset_loads(part)
  cache.parts[part] = true
  if not cache.spaces then part.guard = guard(part) end
  return setmetatable(part, { __index = cache })
end

local function check_open(part)
  if not part.closed then return end
  error(("%s: %s is closed"):format(part:describe(), part.whole:describe()), 0)
end

--- A load of a key that the store was asked for, in vain.
-- @tparam table part the part
-- @tparam string|number|boolean key the key
-- @tparam number slot what the store said
-- @tparam function loader as for `cache:get`
-- @return value, err, source
function _M.load(part, key, slot, loader)
  check_open(part)
  return load.missing(part, key, slot, start, loader, false)
end

--- A fresh load; the old value stays until it succeeds.
-- @tparam table part the part
-- @tparam string|number|boolean key the key
-- @tparam function loader as for `cache:get`
-- @return value, err, source
function _M.refresh(part, key, loader)
  check_open(part)
  return load.fresh(part, key, start, loader, false)
end

--- Forgets a key. Loads of it that run now are not kept.
-- @tparam table part the part
-- @tparam string|number|boolean key the key
-- @treturn boolean true
-- @treturn string|nil why it is not known that the remote cache forgot it, too
function _M.delete(part, key)
  if flight.any() then
    local s, n = identity(key)
    flight.fence(part.number, s, n)
  end
  part.store:delete(key, part.space)
  if handlers.invalidate then
    events.emit("invalidate", { cache = part.name or "", key = key })
  end
  tell(part)
  if not part.below then return true end
  return part.below:delete(part.kept_as, key)
end

--- Forgets the part's entries and resets its counters.
-- @tparam table part the part
-- @treturn boolean true
-- @treturn string|nil why it is not known that the remote cache forgot them, too
function _M.clear(part)
  forget_all(part)
  inspection.reset_loads(part)
  local counters = C.perigee_store_get_space(part.store.handle, part.space)
  counters.hits, counters.misses, counters.evictions, counters.expirations = 0, 0, 0, 0
  if handlers.invalidate then
    events.emit("invalidate", { cache = part.name or "", all = true })
  end
  if not part.below then return true end
  return part.below:clear(part.kept_as)
end

--- What the part has done: as `cache:get_metrics`, without `weight`, `invalidated` and `bytes`,
-- which are the whole's.
-- @tparam table part the part
-- @treturn table numbers by name
function _M.get_metrics(part)
  local handle = part.store.handle
  local metrics = inspection.count(part, C.perigee_store_get_space(handle, part.space))
  metrics.size = C.perigee_store_space_size(handle, part.space)
  return metrics
end

return _M

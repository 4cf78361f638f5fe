-- SPDX-License-Identifier: MIT
--- Looking into a cache without changing what it knows: no promotion, no counting.
-- @module perigee.inspection

local C = require("perigee.lib").core
local options = require "perigee.options"

local _M = {}

local function find(self, where, key)
  options.argument(where, "key", options.kinds.key, key, 3)
  return self.store:find(key)
end

local function seconds_left(store, slot)
  return C.perigee_store_ttl(store.handle, slot) / 1000
end

--- The value of a key, if it is there.
-- @tparam perigee.cache self the cache
-- @tparam string|number|boolean key the key
-- @return value
-- @treturn number|nil seconds left (math.huge: for ever); nil when the key is absent
function _M.peek(self, key)
  local slot = find(self, "cache:peek", key)
  if slot < 0 then return nil, nil end
  return self.store:value(slot), seconds_left(self.store, slot)
end

--- Whether a key is there.
-- @tparam perigee.cache self the cache
-- @tparam string|number|boolean key the key
-- @treturn boolean
function _M.contains(self, key)
  return find(self, "cache:contains", key) >= 0
end

--- How long a key will be there.
-- @tparam perigee.cache self the cache
-- @tparam string|number|boolean key the key
-- @treturn number|nil seconds left (math.huge: for ever); nil when the key is absent
function _M.ttl(self, key)
  local slot = find(self, "cache:ttl", key)
  return slot >= 0 and seconds_left(self.store, slot) or nil
end

--- Iterates over the entries, in no order: `for key, value, ttl_left in cache:entries() do`. The
-- cache may be changed meanwhile; what is added may or may not be seen.
-- @tparam perigee.cache self the cache
-- @treturn function iterator
function _M.entries(self)
  local store, slot = self.store, -1
  return function()
    slot = C.perigee_store_next(store.handle, slot)
    if slot < 0 then return nil end
    return store:key(slot), store:value(slot), seconds_left(store, slot)
  end
end

--- Sets the counters of a cache to zero.
-- @tparam perigee.cache self the cache
function _M.reset_counters(self)
  local view = self.store.view
  view.hits, view.misses, view.evictions, view.expirations = 0, 0, 0, 0
  self.loads, self.load_errors, self.load_seconds = 0, 0, 0
  self.coalesced, self.stale_hits = 0, 0
  self.batches, self.batched_keys = 0, 0
end

--- What the cache has done since it was made or cleared.
--
-- `hits` (`stale_hits` among them), `misses` (`coalesced` among them: those that joined a load),
-- `hit_rate`, `size`, `weight`, `invalidated` (entries dead by a tag that `size` still counts),
-- `loads`, `load_errors`, `load_seconds`, `batches`, `batched_keys`, `evictions`, `expirations`,
-- `bytes` (native memory).
-- @tparam perigee.cache self the cache
-- @treturn table numbers by name
function _M.get_metrics(self)
  local handle, view = self.store.handle, self.store.view
  local hits, misses = tonumber(view.hits), tonumber(view.misses)
  local asked = hits + misses
  return {
    hits = hits,
    misses = misses,
    hit_rate = asked > 0 and hits / asked or 0,
    size = C.perigee_store_size(handle),
    weight = C.perigee_store_weight(handle),
    invalidated = C.perigee_store_invalidated(handle),
    loads = self.loads,
    load_errors = self.load_errors,
    load_seconds = self.load_seconds,
    coalesced = self.coalesced,
    stale_hits = self.stale_hits,
    evictions = tonumber(view.evictions),
    expirations = tonumber(view.expirations),
    batches = self.batches,
    batched_keys = self.batched_keys,
    bytes = C.perigee_store_bytes(handle),
  }
end

return _M

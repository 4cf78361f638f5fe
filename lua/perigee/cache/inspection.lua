-- SPDX-License-Identifier: MIT
--- Looking into a cache without changing what it knows: no promotion, no counting.
-- @module perigee.cache.inspection

local C = require("perigee.lib").core
local each = require("perigee.value.names").each
local histogram = require "perigee.metrics.histogram"
local options = require "perigee.options"
local returns = require "perigee.value.returns"

local _M = {}

--- The value of a key, live or stale. What is not there may be on its way from the backup.
-- @tparam table self the cache
-- @tparam string|number|boolean key checked before
-- @treturn number|nil milliseconds left; negative when it is stale; nil when it is not there
-- @return the value
function _M.look(self, key)
  local left, value = self.store:look(key, self.space)
  if left or not self.restoring then return left, value end
  self.restoring:settle(self.load_timeout)
  return self.store:look(key, self.space)
end

local function look(self, where, key)
  options.method(where, self, 3)
  options.argument(where, "key", options.kinds.key, key, 3)
  local left, value = _M.look(self, key)
  if left and left > 0 then return left / 1000, value end
end

--- The value of a key, if it is there.
-- @tparam perigee.cache self the cache
-- @tparam string|number|boolean key the key
-- @return value
-- @treturn number|nil seconds left (math.huge: for ever); nil when the key is absent
function _M.peek(self, key)
  local left, value = look(self, "cache:peek", key)
  return value, left
end

--- Whether a key is there.
-- @tparam perigee.cache self the cache
-- @tparam string|number|boolean key the key
-- @treturn boolean
function _M.contains(self, key)
  return look(self, "cache:contains", key) ~= nil
end

--- How long a key will be there.
-- @tparam perigee.cache self the cache
-- @tparam string|number|boolean key the key
-- @treturn number|nil seconds left (math.huge: for ever); nil when the key is absent
function _M.ttl(self, key)
  return (look(self, "cache:ttl", key))
end

--- Iterates over the entries, in no order: `for key, value, ttl_left in cache:entries() do`. The
-- cache may be changed meanwhile; what is added may or may not be seen.
-- @tparam perigee.cache self the cache
-- @treturn function iterator
function _M.entries(self)
  options.method("cache:entries", self, 2)
  local store, slot = self.store, -1
  if self.restoring then self.restoring:settle(self.load_timeout) end
  return function()
    local key, value, left
    slot, key, value, left = store:next(slot)
    if slot >= 0 then return key, returns.first(value), left / 1000 end
  end
end

--- Sets the counters of loads to zero.
-- @tparam table self a cache, or a part of one
function _M.reset_loads(self)
  self.load_durations = histogram.new()
  self.load_errors, self.coalesced, self.stale_hits = 0, 0, 0
  self.batches, self.batched_keys = 0, 0
end

--- Sets the counters of a cache to zero.
-- @tparam perigee.cache self the cache
function _M.reset_counters(self)
  local view = self.store.view
  view.hits, view.misses, view.evictions, view.expirations = 0, 0, 0, 0
  _M.reset_loads(self)
end

--- The counters as a table.
-- @tparam table self a cache, or a part of one
-- @tparam cdata counted `hits`, `misses`, `evictions`, `expirations`
-- @treturn table numbers by name
function _M.count(self, counted)
  local hits, misses = tonumber(counted.hits), tonumber(counted.misses)
  local asked = hits + misses
  return {
    hits = hits,
    misses = misses,
    hit_rate = asked > 0 and hits / asked or 0,
    loads = histogram.count(self.load_durations),
    load_errors = self.load_errors,
    load_seconds = self.load_durations.sum,
    coalesced = self.coalesced,
    stale_hits = self.stale_hits,
    evictions = tonumber(counted.evictions),
    expirations = tonumber(counted.expirations),
    batches = self.batches,
    batched_keys = self.batched_keys,
  }
end

--- What the cache has done since it was made or cleared.
--
-- `hits` (`stale_hits` among them), `misses` (`coalesced` among them: those that joined a load),
-- `hit_rate`, `size`, `weight`, `invalidated` (entries dead by a tag, or with the function that
-- they belong to, which `size` still counts), `loads`, `load_errors`, `load_seconds`, `batches`,
-- `batched_keys`, `evictions`, `expirations`, `bytes` (native memory). With a backup:
-- `backup_saves`, `backup_errors`, `backup_loaded` (entries), `backup_refused` (that could not be
-- read), `backup_unsaved` (that could not be written). With a remote cache: `remote_hits`,
-- `remote_misses`, `remote_errors` (times that it failed), `remote_writes` (confirmed),
-- `remote_refused` (entries that could not be read), `remote_unsaved` (values that cannot travel),
-- `remote_notices` (changes by others). With a shared dictionary: `shared_hits`, `shared_misses`,
-- `shared_writes`, `shared_unsaved` (values that cannot be shared), `shared_notices`.
-- @tparam perigee.cache self the cache
-- @treturn table numbers by name
function _M.get_metrics(self)
  options.method("cache:get_metrics", self, 2)
  local handle = self.store.handle
  local metrics = _M.count(self, self.store.view)
  metrics.size = C.perigee_store_size(handle)
  metrics.weight = C.perigee_store_weight(handle)
  metrics.invalidated = C.perigee_store_invalidated(handle)
  metrics.bytes = C.perigee_store_bytes(handle)
  if self.backup then
    for name, value in each(self.backup.counters) do metrics[name] = value end
  end
  if self.shared then
    for name, value in each(self.shared.counters) do metrics[name] = value end
  end
  if self.remote then
    for name, value in each(self.remote.counters) do metrics[name] = value end
  end
  return metrics
end

return _M

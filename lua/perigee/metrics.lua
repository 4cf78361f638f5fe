-- SPDX-License-Identifier: MIT
--- The numbers of all caches of this process, by the caches' names: counters, and histograms of
-- durations (`perigee.metrics.histogram`): `load`, of the loads that ended, and `remote`, of the
-- reads that the remote cache was asked for.
-- @module perigee.metrics

local each = require("perigee.value.names").each
local histogram = require "perigee.metrics.histogram"
local names_of = require("perigee.value.names").of

local _M = {}

local caches = setmetatable({}, { __mode = "k" }) -- every cache that is not closed
local names = setmetatable({}, { __mode = "v" })  -- cache by name

--- Enters a new cache; its name must be free.
-- @tparam perigee.cache cache the cache
-- @tparam number level where an error points, counted from the caller
function _M.register(cache, level)
  local name = cache.name
  if name and names[name] then
    collectgarbage() -- it may be one that nobody has any more
    if names[name] then
      error(("perigee.new: there is a cache named %q already; close it first"):format(name),
        level + 1)
    end
  end
  if name then names[name] = cache end
  caches[cache] = true
end

--- Takes a closed cache out.
-- @tparam perigee.cache cache the cache
function _M.forget(cache)
  caches[cache] = nil
  if cache.name then names[cache.name] = nil end
end

--- Every cache that is open.
-- @treturn table list, in no order
function _M.caches()
  return names_of(caches)
end

--- Adds counters up.
-- @tparam table|nil sum what they are added to; nil: nothing yet
-- @tparam table counters numbers by name
-- @treturn table the sum
function _M.add_counters(sum, counters)
  sum = sum or {}
  for field, value in each(counters) do sum[field] = (sum[field] or 0) + value end
  local asked = (sum.hits or 0) + (sum.misses or 0)
  sum.hit_rate = asked > 0 and sum.hits / asked or 0
  return sum
end
local add_counters = _M.add_counters

--- Adds durations up.
-- @tparam table|nil sum what they are added to; nil: nothing yet
-- @tparam table durations histograms by what took that long
-- @treturn table the sum
function _M.add_durations(sum, durations)
  sum = sum or {}
  for what, more in each(durations) do
    sum[what] = histogram.add(sum[what] or histogram.new(), more)
  end
  return sum
end
local add_durations = _M.add_durations

--- The metrics of every cache: see `cache:get_metrics`.
-- @treturn table by cache name; caches without a name are summed under `""`
function _M.all()
  local by_name = {}
  for cache in each(caches) do
    local name = cache.name or ""
    by_name[name] = add_counters(by_name[name], cache:get_metrics())
  end
  return by_name
end

--- How long things took in every cache.
-- @treturn table by cache name, of histograms by what took that long: `load` and, with a remote
--   cache, `remote`
function _M.durations()
  local by_name = {}
  for cache in each(caches) do
    local name, remote = cache.name or "", cache.remote
    by_name[name] = add_durations(by_name[name],
      { load = cache.load_durations, remote = remote and remote.durations })
  end
  return by_name
end

--- What other workers of the same nginx have told: a list of `{ counters =, durations = }`, as
-- `all` and `durations` return them.
_M.others = function() return {} end

local function add_each(sums, told, add)
  for name, more in each(told) do sums[name] = add(sums[name], more) end
end

--- The same as `all` and `durations`, and what other workers of the same nginx have told is added.
-- @treturn table counters by cache name
-- @treturn table durations by cache name
function _M.summed()
  local counters, durations = _M.all(), _M.durations()
  for _, told in ipairs(_M.others()) do
    add_each(counters, told.counters, add_counters)
    add_each(durations, told.durations, add_durations)
  end
  return counters, durations
end

return _M

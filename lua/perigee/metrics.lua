-- SPDX-License-Identifier: MIT
--- The numbers of all caches of this process, as tables and as Prometheus text.
-- @module perigee.metrics

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

local function add_up(sum, metrics)
  for field, value in pairs(metrics) do sum[field] = (sum[field] or 0) + value end
  local asked = (sum.hits or 0) + (sum.misses or 0)
  sum.hit_rate = asked > 0 and sum.hits / asked or 0
  return sum
end

--- The metrics of every cache: see `cache:get_metrics`.
-- @treturn table by cache name; caches without a name are summed under `""`
function _M.all()
  local by_name = {}
  for cache in pairs(caches) do
    local name = cache.name or ""
    by_name[name] = add_up(by_name[name] or {}, cache:get_metrics())
  end
  return by_name
end

--- What other workers of the same nginx have told: a list of tables as `all` returns.
_M.others = function() return {} end

--- The same as `all`, and what other workers of the same nginx have told is added.
-- @treturn table by cache name
function _M.summed()
  local by_name = _M.all()
  for _, told in ipairs(_M.others()) do
    for name, counters in pairs(told) do
      by_name[name] = add_up(by_name[name] or {}, counters)
    end
  end
  return by_name
end

-- field, metric, type, help; in the order of the text.
local FAMILIES = {
  { "hits", "perigee_hits_total", "counter", "Gets answered from memory, stale ones included." },
  { "stale_hits", "perigee_stale_hits_total", "counter", "Gets answered with an expired value." },
  { "misses", "perigee_misses_total", "counter", "Gets that found nothing in memory." },
  { "coalesced", "perigee_coalesced_total", "counter", "Misses that joined a running load." },
  { "loads", "perigee_loads_total", "counter", "Loads that ended, one per key." },
  { "load_errors", "perigee_load_errors_total", "counter", "Loads that failed." },
  { "load_seconds", "perigee_load_seconds_total", "counter", "Time spent in loads." },
  { "batches", "perigee_batches_total", "counter", "Calls of batch loaders." },
  { "batched_keys", "perigee_batched_keys_total", "counter", "Keys asked of batch loaders." },
  { "evictions", "perigee_evictions_total", "counter", "Entries given up for lack of room." },
  { "expirations", "perigee_expirations_total", "counter", "Entries reclaimed after expiry." },
  { "size", "perigee_entries", "gauge", "Live entries." },
  { "invalidated", "perigee_invalidated_entries", "gauge",
    "Entries dead by a tag and not yet reclaimed." },
  { "weight", "perigee_weight", "gauge", "Sum of the weights of the entries." },
  { "bytes", "perigee_native_bytes", "gauge", "Native memory of the cache." },
  { "backup_saves", "perigee_backup_saves_total", "counter", "Saves to the backup." },
  { "backup_errors", "perigee_backup_errors_total", "counter", "Saves and loads that failed." },
  { "backup_loaded", "perigee_backup_loaded_total", "counter", "Entries taken from the backup." },
  { "backup_refused", "perigee_backup_refused_total", "counter",
    "Entries of the backup that could not be read." },
  { "backup_unsaved", "perigee_backup_unsaved_total", "counter", "Values that cannot be saved." },
  { "shared_hits", "perigee_shared_hits_total", "counter",
    "Misses that the shared dictionary answered." },
  { "shared_misses", "perigee_shared_misses_total", "counter", "Misses that it did not." },
  { "shared_writes", "perigee_shared_writes_total", "counter", "Entries written to it." },
  { "shared_unsaved", "perigee_shared_unsaved_total", "counter", "Values that cannot be shared." },
  { "shared_notices", "perigee_shared_notices_total", "counter", "Changes by other workers." },
  { "remote_hits", "perigee_remote_hits_total", "counter",
    "Misses that the remote cache answered." },
  { "remote_misses", "perigee_remote_misses_total", "counter", "Misses that it did not." },
  { "remote_errors", "perigee_remote_errors_total", "counter", "Times that it failed to answer." },
  { "remote_writes", "perigee_remote_writes_total", "counter", "Writes that it has confirmed." },
  { "remote_refused", "perigee_remote_refused_total", "counter",
    "Entries of it that could not be read." },
  { "remote_unsaved", "perigee_remote_unsaved_total", "counter", "Values that cannot travel." },
  { "remote_notices", "perigee_remote_notices_total", "counter", "Changes by others, heard of." },
}

local ESCAPES = { ["\\"] = "\\\\", ["\""] = "\\\"", ["\n"] = "\\n" }

local function sorted_names(by_name)
  local list = {}
  for name in pairs(by_name) do list[#list + 1] = name end
  table.sort(list)
  return list
end

--- The metrics of every cache in Prometheus' text format, version 0.0.4; inside nginx summed over
-- the workers.
-- @treturn string
function _M.prometheus()
  local by_name = _M.summed()
  local list, lines = sorted_names(by_name), {}
  for _, family in ipairs(FAMILIES) do
    local field, metric, kind, help = unpack(family)
    lines[#lines + 1] = ("# HELP %s %s"):format(metric, help)
    lines[#lines + 1] = ("# TYPE %s %s"):format(metric, kind)
    for _, name in ipairs(list) do
      local label, value = name:gsub("[\\\"\n]", ESCAPES), by_name[name][field]
      if value then lines[#lines + 1] = ("%s{cache=\"%s\"} %.17g"):format(metric, label, value) end
    end
  end
  return table.concat(lines, "\n") .. "\n"
end

return _M

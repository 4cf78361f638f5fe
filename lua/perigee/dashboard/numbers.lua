-- SPDX-License-Identifier: MIT

--- The numbers of the page: every text and every path in it that changes, by an id. The page is
-- made with them, and its script asks for them once a second, so each is worked out in one place.
-- @module perigee.dashboard.numbers

local chart = require "perigee.dashboard.chart"
local history = require "perigee.dashboard.history"
local latency = require "perigee.dashboard.latency"
local metrics = require "perigee.metrics"
local sorted = require("perigee.value.names").sorted
local text = require "perigee.dashboard.text"

local _M = {}

--- Caches that are shown; of more, the first by name.
_M.MOST_CACHES = 100

--- The counters that have a chart: id, field.
_M.RATES = { { "loads", "loads" }, { "coalesced", "coalesced" }, { "evictions", "evictions" } }

--- The other counters: id, label; those that a cache does not have are left out.
_M.OTHERS = {
  { "hits", "Hits" }, { "misses", "Misses" }, { "stale_hits", "Stale hits" },
  { "load_errors", "Failed loads" }, { "expirations", "Expirations" }, { "batches", "Batches" },
  { "batched_keys", "Keys in batches" }, { "invalidated", "Dead by a tag" },
  { "shared_hits", "Shared hits" }, { "shared_misses", "Shared misses" },
  { "shared_writes", "Shared writes" }, { "shared_unsaved", "Not to be shared" },
  { "shared_notices", "Shared notices" }, { "remote_hits", "Remote hits" },
  { "remote_misses", "Remote misses" }, { "remote_errors", "Remote errors" },
  { "remote_writes", "Remote writes" }, { "remote_refused", "Remote refused" },
  { "remote_unsaved", "Not to be sent" }, { "remote_notices", "Remote notices" },
  { "backup_saves", "Saves" }, { "backup_errors", "Failed saves" },
  { "backup_loaded", "Entries loaded" }, { "backup_refused", "Entries refused" },
  { "backup_unsaved", "Not to be saved" },
}

local function asked_in(counters)
  return (counters.hits or 0) + (counters.misses or 0)
end

local function points_of(list, value_of)
  local points = {}
  for i, moment in ipairs(list) do points[i] = { moment.x, value_of(moment) } end
  return points
end

local function hit_rate_at(moment)
  local asked = asked_in(moment.rates)
  return asked > 0 and moment.rates.hits / asked
end

-- Moments without gets are left out of an area, and leave a gap in the line.
local function without_gaps(points)
  local list = {}
  for _, point in ipairs(points) do list[#list + 1] = point[2] and point or nil end
  return list
end

-- Of one cache -----------------------------------------------------------------------------------

local function add_rates(out, id, counters, list)
  local last = list[#list]
  for _, rate in ipairs(_M.RATES) do
    local name, field = rate[1], rate[2]
    out.texts[id .. name] = text.count(counters[field] or 0)
    out.texts[id .. name .. "_rate"] = text.rate(last and last.rates[field] or 0)
    out.paths[id .. name] = chart.line(points_of(list, function(moment)
      return moment.rates[field] or 0
    end))
  end
end

local function add_hit_rate(out, id, counters, list)
  local last = list[#list]
  local asked = asked_in(counters)
  out.texts[id .. "hit_rate"] = asked > 0 and text.percent(counters.hits / asked) or "–"
  out.texts[id .. "gets"] = text.count(asked)
  out.texts[id .. "gets_rate"] = text.rate(last and asked_in(last.rates) or 0)
  local points = points_of(list, hit_rate_at)
  out.paths[id .. "hit_rate"] = chart.line(points, 1)
  out.paths[id .. "hit_area"] = chart.area(without_gaps(points), 1)
end

local function add_size(out, id, counters, list)
  out.texts[id .. "size"] = text.count(counters.size or 0)
  out.texts[id .. "bytes"] = text.bytes(counters.bytes or 0)
  out.paths[id .. "size"] = chart.line(points_of(list, function(moment)
    return moment.now.size or 0
  end))
end

local QUANTILES = { "mean", "p50", "p95", "p99" }

-- A row is known by its id, a part of those of its texts.
local function add_latencies(out, id, rows)
  for _, row in ipairs(rows) do
    for _, name in ipairs(QUANTILES) do
      out.texts[id .. row.id .. "_" .. name] = row[name] and text.span(row[name]) or "–"
    end
    out.paths[id .. row.id .. "_chart"] = chart.bars(row.bars)
  end
end

local function add_cache(out, number, name, counters, durations, list)
  local id = ("c%d-"):format(number)
  add_hit_rate(out, id, counters, list)
  add_rates(out, id, counters, list)
  add_size(out, id, counters, list)
  local latencies = latency.latencies_of(durations)
  add_latencies(out, id, latencies)
  for _, other in ipairs(_M.OTHERS) do
    local value = counters[other[1]]
    if value then out.texts[id .. other[1]] = text.count(value) end
  end
  out.caches[number] = { id = id, name = name, latencies = latencies }
end

-- Of all -----------------------------------------------------------------------------------------

local SUMMED = { "hits", "misses", "loads", "coalesced", "size", "bytes" }

local function add_up(sum, counters)
  for _, field in ipairs(SUMMED) do sum[field] = (sum[field] or 0) + (counters[field] or 0) end
end

local function add_summary(out, sum, rates)
  local asked, texts = asked_in(sum), out.texts
  texts["all-hit_rate"] = asked > 0 and text.percent(sum.hits / asked) or "–"
  texts["all-gets_rate"] = text.rate(asked_in(rates))
  texts["all-loads_rate"] = text.rate(rates.loads or 0)
  texts["all-coalesced"] = text.count(sum.coalesced or 0)
  texts["all-size"] = text.count(sum.size or 0)
  texts["all-bytes"] = text.bytes(sum.bytes or 0)
end

local function shape_of(names)
  return text.json { #names, unpack(names, 1, math.min(#names, _M.MOST_CACHES)) }
end

--- The numbers as they are now.
-- @treturn table `caches`, a list of `{ id =, name =, latencies = }`; `texts` and `paths` by id;
-- `shape`, which changes when a cache comes or goes; `left_out`, how many caches are not shown
function _M.now()
  history.watch()
  local by_name, durations = metrics.summed()
  local names, sum, rates = sorted(by_name), {}, {}
  local out = { caches = {}, texts = {}, paths = {}, shape = shape_of(names),
    left_out = math.max(#names - _M.MOST_CACHES, 0) }
  for i, name in ipairs(names) do
    if i <= _M.MOST_CACHES then
      add_cache(out, i, name, by_name[name], durations[name] or {}, history.of(name))
    end
    add_up(sum, by_name[name])
    local last = history.last(name)
    if last then add_up(rates, last.rates) end
  end
  add_summary(out, sum, rates)
  return out
end

--- What the script asks for.
-- @treturn string JSON
function _M.json()
  local now = _M.now()
  return text.json { shape = now.shape, texts = now.texts, paths = now.paths }
end

return _M

-- SPDX-License-Identifier: MIT

--- How long things took in a cache.
-- @module perigee.dashboard.latency

local histogram = require "perigee.metrics.histogram"
local text = require "perigee.dashboard.text"

local _M = {}

local BOUNDS = histogram.BOUNDS
local LEAST = "≤ " .. text.span(BOUNDS[1])
local MOST = "> " .. text.span(BOUNDS[#BOUNDS - 1])

local function row_of(id, label, durations)
  local bars, events = {}, histogram.count(durations)
  for i = 1, #BOUNDS do bars[i] = durations.counts[i - 1] end
  return { id = id, label = label, mean = events > 0 and durations.sum / events,
    p50 = histogram.quantile(durations, 0.5), p95 = histogram.quantile(durations, 0.95),
    p99 = histogram.quantile(durations, 0.99), bars = bars, least = LEAST, most = MOST }
end

--- The durations of a cache.
-- @tparam table durations histograms by what took that long, as `perigee.metrics` has them
-- @treturn table list of `{ id =, label =, mean =, p50 =, p95 =, p99 =, bars =, least =, most = }`:
-- seconds, false or nil when nothing was counted; `bars` is a list of counts, from fast to slow,
-- `least` and `most` stand below the first and the last of them
function _M.latencies_of(durations)
  local list = {}
  if durations.load then list[1] = row_of("load", "Load time", durations.load) end
  if durations.remote then
    list[#list + 1] = row_of("remote", "Read of the second level", durations.remote)
  end
  return list
end

return _M

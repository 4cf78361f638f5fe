-- SPDX-License-Identifier: MIT

--- Histograms of durations: the face of `histogram.h`.
-- @module perigee.metrics.histogram

local ffi = require "ffi"

local C = require("perigee.lib").core

local _M = {}

local BUCKETS = C.PERIGEE_HISTOGRAM_BUCKETS

--- The most seconds that each bucket counts, from the smallest; the last one is math.huge.
_M.BOUNDS = {}
for i = 1, BUCKETS do _M.BOUNDS[i] = C.perigee_histogram_bound(i - 1) end

local BOUNDS = _M.BOUNDS

--- Makes an empty histogram: `sum` (seconds), `counts[0]` and on (of each bucket alone).
-- @function new
-- @treturn cdata
_M.new = ffi.typeof "perigee_histogram"

--- Counts an event: `observe(histogram, seconds)`.
-- @function observe
_M.observe = C.perigee_histogram_observe

--- How many events it has counted.
-- @tparam cdata histogram from `new`
-- @treturn number
function _M.count(histogram)
  local n = 0
  for i = 0, BUCKETS - 1 do n = n + histogram.counts[i] end
  return n
end

--- Adds the events of one histogram to another.
-- @tparam cdata into from `new`
-- @tparam cdata from another
-- @treturn cdata `into`
function _M.add(into, from)
  into.sum = into.sum + from.sum
  for i = 0, BUCKETS - 1 do into.counts[i] = into.counts[i] + from.counts[i] end
  return into
end

--- A histogram as a list of numbers, which can travel: the sum, and the count of each bucket.
-- @tparam cdata histogram from `new`
-- @treturn table
function _M.list(histogram)
  local list = { histogram.sum }
  for i = 0, BUCKETS - 1 do list[i + 2] = histogram.counts[i] end
  return list
end

local function is_amount(value)
  return type(value) == "number" and value >= 0 and value < math.huge
end

--- Reads what `list` made.
-- @param list from anywhere
-- @treturn cdata|nil a histogram; nil: that was none, or one of other buckets
function _M.read(list)
  if type(list) ~= "table" or #list ~= BUCKETS + 1 then return nil end
  for i = 1, BUCKETS + 1 do
    if not is_amount(list[i]) then return nil end
  end
  local histogram = _M.new()
  histogram.sum = list[1]
  for i = 0, BUCKETS - 1 do histogram.counts[i] = list[i + 2] end
  return histogram
end

--- Estimates a quantile as Prometheus' `histogram_quantile` does: within a bucket the events are
-- taken to be spread evenly; what is beyond the last bound counts as that bound.
-- @tparam cdata histogram from `new`
-- @tparam number q from 0 to 1: 0.5 is the median
-- @treturn number|nil seconds; nil when nothing was counted
function _M.quantile(histogram, q)
  local events = _M.count(histogram)
  if events == 0 then return nil end
  local rank, below = q * events, 0
  for i = 1, BUCKETS - 1 do
    local inside = histogram.counts[i - 1]
    if inside > 0 and below + inside >= rank then
      local from = BOUNDS[i - 1] or 0
      return from + (BOUNDS[i] - from) * (rank - below) / inside
    end
    below = below + inside
  end
  return BOUNDS[BUCKETS - 1]
end

return _M

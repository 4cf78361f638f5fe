-- SPDX-License-Identifier: MIT

--- What the caches did in the last minute: their counters once a second, while somebody watches.
-- @module perigee.dashboard.history

local context = require "perigee.context"
local each = require("perigee.value.names").each
local metrics = require "perigee.metrics"
local runtime = require "perigee.runtime"

local _M = {}

--- Seconds that are kept.
_M.SPAN_S = 60

local SPAN_S, EVERY_S = _M.SPAN_S, 1
local WATCH_S = 600 -- after the last question

-- Counters that are shown as rates.
local FIELDS = { "hits", "misses", "loads", "coalesced", "evictions" }

local samples = {} -- `{ at =, caches = counters by name }`, the oldest first
local due, ends = 0, 0

-- The oldest one kept is older than the span: the first rate needs it.
local function drop_old(now)
  local first = 1
  while samples[first + 1] and samples[first + 1].at < now - SPAN_S do first = first + 1 end
  if first == 1 then return end
  local kept = {}
  for i = first, #samples do kept[#kept + 1] = samples[i] end
  samples = kept
end

-- What is shown of a cache, and no more: a program may have thousands.
local function kept_of(counters)
  local kept = { size = counters.size }
  for _, field in ipairs(FIELDS) do kept[field] = counters[field] end
  return kept
end

local function sample(now)
  local caches = {}
  for name, counters in each((metrics.summed())) do caches[name] = kept_of(counters) end
  samples[#samples + 1] = { at = now, caches = caches }
  due = now + EVERY_S
  drop_old(now)
end

local function keep_up()
  local now = context.port.now()
  if now >= ends then return nil end
  if now >= due then sample(now) end
  return due - now
end

runtime.on_turn(keep_up)

--- Somebody watches, and will for some minutes.
function _M.watch()
  local now = context.port.now()
  if samples[1] and samples[#samples].at > now then samples, due = {}, 0 end -- another clock
  ends = now + WATCH_S
  if now >= due then sample(now) end
end

--- Forgets all of it.
function _M.reset()
  samples, due, ends = {}, 0, 0
end

-- What happened between two samples, per second, by counter.
local function rates_between(before, after, span)
  local rates = {}
  for _, field in ipairs(FIELDS) do
    local change = (after[field] or 0) - (before[field] or 0)
    rates[field] = math.max(change, 0) / span -- a clear sets them back
  end
  return rates
end

-- The moments of a cache from a sample on.
local function moments(name, first)
  local list = {}
  local last = samples[1] and samples[#samples].at or 0
  for i = first, #samples do
    local before, after = samples[i - 1], samples[i]
    local now, span = after.caches[name], after.at - before.at
    if now and span > 0 then
      local x = math.max(1 - (last - after.at) / SPAN_S, 0)
      list[#list + 1] = { x = x, now = now,
        rates = rates_between(before.caches[name] or {}, now, span) }
    end
  end
  return list
end

--- The last minute of a cache.
-- @tparam string name the cache's
-- @treturn table list of `{ x =, now = counters, rates = by counter }`, x from 0 to 1 (now)
function _M.of(name) return moments(name, 2) end

--- The last of these alone.
-- @tparam string name the cache's
-- @treturn table|nil
function _M.last(name) return moments(name, math.max(#samples, 2))[1] end

return _M

-- SPDX-License-Identifier: MIT

--- What is counted of calls: for each session, each tool, and all of them together.
--
-- Counters are arrays of doubles, so that a session takes little room.
-- @module perigee.agent.counts

local ffi = require "ffi"

local doubles = require "perigee.value.doubles"
local messages = require "perigee.agent.messages"

local _M = {}

local FIELDS = { "calls", "hits_memory", "hits_stale", "hits_remote", "misses", "coalesced",
  "executed", "executed_seconds", "errors", "invalidations", "fence_rejects",
  "refreshes_confirmed", "refreshes_changed", "refusals", "loop_detections", "saved_seconds" }

--- The places of the counters, by name.
_M.AT = {}
for i, name in ipairs(FIELDS) do _M.AT[name] = i - 1 end

--- Behind them there is one for each kind of loop, by its number in C, from 1.
_M.KINDS = #FIELDS - 1

local AT, KINDS = _M.AT, _M.KINDS
local SIZE = KINDS + #messages.KINDS + 1
local new = ffi.typeof("double[" .. SIZE .. "]")

--- Makes counters that stand at zero.
-- @treturn cdata
function _M.new() return new() end

--- The counters of all calls.
local whole = new()

--- Adds to a counter of a tool, of a session, and of all.
-- @tparam cdata|nil session its counters
-- @tparam cdata tool its counters
-- @tparam number at from `AT`
-- @tparam number by how much
function _M.add(session, tool, at, by)
  if session then session[at] = session[at] + by end
  tool[at] = tool[at] + by
  whole[at] = whole[at] + by
end

--- Counts an execution.
-- @tparam cdata|nil session its counters
-- @tparam cdata tool its counters
-- @tparam number seconds how long it took
-- @param failed whether its answer is an error
function _M.execution(session, tool, seconds, failed)
  _M.add(session, tool, AT.executed, 1)
  _M.add(session, tool, AT.executed_seconds, seconds)
  if failed then _M.add(session, tool, AT.errors, 1) end
end

--- Counts a call that was answered without being executed. It saves what the tool takes on average.
-- @tparam cdata|nil session its counters
-- @tparam cdata tool its counters
-- @tparam number at from `AT`: one of the hits
function _M.hit(session, tool, at)
  local executed = tool[AT.executed]
  local saved = executed > 0 and tool[AT.executed_seconds] / executed or 0
  _M.add(session, tool, at, 1)
  _M.add(session, tool, AT.saved_seconds, saved)
end

--- The counters as a table.
-- @tparam[opt] cdata counts of a session or a tool; default: of all
-- @treturn table numbers by name; `loops`: numbers by kind
function _M.table(counts)
  counts = counts or whole
  local metrics, loops = {}, {}
  for i, name in ipairs(FIELDS) do metrics[name] = counts[i - 1] end
  for i, kind in ipairs(messages.KINDS) do
    if counts[KINDS + i] > 0 then loops[kind] = counts[KINDS + i] end
  end
  metrics.hits = metrics.hits_memory + metrics.hits_stale + metrics.hits_remote
  metrics.refreshes = metrics.refreshes_confirmed + metrics.refreshes_changed
  metrics.saved_calls = metrics.hits + metrics.coalesced
  local asked = metrics.hits + metrics.misses
  metrics.hit_rate = asked > 0 and metrics.hits / asked or 0
  metrics.loops = loops
  return metrics
end

--- All counters as one string, and back.
-- @tparam cdata counts the counters
-- @treturn string
function _M.save(counts)
  return ffi.string(counts, ffi.sizeof(counts))
end

--- Reads what `save` wrote.
-- @tparam string bytes from anywhere
-- @treturn cdata|nil the counters; nil: they are none
function _M.restore(bytes)
  if #bytes ~= ffi.sizeof(new) then return nil end
  local counts, at = new(), ffi.cast("const char *", bytes)
  for i = 0, SIZE - 1 do
    local count = doubles.read(at + 8 * i)
    if not count or count < 0 or count == math.huge then return nil end
    counts[i] = count
  end
  return counts
end

return _M

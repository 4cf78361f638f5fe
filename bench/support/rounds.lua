-- SPDX-License-Identifier: MIT
--- Timing contenders side by side: short rounds in turn, so that what disturbs the machine
-- disturbs them alike.
-- @module bench.support.rounds

local clock = require "bench.support.clock"
local keys = require "bench.support.keys"

local _M = {}

--- A function of the same code that LuaJIT compiles by itself: two contenders that ran the same
-- one would share its traces. It has no upvalues.
-- @tparam function fn without upvalues
-- @treturn function
function _M.copy(fn)
  return assert(loadstring(string.dump(fn)))
end

local function seconds(run, n)
  local began = clock.cpu()
  run(n)
  return clock.cpu() - began
end

-- What the one before has left to collect is not this one's.
local function wall_seconds(run, n)
  collectgarbage()
  local began = clock.wall()
  run(n)
  return clock.wall() - began
end

-- Nanoseconds per operation of one round.
local function time(contender, n)
  local operations = math.ceil(contender.operations or n)
  local around = contender.around
  if contender.seconds then return contender.seconds(operations) / operations * 1e9 end
  if contender.on_wall then return wall_seconds(contender.run, operations) / operations * 1e9 end
  local took = around and around(seconds, contender.run, operations)
    or seconds(contender.run, operations)
  return took / operations * 1e9
end

--- Times each contender in every round, in alternating order.
-- @tparam table contenders list of `{ name =, run = function(n), operations = nil, around = nil }`:
--   `run` does `n` operations, or `operations` of them; `around(timed, ...)` may call
--   `timed(...)` somewhere else and returns what it returns. With `on_wall` the time on the wall
--   counts, for what waits; `seconds(n)` in place of `run` says itself how long it took
-- @tparam number n operations of a round
-- @tparam number count rounds
-- @treturn table nanoseconds per operation: a list by contender's name
function _M.run(contenders, n, count)
  local series = {}
  for _, contender in ipairs(contenders) do
    series[contender.name] = {}
    time(contender, n) -- compiled, caches warm
  end
  for round = 1, count do
    for i = 1, #contenders do
      local contender = contenders[round % 2 == 0 and i or #contenders + 1 - i]
      table.insert(series[contender.name], time(contender, n))
    end
  end
  return series
end

local function read_table(map, sequence, n)
  local sum, length = 0, math.min(n, #sequence)
  for _ = 1, n / length do
    for i = 1, length do sum = sum + map[sequence[i]] end
  end
  return sum
end

local YARDSTICK_DRAWS = 2 ^ 17

--- The yardstick of absolute figures: a bare table read at 1,000 keys. So many draws that the
-- processor cannot learn them by heart.
-- @treturn table a contender named "yardstick"
function _M.yardstick()
  local map, names = {}, keys.names(1000)
  for i = 1, #names do map[names[i]] = i end
  local sequence, run = keys.zipf(names, YARDSTICK_DRAWS), _M.copy(read_table)
  return {
    name = "yardstick",
    operations = YARDSTICK_DRAWS,
    run = function(n) return run(map, sequence, n) end,
  }
end

return _M

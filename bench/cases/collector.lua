-- SPDX-License-Identifier: MIT
-- The longest single step of Lua's collector with a full cache: idle, and with one operation in
-- ten a write of a new value. The collector runs only where it is timed, step by step. One cache
-- at a time is alive, and no large table beside it: keys are made anew for each operation.

local clock = require "bench.support.clock"
local peers = require "bench.support.peers"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local OPERATIONS_PER_STEP = 20

-- Collector steps until a cycle has ended; the longest in ns. `work` runs between them.
local function longest_step(work)
  local longest = 0
  repeat
    work()
    local began = clock.cpu()
    local over = collectgarbage("step", 0)
    longest = math.max(longest, clock.cpu() - began)
    collectgarbage "stop" -- a step switches the collector on again
  until over
  return longest * 1e9
end

local function ignore() end

local function worker(cache, entries)
  local at = 0
  return function()
    for i = 1, OPERATIONS_PER_STEP do
      at = (at * 5 + 1013904223) % 4294967296
      local key = "key:" .. at % entries
      if i % 10 == 0 then cache:set(key, { at }, 3600) else cache:get(key) end
    end
  end
end

local function measure_cache(make, entries, cycles)
  local cache, idle, writing = make(entries), {}, {}
  for i = 0, entries - 1 do cache:set("key:" .. i, { i }, 3600) end
  collectgarbage()
  collectgarbage "stop"
  longest_step(ignore)
  for i = 1, cycles do idle[i] = longest_step(ignore) end
  local work = worker(cache, entries)
  for i = 1, cycles do writing[i] = longest_step(work) end
  collectgarbage "restart"
  cache = nil -- luacheck: ignore
  collectgarbage()
  collectgarbage()
  return idle, writing
end

local function make_perigee(entries)
  return perigee.new { maxsize = entries }
end

local function measure(line, effort)
  local yardstick = rounds.yardstick()
  return perigee.run(function()
    local cycles = math.max(2, effort.rounds / 5)
    local series = rounds.run({ yardstick }, effort.operations, cycles)
    local idle, writing = measure_cache(make_perigee, line.entries, cycles)
    local pureffi_idle, pureffi_writing = measure_cache(peers.pureffi, line.entries, cycles)
    series.perigee = line.writes and writing or idle
    series.pureffi = line.writes and pureffi_writing or pureffi_idle
    return series
  end)
end

return {
  { name = "collector-idle", what = "longest single collector step, live entries, idle",
    entries = 1000000, measure = measure, figure = "perigee", per = "step",
    beside = { "pureffi" },
    targets = { { "perigee", at_most = 0.5e6, absolute = true } } },
  { name = "collector-writes", what = "longest single collector step, live entries, 10 % writes",
    entries = 1000000, writes = true, measure = measure, figure = "perigee", per = "step",
    beside = { "pureffi" },
    targets = { { "perigee", over = "pureffi", at_most = 1 } } },
}

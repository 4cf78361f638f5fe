-- SPDX-License-Identifier: MIT
-- A full cache whose entries all expire at the same millisecond: how long is the longest turn
-- of the loop until the last of them is reclaimed? Beside it the longest turn of an idle loop.

local clock = require "bench.support.clock"
local keys = require "bench.support.keys"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local TTL = 0.3

-- Turns the loop until `is_over()`; the longest turn in ns, by both clocks, and how many.
local function watch_turns(is_over)
  local longest_cpu, longest_wall, turns = 0, 0, 0
  repeat
    local cpu, wall = clock.cpu(), clock.wall()
    perigee.sleep(0)
    longest_cpu = math.max(longest_cpu, clock.cpu() - cpu)
    longest_wall = math.max(longest_wall, clock.wall() - wall)
    turns = turns + 1
  until is_over()
  return longest_cpu * 1e9, longest_wall * 1e9, turns
end

local function expire_all(cache, names)
  for i = 1, #names do cache:set(names[i], i) end -- in one turn: one deadline
  perigee.sleep(TTL - 0.1)
  local cpu, wall, turns = watch_turns(function()
    return cache:get_metrics().expirations >= #names
  end)
  assert(cache:get_metrics().size == 0)
  cache:clear()
  return cpu, wall, turns
end

local function measure(line, effort)
  local names, yardstick = keys.names(line.entries), rounds.yardstick()
  return perigee.run(function()
    local series = { perigee = {}, wall = {}, turns = {}, ["an idle loop"] = {}, yardstick = {} }
    local cache = perigee.new { maxsize = line.entries, default_ttl = TTL }
    for _ = 1, math.max(2, effort.rounds / 3) do
      local yard = rounds.run({ yardstick }, effort.operations, 1).yardstick[1]
      local ends = perigee.now() + 0.05
      local idle = watch_turns(function() return perigee.now() > ends end)
      local cpu, wall, turns = expire_all(cache, names)
      table.insert(series.perigee, cpu)
      table.insert(series.wall, wall)
      table.insert(series.turns, turns)
      table.insert(series["an idle loop"], idle)
      table.insert(series.yardstick, yard)
    end
    return series
  end)
end

return {
  { name = "expiry", what = "entries that expire at the same millisecond: the longest loop turn",
    entries = 1000000, measure = measure, figure = "perigee", unit = "ns", per = "turn",
    beside = { "an idle loop" }, notes = { "wall", "turns" },
    targets = { { "perigee", at_most = 2e6, absolute = true } } },
}

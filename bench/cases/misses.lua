-- SPDX-License-Identifier: MIT
-- A miss whose loader returns at once, in a full cache: it asks for the load, runs the loader,
-- evicts and stores. Inside a task, and in plain code.

local keys = require "bench.support.keys"
local peers = require "bench.support.peers"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local TTL = 3600
local KEYS_PER_ENTRY = 128 -- whatever the policy keeps of them, nearly all are misses

local function drive_perigee(cache, sequence, n, load)
  local loads, length = 0, math.min(n, #sequence)
  for _ = 1, n / length do
    for i = 1, length do
      local value, err, source = cache:get(sequence[i], load)
      if value == 1 and err == nil and source == "load" then loads = loads + 1 end
    end
  end
  return loads
end

local function drive_lrucache(cache, sequence, n, load)
  local loads, length = 0, math.min(n, #sequence)
  for _ = 1, n / length do
    for i = 1, length do
      if cache:get(sequence[i]) == nil then
        cache:set(sequence[i], load(sequence[i]), 3600)
        loads = loads + 1
      end
    end
  end
  return loads
end

local function load() return 1 end

local function contender(name, drive, cache, sequence, capacity)
  local run, share = rounds.copy(drive), 0.99 - capacity / #sequence
  return {
    name = name,
    run = function(n)
      local loads = run(cache, sequence, n, load)
      assert(loads >= share * n, "that is no measure of misses")
    end,
  }
end

local function run_rounds(line, effort)
  local sequence = keys.names(line.entries) -- each key once around: hardly ever a hit
  local capacity = math.max(2, math.floor(line.entries / KEYS_PER_ENTRY))
  local cache = perigee.new { maxsize = capacity, default_ttl = TTL }
  return rounds.run({
    contender("perigee", drive_perigee, cache, sequence, capacity),
    contender("pureffi", drive_lrucache, peers.pureffi(capacity), sequence, capacity),
    rounds.yardstick(),
  }, effort.operations / 4, effort.rounds)
end

local function run_in_task(line, effort)
  return perigee.run(run_rounds, line, effort)
end

return {
  { name = "misses", what = "cache:get(key, loader), a miss, loader returns at once, in a task",
    entries = 16384, measure = run_in_task, figure = "perigee", beside = { "pureffi" },
    targets = { { "perigee", at_most = 350, absolute = true } } },
  { name = "misses-plain", what = "cache:get(key, loader), a miss, loader returns at once, no loop",
    entries = 16384, measure = run_rounds, figure = "perigee", beside = { "pureffi" },
    targets = { { "perigee", at_most = 300, absolute = true } } },
}

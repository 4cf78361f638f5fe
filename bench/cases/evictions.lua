-- SPDX-License-Identifier: MIT
-- Get, else set: a cache that holds a tenth of the keys that are asked for, with Zipf's
-- frequencies. Each miss evicts.

local keys = require "bench.support.keys"
local peers = require "bench.support.peers"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local TTL = 3600

local function drive_perigee(cache, sequence, first, last)
  local hits = 0
  for i = first, last do
    local value, err, source = cache:get(sequence[i])
    if value == nil and err == nil and source == "miss" then
      cache:set(sequence[i], i)
    else
      hits = hits + 1
    end
  end
  return hits
end

local function drive_lrucache(cache, sequence, first, last)
  local hits = 0
  for i = first, last do
    if cache:get(sequence[i]) == nil then
      cache:set(sequence[i], i, 3600)
    else
      hits = hits + 1
    end
  end
  return hits
end

-- Each round goes on in the sequence where the round before ended.
local function contender(name, drive, cache, sequence, ratios, operations)
  local run, at, hits = rounds.copy(drive), 0, {}
  ratios["hit ratio of " .. name] = hits
  return {
    name = name,
    operations = operations,
    run = function(n)
      if at + n > #sequence then at = 0 end
      table.insert(hits, run(cache, sequence, at + 1, at + n) / n)
      at = at + n
    end,
  }
end

-- An evicting set of lrucache rehashes its tables when their size is a power of two: it is
-- asked to do little, or nobody would wait for it.
local LRUCACHE_OPERATIONS = 2 ^ 8

local function measure(line, effort)
  local names = keys.names(line.entries * 10)
  local sequence = keys.zipf(names, effort.operations)
  local ratios, capacity = {}, line.entries
  local series = perigee.run(function()
    local cache = perigee.new { maxsize = capacity, default_ttl = TTL }
    local pureffi, lrucache = peers.pureffi(capacity), peers.lrucache(capacity)
    for i = 1, capacity do lrucache:set(names[i], i, TTL) end
    return rounds.run({
      contender("perigee", drive_perigee, cache, sequence, ratios),
      contender("pureffi", drive_lrucache, pureffi, sequence, ratios),
      contender("lrucache", drive_lrucache, lrucache, sequence, ratios, LRUCACHE_OPERATIONS),
      rounds.yardstick(),
    }, effort.operations, effort.rounds)
  end)
  for name, list in pairs(ratios) do
    if name ~= "hit ratio of lrucache" then series[name] = { list[#list] } end
  end
  return series
end

local lines = {}
for _, row in ipairs {
  { 1023, 1.8 }, { 1024, 1.8 }, { 65535, 1.5 }, { 65536, 1.5 }, { 100000, 1.5 },
} do
  table.insert(lines, {
    name = "evictions-" .. row[1],
    what = "get, else set with eviction; capacity is 10 % of the keys, zipf",
    entries = row[1], exact = true,
    measure = measure, figure = "perigee", beside = { "pureffi", "lrucache" },
    notes = { "hit ratio of perigee", "hit ratio of pureffi" },
    targets = { { "pureffi", over = "perigee", at_least = row[2] } },
  })
end

return lines

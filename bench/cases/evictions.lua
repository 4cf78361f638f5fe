-- SPDX-License-Identifier: MIT
-- Get, else set: a cache that holds a tenth of the keys that are asked for, with Zipf's
-- frequencies. Each miss evicts.

local drives = require "bench.support.drives"
local keys = require "bench.support.keys"
local peers = require "bench.support.peers"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

-- An evicting set of lrucache rehashes its tables when their size is a power of two: it is
-- asked to do little, or nobody would wait for it.
local LRUCACHE_OPERATIONS = 2 ^ 8

local function measure(line, effort)
  local names = keys.names(line.entries * 10)
  local sequence = keys.zipf(names, effort.operations)
  local ratios, capacity = {}, line.entries
  local series = perigee.run(function()
    local cache = perigee.new { maxsize = capacity, default_ttl = drives.TTL }
    local pureffi, lrucache = peers.pureffi(capacity), peers.lrucache(capacity)
    for i = 1, capacity do lrucache:set(names[i], i, drives.TTL) end
    return rounds.run({
      drives.refiller("perigee", drives.refill_perigee, cache, sequence, ratios),
      drives.refiller("pureffi", drives.refill_lrucache, pureffi, sequence, ratios),
      drives.refiller("lrucache", drives.refill_lrucache, lrucache, sequence, ratios,
        LRUCACHE_OPERATIONS),
      rounds.yardstick(),
    }, effort.operations, effort.rounds)
  end)
  ratios["hit ratio of lrucache"] = nil -- of too few
  return drives.with_ratios(series, ratios)
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

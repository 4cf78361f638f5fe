-- SPDX-License-Identifier: MIT
-- What it costs that the default policy, `auto`, looks at what its cache is used for: beside other
-- policies of Perigee, which do less. Hits of a cache that never evicts; hits of one that does,
-- and so listens to them; get, else set; and memory.

local C = require("perigee.lib").core
local clock = require "bench.support.clock"
local drives = require "bench.support.drives"
local keys = require "bench.support.keys"
local peers = require "bench.support.peers"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local POLICIES = { "auto", "s3fifo", "sieve", "lru" }
local OTHERS = { "s3fifo", "sieve", "lru" }
local MANY = 10000 -- entries: from here on the limits are strict

local function make(policy, size)
  return perigee.new { maxsize = size, policy = policy, default_ttl = drives.TTL }
end

local function fill(cache, names, first, last)
  for i = first, last do cache:set(names[i], i) end
  return cache
end

-- A contender for each policy, as `contend(policy)` makes them, and the yardstick.
local function contenders_of(contend)
  local list = { rounds.yardstick() }
  for _, policy in ipairs(POLICIES) do table.insert(list, contend(policy)) end
  return list
end

-- Hits, and nothing is evicted ----------------------------------------------------------------

local function measure_hits(line, effort)
  local names = keys.names(line.entries)
  local sequence = keys.zipf(names, effort.operations)
  return perigee.run(function()
    return rounds.run(contenders_of(function(policy)
      local cache = fill(make(policy, #names), names, 1, #names)
      return drives.reader(policy, drives.read_perigee, cache, sequence)
    end), effort.operations, effort.rounds)
  end)
end

-- Hits while it evicts ------------------------------------------------------------------------

-- The next of the sequence, from `at` on, that are in the cache: `count` of them, in `list`.
local function find_hits(cache, sequence, at, count, list)
  local found = 0
  while found < count do
    at = at % #sequence + 1
    if cache:contains(sequence[at]) then
      found = found + 1
      list[found] = sequence[at]
    end
  end
  return at
end

-- Evicts, finds out what would be hits, and times those alone: piece after piece, each shorter
-- than what would let the cache believe that it evicts no more.
local function hits_amid_evictions(policy, size, sequence)
  local cache, at, list = make(policy, size), 0, {}
  local refill, read = rounds.copy(drives.refill_perigee), rounds.copy(drives.read_perigee)
  local piece = math.max(8, math.floor(size / 2))
  refill(cache, sequence, 1, #sequence)
  return { name = policy, seconds = function(n)
    local done, took = 0, 0
    while done < n do
      if at + piece > #sequence then at = 0 end
      refill(cache, sequence, at + 1, at + piece)
      at = find_hits(cache, sequence, at + piece, piece, list)
      local began = clock.cpu()
      read(cache, list, piece)
      took, done = took + clock.cpu() - began, done + piece
    end
    return took * n / done
  end }
end

local function measure_hits_amid_evictions(line, effort)
  local sequence = keys.zipf(keys.names(line.entries * 10), effort.operations)
  return perigee.run(function()
    return rounds.run(contenders_of(function(policy)
      return hits_amid_evictions(policy, line.entries, sequence)
    end), effort.operations / 4, effort.rounds)
  end)
end

-- Get, else set -------------------------------------------------------------------------------

local function measure_refills(line, effort)
  local sequence, ratios = keys.zipf(keys.names(line.entries * 10), effort.operations), {}
  local series = perigee.run(function()
    local list = contenders_of(function(policy)
      local cache = make(policy, line.entries)
      return drives.refiller(policy, drives.refill_perigee, cache, sequence, ratios)
    end)
    table.insert(list, drives.refiller("pureffi", drives.refill_lrucache,
      peers.pureffi(line.entries), sequence, ratios))
    return rounds.run(list, effort.operations, effort.rounds)
  end)
  return drives.with_ratios(series, ratios)
end

-- Memory --------------------------------------------------------------------------------------

local function heap_bytes()
  collectgarbage()
  collectgarbage()
  return collectgarbage "count" * 1024
end

local function native_bytes(cache)
  return tonumber(C.perigee_store_bytes(cache.store.handle))
end

-- A cache of half of the names, each of which was set, and the one before it read.
local function churned(policy, names, size)
  local cache = make(policy, size)
  for i = 1, math.min(#names, 2 * size) do
    cache:set(names[i], i)
    cache:get(names[i > 1 and i - 1 or 1])
  end
  return cache
end

local function bytes_per_entry(policy, names, size)
  churned(policy, names, 16) -- modules, compiled code and the like are not the cache's
  local before = heap_bytes()
  local cache = churned(policy, names, size)
  local bytes = heap_bytes() - before + native_bytes(cache)
  assert(cache:contains(names[#names]))
  return { bytes / size }
end

local function measure_bytes(line)
  local names = keys.names(line.entries * 2)
  return perigee.run(function()
    local series = {}
    for _, policy in ipairs(POLICIES) do
      series[policy] = bytes_per_entry(policy, names, line.entries)
    end
    return series
  end)
end

local function measure_extra(line)
  local names = keys.names(line.entries * 2)
  return perigee.run(function()
    local auto = native_bytes(churned("auto", names, line.entries))
    local s3fifo = native_bytes(churned("s3fifo", names, line.entries))
    return { ["beyond s3fifo"] = { auto - s3fifo }, auto = { auto }, s3fifo = { s3fifo } }
  end)
end

local function measure_idle(line)
  return perigee.run(function()
    local caches, bytes = {}, 0
    for i = 1, line.entries do caches[i] = false end
    perigee.new()
    local before = heap_bytes()
    for i = 1, line.entries do caches[i] = perigee.new() end
    local heap = heap_bytes() - before
    for i = 1, line.entries do bytes = bytes + native_bytes(caches[i]) end
    return { auto = { (heap + bytes) / line.entries }, ["Lua heap"] = { heap / line.entries },
      native = { bytes / line.entries } }
  end)
end

-- Lines ---------------------------------------------------------------------------------------

local lines = {}

local function add(name, what, entries, measure, targets)
  local line = { name = "policies-" .. name, what = what, entries = entries, measure = measure,
    figure = "auto", beside = OTHERS, targets = targets }
  table.insert(lines, line)
  return line
end

for _, entries in ipairs { 1000, 10000, 100000, 1000000 } do
  add("hits-" .. entries, "cache:get(key), a hit, zipf, nothing is evicted", entries, measure_hits,
    { { "auto", over = "s3fifo", at_most = entries >= MANY and 1.25 or 1.4 } })
end

for _, entries in ipairs { 1000, 10000, 100000 } do
  add("evicting-" .. entries, "the hits alone of a cache that evicts, zipf", entries,
    measure_hits_amid_evictions, { { "auto", over = "s3fifo", at_most = 4 } })
end

for _, entries in ipairs { 128, 1000, 10000, 100000 } do
  local line = add("get-else-set-" .. entries,
    "get, else set with eviction; capacity is 10 % of the keys, zipf", entries, measure_refills,
    { { "auto", over = "s3fifo", at_most = entries >= MANY and 2 or 4 },
      { "pureffi", over = "auto", at_least = 1 } })
  line.beside, line.notes = { "s3fifo", "sieve", "lru", "pureffi" }, {}
  for i, name in ipairs { "auto", "s3fifo", "pureffi" } do
    line.notes[i] = "hit ratio of " .. name
  end
end

for _, entries in ipairs { 10000, 100000, 786433 } do
  add("bytes-" .. entries, "bytes per entry beyond key and value, after as many evictions", entries,
    measure_bytes, { { "auto", at_most = 96 } }).unit = "bytes/entry"
end

for _, entries in ipairs { 128, 1000 } do
  local line = add("extra-bytes-" .. entries,
    "native bytes of a cache that has evicted, beyond one of s3fifo", entries, measure_extra,
    { { "beyond s3fifo", at_most = 24576 } })
  line.figure, line.unit, line.beside = "beyond s3fifo", "bytes", { "auto", "s3fifo" }
end

local idle = add("idle-bytes", "bytes of a cache of perigee.new() with nothing in it, of so many",
  1000, measure_idle, { { "auto", at_most = 4096 } })
idle.unit, idle.beside = "bytes", { "Lua heap", "native" }

return lines

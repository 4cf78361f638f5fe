-- SPDX-License-Identifier: MIT
-- Caches of Python, each where python3 has it, beside Perigee: the same keys in the same order, in
-- rounds of their own after Perigee's. What Python has as a decorator only is called where others
-- are asked for a key, and so is what can but be awaited awaited. aiocache's memory never evicts.

local drives = require "bench.support.drives"
local keys = require "bench.support.keys"
local perigee = require "perigee"
local python = require "bench.support.python"
local rounds = require "bench.support.rounds"

local SHARE = 8 -- of the operations of other cases

-- Copied, and then without upvalues.
local function call_all(f, sequence, first, last)
  local hits = 0
  for i = first, last do
    if f(sequence[i]) == 1 then hits = hits + 1 end
  end
  return hits
end

-- What Perigee does in each of the loops: a contender, of a sequence of keys.
local contenders = {}

contenders.hits = function(names, sequence)
  local cache = perigee.new { maxsize = #names, default_ttl = drives.TTL }
  for i = 1, #names do cache:set(names[i], i) end
  return drives.reader("perigee", drives.read_perigee, cache, sequence)
end

contenders["get-else-set"] = function(_, sequence, capacity)
  local cache = perigee.new { maxsize = capacity, default_ttl = drives.TTL }
  return drives.refiller("perigee", drives.refill_perigee, cache, sequence, {})
end

contenders.functions = function(names, sequence)
  local options = { maxsize = #names, time_to_live = drives.TTL }
  local f = perigee.ttl(options)(function(_) return 1 end)
  for i = 1, #names do f(names[i]) end
  return drives.refiller("perigee", call_all, f, sequence, {})
end

local function measure(line, effort)
  local names = keys.names(line.entries * line.keys_per_entry)
  local sequence = keys.zipf(names, effort.operations / SHARE)
  local series = perigee.run(function()
    local contender = contenders[line.loop](names, sequence, line.entries)
    return rounds.run({ contender }, #sequence, effort.rounds)
  end)
  for _, peer in ipairs(line.beside) do
    series[peer] = python.measure(peer, line.loop, sequence, line.entries, effort.rounds)
  end
  return series
end

local LOOPS = {
  { "hits", "cache:get(key), a hit, zipf", 1 },
  { "get-else-set", "get, else set with eviction; capacity is 10 % of the keys, zipf", 10 },
  { "functions", "f(key) of a wrapped function, a hit, zipf", 1 },
}

-- What each package has, and how much slower that should be at least.
local PACKAGES = {
  { "functools", { "functools.lru_cache" }, 1 },
  { "cachetools", { "cachetools.LRUCache", "cachetools.TTLCache" }, 3 },
  { "async-cache", { "AsyncLRU", "AsyncTTL" }, 3 },
  { "aiocache", { "aiocache" }, 3 },
}

local function line_of(package, peers, at_least, loop)
  local targets = {}
  for i, peer in ipairs(peers) do targets[i] = { peer, over = "perigee", at_least = at_least } end
  return { name = ("python-%s-%s"):format(package, loop[1]), what = loop[2], entries = 10000,
    loop = loop[1], keys_per_entry = loop[3], measure = measure, figure = "perigee",
    beside = peers, targets = targets, missing = python.missing(peers[1], loop[1], package) }
end

local lines = {}
for _, package in ipairs(PACKAGES) do
  for _, loop in ipairs(LOOPS) do
    if package[1] ~= "aiocache" or loop[1] ~= "get-else-set" then
      table.insert(lines, line_of(package[1], package[2], package[3], loop))
    end
  end
end

return lines

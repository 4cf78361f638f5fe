-- SPDX-License-Identifier: MIT
-- With LuaJIT's compiler switched off, for all contenders, before anything is loaded: how a program
-- runs until it is warm, and wherever nothing may be compiled. Calls of C and cdata are slow then.
-- Perigee makes one such call per hit; pureffi, whose arrays are cdata, reads and writes several;
-- lrucache is Lua alone.

local drives = require "bench.support.drives"
local keys = require "bench.support.keys"
local peers = require "bench.support.peers"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local SHARE = 16 -- of the operations of compiled code

local function operations_of(effort)
  assert(not jit.status(), "these lines are for the interpreter")
  return math.max(2 ^ 10, effort.operations / SHARE)
end

local function fill(cache, names)
  for i = 1, #names do cache:set(names[i], i, drives.TTL) end
  return cache
end

local function hits(line, effort)
  local n, names, map = operations_of(effort), keys.names(line.entries), {}
  local sequence = keys.zipf(names, n)
  for i = 1, #names do map[names[i]] = i end
  return perigee.run(function()
    local cache = fill(perigee.new { maxsize = #names }, names)
    local lrucache, pureffi = peers.lrucache(#names), peers.pureffi(#names)
    return rounds.run({
      drives.reader("table", drives.read_table, map, sequence),
      drives.reader("perigee", drives.read_perigee, cache, sequence),
      drives.reader("lrucache", drives.read_lrucache, fill(lrucache, names), sequence),
      drives.reader("pureffi", drives.read_lrucache, fill(pureffi, names), sequence),
    }, n, effort.rounds)
  end)
end

local function refills(line, effort)
  local n, names, ratios = operations_of(effort), keys.names(line.entries * 10), {}
  local sequence = keys.zipf(names, n * 4)
  local series = perigee.run(function()
    local cache = perigee.new { maxsize = line.entries, default_ttl = drives.TTL }
    local pureffi = peers.pureffi(line.entries)
    drives.refill_perigee(cache, sequence, 1, #sequence)
    drives.refill_lrucache(pureffi, sequence, 1, #sequence)
    return rounds.run({
      drives.refiller("perigee", drives.refill_perigee, cache, sequence, ratios),
      drives.refiller("pureffi", drives.refill_lrucache, pureffi, sequence, ratios),
    }, n, effort.rounds)
  end)
  return drives.with_ratios(series, ratios)
end

-- What the case of wrapped functions measures, with fewer operations.
local function measure_as(name)
  for _, line in ipairs(require "bench.cases.functions") do
    if line.name == name then
      return function(own, effort)
        return line.measure(own, { operations = operations_of(effort), rounds = effort.rounds })
      end
    end
  end
end

local function line_of(name, what, entries, measure, beside, targets)
  return { name = "interpreter-" .. name, what = what .. ", JIT off", entries = entries,
    measure = measure, interpreted = true, figure = "perigee", beside = beside, targets = targets }
end

local lines = {
  line_of("hits", "cache:get(key), a hit, zipf", 10000, hits, { "table", "lrucache", "pureffi" },
    { { "perigee", over = "pureffi", at_most = 1 },
      { "lrucache", over = "perigee", at_least = 1 } }),
  line_of("get-else-set", "get, else set with eviction; capacity is 10 % of the keys, zipf", 10000,
    refills, { "pureffi" }, { { "perigee", over = "pureffi", at_most = 1 } }),
  line_of("functions-one", "f(key) of a wrapped function, a hit", 1000,
    measure_as "functions-one", { "cache:get" },
    { { "perigee", over = "cache:get", at_most = 3 } }),
  line_of("functions-two", "f(key, number) of a wrapped function, a hit", 1000,
    measure_as "functions-two", { "glued, lrucache" },
    { { "perigee", over = "glued, lrucache", at_most = 2.5 } }),
}
lines[2].notes = { "hit ratio of perigee", "hit ratio of pureffi" }

return lines

-- SPDX-License-Identifier: MIT
-- Hits of wrapped functions: what binding and keying the arguments costs beside `cache:get`, and,
-- for several arguments, beside what is written by hand: a key glued together for lrucache.

local keys = require "bench.support.keys"
local peers = require "bench.support.peers"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local TTL = 3600

local function drive_one(f, names, n)
  local hits, length = 0, #names
  for i = 1, n do
    if f(names[i % length + 1]) == 1 then hits = hits + 1 end
  end
  return hits
end

local function drive_two(f, names, n)
  local hits, length = 0, #names
  for i = 1, n do
    if f(names[i % length + 1], 7) == 1 then hits = hits + 1 end
  end
  return hits
end

local function drive_cache(cache, names, n)
  local hits, length = 0, #names
  for i = 1, n do
    if cache:get(names[i % length + 1]) == 1 then hits = hits + 1 end
  end
  return hits
end

local function drive_glued(cache, names, n)
  local hits, length = 0, #names
  for i = 1, n do
    if cache:get(names[i % length + 1] .. "\0" .. 7) == 1 then hits = hits + 1 end
  end
  return hits
end

local function contender(name, drive, subject, names)
  local run = rounds.copy(drive)
  return { name = name, run = function(n) assert(run(subject, names, n) == n, "no hits") end }
end

local function one(line, effort)
  local names = keys.names(line.entries)
  return perigee.run(function()
    local cache = perigee.new { maxsize = line.entries, default_ttl = TTL }
    local f = perigee.ttl { maxsize = line.entries, time_to_live = TTL } (function(_) return 1 end)
    for i = 1, #names do
      cache:set(names[i], 1)
      f(names[i])
    end
    return rounds.run({
      contender("perigee", drive_one, f, names),
      contender("cache:get", drive_cache, cache, names),
      rounds.yardstick(),
    }, effort.operations, effort.rounds)
  end)
end

local function two(line, effort)
  local names = keys.names(line.entries)
  return perigee.run(function()
    local lrucache = peers.lrucache(line.entries)
    local options = { maxsize = line.entries, time_to_live = TTL }
    local f = perigee.ttl(options)(function(_, _) return 1 end)
    for i = 1, #names do
      lrucache:set(names[i] .. "\0" .. 7, 1, TTL)
      f(names[i], 7)
    end
    return rounds.run({
      contender("perigee", drive_two, f, names),
      contender("glued, lrucache", drive_glued, lrucache, names),
      rounds.yardstick(),
    }, effort.operations, effort.rounds)
  end)
end

return {
  { name = "functions-one", what = "f(key) of a wrapped function, a hit",
    entries = 1000, measure = one, figure = "perigee", beside = { "cache:get" },
    targets = { { "perigee", over = "cache:get", at_most = 1.6 } } },
  { name = "functions-two", what = "f(key, number) of a wrapped function, a hit",
    entries = 1000, measure = two, figure = "perigee", beside = { "glued, lrucache" },
    targets = { { "perigee", over = "glued, lrucache", at_most = 1.2 } } },
}

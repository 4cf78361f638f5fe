-- SPDX-License-Identifier: MIT
-- `cache:get(key)` of a key that is there, drawn with Zipf's frequencies: the path that must be
-- nearly as fast as a table.

local drives = require "bench.support.drives"
local keys = require "bench.support.keys"
local peers = require "bench.support.peers"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local function fill_table(names)
  local map = {}
  for i = 1, #names do map[names[i]] = i end
  return map
end

local function fill_perigee(names, options)
  local cache = perigee.new { maxsize = #names, default_ttl = drives.TTL }
  for i = 1, #names do cache:set(names[i], i, options) end
  return cache
end

local function fill_lrucache(names)
  local cache = peers.lrucache(#names)
  for i = 1, #names do cache:set(names[i], i, drives.TTL) end
  return cache
end

local function make(line, effort)
  local names = keys.names(line.entries)
  return names, keys.zipf(names, effort.operations)
end

local function measure_hits(line, effort)
  local names, sequence = make(line, effort)
  return perigee.run(function()
    return rounds.run({
      drives.reader("table", drives.read_table, fill_table(names), sequence),
      drives.reader("perigee", drives.read_perigee, fill_perigee(names), sequence),
      drives.reader("lrucache", drives.read_lrucache, fill_lrucache(names), sequence),
      rounds.yardstick(),
    }, effort.operations, effort.rounds)
  end)
end

local function measure_tagged(line, effort)
  local names, sequence = make(line, effort)
  return perigee.run(function()
    local tagged = fill_perigee(names, { tags = { "all" } })
    return rounds.run({
      drives.reader("perigee", drives.read_perigee, tagged, sequence),
      drives.reader("untagged", drives.read_perigee, fill_perigee(names), sequence),
      rounds.yardstick(),
    }, effort.operations, effort.rounds)
  end)
end

local function measure_plain(line, effort)
  local names, sequence = make(line, effort)
  local cache = fill_perigee(names)
  local within = drives.reader("in a run", drives.read_perigee, cache, sequence)
  within.around = perigee.run
  local without = drives.reader("perigee", drives.read_perigee, cache, sequence)
  return rounds.run({ without, within, rounds.yardstick() }, effort.operations, effort.rounds)
end

local function lines_for(label, entries, to_table, to_lrucache)
  return
    { name = "hits-" .. label, what = "cache:get(key), a hit, zipf", entries = entries,
      measure = measure_hits, figure = "perigee", beside = { "table", "lrucache" },
      targets = {
        { "perigee", over = "table", at_most = to_table },
        { "lrucache", over = "perigee", at_least = to_lrucache },
      } },
    { name = "hits-tagged-" .. label, what = "cache:get(key), a hit, one tag, zipf",
      entries = entries,
      measure = measure_tagged, figure = "perigee", beside = { "untagged" },
      targets = { { "perigee", minus = "untagged", at_most = 4 } } },
    { name = "hits-plain-" .. label, what = "cache:get(key), a hit, no loop, zipf",
      entries = entries,
      measure = measure_plain, figure = "perigee", beside = { "in a run" },
      targets = { { "perigee", minus = "in a run", at_most = 3 } } }
end

local lines = {}
for _, list in ipairs {
  { lines_for("1k", 1000, 1.7, 1.15) },
  { lines_for("100k", 100000, 2.2, 1.3) },
  { lines_for("1M", 1000000, 1.8, 1.3) },
} do
  for _, line in ipairs(list) do table.insert(lines, line) end
end

return lines

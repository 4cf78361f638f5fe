-- SPDX-License-Identifier: MIT
-- Memory per entry beyond the key and the value: of a cache that is full at the size it was
-- made for, each entry with a deadline, without tags. Keys and values are anchored elsewhere
-- (the values are numbers), so what the Lua heap grows by is the cache's own; native memory is
-- added. 786,433 is where the index has just doubled.

local C = require("perigee.lib").core
local keys = require "bench.support.keys"
local peers = require "bench.support.peers"
local perigee = require "perigee"

local TTL = 3600

local function heap_bytes()
  collectgarbage()
  collectgarbage()
  return collectgarbage "count" * 1024
end

local function fill(cache, names, count)
  for i = 1, count do cache:set(names[i], i, TTL) end
  return cache
end

-- Bytes per entry of what `make` returns once it is filled.
local function weigh(names, make)
  -- Modules, compiled code and the like are not the cache's: another is filled before.
  fill(make(1000), names, math.min(1000, #names))
  local before = heap_bytes()
  local cache = fill(make(#names), names, #names)
  local bytes = heap_bytes() - before
  if cache.store then bytes = bytes + C.perigee_store_bytes(cache.store.handle) end
  assert(cache:get(names[1]) == 1)
  return { bytes / #names }
end

local function make_perigee(size)
  return perigee.new { maxsize = size }
end

local function measure(line)
  local names = keys.names(line.entries)
  return perigee.run(function()
    return {
      perigee = weigh(names, make_perigee),
      lrucache = weigh(names, peers.lrucache),
      pureffi = weigh(names, peers.pureffi),
    }
  end)
end

local lines = {}
for _, entries in ipairs { 1000, 100000, 786433, 1000000 } do
  table.insert(lines, {
    name = "bytes-" .. entries,
    what = "bytes per entry beyond key and value, full, one deadline",
    entries = entries,
    measure = measure, figure = "perigee", unit = "bytes/entry",
    beside = { "lrucache", "pureffi" },
    targets = { { "perigee", at_most = 72 } },
  })
end

return lines

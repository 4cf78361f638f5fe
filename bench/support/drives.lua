-- SPDX-License-Identifier: MIT
--- The loops that several cases time, and contenders made of them. A loop has no upvalues: it is
-- copied for each contender (`rounds.copy`).
-- @module bench.support.drives

local rounds = require "bench.support.rounds"

local _M = {}

--- How long what the caches are given lives, in seconds.
_M.TTL = 3600

-- Reading: every key is there -----------------------------------------------------------------

--- Reads a bare table.
function _M.read_table(map, sequence, n)
  local sum, length = 0, math.min(n, #sequence)
  for _ = 1, n / length do
    for i = 1, length do sum = sum + map[sequence[i]] end
  end
  return sum
end

--- Reads a cache of Perigee.
function _M.read_perigee(cache, sequence, n)
  local sum, length = 0, math.min(n, #sequence)
  for _ = 1, n / length do
    for i = 1, length do
      local value, err, source = cache:get(sequence[i])
      if err == nil and source == "memory" then sum = sum + value end
    end
  end
  return sum
end

--- Reads one of the caches of lua-resty-lrucache.
function _M.read_lrucache(cache, sequence, n)
  local sum, length = 0, math.min(n, #sequence)
  for _ = 1, n / length do
    for i = 1, length do
      local value, stale = cache:get(sequence[i])
      if stale == nil then sum = sum + value end
    end
  end
  return sum
end

--- A contender that reads keys whose values are positive whole numbers.
-- @tparam string name of the contender
-- @tparam function read one of the loops
-- @param subject what it reads
-- @tparam table sequence list of keys
-- @treturn table
function _M.reader(name, read, subject, sequence)
  local run, expected = rounds.copy(read), #sequence
  return {
    name = name,
    run = function(n)
      local sum = run(subject, sequence, n)
      assert(sum >= math.min(n, expected), name .. " did not find every key")
    end,
  }
end

-- Get, else set -------------------------------------------------------------------------------

--- Gets from a cache of Perigee, and sets what is not there.
-- @treturn number hits
function _M.refill_perigee(cache, sequence, first, last)
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

--- The same of one of the caches of lua-resty-lrucache.
-- @treturn number hits
function _M.refill_lrucache(cache, sequence, first, last)
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

--- A contender that gets, else sets. Each round goes on in the sequence where the one before ended.
-- @tparam string name of the contender
-- @tparam function refill one of the loops
-- @param cache what it asks
-- @tparam table sequence list of keys
-- @tparam table ratios gets, as "hit ratio of `name`", the list of its rounds' hit ratios
-- @tparam[opt] number operations of a round, where they must be fewer than the others'
-- @treturn table
function _M.refiller(name, refill, cache, sequence, ratios, operations)
  local run, at, hits = rounds.copy(refill), 0, {}
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

--- Puts the last of the hit ratios into the series.
-- @tparam table series of the line
-- @tparam table ratios as `refiller` filled them
-- @treturn table the series
function _M.with_ratios(series, ratios)
  for name, list in pairs(ratios) do series[name] = { list[#list] } end
  return series
end

return _M

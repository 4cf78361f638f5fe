-- SPDX-License-Identifier: MIT
--- String keys, and the order in which a benchmark asks for them: the same in every process.
-- @module bench.support.keys

local ffi = require "ffi"

local _M = {}

_M.SEED = 20240229

-- The share of the ranks 1 .. i in a Zipf distribution of exponent 1, as a rising array.
local function cumulative(n)
  local sums, sum = ffi.new("double[?]", n + 1), 0
  for i = 1, n do
    sum = sum + 1 / i
    sums[i] = sum
  end
  return sums
end

-- The first rank whose sum is at least `wanted`.
local function rank_of(sums, n, wanted)
  local low, high = 1, n
  while low < high do
    local middle = math.floor((low + high) / 2)
    if sums[middle] < wanted then low = middle + 1 else high = middle end
  end
  return low
end

local function shuffle(list)
  for i = #list, 2, -1 do
    local j = math.random(i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

--- Distinct strings, in an order that has nothing to do with where they are in memory.
-- @tparam number n how many
-- @treturn table list
function _M.names(n)
  math.randomseed(_M.SEED)
  local list = {}
  for i = 1, n do list[i] = "key:" .. i end
  return shuffle(list)
end

--- The same strings, drawn with Zipf's frequencies (exponent 1); the frequent ones stand
-- anywhere in memory.
-- @tparam table names list of strings
-- @tparam number length how many draws
-- @treturn table list
function _M.zipf(names, length)
  math.randomseed(_M.SEED + 1)
  local by_rank = {}
  for i = 1, #names do by_rank[i] = names[i] end
  shuffle(by_rank)
  local n, drawn = #names, {}
  local sums = cumulative(n)
  for i = 1, length do drawn[i] = by_rank[rank_of(sums, n, math.random() * sums[n])] end
  return drawn
end

return _M

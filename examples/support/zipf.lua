-- SPDX-License-Identifier: MIT
--- A skewed order, the same in every run: few things are asked for often, most of them rarely.

local _M = {}

local function shuffle(list)
  for i = #list, 2, -1 do
    local j = math.random(i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

-- sums[rank] = 1/1^skew + 1/2^skew + ... + 1/rank^skew
local function cumulative_weights(n, skew)
  local sums, sum = {}, 0
  for rank = 1, n do
    sum = sum + rank ^ -skew
    sums[rank] = sum
  end
  return sums
end

-- The first rank whose sum reaches the target.
local function rank_of(sums, target)
  local low, high = 1, #sums
  while low < high do
    local middle = math.floor((low + high) / 2)
    if sums[middle] < target then low = middle + 1 else high = middle end
  end
  return low
end

--- Draws `count` things: the thing of rank r comes with a weight of 1/r^skew. Which thing has
-- which rank is drawn first.
-- @tparam table things a list
-- @tparam number count how many to draw
-- @tparam number skew 0: all alike; 1: as words in a language, or pages of a site
-- @tparam number seed the same seed gives the same order
-- @treturn table a list of `count` things
function _M.draw(things, count, skew, seed)
  math.randomseed(seed)
  local ranked = shuffle({ unpack(things) })
  local sums, drawn = cumulative_weights(#things, skew), {}
  for i = 1, count do
    drawn[i] = ranked[rank_of(sums, math.random() * sums[#sums])]
  end
  return drawn
end

return _M

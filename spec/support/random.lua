-- SPDX-License-Identifier: MIT
--- Numbers that are the same on every machine and in every run.
local bit = require "bit"

local bxor, lshift, rshift = bit.bxor, bit.lshift, bit.rshift

local _M = {}

--- A generator (xorshift32, Marsaglia 2003): each call with `n` gives a whole number in 0 .. n-1.
-- @tparam number seed not 0
function _M.generator(seed)
  local x = seed
  return function(n)
    x = bxor(x, lshift(x, 13))
    x = bxor(x, rshift(x, 17))
    x = bxor(x, lshift(x, 5))
    return x % n
  end
end

--- A generator of ranks 1 .. n, each as likely as 1 / rank ^ skew.
function _M.zipf(n, skew, seed)
  local random, sums, sum = _M.generator(seed), {}, 0
  for rank = 1, n do
    sum = sum + 1 / rank ^ skew
    sums[rank] = sum
  end
  return function()
    local wanted, low, high = random(2 ^ 31) / 2 ^ 31 * sum, 1, n
    while low < high do
      local middle = math.floor((low + high) / 2)
      if sums[middle] < wanted then
        low = middle + 1
      else
        high = middle
      end
    end
    return low
  end
end

return _M

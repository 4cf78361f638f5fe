-- SPDX-License-Identifier: MIT

--- Numbers out of bytes from anywhere. LuaJIT tells the types of values by the bits of NaNs, and
-- takes a double that it reads from memory for what it is: a NaN made for it would become a string
-- or a table at any address. So its bits are looked at first.
-- @module perigee.value.doubles

local bit = require "bit"
local ffi = require "ffi"

local band = bit.band

local _M = {}

local EXPONENT, FRACTION = 0x7ff00000, 0x000fffff

local bits_of = ffi.typeof "union { double number; int32_t words[2]; }"
local HIGH, LOW = ffi.abi "le" and 1 or 0, ffi.abi "le" and 0 or 1

--- The double that stands at an address.
-- @tparam cdata|string bytes at least 8 of them, at any address
-- @treturn number|nil nil: it is no number
function _M.read(bytes)
  local bits = bits_of()
  ffi.copy(bits, bytes, 8)
  local high, low = bits.words[HIGH], bits.words[LOW]
  local is_nan = band(high, EXPONENT) == EXPONENT and (band(high, FRACTION) ~= 0 or low ~= 0)
  if is_nan then return nil end
  return bits.number
end

return _M

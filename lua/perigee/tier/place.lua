-- SPDX-License-Identifier: MIT

--- Where an entry of a cache stands in a tier: bytes that say whose key it is and which.
--
--     escaped name of the space  "\0"  kind  key
--
-- The space is `""` for the direct API; kinds are `s` (a string), `n` (a number, 8 bytes), `t`
-- and `f`. Names are escaped, so that no name can reach into another's place.
-- @module perigee.tier.place

local doubles = require "perigee.value.doubles"
local ffi = require "ffi"

local _M = {}

local ESCAPES = { ["\0"] = "\1\1", ["\1"] = "\1\2" }
local NAMES = { ["\1\1"] = "\0", ["\1\2"] = "\1" }

--- Escapes a name: no byte 0 is left in it.
-- @tparam string name anything
-- @treturn string
function _M.escape(name)
  return (name:gsub("[%z\1]", ESCAPES))
end

local escape = _M.escape

--- The name that was escaped.
-- @tparam string text from `escape`
-- @treturn string
function _M.unescape(text)
  return (text:gsub("\1[\1\2]", NAMES))
end

local function number_bytes(number)
  return ffi.string(ffi.new("double[1]", number + 0), 8) -- -0 + 0 is 0
end

--- The place of a key.
-- @tparam string space name of its space
-- @tparam string|number|boolean key the key
-- @treturn string
function _M.of(space, key)
  local head = (space == "" and "" or escape(space)) .. "\0"
  local kind = type(key)
  if kind == "string" then return head .. "s" .. key end
  if kind == "number" then return head .. "n" .. number_bytes(key) end
  return head .. (key and "t" or "f")
end

--- The same behind what is in a buffer: no string is made.
-- @tparam table out a `string.buffer`
-- @tparam string space name of its space
-- @tparam string|number|boolean key the key
-- @treturn cdata all the bytes there, borrowed from the buffer
-- @treturn number how many
function _M.write(out, space, key)
  if type(key) ~= "string" then return out:put(_M.of(space, key)):ref() end
  if space ~= "" then out:put(escape(space)) end
  return out:put("\0s", key):ref()
end

local function key_in(bytes, at, length)
  local kind, rest = string.char(bytes[at]), length - at - 1
  if kind == "s" then return ffi.string(bytes + at + 1, rest) end
  if kind == "t" and rest == 0 then return true end
  if kind == "f" and rest == 0 then return false end
  if kind == "n" and rest == 8 then
    return doubles.read(bytes + at + 1)
  end
  return nil
end

local function name_in(bytes, length)
  if length == 0 then return "" end
  return (ffi.string(bytes, length):gsub("\1[\1\2]", NAMES))
end

--- The key that stands at a place.
-- @tparam string|cdata place bytes from anywhere
-- @tparam[opt] number length how many, if `place` is a pointer
-- @treturn string|nil name of its space; nil: nothing stands there
-- @treturn string|number|boolean the key
function _M.read(place, length)
  length = length or #place
  local bytes, zero = ffi.cast("const uint8_t *", place), 0
  while zero < length and bytes[zero] ~= 0 do zero = zero + 1 end
  if zero + 1 >= length then return nil end
  local key = key_in(bytes, zero + 1, length)
  if key == nil then return nil end
  return name_in(bytes, zero), key
end

return _M

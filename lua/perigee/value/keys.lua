-- SPDX-License-Identifier: MIT

--- Keys made of any values: typed, injective, equal in every process and on every machine.
--
-- A key is the reserved byte and then each value, which says itself where it ends:
--
--     nil "n"   true "t"   false "f"
--     number    "d" 8 bytes        the double; -0 is 0
--     int64_t   "i" 8 bytes        uint64_t "u" 8 bytes
--     string    "s" length, bytes
--     object    "o" length, bytes  what `__cachekey(self)` of its metatable returned
--     table     "(" pairs ")"      each the key, then the value; in the order of their bytes
--
-- Lengths have 4 bytes; all numbers have the least significant byte first. No text in UTF-8 begins
-- with the reserved byte, so most strings can stand beside encoded keys as they are.
-- @module perigee.value.keys

local bit = require "bit"
local ffi = require "ffi"

local _M = {}

local RESERVED = 0xFE
local SIZE = 4096 -- of the buffer for scalars
local DEPTH_MAX = 100
local TAG = { [true] = ("t"):byte(), [false] = ("f"):byte() }
local TAG_NIL, TAG_NUMBER, TAG_STRING = ("n"):byte(), ("d"):byte(), ("s"):byte()
local START = string.char(RESERVED)
local INT64, UINT64 = ffi.typeof "int64_t", ffi.typeof "uint64_t"

local byte, next, rawget, select, type = string.byte, next, rawget, select, type

local union = ffi.typeof "union { double number; int64_t integer; uint32_t words[2]; }"
local LOW, HIGH = ffi.abi "le" and 0 or 1, ffi.abi "le" and 1 or 0
local little = ffi.abi "le" and bit.tobit or bit.bswap -- least significant byte first
local words_at, two_words = ffi.typeof "int32_t *", ffi.typeof "int32_t[2]"

-- Scalars without garbage -----------------------------------------------------------------

local buffer, scratch = ffi.new("uint8_t[?]", SIZE), union()
local writing = false -- a finalizer that comes in between must not write there
buffer[0] = RESERVED

-- Adds a value to the buffer. Returns where the next one goes; -1: it is no scalar, or too long.
local function add_scalar(value, at)
  local kind = type(value)
  if at < 0 then return -1 end
  if kind == "string" then
    local length = #value
    if at + 5 + length > SIZE then return -1 end
    buffer[at] = TAG_STRING
    ffi.cast(words_at, buffer + at + 1)[0] = little(length)
    ffi.copy(buffer + at + 5, value, length)
    return at + 5 + length
  elseif at + 9 > SIZE then
    return -1
  elseif kind == "number" then
    if value ~= value then return -1 end
    scratch.number = value + 0 -- -0 + 0 is 0
    buffer[at] = TAG_NUMBER
    local words = ffi.cast(words_at, buffer + at + 1)
    words[0], words[1] = little(scratch.words[LOW]), little(scratch.words[HIGH])
    return at + 9
  elseif kind == "boolean" then
    buffer[at] = TAG[value]
    return at + 1
  elseif kind == "nil" then
    buffer[at] = TAG_NIL
    return at + 1
  end
  return -1
end

-- A function of the same code and upvalues. LuaJIT counts the calls of a function's code: one that
-- is called for each argument would be hot before the loop that it is called from, and be compiled
-- from there on, in vain.
local function twin_of(fn)
  local twin = loadstring(string.dump(fn))
  for i = 1, debug.getinfo(fn, "u").nups do debug.upvaluejoin(twin, i, fn, i) end
  return twin
end

local add_second, add_third = twin_of(add_scalar), twin_of(add_scalar)

-- Any values ------------------------------------------------------------------------------

local function bytes_of(eight)
  return ffi.string(two_words(little(eight.words[LOW]), little(eight.words[HIGH])), 8)
end

local function with_length(tag, text)
  return tag .. ffi.string(two_words(little(#text)), 4) .. text
end

local function encode_number(value)
  local eight = union()
  eight.number = value + 0
  return "d" .. bytes_of(eight)
end

local function encode_integer(tag, value)
  local eight = union()
  eight.integer = ffi.cast(INT64, value)
  return tag .. bytes_of(eight)
end

-- How a field reads in a message: `.name` or `[key]`.
local function step_of(key)
  if type(key) == "string" and key:find("^[%a_][%w_]*$") then return "." .. key end
  if type(key) == "string" then return ("[%q]"):format(key) end
  return ("[%s]"):format(tostring(key))
end

local LEAVE_OUT = "; leave it out with skip_args or key_fn"
local GIVE_ONE = " has no __cachekey(self) -> string in its metatable; give it one, or leave it "
  .. "out with skip_args or key_fn"

local encode_any

-- Each of these returns the encoded value; or nil, why not, and the path to the culprit.

local function encode_pair(key, value, walk)
  local encoded_key, why, path = encode_any(key, walk)
  if not encoded_key then return nil, why, " (a key)" .. path end
  local encoded
  encoded, why, path = encode_any(value, walk)
  if not encoded then return nil, why, step_of(key) .. path end
  return encoded_key .. encoded
end

local function encode_table(value, walk)
  if walk[value] then return nil, "a table that contains itself cannot be part of a key", "" end
  if walk.depth == DEPTH_MAX then
    return nil, ("tables nested deeper than %d cannot be part of a key"):format(DEPTH_MAX), ""
  end
  local pairs_of, count = {}, 0
  walk[value], walk.depth = true, walk.depth + 1
  local key, field = next(value)
  while key ~= nil do
    local encoded, why, path = encode_pair(key, field, walk)
    if not encoded then return nil, why, path end
    count = count + 1
    pairs_of[count] = encoded
    key, field = next(value, key)
  end
  walk[value], walk.depth = nil, walk.depth - 1
  table.sort(pairs_of)
  return "(" .. table.concat(pairs_of) .. ")"
end

local function encode_object(value, cachekey)
  local text = cachekey(value)
  if type(text) ~= "string" then
    return nil, ("its __cachekey returned a %s, not a string"):format(type(text)), ""
  end
  return with_length("o", text)
end

local function encode_cdata(value)
  if ffi.istype(INT64, value) then return encode_integer("i", value) end
  if ffi.istype(UINT64, value) then return encode_integer("u", value) end
  return nil, "cdata other than 64-bit integers cannot be part of a key" .. LEAVE_OUT, ""
end

function encode_any(value, walk)
  local kind = type(value)
  if kind == "string" then return with_length("s", value) end
  if kind == "nil" then return "n" end
  if kind == "boolean" then return value and "t" or "f" end
  if kind == "number" then
    if value == value then return encode_number(value) end
    return nil, "NaN cannot be part of a key", ""
  end
  if kind == "cdata" then return encode_cdata(value) end
  local meta = (kind == "table" or kind == "userdata") and debug.getmetatable(value)
  local cachekey = meta and rawget(meta, "__cachekey")
  if cachekey then return encode_object(value, cachekey) end
  if kind == "table" and not meta then return encode_table(value, walk) end
  if kind == "table" then return nil, "a table with a metatable" .. GIVE_ONE, "" end
  if kind == "userdata" then return nil, "a userdata" .. GIVE_ONE, "" end
  return nil, ("a %s cannot be part of a key"):format(kind) .. LEAVE_OUT, ""
end

--- The key of a list of values.
-- @tparam string where the function's name, for messages
-- @tparam number level as for `error`, counted from the caller
-- @tparam number n how many values
-- @param ... the values
-- @treturn string
-- @raise on a value that no key can hold; what a `__cachekey` raises
function _M.encode(where, level, n, ...)
  local list, walk = { ... }, { depth = 0 }
  local encoded = { START }
  for i = 1, n do
    local bytes, why, path = encode_any(list[i], walk)
    if not bytes then error(("%s: argument %d%s: %s"):format(where, i, path, why), level + 1) end
    encoded[i + 1] = bytes
  end
  return table.concat(encoded)
end

--- The key of one argument: a string, a number and a boolean stand for themselves, but for strings
-- that look encoded.
-- @tparam string where the function's name, for messages
-- @param value the argument
-- @treturn string|number|boolean
function _M.one(where, value)
  local kind = type(value)
  if kind == "string" and byte(value, 1) ~= RESERVED then return value end
  if kind == "boolean" or kind == "number" and value == value then return value end
  return _M.encode(where, 3, 1, value)
end

--- The key of two arguments. Of scalars it makes no garbage while an equal key is alive.
-- @tparam string where the function's name, for messages
-- @param a the first
-- @param b the second
-- @treturn string
function _M.two(where, a, b)
  if writing then return _M.encode(where, 3, 2, a, b) end
  writing = true
  local at, key = add_second(b, add_scalar(a, 1)), nil
  if at > 0 then key = ffi.string(buffer, at) end
  writing = false
  return key or _M.encode(where, 3, 2, a, b)
end

--- The key of three arguments, likewise.
-- @tparam string where the function's name, for messages
-- @param a the first
-- @param b the second
-- @param c the third
-- @treturn string
function _M.three(where, a, b, c)
  if writing then return _M.encode(where, 3, 3, a, b, c) end
  writing = true
  local at, key = add_third(c, add_second(b, add_scalar(a, 1))), nil
  if at > 0 then key = ffi.string(buffer, at) end
  writing = false
  return key or _M.encode(where, 3, 3, a, b, c)
end

--- The key of any number of arguments.
-- @tparam string where the function's name, for messages
-- @tparam number n how many
-- @param ... the arguments
-- @treturn string|number|boolean
function _M.list(where, n, ...)
  if n == 1 then return _M.one(where, (...)) end
  if n == 2 then return _M.two(where, ...) end
  if n == 3 then return _M.three(where, ...) end
  return _M.encode(where, 3, n, ...)
end

--- A key for the direct API that stands for any values: equal exactly when they are.
-- @param ... values: nil, booleans, numbers (not NaN), strings, 64-bit integers, tables by content,
--   tables and userdata whose metatable has `__cachekey(self) -> string`
-- @treturn string
-- @raise on a value that no key can hold
function _M.key(...)
  return _M.encode("perigee.key", 2, select("#", ...), ...)
end

return _M

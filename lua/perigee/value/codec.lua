-- SPDX-License-Identifier: MIT

--- How values become bytes and come back: LuaJIT's serializer, JSON, or a codec of the user's.
--
-- What would come back different is not encoded: the caller learns why, and keeps the value in
-- memory only. Bytes are taken for hostile: before LuaJIT's decoder sees them, `serialized.h` has
-- walked them.
-- @module perigee.value.codec

local ffi = require "ffi"

local C = require("perigee.lib").core
local options = require "perigee.options"

local _M = {}

local DEPTH_MAX = C.PERIGEE_SERIALIZED_DEPTH
local INT64, UINT64 = ffi.typeof "int64_t", ffi.typeof "uint64_t"

-- Whether a value can be carried ------------------------------------------------------------

-- Each of these returns nil, or why a value cannot be carried.

local function why_not_buffer_scalar(value)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then return nil end
  if kind ~= "cdata" then return "a " .. kind end
  if ffi.istype(INT64, value) or ffi.istype(UINT64, value) then return nil end
  return "cdata other than 64-bit integers"
end

local function why_not_json_scalar(value)
  local kind = type(value)
  if kind == "string" or kind == "boolean" then return nil end
  if kind ~= "number" then return "a " .. kind end
  if value ~= value or value == math.huge or value == -math.huge then
    return "NaN or an infinite number"
  end
  if tonumber(("%.14g"):format(value)) ~= value or value == 0 and 1 / value < 0 then
    return "a number of more than 14 digits"
  end
end

local function why_not_buffer_keys() end -- any scalars

-- JSON has lists, and objects whose names are strings.
local function why_not_json_keys(value)
  local count, listed = 0, #value
  local key = next(value)
  if listed == 0 then
    while key ~= nil do
      if type(key) ~= "string" then return "a table whose fields are not named by strings" end
      key = next(value, key)
    end
    return nil
  end
  while key ~= nil do
    count = count + 1
    if type(key) ~= "number" or key < 1 or key > listed or key % 1 ~= 0 then
      return "a table that is a list and more"
    end
    key = next(value, key)
  end
  if count ~= listed then return "a list with holes" end
end

local function why_not(value, scalar, keys, above, depth)
  if type(value) ~= "table" then return scalar(value) end
  if debug.getmetatable(value) then return "a table with a metatable" end
  if above[value] then return "a table that contains itself" end
  if depth == DEPTH_MAX then return ("tables nested deeper than %d"):format(DEPTH_MAX) end
  local reason = keys(value)
  above[value] = true
  local key, field = next(value)
  while key ~= nil and not reason do
    if type(key) == "table" then
      reason = "a table as a field's key"
    else
      reason = scalar(key) or why_not(field, scalar, keys, above, depth + 1)
    end
    key, field = next(value, key)
  end
  above[value] = nil
  return reason
end

-- Codecs ----------------------------------------------------------------------------------

local function why_not_buffer(value)
  if type(value) ~= "table" then return why_not_buffer_scalar(value) end
  return why_not(value, why_not_buffer_scalar, why_not_buffer_keys, {}, 0)
end

local SHORT = 0x20 -- a string of n bytes, n < 192, is this + n, and its bytes

local function buffer_codec()
  local buffer = require "string.buffer"
  local spare = false -- for reading; nobody has it twice, as a finalizer may read meanwhile
  return {
    id = "b",
    encode = function(value)
      local reason = why_not_buffer(value)
      if reason then return nil, reason end
      return buffer.encode(value)
    end,
    decode = function(bytes)
      local wrong = C.perigee_serialized_check(bytes, #bytes)
      if wrong ~= nil then return false, ffi.string(wrong) end
      return pcall(buffer.decode, bytes)
    end,
    write = function(value, out)
      local reason = why_not_buffer(value)
      if reason then return nil, reason end
      out:encode(value)
      return true
    end,
    read = function(bytes, length)
      if length > 0 and length <= 192 and bytes[0] == SHORT + length - 1 then
        return true, ffi.string(bytes + 1, length - 1)
      end
      local wrong = C.perigee_serialized_check(bytes, length)
      if wrong ~= nil then return false, ffi.string(wrong) end
      local source = spare or buffer.new()
      spare = false
      local ok, value = pcall(source.decode, source:set(bytes, length))
      spare = source:reset()
      return ok, value
    end,
  }
end

local function json_codec(where, level)
  local found, cjson = pcall(require, "cjson")
  if not found then
    error(where .. ": option \"codec\" is \"json\", which needs the module cjson (Debian: "
      .. "lua-cjson)", level + 1)
  end
  local json = cjson.new()
  json.encode_sparse_array(false)
  json.encode_max_depth(DEPTH_MAX + 1)
  json.decode_max_depth(DEPTH_MAX + 1)
  json.decode_invalid_numbers(false)
  return {
    id = "j",
    encode = function(value)
      local reason = why_not(value, why_not_json_scalar, why_not_json_keys, {}, 0)
      if reason then return nil, reason end
      return json.encode(value)
    end,
    decode = function(bytes) return pcall(json.decode, bytes) end,
  }
end

local function users_codec(given)
  return {
    id = "u",
    encode = function(value)
      local ok, bytes = pcall(given.encode, value)
      if not ok then return nil, "its codec raised: " .. tostring(bytes) end
      if type(bytes) ~= "string" then
        return nil, ("its codec returned a %s, not a string"):format(type(bytes))
      end
      return bytes
    end,
    decode = function(bytes) return pcall(given.decode, bytes) end,
  }
end

local function is_codec(value)
  if value == "buffer" or value == "json" then return true end
  return type(value) == "table" and options.is_callable(value.encode)
    and options.is_callable(value.decode)
end

--- What option `codec` takes.
_M.KIND = { "\"buffer\", \"json\" or { encode =, decode = }", is_codec }

-- The same to and from memory, for those who know strings only.
local function with_memory(codec)
  local encode, decode = codec.encode, codec.decode
  codec.write = codec.write or function(value, out)
    local bytes, reason = encode(value)
    if not bytes then return nil, reason end
    out:put(bytes)
    return true
  end
  codec.read = codec.read or function(bytes, length) return decode(ffi.string(bytes, length)) end
  return codec
end

--- Makes a codec: `id`, one byte; `encode(value)` -> bytes, or nil and why not; `decode(bytes)` ->
-- true and the value, or false and why not; `write(value, out)` appends to a `string.buffer`;
-- `read(pointer to uint8_t, length)`. None of them ever raises.
-- @tparam string where the function that got the option
-- @tparam string|table given what option `codec` says; checked before
-- @tparam number level as for `error`, counted from the caller
-- @treturn table the codec
-- @raise when a module that it needs is missing
function _M.new(where, given, level)
  if given == "buffer" then return with_memory(buffer_codec()) end
  if given == "json" then return with_memory(json_codec(where, level + 1)) end
  return with_memory(users_codec(given))
end

return _M

-- SPDX-License-Identifier: MIT

--- A cached value as text, for people. Nothing of it is called: no `__tostring`, no `__pairs`, no
-- `__index`. It stops when the text is long enough, however large the value is.
-- @module perigee.dashboard.value

local ffi = require "ffi"

local text = require "perigee.dashboard.text"

local _M = {}

--- Bytes of a key or a value that are shown.
_M.MOST = 4096

local MOST, DEPTH_MAX, FIELDS_MAX = _M.MOST, 8, 200
local INT64, UINT64 = ffi.typeof "int64_t", ffi.typeof "uint64_t"

local write -- of a value into `out`, which counts its bytes

local function put(out, piece)
  out[#out + 1] = piece
  out.bytes = out.bytes + #piece
end

local ESCAPES = { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }

local function put_string(out, value)
  put(out, '"' .. value:sub(1, MOST):gsub('[\\"\n]', ESCAPES) .. '"')
end

local function name_of(mt)
  local name = type(mt) == "table" and rawget(mt, "__name")
  return type(name) == "string" and name or nil
end

local function put_other(out, value)
  local kind = type(value)
  local is_plain = kind == "number" or kind == "boolean" or kind == "nil"
  if is_plain or kind == "cdata" and (ffi.istype(INT64, value) or ffi.istype(UINT64, value)) then
    return put(out, tostring(value))
  end
  put(out, "(" .. (kind == "userdata" and name_of(debug.getmetatable(value)) or kind) .. ")")
end

local function put_name(out, name)
  local is_word = type(name) == "string" and #name <= MOST and name:find "^[%a_][%w_]*$"
  if is_word then return put(out, name) end
  put(out, "[")
  if type(name) == "table" then put(out, "(table)") else write(out, name, 0) end
  put(out, "]")
end

-- The names of the fields that are not in the list part: strings first, in order; and whether there
-- are more than are shown.
local function names_in(value, length)
  local names, others = {}, {}
  local name = next(value)
  while name ~= nil and #names + #others < FIELDS_MAX do
    local is_listed = type(name) == "number" and name >= 1 and name <= length and name % 1 == 0
    local list = type(name) == "string" and names or others
    if not is_listed then list[#list + 1] = name end
    name = next(value, name)
  end
  table.sort(names)
  for _, other in ipairs(others) do names[#names + 1] = other end
  return names, name ~= nil
end

local function put_fields(out, value, depth)
  local length = #value -- of a table without metatable, or of one without __len here
  local before = "\n" .. ("  "):rep(DEPTH_MAX - depth + 1)
  for i = 1, length do
    if out.bytes > MOST then return end
    put(out, before)
    write(out, rawget(value, i), depth - 1)
    put(out, ",")
  end
  if out.bytes > MOST then return end -- before what a long list would be walked for again
  local names, more = names_in(value, length)
  for _, name in ipairs(names) do
    if out.bytes > MOST then return end
    put(out, before)
    put_name(out, name)
    put(out, " = ")
    write(out, rawget(value, name), depth - 1)
    put(out, ",")
  end
  if more then put(out, before .. "...") end
end

local function put_table(out, value, depth)
  local mt = debug.getmetatable(value)
  if mt then put(out, "(" .. (name_of(mt) or "with a metatable") .. ") ") end
  if next(value) == nil then return put(out, "{}") end
  if depth <= 0 or type(mt) == "table" and rawget(mt, "__len") then return put(out, "{...}") end
  put(out, "{")
  put_fields(out, value, depth)
  put(out, "\n" .. ("  "):rep(DEPTH_MAX - depth) .. "}")
end

function write(out, value, depth)
  if type(value) == "string" then return put_string(out, value) end
  if type(value) == "table" then return put_table(out, value, depth) end
  put_other(out, value)
end

-- A text of 4 KB at most, and what was cut off.
local function cut(whole, of)
  if #whole <= MOST then return whole, nil end
  return text.cut(whole, MOST), of and ("cut at 4 KB of %s"):format(text.bytes(of)) or "cut at 4 KB"
end

--- A value as text: a string as it is, anything else as it would be written in Lua.
-- @param value anything
-- @treturn string at most 4 KB, not escaped
-- @treturn string|nil that it was cut, and of how much
function _M.show(value)
  if type(value) == "string" then return cut(value, #value) end
  local out = { bytes = 0 }
  write(out, value, DEPTH_MAX)
  return cut(table.concat(out))
end

return _M

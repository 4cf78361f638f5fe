-- SPDX-License-Identifier: MIT

--- Values, keys and answers as short texts, for messages that a model or a person reads.
-- @module perigee.agent.legible

local doubles = require "perigee.value.doubles"
local ffi = require "ffi"

local _M = {}

local BYTES_MAX, FIELDS_MAX, DEPTH_MAX = 200, 16, 3
local START = "\254" -- of an encoded key

local function cut(text)
  if #text <= BYTES_MAX then return text end
  return text:sub(1, BYTES_MAX) .. "..."
end

local function quote(text)
  return (("%q"):format(cut(text)):gsub("\\\n", "\\n"))
end

-- What `tostring` makes of a value, whatever that does.
local function plain_text(value)
  local ok, text = pcall(tostring, value)
  return ok and type(text) == "string" and text or type(value)
end

-- The name of a field that is not in the list part, as it is written in Lua.
local function name_text(key)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" then return key end
  return ("[%s]"):format(type(key) == "string" and quote(key) or plain_text(key))
end

local function table_text(fields)
  return #fields == 0 and "{}" or "{ " .. table.concat(fields, ", ") .. " }"
end

-- Values -------------------------------------------------------------------------------------

local describe

local function describe_table(value, depth)
  local fields, length = {}, #value
  if depth == 0 then return "{...}" end
  for i = 1, math.min(length, FIELDS_MAX) do fields[i] = describe(value[i], depth - 1) end
  local names, keys = {}, {}
  local key = next(value)
  while key ~= nil do
    local is_in_list = type(key) == "number" and key >= 1 and key <= length and key % 1 == 0
    if not is_in_list then
      local name = name_text(key)
      names[#names + 1], keys[name] = name, key
    end
    key = next(value, key)
  end
  table.sort(names)
  for _, name in ipairs(names) do
    if #fields >= FIELDS_MAX then break end
    fields[#fields + 1] = name .. " = " .. describe(value[keys[name]], depth - 1)
  end
  if length + #names > #fields then fields[#fields + 1] = "..." end
  return table_text(fields)
end

function describe(value, depth)
  if type(value) == "string" then return quote(value) end
  if type(value) == "table" and not getmetatable(value) then return describe_table(value, depth) end
  return plain_text(value)
end

--- A value.
-- @param value anything
-- @treturn string
function _M.value(value)
  return cut(describe(value, DEPTH_MAX))
end

--- An answer: its results, or its error.
-- @tparam table answer a box of `perigee.value.returns`
-- @treturn string
function _M.answer(answer)
  if answer.failed == "raised" then return "the error " .. _M.value(answer[1]) end
  if answer.failed then return "the error " .. _M.value(answer[2]) end
  if answer.n == 0 then return "nothing" end
  local texts = {}
  for i = 1, math.min(answer.n, 4) do texts[i] = _M.value(answer[i]) end
  return table.concat(texts, ", ")
end

-- Keys ---------------------------------------------------------------------------------------

local integers = { i = ffi.typeof "int64_t[1]", u = ffi.typeof "uint64_t[1]" }
local CONSTANTS = { n = nil, t = true, f = false }

local object_mt = { __tostring = function(self) return self.text end }

local read -- of what `perigee.value.keys` writes: the value at a place, and the next place

local function read_number(key, at, kind)
  if kind == "d" then return doubles.read(key:sub(at, at + 7)), at + 8 end
  local number = integers[kind]()
  ffi.copy(number, key:sub(at, at + 7), 8)
  return number[0], at + 8
end

local function read_text(key, at)
  local a, b, c, d = key:byte(at, at + 3)
  local length = a + b * 2 ^ 8 + c * 2 ^ 16 + d * 2 ^ 24
  return key:sub(at + 4, at + 3 + length), at + 4 + length
end

local function read_table(key, at)
  local value = {}
  while key:sub(at, at) ~= ")" do
    local name, field
    name, at = read(key, at)
    field, at = read(key, at)
    value[name] = field
  end
  return value, at + 1
end

function read(key, at)
  local kind = key:sub(at, at)
  if kind == "d" or integers[kind] then return read_number(key, at + 1, kind) end
  if kind == "(" then return read_table(key, at + 1) end
  if kind ~= "s" and kind ~= "o" then return CONSTANTS[kind], at + 1 end
  local text, after = read_text(key, at + 1)
  if kind == "o" then text = setmetatable({ text = text }, object_mt) end
  return text, after
end

--- The arguments that a key was made of.
-- @param key from `perigee.value.keys`, or `perigee.agent.prints`
-- @treturn string
function _M.key(key)
  if type(key) == "table" then return "..." end
  if type(key) ~= "string" or key:sub(1, 1) ~= START then return _M.value(key) end
  local texts, at = {}, 2
  while at <= #key do
    local value
    value, at = read(key, at)
    texts[#texts + 1] = _M.value(value)
  end
  return cut(table.concat(texts, ", "))
end

return _M

-- SPDX-License-Identifier: MIT
--- For the fuzz targets in Lua: the core that the fuzzer watches, and values made of bytes.
local ffi = require "ffi"
local lib = require "perigee.lib"

-- The core is part of the program that runs us.
ffi.cdef(require "perigee.cdef.core")
rawset(lib, "core", ffi.C)

local _M = {}

local Reader = {}
Reader.__index = Reader

--- What reads bytes one by one; beyond the end there are zeros.
function _M.reader(bytes)
  return setmetatable({ bytes = bytes, at = 0 }, Reader)
end

function Reader:byte()
  self.at = self.at + 1
  return self.bytes:byte(self.at) or 0
end

function Reader:is_over() return self.at >= #self.bytes end

function Reader:text()
  local length = self:byte() % 24
  local text = self.bytes:sub(self.at + 1, self.at + length)
  self.at = self.at + #text
  return text
end

function Reader:rest() return self.bytes:sub(self.at + 1) end

local NUMBERS = { 0, 1, -1, 0.5, 2 ^ 53, 2 ^ 31, -2 ^ 31, 1e300, -1e-300, math.huge, -math.huge,
  255, 256, 12345678901 }

local function scalar(reader, what)
  if what == 0 then return reader:text() end
  if what == 1 then return reader:byte() % 2 == 0 end
  if what == 2 then return NUMBERS[reader:byte() % #NUMBERS + 1] end
  if what == 3 then return reader:byte() end
  if what == 4 then return ffi.cast("int64_t", reader:byte()) - 128 end
  return ffi.cast("uint64_t", reader:byte())
end

--- A value: a scalar (a 64-bit integer among them if `wide`), or a table of values, without cycles.
function _M.value(reader, depth, wide)
  local what = reader:byte() % 9
  if what < 6 or depth == 0 then return scalar(reader, what % (wide and 6 or 4)) end
  local value = {}
  for i = 1, reader:byte() % 5 do
    local key = i
    if what > 6 then key = scalar(reader, reader:byte() % 4) end
    value[key] = _M.value(reader, depth - 1, wide)
  end
  return value
end

--- Whether two values are equal, tables by content.
function _M.equal(a, b)
  if type(a) ~= type(b) then return false end
  if type(a) == "cdata" then return tostring(a) == tostring(b) end
  if type(a) ~= "table" then return a == b or a ~= a and b ~= b end
  for key, field in pairs(a) do
    if not _M.equal(field, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

--- A text that is another one for another value, made in another way than keys are.
function _M.spell(value)
  if type(value) == "number" then return ("%.17g"):format(value + 0) end
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) ~= "table" then return tostring(value) end
  local fields = {}
  for key, field in pairs(value) do
    fields[#fields + 1] = "[" .. _M.spell(key) .. "]=" .. _M.spell(field)
  end
  table.sort(fields)
  return "{" .. table.concat(fields, ",") .. "}"
end

--- A copy, filled in another order.
function _M.copy(value)
  if type(value) ~= "table" then return value end
  local keys, copy = {}, {}
  for key in pairs(value) do keys[#keys + 1] = key end
  for i = #keys, 1, -1 do copy[keys[i]] = _M.copy(value[keys[i]]) end
  return copy
end

return _M

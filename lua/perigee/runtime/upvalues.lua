-- SPDX-License-Identifier: MIT

--- Taking what a function has captured out of the stack that it lives on.
--
-- A closure's upvalue is *open* while the local variable that it stands for is on a stack. When
-- nginx kills a request, ngx_lua resets the coroutine and gives it to another one, and open
-- upvalues then read what that has put in their place: a loader that outlives its request would
-- cache some other request's data. So a function that is to run elsewhere gets copies of its open
-- upvalues, as they are now; those that are closed stay shared.
--
-- Whether one is open is a byte of LuaJIT's `GCupval`; where that byte is, is tried out first.
-- @module perigee.runtime.upvalues

local ffi = require "ffi"

local upvalueid, upvaluejoin, getupvalue = debug.upvalueid, debug.upvaluejoin, debug.getupvalue

local _M = {}

local bytes_of = ffi.typeof "const uint8_t *"
local DEPTH_MAX = 8

-- Where the byte is that is 0 for an open upvalue and 1 for a closed one: in `lj_obj.h` of GC64 and
-- of 32-bit references.
local OFFSETS = { 10, 6 }

local function byte_of(fn, offset)
  return ffi.cast(bytes_of, upvalueid(fn, 1))[offset]
end

local function tells(offset)
  local open
  local function make()
    local variable = offset
    local function fn() return variable end
    open = byte_of(fn, offset)
    variable = nil
    return fn
  end
  return byte_of(make(), offset) == 1 and open == 0
end

local offset
for _, candidate in ipairs(OFFSETS) do
  offset = offset or upvalueid and tells(candidate) and candidate
end

--- Whether open upvalues can be told from closed ones here.
_M.can_tell = offset ~= nil and offset ~= false

local function is_open(fn, i)
  return ffi.cast(bytes_of, upvalueid(fn, i))[offset] == 0
end

local function copy_open(fn, seen, depth)
  if seen[fn] or depth > DEPTH_MAX or debug.getinfo(fn, "S").what == "C" then return end
  seen[fn] = true
  for i = 1, 255 do
    local name, value = getupvalue(fn, i)
    if not name then return end
    if is_open(fn, i) then upvaluejoin(fn, i, function() return value end, 1) end
    if type(value) == "function" then copy_open(value, seen, depth + 1) end
  end
end

--- Gives a function, and the functions that it has captured, copies of their open upvalues.
-- @tparam function|table fn a function, or a callable table (which is left as it is)
function _M.close(fn)
  if offset and type(fn) == "function" then copy_open(fn, {}, 1) end
end

return _M

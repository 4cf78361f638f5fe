-- SPDX-License-Identifier: MIT

--- Taking what a function has captured out of the stack that it lives on.
--
-- A closure's upvalue is *open* while the local variable that it stands for is on a stack. When
-- nginx kills a request, ngx_lua resets the coroutine and gives it to another one, and open
-- upvalues then read what that has put in their place: a loader that outlives its request would
-- cache some other request's data. So a function that is to run elsewhere is copied, if it, or a
-- function that it has captured, has open upvalues: the copy has what they hold now. Those that are
-- closed stay shared, and the function itself is left as it is.
--
-- Whether one is open is a byte of LuaJIT's `GCupval`; where that byte is, is tried out first.
-- @module perigee.runtime.upvalues

local ffi = require "ffi"

local upvalueid, upvaluejoin, getupvalue = debug.upvalueid, debug.upvaluejoin, debug.getupvalue

local _M = {}

local bytes_of = ffi.typeof "const uint8_t *"

-- Where the byte is that is 0 for an open upvalue and 1 for a closed one: in `lj_obj.h` of GC64 and
-- of 32-bit references.
local OFFSETS = { 10, 6 }

local function byte_of(fn, i, offset)
  return ffi.cast(bytes_of, upvalueid(fn, i))[offset]
end

local function tells(offset)
  local open
  local function make()
    local variable = offset
    local function fn() return variable end
    open = byte_of(fn, 1, offset)
    variable = nil
    return fn
  end
  return byte_of(make(), 1, offset) == 1 and open == 0
end

local offset
for _, candidate in ipairs(OFFSETS) do
  offset = offset or upvalueid and tells(candidate) and candidate
end

-- Whether a function, or one that it has captured, has an open upvalue.
local function is_bound(fn, seen)
  if seen[fn] or debug.getinfo(fn, "S").what == "C" then return false end
  seen[fn] = true
  for i = 1, 255 do
    local name, value = getupvalue(fn, i)
    if not name then return false end
    if byte_of(fn, i, offset) == 0 then return true end
    if type(value) == "function" and is_bound(value, seen) then return true end
  end
  return false
end

local copy

-- What stands for a variable in the copies: one for all the functions that share it.
local function cell_of(id, value, copies)
  local cell = copies[id] or function() return value end
  copies[id] = cell
  return cell
end

local function copy_upvalue(fn, new, i, value, copies)
  local is_function = type(value) == "function" and is_bound(value, {})
  if not is_function and byte_of(fn, i, offset) ~= 0 then return upvaluejoin(new, i, fn, i) end
  if is_function then value = copy(value, copies) end
  upvaluejoin(new, i, cell_of(upvalueid(fn, i), value, copies), 1)
end

function copy(fn, copies)
  if copies[fn] then return copies[fn] end
  local new = setfenv(loadstring(string.dump(fn)), getfenv(fn))
  copies[fn] = new
  for i = 1, 255 do
    local name, value = getupvalue(fn, i)
    if not name then return new end
    copy_upvalue(fn, new, i, value, copies)
  end
  return new
end

--- A function that may run when the caller's stack is gone.
-- @tparam function|table fn a function, or a callable table (which is left as it is)
-- @return the same, or a copy
function _M.moved(fn)
  if not offset or type(fn) ~= "function" or not is_bound(fn, {}) then return fn end
  local ok, new = pcall(copy, fn, {})
  return ok and new or fn
end

return _M

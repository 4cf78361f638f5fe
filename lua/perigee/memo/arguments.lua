-- SPDX-License-Identifier: MIT

--- The arguments of functions that are wrapped: which ones there are, and the keys they make.
-- @module perigee.memo.arguments

local keys = require "perigee.value.keys"

local select, type, unpack = select, type, unpack

local _M = {}

--- Where a wrapped function, a table, says what parameters it has: `{ count =, open = }`.
_M.SIGNATURE = {}

local SIGNATURE = _M.SIGNATURE

--- The parameters of a function. Of a C function nothing is known: it takes what comes.
-- @tparam function|table fn the function
-- @treturn number how many it names
-- @treturn boolean whether it takes more
function _M.of(fn)
  if type(fn) == "table" then
    local signature = rawget(fn, SIGNATURE)
    if signature then return signature.count, signature.open end
    local count, open = _M.of(debug.getmetatable(fn).__call)
    return math.max(count - 1, 0), open
  end
  local info = debug.getinfo(fn, "u")
  return info.nparams, info.isvararg
end

--- Where a function was defined, for messages.
-- @tparam function|table fn the function
-- @treturn string
function _M.place(fn)
  if type(fn) ~= "function" then return tostring(fn) end
  local info = debug.getinfo(fn, "S")
  if info.what == "C" then return tostring(fn) end
  return ("%s:%d"):format(info.short_src, info.linedefined)
end

-- The key of a call, from all its arguments.
local function by_position(where, count, open, skip)
  return function(...)
    local n = open and math.max(select("#", ...), count) or count
    return keys.list(where, n - skip, select(skip + 1, ...))
  end
end

-- `key_fn` sees what the function sees.
local function by_function(where, count, open, key_fn)
  local function key_of_results(...) return keys.list(where, select("#", ...), ...) end
  if open then return function(...) return key_of_results(key_fn(...)) end end
  if count == 0 then return function() return key_of_results(key_fn()) end end
  if count == 1 then return function(a) return key_of_results(key_fn(a)) end end
  if count == 2 then return function(a, b) return key_of_results(key_fn(a, b)) end end
  return function(...) return key_of_results(key_fn(unpack({ ... }, 1, count))) end
end

--- Makes a function that makes keys of calls.
-- @tparam string where the function's name, for messages
-- @tparam number count parameters of the function
-- @tparam boolean open whether it takes more
-- @tparam number skip how many of the first ones do not count
-- @tparam function|nil key_fn `key_fn(...)` -> the values to key by
-- @treturn function `key_of(...)` -> the key of a call with these arguments
function _M.keyed(where, count, open, skip, key_fn)
  if key_fn then return by_function(where, count, open, key_fn) end
  return by_position(where, count, open, skip)
end

--- `f(...)` for a table f: like the call, with one argument more.
-- @tparam function call the call
-- @tparam number|nil count of its arguments, if it is called with as many
-- @treturn function for `__call`
function _M.metacall(call, count)
  if count == 0 then return function() return call() end end
  if count == 1 then return function(_, a) return call(a) end end
  if count == 2 then return function(_, a, b) return call(a, b) end end
  if count == 3 then return function(_, a, b, c) return call(a, b, c) end end
  return function(_, ...) return call(...) end
end

--- Checks option `skip_args`.
-- @tparam string where the function's name, for messages
-- @tparam number skip what came
-- @tparam number count parameters of the function
-- @tparam boolean open whether it takes more
-- @tparam number level as for `error`, counted from the caller; -1: without a position
-- @raise when there are not as many
function _M.check_skip(where, skip, count, open, level)
  if skip == 0 or open or skip <= count then return end
  error(("%s: option \"skip_args\" is %d, but the function has %d parameter%s")
    :format(where, skip, count, count == 1 and "" or "s"), level + 1)
end

return _M

-- SPDX-License-Identifier: MIT

--- Functions in which no finalizer comes by.
--
-- Finalizers run where the interpreter allocates, and where compiled code is left. So a function
-- that is never compiled, makes nothing, and calls no Lua function is one step. It is slower, and
-- keeps its callers from being compiled across it: for what happens seldom. What such a function
-- stores in a table may make that table grow; this is no such place.
-- @module perigee.atomic

--- Makes a function one step.
-- @tparam function fn it makes no table, string, closure or cdata, and calls functions of C only
-- @treturn function the same
return function(fn)
  jit.off(fn)
  return fn
end

-- SPDX-License-Identifier: MIT

--- What the functions of `perigee.task` take, on whatever they run.
-- @module perigee.runtime.checks

local context = require "perigee.context"
local options = require "perigee.options"

local _M = {}

local fail, is_callable = options.fail, options.is_callable

local SECONDS = "a number of seconds >= 0"
local FUNCTION = options.kinds.callable[1]
local RUN_OPTIONS = { main = options.kinds.callable, drain = options.kinds.boolean }

--- All of these raise at the caller of the function that calls them.
-- @tparam string where that function's name
-- @tparam string what the argument
-- @param value as it came
function _M.seconds(where, what, value)
  if type(value) ~= "number" or not (value >= 0) then fail(where, what, SECONDS, value, 3) end
end

--- @tparam string where
-- @param fn
function _M.callable(where, fn)
  if type(fn) ~= "function" and not is_callable(fn) then fail(where, "fn", FUNCTION, fn, 3) end
end

--- @tparam string where
-- @param fns
function _M.callables(where, fns)
  if type(fns) ~= "table" then fail(where, "fns", "a list of functions", fns, 3) end
  for i = 1, #fns do
    if not is_callable(fns[i]) then fail(where, ("fns[%d]"):format(i), FUNCTION, fns[i], 3) end
  end
end

--- What `perigee.run` is to run.
-- @tparam string where
-- @param main a function, or a table of options
-- @treturn function
-- @treturn boolean|nil whether other tasks are waited for
function _M.main(where, main)
  if is_callable(main) then return main, false end
  if type(main) ~= "table" then
    fail(where, "main", FUNCTION .. ", or a table of options", main, 3)
  end
  options.check(where, main, RUN_OPTIONS, 3)
  if main.main == nil then fail(where, 'option "main"', FUNCTION, nil, 3) end
  return main.main, main.drain
end

--- @tparam string where
-- @treturn number a ticket
-- @raise when nothing can wait here, and why
function _M.can_wait(where)
  local ticket, why = context.port.can_wait()
  if not ticket then error(where .. ": " .. why, 3) end
  return ticket
end

return _M

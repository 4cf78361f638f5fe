-- SPDX-License-Identifier: MIT

--- A virtual clock for specs: tasks sleep and entries expire without anybody waiting.
--
--     testing.run(function()
--       local cache = perigee.new { default_ttl = 60 }
--       cache:set("a", 1)
--       testing.advance(61)
--       assert(not cache:contains "a")
--     end)
-- @module perigee.testing

local context = require "perigee.context"
local options = require "perigee.options"
local runner = require "perigee.runtime.runner"
local scheduler = require "perigee.runtime.scheduler"
local virtual = require "perigee.runtime.virtual"

local _M = {}

-- Tasks that never stop waking each other do not keep advance from returning.
local MOST_TURNS = 1000

local function finish(leave, ok, ...)
  leave()
  if not ok then error((...), 0) end
  return ...
end

--- What `perigee.run` does when PERIGEE_RUNTIME is `virtual`.
function _M.drive(drain, main, ...)
  return finish(virtual.enter(), pcall(runner.drive, drain, main, ...))
end

--- Like `perigee.run`, with a clock that moves only when every task waits: then it jumps to the
-- next deadline. When all wait and there is no deadline, it raises and names the places.
-- @tparam function main
-- @param ... its arguments
-- @return its results
function _M.run(main, ...)
  options.argument("perigee.testing.run", "main", options.kinds.callable, main, 2)
  local task = scheduler.current()
  if task and context.port.name == "virtual" then
    return require("perigee.task").run(main, ...)
  end
  return _M.drive(false, main, ...)
end

local function turn(port, seconds)
  local ticket, why = port.can_wait()
  if not ticket then error("perigee.testing.advance: " .. why, 0) end
  port.park(ticket, seconds)
end

--- Moves the virtual clock. Returns when every task that was due by then has run as far as it
-- can without more time.
-- @tparam number seconds
function _M.advance(seconds)
  local port = context.port
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds < math.huge) then
    options.fail("perigee.testing.advance", "seconds", "a number >= 0, not math.huge", seconds, 2)
  elseif port.name ~= "virtual" then
    error("perigee.testing.advance: the clock is virtual only inside perigee.testing.run, here "
      .. "the runtime is " .. port.name, 2)
  end
  turn(port, seconds)
  for _ = 1, MOST_TURNS do
    turn(port, virtual.LAST_S)
    if not virtual.is_busy() then return end
  end
end

return _M

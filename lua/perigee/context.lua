-- SPDX-License-Identifier: MIT

--- Who is running now: written by the runtime at each switch of task, read by whatever waits.
--
-- - `port`: the runtime port in force (`perigee.runtime` says what a port is), in plain code the
--   blocking one;
-- - `load`: id of the load that the running code works for (`flight.h`), 0 for none;
-- - `session`: the agent session of the running code, or nil.
--
-- A new task inherits `load` and `session`; a task finds its own again after each wait.
--
-- Two hooks are set by whoever keeps the loads:
--
-- - `moves(load, delta)`: so many tasks more that run for `load` (never 0) can move;
-- - `abandoned(fn, a, b)`: the internal work `port.spawn(fn, a, b)` was given up after its grace.
-- @module perigee.context

local function ignore() end

return {
  port = require("perigee.runtime.none").port,
  load = 0,
  session = nil,
  moves = ignore,
  abandoned = ignore,
}

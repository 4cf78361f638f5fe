-- SPDX-License-Identifier: MIT

--- Who is running now: written by the runtime at each switch of task, read by whatever waits.
--
-- - `port`: the runtime port in force (`perigee.runtime` says what a port is), in plain code the
--   blocking one;
-- - `load`: id of the load that the running code works for (`flight.h`), 0 for none;
-- - `session`: the agent session of the running code, or nil.
--
-- A new task inherits `load` and `session`; a task finds its own again after each wait. Inside
-- nginx, where light threads switch without telling, both are looked up by light thread.
--
-- Two hooks are set by whoever keeps the loads:
--
-- - `moves(load, delta)`: so many tasks more that run for `load` (never 0) can move;
-- - `abandoned(fn, a, b)`: the internal work `port.spawn(fn, a, b)` was given up after its grace.
-- @module perigee.context

local function ignore() end

local _M = { moves = ignore, abandoned = ignore }

if require "perigee.runtime.nginx" then
  local openresty = require "perigee.runtime.openresty"
  _M.port = openresty.port
  openresty.bind(_M)
else
  _M.port, _M.load, _M.session = require("perigee.runtime.none").port, 0, nil
end

return _M

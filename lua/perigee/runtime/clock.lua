-- SPDX-License-Identifier: MIT

--- The one clock of everything that expires (`clock.h`): free-running in plain code, held by a
-- loop that turns.
-- @module perigee.runtime.clock

local core = require("perigee.lib").core

local clock = require("ffi").new("perigee_clock")
core.perigee_clock_sync(clock)

return clock

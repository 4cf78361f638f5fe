-- SPDX-License-Identifier: MIT

--- The runtime on a private libev loop: real time, real waiting.
--
-- There is one libev world per Lua state; plain code drives it too when it has to wait, so
-- tasks spawned in plain code go on whenever plain code waits.
-- @module perigee.runtime.libev

local driver = require "perigee.runtime.driver"
local clock = require "perigee.runtime.clock"
local inside = require "perigee.runtime.inside"
local scheduler = require "perigee.runtime.scheduler"
local lib = require "perigee.lib"
local C, core = lib.rt, lib.core

local _M = {}

local now = core.perigee_clock_sync(clock)

local port = {
  name = "libev",
  can_wait = scheduler.can_wait,
  park = scheduler.park,
  wait = scheduler.wait,
  unpark = scheduler.unpark,
  spawn = inside.spawn,
}

function port.now()
  return now
end

local function time()
  return C.perigee_loop_now()
end

-- The clock may run ahead of the machine (it kept the time of a virtual clock); deadlines
-- count in the machine's time.
local function move(world, wait_s, deadline)
  C.perigee_loop_poll(world.loop, wait_s, deadline)
  now = core.perigee_clock_sync(clock)
  return now - tonumber(clock.offset_ms) * 1e-3
end

--- Brings the time up to date where no loop is turning: plain code is about to start a task.
function _M.sync()
  now = core.perigee_clock_sync(clock)
end

_M.port = port
_M.world = driver.new_world(port, { time = time, move = move })
scheduler.use(_M.world)

return _M

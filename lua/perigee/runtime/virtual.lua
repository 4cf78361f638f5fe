-- SPDX-License-Identifier: MIT
--- The runtime on a virtual clock: time stands still while a task runs, and when all tasks wait
-- it jumps to the next deadline. While a process or a descriptor is waited for, which no clock
-- can hurry, it passes as it really does.
-- @module perigee.runtime.virtual

local clock = require "perigee.runtime.clock"
local driver = require "perigee.runtime.driver"
local inside = require "perigee.runtime.inside"
local libev = require "perigee.runtime.libev"
local scheduler = require "perigee.runtime.scheduler"
local lib = require "perigee.lib"
local C, core = lib.rt, lib.core

local _M = {}

local now = 0
local world

local port = {
  name = "virtual",
  can_wait = scheduler.can_wait,
  park = scheduler.park,
  unpark = scheduler.unpark,
  spawn = inside.spawn,
}

local function time()
  return now
end

port.now = time

local function move(this, wait_s)
  if C.perigee_loop_pending(this.loop) > 0 then
    local before = C.perigee_loop_now()
    C.perigee_loop_poll(this.loop, wait_s)
    wait_s = math.min(wait_s, C.perigee_loop_now() - before)
  end
  if wait_s < math.huge then now = now + wait_s end
  clock.now_ms = math.floor(now * 1000 + 1e-6)
  return now
end

--- Puts the virtual world in force, its time going on from the clock's.
-- @treturn function brings back the world before; the clock keeps the time it was moved to
function _M.enter()
  world = world or driver.new_world(port, { time = time, move = move })
  if scheduler.world() == world then error("the virtual clock is running already", 0) end
  now = core.perigee_clock_sync(clock)
  local held = clock.held
  local leave = scheduler.use(world)
  clock.held = 1
  return function()
    leave()
    clock.held = held
    local ahead = now - core.perigee_clock_sync(clock)
    if ahead > 0 then clock.offset_ms = clock.offset_ms + math.ceil(ahead * 1000) end
    libev.sync()
  end
end

return _M

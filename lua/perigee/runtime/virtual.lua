-- SPDX-License-Identifier: MIT

--- The runtime on a virtual clock: time stands still while a task runs, and when all tasks wait
-- it jumps to the next deadline. While a process or a descriptor is waited for, which no clock
-- can hurry, it passes as it really does; and when tasks have been busy for many turns on end,
-- a millisecond passes in each, so that one that only yields does not stop the others' time.
-- @module perigee.runtime.virtual

local clock = require "perigee.runtime.clock"
local driver = require "perigee.runtime.driver"
local inside = require "perigee.runtime.inside"
local libev = require "perigee.runtime.libev"
local scheduler = require "perigee.runtime.scheduler"
local lib = require "perigee.lib"
local C, core = lib.rt, lib.core

local _M = {}

local BUSY_TURNS, BUSY_STEP_S = 1000, 0.001

-- Deadlines that differ by less are one: 2 + 2 and 4 seconds from now, added up in floats.
local SAME_S = 1e-6

--- A sleep of this length ends in the next turn, after those that sleep 0 and what is ready.
_M.LAST_S = SAME_S / 2

local now, busy_turns = 0, 0
local world

local port = {
  name = "virtual",
  can_wait = scheduler.can_wait,
  park = scheduler.park,
  wait = scheduler.wait,
  unpark = scheduler.unpark,
  spawn = inside.spawn,
}

local function time()
  return now
end

port.now = time

local function move(this, wait_s, deadline)
  if C.perigee_loop_pending(this.loop) > 0 then
    local before = C.perigee_loop_now()
    C.perigee_loop_poll(this.loop, wait_s, deadline)
    wait_s = math.min(wait_s, C.perigee_loop_now() - before)
  end
  busy_turns = wait_s > SAME_S and 0 or busy_turns + 1
  if busy_turns > BUSY_TURNS then wait_s = BUSY_STEP_S end
  if wait_s > SAME_S and wait_s < math.huge then now = now + wait_s end
  clock.now_ms = math.floor(now * 1000 + 1e-6)
  return now + SAME_S
end

--- True if a task is due now or ready.
function _M.is_busy()
  return scheduler.is_ready() or scheduler.next_deadline() <= now + SAME_S
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

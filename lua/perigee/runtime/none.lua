-- SPDX-License-Identifier: MIT

--- The runtime of plain code, with no loop around it: waiting blocks the caller.
--
-- While plain code waits, the libev world is driven until the wait is over; so tasks that plain
-- code spawned go on meanwhile. Internal work runs in place. Plain code has one ticket of its
-- own, whose thread only notes how the wait ended.
-- @module perigee.runtime.none

local lib = require "perigee.lib"
local clock = require "perigee.runtime.clock"

local _M = {}

local port = { name = "none" }
local scheduler, driver, slot
local busy = false -- with the ticket: a finalizer that came by must leave it alone
local wait = { status = false, unparked = false }

local function note_outcome()
  while true do
    wait.unparked = coroutine.yield(scheduler.PARKED)
    wait.status = "over"
  end
end

-- Loads the loop at the first wait: plain code that never waits does without it.
local function open_world()
  driver = require "perigee.runtime.driver"
  scheduler = require "perigee.runtime.scheduler"
  require "perigee.runtime.libev"
  local thread = coroutine.create(note_outcome)
  coroutine.resume(thread)
  slot = scheduler.add_thread(thread) or error("perigee: out of memory", 0)
end

local function raise_stuck()
  error("perigee: deadlock: plain code waits, and no task, timer, process or descriptor is left "
    .. "that could wake it", 0)
end

function port.now()
  return lib.core.perigee_clock_sync(clock)
end

function port.can_wait()
  if not slot then open_world() end
  local world = scheduler.world()
  if world.life.is_over then
    return nil, "cannot wait here: the Lua state is closing"
  elseif world.driving or busy or scheduler.is_starting() then
    return nil, "cannot wait here: this code was called by the loop itself (a turn hook, a log "
      .. "sink, a finalizer); do it in a task: perigee.spawn(fn)"
  end
  busy = true
  local ticket = scheduler.fresh_ticket(slot)
  busy = false
  return ticket
end

function port.park(ticket, timeout)
  busy, wait.status = true, false
  local ok, err = true, nil
  if scheduler.begin_park(slot, ticket, timeout) then
    ok, err = pcall(driver.drive, wait, raise_stuck)
  else
    wait.unparked = true
  end
  busy = false
  if not ok then error(err, 0) end
  return wait.unparked
end

function port.wait(ticket, timeout)
  local ok, woken = pcall(port.park, ticket, timeout)
  if ok then return woken end
  return nil, woken
end

function port.unpark(ticket)
  if slot then scheduler.unpark(ticket) end
end

function port.spawn(fn, a, b)
  fn(a, b)
end

_M.port = port

return _M

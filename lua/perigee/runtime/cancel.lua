-- SPDX-License-Identifier: MIT

--- Cancelling tasks, and giving up those that do not end.
--
-- Cancellation is sticky: `task.stop` makes every wait raise. `task.shielded` holds it back;
-- `task.cancelled` remembers it.
-- @module perigee.runtime.cancel

local context = require "perigee.context"
local failures = require "perigee.runtime.failures"
local scheduler = require "perigee.runtime.scheduler"
local scopes = require "perigee.runtime.scope"

local _M = {}

--- How long a cancelled task may go on before it is abandoned, in seconds.
_M.GRACE_S = 1

-- A task that swallows the error and waits again is slowed down, so that the loop turns.
local SWALLOWED_AT_ONCE, PAUSE_S = 2, 0.01

-- Ends a task whose coroutine will not go on.
local function drop(task)
  local slot = task.slot
  task.err = "cancelled"
  task.status = "failed"
  task.slot = false
  if slot then scheduler.discard(slot) end
  scheduler.retire(task)
end

--- Makes every wait of the task raise "cancelled" from now on.
function _M.cancel(task)
  if task.status or task.cancelled then return end
  local world = task.scope.root.world
  task.cancelled, task.grace_ends = true, world.time() + _M.GRACE_S
  if not task.slot then
    drop(task)
  elseif not task.shielded then
    task.stop = true
    scheduler.unpark_in(world, world.tickets[task.slot])
  end
end

--- Gives up a task that outlived its grace: its coroutine is never resumed again.
function _M.abandon(task)
  local thread = scheduler.thread_of(task)
  local trace = thread and debug.traceback(thread) or "(it had not started)"
  drop(task)
  failures.abandoned(task, trace)
  if task.internal then context.abandoned(task.fn, task.a, task.b) end
end

--- What a wait of a cancelled task does.
function _M.raise_cancelled(task)
  local world, raised = scheduler.world(), (task.raised or 0) + 1
  task.raised = raised
  local ticket = scheduler.renew(task.slot, world.tickets[task.slot])
  if raised > SWALLOWED_AT_ONCE then
    if world.time() >= task.grace_ends then
      _M.abandon(task)
      coroutine.yield(scheduler.GONE)
    end
    task.stop = false
    scheduler.park(ticket, PAUSE_S)
    task.stop = true
  end
  error("cancelled", 0)
end

local function unshield(task, before, ...)
  task.shielded = before
  task.stop = not before and task.cancelled or false
  return ...
end

--- Runs `fn(...)` with the task's waits shielded from cancellation; returns what pcall does.
function _M.shielded(fn, ...)
  local task = scheduler.current()
  if not task then return xpcall(fn, failures.handler, ...) end
  local before = task.shielded
  task.shielded, task.stop = true, false
  return unshield(task, before, xpcall(fn, failures.handler, ...))
end

scopes.cancel, scheduler.raise_cancelled = _M.cancel, _M.raise_cancelled

return _M

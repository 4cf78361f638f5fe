-- SPDX-License-Identifier: MIT
--- Tasks on coroutines: starting, parking, waking, ending. Where time comes from is not known
-- here (`perigee.runtime.driver`), nor what a task means to its user (`perigee.task`).
--
-- A *worker* is a pooled coroutine with a slot of the C tickets (`ticket.h`); by slot:
--
--     threads[slot]  the coroutine             tasks[slot]   the task that runs in it
--     tickets[slot]  its ticket for the next wait
--     parked[slot]   the ticket it parked on last: equal to a fired one = it is to be resumed
--     early[slot]    the last ticket fired from Lua: equal to its own = fired before it parked
--
-- A *world* is one such set of tables with its C loop; one world is in force at a time. A *task*
-- is a table: `scope`, `index` (its place there, 0 while it has never waited), `slot`, `stop`
-- (its waits raise), `status` (false while it lives, then the number of its results, kept in
-- [1..n], or "failed"), `waiter` (see `perigee.runtime.waiters`), `load` (the load it counts
-- for, 0 for none).
-- @module perigee.runtime.scheduler

local context = require "perigee.context"
local failures = require "perigee.runtime.failures"
local waiters = require "perigee.runtime.waiters"
local C = require("perigee.lib").rt

local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local running, select, error, huge = coroutine.running, select, error, math.huge

local _M = {}

local STEP, LAST = C.PERIGEE_TICKET_SLOTS, 2 ^ 53
local POOL_LIMIT, DEPTH_LIMIT = 16384, 150

-- What a coroutine of ours yields: it parked; its task has ended; it must never be resumed.
local PARKED, DONE, GONE = {}, {}, {}
_M.PARKED, _M.GONE, _M.GRACE_S = PARKED, GONE, 1

-- The world in force, spread out for speed (see _M.use).
local world, c_tickets, chunk
local threads, tasks, tickets, parked, early, records
local idle, idle_count

local current, current_thread -- the task that runs, and the coroutine in which it may wait
local depth = 0               -- of tasks started in place, one inside the other
local deferred -- starts put off to the next turn

-- Tickets ---------------------------------------------------------------------------------

local function after(ticket)
  local following = ticket + STEP
  return following < LAST and following or ticket % STEP + STEP
end

local function unpark(ticket)
  local slot = C.perigee_tickets_unpark(c_tickets, ticket)
  if slot >= 0 then early[slot] = ticket end
end

-- The slot's ticket was fired without being waited for, or its yield failed: takes the next.
local function renew(slot, ticket)
  C.perigee_tickets_renew(c_tickets, ticket)
  ticket = after(ticket)
  tickets[slot] = ticket
  return ticket
end

local function fresh_ticket(slot)
  local ticket = tickets[slot]
  if early[slot] == ticket or parked[slot] == ticket then return renew(slot, ticket) end
  return ticket
end

local function can_wait()
  if running() ~= current_thread then
    return nil, "cannot wait here: this coroutine was made by coroutine.create or coroutine.wrap "
      .. "inside a task, and its wait would stop whoever resumes it; make it with "
      .. "perigee.wrap(fn) instead"
  end
  local slot = current.slot
  local ticket = tickets[slot]
  if early[slot] == ticket or parked[slot] == ticket then return renew(slot, ticket) end
  return ticket
end

-- Scopes ----------------------------------------------------------------------------------

local function leave_scope(task, index)
  local scope = task.scope
  local count = scope.count
  local last = scope[count]
  scope[index] = last
  last.index = index
  scope[count] = nil
  scope.count = count - 1
  task.index = 0
  if count == 1 and scope.waiter then
    unpark(scope.waiter)
    scope.waiter = false
  end
end

local function enter_scope(task)
  local scope = task.scope
  local count = scope.count + 1
  scope.count = count
  scope[count] = task
  task.index = count
  if scope.closing and not task.spared then _M.cancel(task) end
end

-- Ending ----------------------------------------------------------------------------------

local function retire(task)
  local index = task.index
  if index > 0 then leave_scope(task, index) end
  if task.waiter then waiters.notify(task, unpark) end
  if task.load ~= 0 then context.moves(task.load, -1) end
end

local function keep_results(task, n, ...)
  for i = 1, n do task[i] = (select(i, ...)) end
end

-- The slot will not be used by this coroutine again.
local function discard(slot)
  C.perigee_tickets_release(c_tickets, tickets[slot])
  threads[slot], tasks[slot], parked[slot], records[slot] = false, false, false, false
end

-- Returns true if the worker may take another task.
local function finish(task, ...)
  local n = select("#", ...)
  if n == 1 then
    task[1] = ...
  elseif n > 1 then
    keep_results(task, n, ...)
  end
  local slot = task.slot
  task.status, task.slot = n, false
  retire(task)
  if idle_count >= POOL_LIMIT then
    discard(slot)
    return false
  end
  idle_count = idle_count + 1
  idle[idle_count] = slot
  return true
end

local function work(task, fn, ...)
  if not finish(task, fn(...)) then return DONE end
  return work(yield(DONE))
end

local function fail(task, err)
  local slot = task.slot
  local thread = threads[slot]
  discard(slot)
  task.status, task.err, task.slot = "failed", err, false
  failures.add(task, err, thread)
  retire(task)
end

-- A plain coroutine.yield in a task lets the others run for a turn. No frame of ours is on
-- that coroutine to find its context again, so a go-between wakes it.
local function requeue(slot)
  local task, thread, ticket = tasks[slot], threads[slot], fresh_ticket(slot)
  task.yielded = thread
  local port, load, session = context.port, context.load, context.session
  threads[slot] = create(function()
    threads[slot], tickets[slot], task.yielded = thread, after(ticket), nil
    current, current_thread = task, thread
    context.port, context.load, context.session = port, load, session
    local ok, what = resume(thread)
    if not ok then error(what, 0) end
    return what
  end)
  parked[slot] = ticket
  unpark(ticket)
end

-- What a resumed coroutine did when it neither parked nor ended well.
local function settle(slot, ok, what)
  if not ok then
    fail(tasks[slot], what)
  elseif what ~= GONE then
    requeue(slot)
  end
end

-- Starting --------------------------------------------------------------------------------

local function add_thread(thread)
  local ticket = C.perigee_tickets_hold(c_tickets)
  if ticket == 0 then error("perigee: no memory for another task", 0) end
  local slot = ticket % STEP
  threads[slot], tickets[slot], records[slot] = thread, ticket, false
  tasks[slot], parked[slot], early[slot] = false, false, false
  return slot
end

local function take_worker()
  local n = idle_count
  if n == 0 then return add_thread(create(work)) end
  idle_count = n - 1
  return idle[n]
end

local function start(task, slot, fn, ...)
  local me, my_thread, thread = current, current_thread, threads[slot]
  local port, load, session = context.port, context.load, context.session
  task.slot = slot
  tasks[slot] = task
  current, current_thread, depth = task, thread, depth + 1
  context.port = world.port
  local ok, what = resume(thread, task, fn, ...)
  if what ~= PARKED and what ~= DONE then settle(slot, ok, what) end
  if not task.status then enter_scope(task) end
  current, current_thread, depth = me, my_thread, depth - 1
  context.port, context.load, context.session = port, load, session
  return task
end

-- Each start in place takes some of the C stack; far down, a task starts in the next turn.
local function defer(task, fn, ...)
  local n, load, session = select("#", ...), context.load, context.session
  local arguments = { ... }
  deferred[#deferred + 1] = function()
    if task.status then return end
    context.load, context.session = load, session
    leave_scope(task, task.index)
    start(task, take_worker(), fn, unpack(arguments, 1, n))
  end
  enter_scope(task)
  return task
end

--- Starts `fn(...)` as `task`; returns the task when it first waits or has ended.
function _M.start(task, fn, ...)
  if depth >= DEPTH_LIMIT then return defer(task, fn, ...) end
  return start(task, take_worker(), fn, ...)
end

-- Internal work: nobody else holds its task, so the worker keeps it for the next.
local function add_record(slot)
  local record = { scope = false, index = 0, slot = false, stop = false, status = false,
    waiter = false, load = 0, internal = true, fn = false, a = false, b = false }
  records[slot] = record
  return record
end

local function work_inside(fn, a, b)
  fn(a, b)
end

--- The port's spawn: see the port contract in `perigee.runtime`.
function _M.spawn_inside(fn, a, b)
  local slot = take_worker()
  local record = records[slot] or add_record(slot)
  record.scope = (current and current.scope or world.plain).root.work
  record.index, record.stop, record.status = 0, false, false
  record.cancelled, record.raised = nil, nil
  record.fn, record.a, record.b = fn, a, b
  if depth >= DEPTH_LIMIT then
    idle_count = idle_count + 1
    idle[idle_count], records[slot] = slot, false
    defer(record, work_inside, fn, a, b)
  else
    start(record, slot, work_inside, fn, a, b)
  end
end

-- Parking ---------------------------------------------------------------------------------

-- A cancelled task that swallows the error and waits again is slowed down, so that the loop
-- turns, and given up when its grace is over.
local function raise_cancelled(task, slot, ticket)
  local raised = (task.raised or 0) + 1
  task.raised = raised
  renew(slot, ticket)
  if raised > 2 then
    if world.time() >= task.grace_ends then
      _M.abandon(task)
      yield(GONE)
    end
    local stop = task.stop
    task.stop = false
    _M.park(tickets[slot], 0.01)
    task.stop = stop
  end
  error("cancelled", 0)
end

--- The port's park: see the port contract in `perigee.runtime`.
function _M.park(ticket, timeout)
  local task, thread = current, current_thread
  local slot = task.slot
  if tickets[slot] ~= ticket then error("perigee: park on a stale ticket", 2) end
  if task.stop then raise_cancelled(task, slot, ticket) end
  if early[slot] == ticket then
    tickets[slot] = after(ticket)
    return true
  end
  if timeout and timeout < huge then
    C.perigee_tickets_deadline(c_tickets, ticket, world.time() + timeout)
  end
  parked[slot] = ticket
  local port, load, session = context.port, context.load, context.session
  local unparked = yield(PARKED)
  current, current_thread = task, thread
  context.port, context.load, context.session = port, load, session
  tickets[slot] = after(ticket)
  if task.stop then error("cancelled", 0) end
  return unparked
end

_M.unpark, _M.can_wait = unpark, can_wait

-- For plain code, whose waits end in a thread that notes it and yields PARKED again.

_M.add_thread, _M.fresh_ticket = add_thread, fresh_ticket

--- Parks a thread without stopping the caller; false if its ticket was fired already.
function _M.begin_park(slot, ticket, timeout)
  if tickets[slot] ~= ticket then error("perigee: park on a stale ticket", 3) end
  if early[slot] == ticket then
    tickets[slot] = after(ticket)
    return false
  end
  if timeout and timeout < huge then
    C.perigee_tickets_deadline(c_tickets, ticket, world.time() + timeout)
  end
  parked[slot] = ticket
  return true
end

--- The wait on `ticket` is over.
function _M.end_park(slot, ticket)
  tickets[slot] = after(ticket)
end

-- Waking ----------------------------------------------------------------------------------

local function start_deferred()
  local list = deferred
  deferred = {}
  for i = 1, #list do list[i]() end
end

-- Nobody parked on this ticket; its holder must not hand it out again.
local function skip(slot, ticket)
  if tickets[slot] == ticket then tickets[slot] = after(ticket) end
end

--- Resumes every task whose ticket was fired before this call or whose deadline is at most
-- `now`; what they fire meanwhile waits for the next turn.
function _M.collect(now)
  local left = C.perigee_tickets_expire(c_tickets, now)
  while left > 0 do
    local n = C.perigee_tickets_pull(c_tickets, left)
    for i = 0, n - 1 do
      local slot, ticket = chunk[i].slot, chunk[i].ticket
      if parked[slot] == ticket then
        local ok, what = resume(threads[slot], chunk[i].unparked == 1)
        if what ~= PARKED and what ~= DONE then settle(slot, ok, what) end
      else
        skip(slot, ticket)
      end
    end
    left = left - n
  end
  if deferred[1] then start_deferred() end
  current, current_thread, depth = nil, nil, 0
end

--- True if a task can go on without waiting for anything.
function _M.is_ready()
  return deferred[1] ~= nil or C.perigee_tickets_ready(c_tickets) > 0
end

--- The earliest deadline of a parked task, in the world's time; infinite if there is none.
function _M.next_deadline()
  return C.perigee_tickets_next(c_tickets)
end

-- Cancelling ------------------------------------------------------------------------------

local function end_unstarted(task)
  task.status, task.err = "failed", "cancelled"
  retire(task)
end

--- Makes every wait of the task raise "cancelled" from now on.
function _M.cancel(task)
  if task.status or task.cancelled then return end
  task.cancelled, task.grace_ends = true, world.time() + _M.GRACE_S
  local slot = task.slot
  if not slot then return end_unstarted(task) end
  if not task.shielded then
    task.stop = true
    unpark(tickets[slot])
  end
end

--- Gives up a task that outlived its grace: its coroutine is never resumed again.
function _M.abandon(task)
  local slot = task.slot
  local trace = slot and debug.traceback(_M.thread_of(task)) or "(it had not started)"
  if slot then discard(slot) end
  task.status, task.err, task.slot = "failed", "cancelled", false
  retire(task)
  failures.abandoned(task, trace)
  if task.internal then context.abandoned(task.fn, task.a, task.b) end
end

local function unshield(task, before, ...)
  task.shielded = before
  task.stop = not before and task.cancelled or false
  return ...
end

--- Runs `fn(...)` with the task's waits shielded from cancellation; returns what pcall does.
function _M.shielded(fn, ...)
  local task = current
  if not task then return xpcall(fn, failures.handler, ...) end
  local before = task.shielded
  task.shielded, task.stop = true, false
  return unshield(task, before, xpcall(fn, failures.handler, ...))
end

-- Worlds ----------------------------------------------------------------------------------

--- The task that runs now, or nil in plain code and in the driver.
function _M.current()
  return current
end

--- The coroutine of a living task, nil if it has not started.
function _M.thread_of(task)
  return task.yielded or threads[task.slot]
end

--- The coroutine in which the running task may wait, nil in plain code.
function _M.thread()
  return current_thread
end

--- Lets the running task wait in another coroutine (`perigee.runtime.generator`).
function _M.set_thread(thread)
  current_thread = thread
end

--- The world in force.
function _M.world()
  return world
end

local function put_in_force(new)
  if world then world.idle_count, world.deferred = idle_count, deferred end
  world, c_tickets, chunk = new, new.c_tickets, new.chunk
  threads, tasks, records = new.threads, new.tasks, new.records
  tickets, parked, early = new.tickets, new.parked, new.early
  idle, idle_count, deferred = new.idle, new.idle_count, new.deferred
end

--- Puts a world in force; returns a function that brings back what was.
-- @tparam table new a world (`perigee.runtime.driver` makes them)
function _M.use(new)
  local old, me, thread, at = world, current, current_thread, depth
  put_in_force(new)
  current, current_thread, depth = nil, nil, 0
  return function()
    if old then put_in_force(old) end
    current, current_thread, depth = me, thread, at
  end
end

return _M

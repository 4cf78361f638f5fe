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
-- A worker whose task has ended rests, in C, until it is roused for another.
--
-- A finalizer may run between any two steps of compiled code, and begin, wake or cancel tasks; it
-- never waits inside one. What is taken from a pool is therefore taken by one call of C, lists grow
-- by `insert`, which is one step too, and for scopes see there.
--
-- A *world* is one such set with its C loop; one is in force at a time. A *task* is a table:
-- `scope`, `index` (its place there, 0 while it has never waited), `slot` (false until it starts),
-- `stop` (its waits raise), `status` (false while it lives, then the number of its results, kept
-- in [1..n], or "failed"), `waiter` (see `perigee.runtime.waiters`), `load` (that it counts for,
-- or 0).
-- @module perigee.runtime.scheduler

local atomic = require "perigee.atomic"
local context = require "perigee.context"
local failures = require "perigee.runtime.failures"
local scopes = require "perigee.runtime.scope"
local waiters = require "perigee.runtime.waiters"
local C = require("perigee.lib").rt

local setmetatable = setmetatable
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local running, isyieldable = coroutine.running, coroutine.isyieldable
local select, error, huge, insert = select, error, math.huge, table.insert

local _M = {}

local STEP, LAST = C.PERIGEE_TICKET_SLOTS, 2 ^ 53
local DEPTH_LIMIT = 150

local task_mt = { __index = {}, __name = "perigee.task" }

--- The methods of a task.
_M.methods = task_mt.__index

-- What a coroutine of ours yields: it parked; its task has ended; it must never be resumed.
local PARKED, DONE, GONE = {}, {}, {}
_M.PARKED, _M.GONE = PARKED, GONE

local IN_COROUTINE = "cannot wait here: this coroutine was made by coroutine.create or "
  .. "coroutine.wrap inside a task, and its wait would stop whoever resumes it; make it with "
  .. "perigee.wrap(fn) instead"
local IN_CALL = "cannot wait here: that would be a yield across a C-call boundary (a finalizer, a "
  .. "callback of table.sort or string.gsub)"
local IN_LOOP = "cannot wait here: the loop itself called this code (a turn hook, a log sink); "
  .. "do it in a task: perigee.spawn(fn)"

-- The world in force, spread out for speed (see _M.use).
local world, c_tickets, chunk
local threads, tasks, tickets, parked, early, records

local current, current_thread -- the task that runs, and the coroutine in which it may wait
local depth = 0               -- of tasks started in place, one inside the other
local base = 0                -- the depth at which the world in force was entered
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

-- The same for a ticket of a world that may not be in force.
function _M.unpark_in(which, ticket)
  if which.life.is_over then return end
  local slot = C.perigee_tickets_unpark(which.c_tickets, ticket)
  if slot >= 0 then which.early[slot] = ticket end
end

-- The ticket was fired without being waited for, or its yield failed (a C function in between).
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
  local task = current
  if not task or running() ~= current_thread then return nil, task and IN_COROUTINE or IN_LOOP end
  if not isyieldable() then return nil, IN_CALL end
  return fresh_ticket(task.slot)
end

-- Ending ----------------------------------------------------------------------------------

local function retire(task)
  scopes.leave(task)
  if task.waiter then waiters.notify(task, unpark) end
  if task.load ~= 0 then context.moves(task.load, -1) end
end

-- The slot will not be used by this coroutine again.
local function discard(slot)
  local ticket = tickets[slot]
  threads[slot], tasks[slot], parked[slot], records[slot] = false, false, false, false
  C.perigee_tickets_release(c_tickets, ticket)
end

-- The worker in this slot has yielded, and has no task.
local function give_back(slot)
  if C.perigee_tickets_rest(c_tickets, slot) == 0 then discard(slot) end
end
_M.give_back = give_back

-- LuaJIT never compiles a function with `...` from its head, so those on the way of every task
-- do next to nothing and leave the rest to functions without.

local function keep_results(task, n, a, b, c, ...)
  task[1], task[2], task[3] = a, b, c
  for i = 4, n do task[i] = (select(i - 3, ...)) end
end

local function finish(task, ...)
  local n = select("#", ...)
  keep_results(task, n, ...)
  task.status = n
  fresh_ticket(task.slot) -- a wait may have failed
  retire(task)
end

-- The collector halves the stack of a coroutine that uses less than a quarter of it, and the
-- next task of an idle worker would have to grow it again: a call that never happens gives its
-- frame a size to keep.
local function work(task, fn, ...)
  if not task then
    return work(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
  end
  finish(task, fn(...))
  return work(yield(DONE))
end

local function fail(task, err)
  local slot = task.slot
  local thread = threads[slot]
  task.err = err
  task.status = "failed"
  task.slot = false
  discard(slot)
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

-- What a resumed coroutine did when it did not park.
local function settle(slot, ok, what)
  if what == DONE then
    give_back(slot)
  elseif not ok then
    fail(tasks[slot], what)
  elseif what ~= GONE then
    requeue(slot)
  end
end

-- Starting --------------------------------------------------------------------------------

-- Both return nil when memory is out.
local function add_thread(thread)
  local ticket = C.perigee_tickets_hold(c_tickets)
  if ticket == 0 then return nil end
  local slot = ticket % STEP
  threads[slot], tickets[slot], records[slot] = thread, ticket, false
  tasks[slot], parked[slot], early[slot] = false, false, false
  return slot
end

local function take_worker()
  local slot = C.perigee_tickets_rouse(c_tickets)
  return slot >= 0 and slot or add_thread(create(work))
end

-- Who started the task at this depth, and what it ran for.
local starters, starter_threads = {}, {}
local ports, loads, sessions = {}, {}, {}

-- Makes `task` the one that runs. Returns its coroutine, which is to be resumed with the task,
-- its function and arguments; what came of that is to be told to `started`.
local function prepare(task, slot)
  local level = depth + 1
  local thread = threads[slot]
  task.slot = slot
  tasks[slot] = task
  starters[level], starter_threads[level] = current or false, current_thread or false
  ports[level], loads[level] = context.port, context.load
  sessions[level] = context.session or false
  depth = level -- before anything else changes that a finalizer would note down at this level
  current, current_thread = task, thread
  context.port = world.port
  return thread
end

local function started(task, ok, what)
  if what ~= PARKED then settle(task.slot, ok, what) end
  if not task.status then scopes.enter(task) end
  local level = depth
  current, current_thread = starters[level] or nil, starter_threads[level] or nil
  context.port, context.load = ports[level], loads[level]
  context.session = sessions[level] or nil
  depth = level - 1
  return task
end

-- Each start in place takes some of the C stack; far down, a task starts in the next turn. So does
-- internal work that there is no memory for: in one of the next, when there is.
local function defer(task, fn, ...)
  local n, load, session = select("#", ...), context.load, context.session
  local arguments = { ... }
  local function start()
    local slot = not task.status and take_worker()
    if slot == nil then insert(deferred, start) end
    if not slot then return end
    task.slot = slot -- a finalizer that cancels it from here on has its waits raise
    if task.status then return give_back(slot) end
    context.load, context.session = load, session
    scopes.leave(task)
    started(task, resume(prepare(task, slot), task, fn, unpack(arguments, 1, n)))
  end
  insert(deferred, start)
  scopes.enter(task)
  return task
end

--- Makes a new task of `scope` that is to run now: see `spawn_in`.
-- @treturn table the task
-- @treturn thread|nil the coroutine to resume with it, its function and arguments, for
-- `started`; nil when the start is to be put off (`defer`)
local function open(scope)
  local load, slot = context.load, depth < DEPTH_LIMIT and take_worker()
  if slot == nil then error("perigee: no memory for another task", 0) end
  local task = setmetatable({ false, false, false, scope = scope, index = 0, slot = false,
    stop = false, status = false, waiter = false, load = load }, task_mt)
  if load ~= 0 then context.moves(load, 1) end
  if scope.closing then task.spared = current and current.shielded end
  if not slot then return task, nil end
  return task, prepare(task, slot)
end

_M.open, _M.started, _M.defer = open, started, defer
_M.take_worker, _M.prepare = take_worker, prepare

function _M.may_start() return depth < DEPTH_LIMIT end

--- Whether a task is being started in place, or has been, and is not done with.
function _M.is_starting() return depth ~= base end

--- Starts `fn(...)` as a new task of `scope`; returns it when it first waits or has ended.
function _M.spawn_in(scope, fn, ...)
  local task, thread = open(scope)
  if not thread then return defer(task, fn, ...) end
  return started(task, resume(thread, task, fn, ...))
end

-- Parking ---------------------------------------------------------------------------------

--- The port's wait: see the port contract in `perigee.runtime`.
function _M.wait(ticket, timeout)
  local task, thread = current, current_thread
  local slot = task.slot
  if tickets[slot] ~= ticket then return true end -- a finalizer tried to wait in between
  if task.stop then
    pcall(_M.raise_cancelled, task) -- which slows it down if it swallowed the last one
    return nil, "cancelled"
  end
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
  if task.stop then return nil, "cancelled" end
  return unparked
end

local wait = _M.wait

--- The port's park: see the port contract in `perigee.runtime`.
function _M.park(ticket, timeout)
  local woken, why = wait(ticket, timeout)
  if why then error(why, 0) end
  return woken
end

_M.unpark, _M.can_wait, scopes.unpark = unpark, can_wait, unpark

-- For perigee.runtime.cancel, which adds `raise_cancelled`.
_M.renew, _M.discard, _M.retire = renew, discard, retire

-- For plain code, whose waits end in a thread that notes it and yields PARKED again.
_M.add_thread, _M.fresh_ticket = add_thread, fresh_ticket

-- A finalizer of plain code may turn the loop, which forgets a ticket that nobody parked on.
local park_thread = atomic(function(slot, ticket)
  local is_gone = tickets[slot] ~= ticket or parked[slot] == ticket or early[slot] == ticket
  if is_gone then return false end
  parked[slot] = ticket
  return true
end)

--- Parks a thread, not its caller; false if its ticket was fired already, or is outdated.
function _M.begin_park(slot, ticket, timeout)
  if timeout and timeout < huge then
    C.perigee_tickets_deadline(c_tickets, ticket, world.time() + timeout)
  end
  return park_thread(slot, ticket)
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
        if what ~= PARKED then settle(slot, ok, what) end
      else
        skip(slot, ticket)
      end
    end
    left = left - n
  end
  if deferred[1] then start_deferred() end
  current, current_thread, depth = nil, nil, base
end

function _M.is_ready()
  return deferred[1] ~= nil or C.perigee_tickets_ready(c_tickets) > 0
end

function _M.next_deadline()
  return C.perigee_tickets_next(c_tickets)
end

-- Worlds ----------------------------------------------------------------------------------

--- The task that runs now, or nil in plain code and in the driver.
function _M.current()
  return current
end

--- The coroutine in which a living task waits, nil if it has not started.
function _M.thread_of(task)
  return task.waits_in or task.yielded or threads[task.slot]
end

--- The coroutine in which the running task may wait.
function _M.thread()
  return current_thread
end

--- Lets the running task wait in another coroutine (`perigee.runtime.generator`).
function _M.set_thread(thread)
  current_thread = thread
end

function _M.world()
  return world
end

local put_in_force = atomic(function(new, task, thread, level, new_base)
  if world then world.deferred = deferred end
  world, c_tickets, chunk = new, new.c_tickets, new.chunk
  threads, tasks, records = new.threads, new.tasks, new.records
  tickets, parked, early = new.tickets, new.parked, new.early
  deferred = new.deferred
  current, current_thread, depth, base = task, thread, level, new_base
end)

--- A world's loop is about to be freed: what runs after it, as finalizers of a closing Lua state do
-- in any order, has tickets that nobody fires.
-- @tparam table life of the world
function _M.bury(life)
  life.is_over = true
  if world and world.life == life then c_tickets = C.perigee_tickets_closed() end
end

--- Puts a world in force; returns a function that brings back what was.
-- @tparam table new a world (`perigee.runtime.driver` makes them)
function _M.use(new)
  local old, me, thread, level, old_base = world, current, current_thread, depth, base
  put_in_force(new, nil, nil, level, level)
  return function() put_in_force(old, me, thread, level, old_base) end
end

return _M

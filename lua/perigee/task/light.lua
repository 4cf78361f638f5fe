-- SPDX-License-Identifier: MIT

--- Tasks inside nginx: `perigee.task` on the light threads of ngx_lua, with the same functions.
--
-- A task is a light thread of the request that spawned it, and ends with it. Cancelling is sticky,
-- too, but reaches the waits of Perigee only: a cosocket that waits is nginx' own, and raises
-- nothing; the task raises at its next wait of ours.
-- @module perigee.task.light

local checks = require "perigee.runtime.checks"
local context = require "perigee.context"
local failures = require "perigee.runtime.failures"
local ngx = require "perigee.runtime.nginx"
local upvalues = require "perigee.runtime.upvalues"

local _M = {}

local Task = {}
local task_mt = { __index = Task, __name = "perigee.task" }

local GRACE_S = 1
local LOOK_S = 1 -- how often it is looked whether a task's request lives

-- Tasks ---------------------------------------------------------------------------------------

--- Whether its waits raise: for the port.
function Task:is_stopped()
  return self.stop and self.shields == 0
end

local function end_task(task, ok, ...)
  task.status = ok and select("#", ...) or "failed"
  if ok then
    for i = 1, task.status do task[i] = (select(i, ...)) end
  else
    task.err = (...)
    if not (task.stop and task.err == "cancelled") then failures.add(task, task.err) end
  end
  for i = 1, #task.tickets do context.port.unpark(task.tickets[i]) end
  task.tickets = {}
end

local function work(task, load, session, fn, ...)
  task.life = context.port.life()
  context.load, context.session, context.task = load, session, task
  end_task(task, pcall(fn, ...))
  context.load, context.session, context.task = 0, nil, nil
end

local function new_task()
  return setmetatable({ status = false, stop = false, shields = 0, ticket = false, tickets = {},
    life = 0 }, task_mt)
end

--- Starts `fn(...)` as a light thread of this request at once; where nginx allows none, in a timer.
-- @tparam function fn
-- @param ... its arguments
-- @treturn task with the methods `wait` and `cancel`
function _M.spawn(fn, ...)
  checks.callable("perigee.spawn", fn)
  local task, port = new_task(), context.port
  if port.can_wait() then
    ngx.thread.spawn(work, task, context.load, context.session, fn, ...)
  else
    local arguments, n = { ... }, select("#", ...)
    local moved = upvalues.moved(fn)
    port.spawn(function()
      work(task, context.load, context.session, moved, unpack(arguments, 1, n))
    end)
  end
  return task
end

local function remove(list, ticket)
  for i = #list, 1, -1 do
    if list[i] == ticket then table.remove(list, i) end
  end
end

-- Waits until the task has ended, also by the end of its request; false: the time was up before.
local function join(task, timeout)
  local port = context.port
  local deadline = port.now() + (timeout or math.huge)
  while not task.status do
    local left = deadline - port.now()
    if left <= 0 then return false end
    local ticket, why = port.can_wait()
    if not ticket then error(why, 0) end
    task.tickets[#task.tickets + 1] = ticket
    local ok, err = pcall(port.park, ticket, math.min(left, LOOK_S))
    remove(task.tickets, ticket)
    if not ok then error(err, 0) end
    if not task.status and task.life ~= 0 and port.is_over(task.life) then
      task.status, task.err = "failed", "the request of this task has ended"
    end
  end
  return true
end

local function results(task)
  if task.status ~= "failed" then return unpack(task, 1, task.status) end
  failures.hear(task)
  error(task.err, 0)
end

--- Waits until the task has ended.
-- @tparam[opt] number timeout seconds
-- @return its results; or nil, `"timeout"`
-- @raise its error, unchanged; `"cancelled"` if it was cancelled
function Task:wait(timeout)
  if timeout ~= nil then checks.seconds("task:wait", "timeout", timeout) end
  if not self.status then
    if self == context.task then error("task:wait: a task cannot wait for its own end", 2) end
    checks.can_wait("task:wait")
    if not join(self, timeout) then return nil, "timeout" end
  end
  return results(self)
end

--- Cancels the task: each of its waits raises `"cancelled"` from now on, but inside
-- `perigee.shield`.
function Task:cancel()
  if self.status then return end
  self.stop = true
  if self.ticket and self.shields == 0 then context.port.unpark(self.ticket) end
end

local function shielded(fn, ...)
  local task = context.task
  if not task then return pcall(fn, ...) end
  task.shields = task.shields + 1
  local function over(...)
    task.shields = task.shields - 1
    return ...
  end
  return over(pcall(fn, ...))
end

-- Cancels what lives and waits for it, a second at most.
local function end_all(tasks)
  local deadline = context.port.now() + GRACE_S
  for i = 1, #tasks do
    tasks[i]:cancel()
    failures.hear(tasks[i])
  end
  shielded(function()
    for i = 1, #tasks do
      if not tasks[i].status then join(tasks[i], math.max(0, deadline - context.port.now())) end
      failures.hear(tasks[i])
    end
  end)
end

-- Running -----------------------------------------------------------------------------------

--- Calls `main(...)`: nginx is the loop.
-- @tparam function|table main the function, or `{ main =, drain = }`
-- @param ... arguments of main
-- @return the results of main
function _M.run(main, ...)
  main = checks.main("perigee.run", main)
  return main(...)
end

local function first_failed(tasks)
  for i = 1, #tasks do
    if tasks[i].status == "failed" then return tasks[i] end
  end
end

-- Waits until all have ended, or one has failed, which is returned.
local function join_all(tasks)
  local port = context.port
  for i = 1, #tasks do
    while not tasks[i].status do
      local failed = first_failed(tasks)
      if failed then return failed end
      local ticket = port.can_wait()
      for j = i, #tasks do
        local tickets = tasks[j].tickets
        if not tasks[j].status then tickets[#tickets + 1] = ticket end
      end
      port.park(ticket)
    end
  end
  return first_failed(tasks)
end

--- Runs functions side by side and waits for all of them. The first error cancels the rest and
-- is raised when they have ended.
-- @tparam table fns a list of functions
-- @treturn table their first results, in the same order
-- @raise the first error, unchanged
function _M.gather(fns)
  checks.callables("perigee.gather", fns)
  checks.can_wait("perigee.gather")
  local tasks, list = {}, {}
  for i = 1, #fns do tasks[i] = _M.spawn(fns[i]) end
  local ok, failed = pcall(join_all, tasks)
  if not ok or failed then
    end_all(tasks)
    error(not ok and failed or failed.err, 0)
  end
  for i = 1, #tasks do list[i] = tasks[i][1] end
  return list
end

--- Runs `fn(...)` for at most `seconds`; then it is cancelled and waited for (a second at most).
-- @tparam number seconds
-- @tparam function fn
-- @param ... its arguments
-- @return its results; or nil, `"timeout"`
-- @raise its error, unchanged
function _M.timeout(seconds, fn, ...)
  checks.seconds("perigee.timeout", "seconds", seconds)
  checks.callable("perigee.timeout", fn)
  checks.can_wait("perigee.timeout")
  local task = _M.spawn(fn, ...)
  local ok, ended = pcall(join, task, seconds)
  if not ok or not ended then
    end_all { task }
    if not ok then error(ended, 0) end
    return nil, "timeout"
  end
  return results(task)
end

local function unwrap(ok, ...)
  if not ok then error((...), 0) end
  return ...
end

--- Runs `fn(...)` with the waits of this task shielded from cancellation, for cleaning up.
-- @tparam function fn
-- @param ... its arguments
-- @return its results
function _M.shield(fn, ...)
  checks.callable("perigee.shield", fn)
  return unwrap(shielded(fn, ...))
end

--- Makes a generator, like `coroutine.wrap`, in which waiting works.
-- @tparam function fn its body; it yields with `coroutine.yield`
-- @treturn function
function _M.wrap(fn)
  checks.callable("perigee.wrap", fn)
  local load, session, task = context.load, context.session, context.task
  local function over(...)
    context.load, context.session, context.task = 0, nil, nil
    return ...
  end
  return coroutine.wrap(function(...)
    context.load, context.session, context.task = load, session, task
    return over(fn(...))
  end)
end

-- Time ----------------------------------------------------------------------------------------

--- Waits. Others run meanwhile.
-- @tparam number seconds 0 lets the others run for one turn
function _M.sleep(seconds)
  checks.seconds("perigee.sleep", "seconds", seconds)
  context.port.park(checks.can_wait("perigee.sleep"), math.min(seconds, 1e6))
end

--- Monotonic seconds, of this turn of nginx' loop.
-- @treturn number
function _M.now()
  return context.port.now()
end

return _M

-- SPDX-License-Identifier: MIT

--- Tasks: `perigee.run`, `spawn`, `gather`, `timeout`, `shield`, `sleep`, `now`, `wrap`.
--
-- A task is a coroutine that may wait. It belongs to the run in which it was spawned and ends
-- with it at the latest (structured concurrency: N. J. Smith, "Notes on structured concurrency",
-- 2018). Cancelling is sticky: every wait of a cancelled task raises `"cancelled"`, but inside
-- `shield`.
-- @module perigee.task

if require "perigee.runtime.nginx" then return require "perigee.task.light" end

local cancel = require "perigee.runtime.cancel"
local checks = require "perigee.runtime.checks"
local context = require "perigee.context"
local failures = require "perigee.runtime.failures"
local generator = require "perigee.runtime.generator"
local libev = require "perigee.runtime.libev"
local runner = require "perigee.runtime.runner"
local runtime = require "perigee.runtime"
local scheduler = require "perigee.runtime.scheduler"
local scopes = require "perigee.runtime.scope"

local type, resume = type, coroutine.resume
local current, open, started = scheduler.current, scheduler.open, scheduler.started
local join, results = runner.join, runner.results

local _M = {}

local can_wait = checks.can_wait

-- Running ---------------------------------------------------------------------------------

local function run(drain, main, ...)
  local me = current()
  if me then return runner.run_in(scopes.new_child(me.scope), drain, main, ...) end
  local choice = runtime.choice()
  if choice == "none" then return main(...) end
  if choice == "virtual" then return require("perigee.testing").drive(drain, main, ...) end
  libev.sync()
  return runner.drive(drain, main, ...)
end

--- Runs `main(...)` as a task and returns its results when it has ended; what else was spawned
-- in it is cancelled then, given a second to clean up, and abandoned after that. Inside a run
-- it is a scope: only what was spawned in it is cancelled.
-- @tparam function|table main the function, or `{ main =, drain = }`; with `drain = true` the
-- other tasks are waited for instead of cancelled
-- @param ... arguments of main
-- @return the results of main
-- @raise the error of main, unchanged
function _M.run(main, ...)
  local drain
  main, drain = checks.main("perigee.run", main)
  if current() then can_wait("perigee.run") end
  return run(drain, main, ...)
end

-- Tasks -----------------------------------------------------------------------------------

-- The scope of what the running code spawns.
local function scope_here()
  local me = current()
  if me then return me.scope.home end
  local world = scheduler.world()
  if world.life.is_over then error("perigee.spawn: the Lua state is closing", 3) end
  libev.sync()
  return world.root
end

--- Starts `fn(...)` as a task at once; returns when it first waits or has ended. It belongs to
-- the innermost run around it and inherits the agent session. If it raises and nobody waits
-- for it, that is reported on standard error.
-- @tparam function fn
-- @param ... its arguments
-- @treturn task with the methods `wait` and `cancel`
local function spawn(fn, ...)
  if type(fn) ~= "function" then checks.callable("perigee.spawn", fn) end
  local task, thread = open(scope_here())
  if not thread then return scheduler.defer(task, fn, ...) end
  return started(task, resume(thread, task, fn, ...))
end
_M.spawn = spawn

local function check_self(where, self)
  if type(self) == "table" then return end
  error(where .. ": call it with a colon, on a task", 3)
end

--- Waits until the task has ended.
-- @function task:wait
-- @tparam[opt] number timeout seconds
-- @return its results; or nil, `"timeout"`
-- @raise its error, unchanged; `"cancelled"` if it was cancelled
function scheduler.methods:wait(timeout)
  check_self("task:wait", self)
  if timeout ~= nil then checks.seconds("task:wait", "timeout", timeout) end
  if not self.status then
    if self == current() then error("task:wait: a task cannot wait for its own end", 2) end
    if self.scope.root.world ~= scheduler.world() then
      error("task:wait: the task runs on another clock (perigee.testing.run is in between)", 2)
    end
    can_wait("task:wait")
    if not join(self, timeout) then return nil, "timeout" end
  end
  if self.status == 1 then return self[1] end
  return results(self)
end

--- Cancels the task: from now on each of its waits raises `"cancelled"`, but inside
-- `perigee.shield`. A task that has ended is left as it is; one that has not started never
-- starts. A task may cancel itself.
-- @function task:cancel
function scheduler.methods:cancel()
  check_self("task:cancel", self)
  cancel.cancel(self)
end

local function start_members(group, fns)
  local tasks = {}
  for i = 1, #fns do
    local task = spawn(fns[i])
    tasks[i] = task
    if task.status == "failed" then
      group.status, group.failed = "failed", task
      return tasks
    elseif not task.status then
      task.waiter = group
      group.left = group.left + 1
    end
  end
  if group.left == 0 then group.status = 0 end
  return tasks
end

-- One error stands for all that the members of a group raise.
local function leave_group(tasks)
  for i = 1, #tasks do tasks[i].waiter, tasks[i].heard = false, true end
  runner.end_tasks(tasks)
end

--- Runs functions side by side and waits for all of them. The first error cancels the rest and
-- is raised when they have ended.
-- @tparam table fns a list of functions
-- @treturn table their first results, in the same order
-- @raise the first error, unchanged
function _M.gather(fns)
  checks.callables("perigee.gather", fns)
  can_wait("perigee.gather")
  local group = { left = 0, status = false, waiter = false, load = context.load }
  local tasks = start_members(group, fns)
  local ok, err = true, nil
  if not group.status then ok, err = pcall(join, group) end
  if not ok or group.failed then
    leave_group(tasks)
    if group.failed then failures.hear(group.failed) end
    error(not ok and err or group.failed.err, 0)
  end
  for i = 1, #tasks do tasks[i] = tasks[i][1] end
  return tasks
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
  can_wait("perigee.timeout")
  local task = spawn(fn, ...)
  if not task.status then
    local ok, ended = pcall(join, task, seconds)
    if not ok or not ended then
      runner.end_tasks { task }
      if not ok then error(ended, 0) end
      return nil, "timeout"
    end
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
  return unwrap(cancel.shielded(fn, ...))
end

--- Makes a generator, like `coroutine.wrap`, in which waiting works.
-- @tparam function fn its body; it yields with `coroutine.yield`
-- @treturn function
function _M.wrap(fn)
  checks.callable("perigee.wrap", fn)
  return generator.new(fn)
end

-- Time ------------------------------------------------------------------------------------

--- Waits. Other tasks run meanwhile.
-- @tparam number seconds 0 lets the others run for one turn; `math.huge` waits to be cancelled
function _M.sleep(seconds)
  checks.seconds("perigee.sleep", "seconds", seconds)
  local port, ticket = context.port, can_wait("perigee.sleep")
  if seconds > 1e9 and port.name ~= "virtual" then seconds = 1e9 end
  port.park(ticket, seconds)
end

--- Monotonic seconds; inside a run the time of this turn of the loop.
-- @treturn number
function _M.now()
  return context.port.now()
end

return _M

-- SPDX-License-Identifier: MIT

--- Waiting for tasks, and ending them: what run, gather and timeout are made of.
-- @module perigee.runtime.runner

local cancel = require "perigee.runtime.cancel"
local clock = require "perigee.runtime.clock"
local context = require "perigee.context"
local driver = require "perigee.runtime.driver"
local failures = require "perigee.runtime.failures"
local hooks = require "perigee.runtime.hooks"
local scheduler = require "perigee.runtime.scheduler"
local scopes = require "perigee.runtime.scope"
local waiters = require "perigee.runtime.waiters"

local _M = {}

-- Parks for a target of the same load: that task cannot move meanwhile, unless it leaves first.
local function park_counted(port, target, ticket, timeout)
  target.joined = (target.joined or 0) + 1
  context.moves(target.load, -1)
  local ok, woken = pcall(port.park, ticket, timeout)
  if not target.status then
    target.joined = target.joined - 1
    context.moves(target.load, 1)
  end
  if not ok then error(woken, 0) end
  return woken
end

--- Parks until `target` (a task or a group) has ended; false if `timeout` came first.
function _M.join(target, timeout)
  local port = context.port
  local ticket, why = port.can_wait()
  if not ticket then error(why, 0) end
  waiters.add(target, ticket)
  if target.status then return true end -- a finalizer has cancelled it in between
  local load = target.load
  if load ~= 0 and load == context.load then
    park_counted(port, target, ticket, timeout)
  else
    port.park(ticket, timeout)
  end
  if target.status then return true end
  waiters.remove(target, ticket)
  return false
end

--- The results of a task that has ended, or its error raised.
function _M.results(task)
  local n = task.status
  if n == "failed" then
    failures.hear(task)
    error(task.err, 0)
  end
  return unpack(task, 1, n)
end

-- Ending ----------------------------------------------------------------------------------

local function wait_within_grace(tasks)
  local ends = context.port.now() + cancel.GRACE_S
  for i = 1, #tasks do
    local task = tasks[i]
    local left = ends - context.port.now()
    if not task.status and left > 0 then _M.join(task, left) end
    if not task.status then cancel.abandon(task) end
  end
end

--- Cancels those of `tasks` that live, waits for them, and abandons those that outlive the
-- grace. Not interrupted by the caller's own cancellation.
function _M.end_tasks(tasks)
  for i = 1, #tasks do cancel.cancel(tasks[i]) end
  local ok, err = cancel.shielded(wait_within_grace, tasks)
  if not ok then error(err, 0) end
end

local function wait_until_empty(scope, ends)
  local port = context.port
  while scope.count > 0 do
    local left = ends and ends - port.now()
    if left and left <= 0 then return end
    local ticket, why = port.can_wait()
    if not ticket then error(why, 0) end
    scope.waiter = ticket
    if scope.count > 0 then port.park(ticket, left) end
  end
  scope.waiter = false
end

local function close(scope)
  local tasks = {}
  scope.closing = true
  -- Backwards: a finalizer may have one leave, and the last one takes its place.
  for i = scope.count, 1, -1 do tasks[#tasks + 1] = scope[i] end
  for i = #tasks, 1, -1 do cancel.cancel(tasks[i]) end
  wait_until_empty(scope, context.port.now() + cancel.GRACE_S)
  while scope.count > 0 do cancel.abandon(scope[scope.count]) end
end

-- Ends all tasks of a scope, whatever happens to the caller meanwhile.
local function close_scope(scope)
  local ok, err = cancel.shielded(close, scope)
  failures.report_all(scope)
  if not ok then error(err, 0) end
end

-- Running ---------------------------------------------------------------------------------

--- Runs `main(...)` as a task of `scope` and closes the scope when it has ended.
-- @tparam table scope a new scope
-- @tparam boolean drain wait for the other tasks instead of cancelling them
-- @tparam function main
-- @param ... its arguments
-- @return the results of main
function _M.run_in(scope, drain, main, ...)
  local task = scheduler.spawn_in(scope, main, ...)
  local ok, err = true, nil
  if not task.status then ok, err = pcall(_M.join, task) end
  if ok and drain then ok, err = pcall(wait_until_empty, scope) end
  if ok then failures.hear(task) end
  close_scope(scope)
  if not ok then error(err, 0) end
  return _M.results(task)
end

local function call_hooks(list)
  for i = 1, #list do
    local ok, err = pcall(list[i])
    if not ok then failures.tell(err, "a stop hook") end
  end
end

local function end_run(root, edge, ok, ...)
  call_hooks(hooks.ending)
  close_scope(root.work)
  call_hooks(hooks.stop)
  close_scope(edge)
  close_scope(edge.work)
  if not ok then error((...), 0) end
  return ...
end

-- The task around an outermost run.
local function run_outermost(root, edge, drain, main, ...)
  return end_run(root, edge, pcall(_M.run_in, root, drain, main, ...))
end

local function list_waits(root)
  local places = {}
  for _, scope in ipairs { root, root.work } do
    for i = 1, math.min(scope.count, 5) do
      places[#places + 1] = "\n  waits at " .. failures.where(scheduler.thread_of(scope[i]))
    end
  end
  return table.concat(places)
end

-- Nothing can wake a task any more: the run is cancelled and tells so; what still waits then
-- is abandoned.
local function make_stuck(run, root, edge, keeper)
  local steps = 0
  return function()
    steps = steps + 1
    if steps == 1 then
      run.deadlock = "perigee: deadlock: every task waits, and no timer, process or "
        .. "descriptor is left that could wake one" .. list_waits(root)
      for i = root.count, 1, -1 do cancel.cancel(root[i]) end
      return
    end
    for _, scope in ipairs { root, root.work, edge, edge.work, keeper } do
      while scope.count > 0 do cancel.abandon(scope[scope.count]) end
    end
  end
end

--- Drives the world in force until `main(...)` and all that it started have ended.
-- @return the results of main
function _M.drive(drain, main, ...)
  local world = scheduler.world()
  if world.life.is_over then error("perigee.run: the Lua state is closing", 0) end
  call_hooks(hooks.begin)
  -- The run's own scope; that of the stop hooks; and one for the task that closes both.
  local root, edge = scopes.new_root(world), scopes.new_root(world)
  local keeper, run = scopes.new_child(edge), {}
  keeper.home = edge
  local held = clock.held
  clock.held = 1 -- time stands still in the first stretch of main too
  local ok, task = pcall(scheduler.spawn_in, keeper, run_outermost, root, edge, drain, main, ...)
  clock.held = held
  if not ok then error(task, 0) end
  if not task.status then driver.drive(task, make_stuck(run, root, edge, keeper), root) end
  failures.hear(task)
  failures.report_all()
  if run.deadlock then error(run.deadlock, 0) end
  return _M.results(task)
end

return _M

-- SPDX-License-Identifier: MIT

--- Scopes: lists of tasks that end together.
--
-- A *root* is the scope of an outermost run (or of plain code); beside the user's tasks it has
-- the scope of internal work, which outlives the caller that began it but not the root. A scope
-- holds its living tasks that have waited, in [1..count], in no order; `home` is where tasks
-- spawned by its tasks go.
--
-- A finalizer may run between any two steps, and begin or end a task. Who changes a scope says
-- `changing`; who comes by meanwhile is late, and is let in, or out, when that is done.
-- @module perigee.runtime.scope

local insert = table.insert

-- `cancel(task)` and `unpark(ticket)` are set by `perigee.runtime.cancel` and the scheduler.
local _M = {}

local function new(root)
  local scope = { count = 0, closing = false, waiter = false, root = root }
  scope.root = root or scope
  scope.home = scope
  return scope
end

--- A scope of its own in a world, with a scope for internal work.
function _M.new_root(world)
  local root = new()
  root.world = world
  root.work = new(root)
  root.work.home = root
  return root
end

--- A scope inside the run that `outer` belongs to.
function _M.new_child(outer)
  return new(outer.root)
end

-- Adds a living task that waits.
local function put(task)
  local scope = task.scope
  local count = scope.count + 1
  scope.count = count
  scope[count] = task
  task.index = count
end

-- Takes a task out. Returns the ticket of who waits for the last one, if this was it.
local function take(task)
  local scope, index = task.scope, task.index
  local count, waiter = scope.count, nil
  local last = scope[count]
  scope[index] = last
  last.index = index
  scope[count] = nil
  scope.count = count - 1
  task.index = 0
  if count == 1 and scope.waiter then
    waiter, scope.waiter = scope.waiter, false
  end
  return waiter
end

local changing, late = false, {} -- see above
local let_in

--- Adds a living task that waits; where the scope is closing, the task is cancelled.
-- @tparam table task
function _M.enter(task)
  if changing then return insert(late, task) end
  changing = true
  put(task)
  changing = false
  if task.scope.closing and not task.spared then _M.cancel(task) end
  if late[1] then let_in() end
end

--- Takes a task out that has ended, or begins anew, if it is in its scope.
-- @tparam table task
function _M.leave(task)
  if task.index == 0 then return end
  if changing then return insert(late, task) end
  changing = true
  local waiter = take(task)
  changing = false
  if waiter then _M.unpark(waiter) end
  if late[1] then let_in() end
end

function let_in()
  local list = late
  late = {}
  for i = 1, #list do
    local task = list[i]
    if task.status then
      _M.leave(task)
    elseif task.index == 0 then
      _M.enter(task)
    end
  end
end

return _M

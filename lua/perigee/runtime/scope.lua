-- SPDX-License-Identifier: MIT

--- Scopes: lists of tasks that end together.
--
-- A *root* is the scope of an outermost run (or of plain code); beside the user's tasks it has
-- the scope of internal work, which outlives the caller that began it but not the root. A scope
-- holds its living tasks that have waited, in [1..count], in no order; `home` is where tasks
-- spawned by its tasks go.
-- @module perigee.runtime.scope

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

--- Adds a living task that waits.
-- @treturn boolean whether the scope is closing
function _M.enter(task)
  local scope = task.scope
  local count = scope.count + 1
  scope.count = count
  scope[count] = task
  task.index = count
  return scope.closing
end

--- Takes a task out that has ended.
-- @treturn number|nil the ticket of who waited for the last one
function _M.leave(task, index)
  local scope = task.scope
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

return _M

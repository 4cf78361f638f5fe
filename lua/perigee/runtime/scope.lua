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

return _M

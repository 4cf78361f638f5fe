-- SPDX-License-Identifier: MIT

--- Who is told that something has ended.
--
-- A *target* (a task, a group) has `status` (false while it lives), `load`, and `waiter`: false,
-- one waiter, or a list of them. A waiter is a ticket or a group. A *group* is the target of
-- those who wait for several tasks at once: it ends with the first failure or the last end.
--
-- A waiter that runs for the same load as its target is counted in `joined`: it can move again
-- before the target stops to, so that the load never looks stuck in between.
-- @module perigee.runtime.waiters

local context = require "perigee.context"

local _M = {}

local function tell_group(group, task, unpark)
  if group.status then return end
  group.left = group.left - 1
  if task.status == "failed" then
    group.status, group.failed = "failed", task
  elseif group.left == 0 then
    group.status = 0
  else
    return
  end
  _M.notify(group, unpark)
end

local function tell(waiter, target, unpark)
  if type(waiter) == "number" then
    unpark(waiter)
  else
    tell_group(waiter, target, unpark)
  end
end

--- Wakes whoever waits for a target that has just ended.
function _M.notify(target, unpark)
  local waiter, joined = target.waiter, target.joined
  target.waiter = false
  if joined and joined > 0 then
    target.joined = 0
    context.moves(target.load, joined)
  end
  if type(waiter) == "table" and not waiter.left then
    for i = 1, #waiter do tell(waiter[i], target, unpark) end
  elseif waiter then
    tell(waiter, target, unpark)
  end
end

--- Adds a ticket or a group to those who wait for a living target.
function _M.add(target, waiter)
  local others = target.waiter
  if not others then
    target.waiter = waiter
  elseif type(others) == "table" and not others.left then
    others[#others + 1] = waiter
  else
    target.waiter = { others, waiter }
  end
end

--- Takes a ticket out again.
function _M.remove(target, ticket)
  local others = target.waiter
  if others == ticket then
    target.waiter = false
  elseif type(others) == "table" and not others.left then
    for i = #others, 1, -1 do
      if others[i] == ticket then table.remove(others, i) end
    end
  end
end

return _M

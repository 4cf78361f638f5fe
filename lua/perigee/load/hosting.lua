-- SPDX-License-Identifier: MIT

--- Where a load runs inside nginx, where callers run loads themselves: in the request of whoever
-- began it, in a light thread of that request if he may have to leave before its end, or in a
-- timer, behind the callers' backs. A record's `aside` says which: false, `"thread"` or `"behind"`;
-- its `life` is that of the request or timer (`perigee.runtime.request`), 0 before there is one.
-- @module perigee.load.hosting

local C = require("perigee.lib").core
local context = require "perigee.context"
local upvalues = require "perigee.runtime.upvalues"

local min, huge = math.min, math.huge

local _M = {}

--- Where a load is to run.
-- @tparam table cache the cache
-- @tparam table|false spec options of the call
-- @tparam boolean|nil behind whether nobody waits for it
-- @treturn boolean|string `aside`
function _M.place(cache, spec, behind)
  if behind then return "behind" end
  if not context.port.may_wait() then return false end
  local detach = cache.detach
  if spec and spec.detach ~= nil then detach = spec.detach end
  if detach and not context.port.is_timer() then return "behind" end
  local patience = min(cache.load_timeout, spec and spec.timeout or huge)
  return (patience < huge or spec and spec.aside) and "thread" or false
end

--- A load has begun: it lives as long as the request that runs it, which is the one in which it
-- begins, or which began its group.
-- @tparam table record the load
-- @tparam table|nil head of its group
function _M.join(record, head)
  local own = context.port.own()
  record.outer = own.load
  if head then
    record.life, record.aside = head.life, head.aside
  else
    record.life = record.aside == "behind" and 0 or own.life
  end
  if record.life ~= 0 then C.perigee_life_work(record.life, 1) end
end

local function adopt(record, life)
  if record.done then return end
  record.life = life
  C.perigee_life_work(life, 1)
end

-- Runs the work of a load in a timer, unless somebody took the load over meanwhile.
local function run_behind(run, work)
  local life, group = context.port.life(), work.group
  if not group and work.done then return end
  if not group then adopt(work, life) end
  for i = 1, group and #group or 0 do adopt(group[i], life) end
  local limit = work.cache.load_timeout
  if limit < huge then context.port.timebox(run, work, limit) else run(work) end
end

local function run_aside(record, run, work)
  if record.aside == "behind" then
    if work.loader then work.call = upvalues.moved(work.loader) end
    context.port.spawn(run_behind, run, work)
  else
    record.thread = context.port.lead(run, work)
  end
end

--- Runs the work of a load where it is to run.
-- @tparam table record the load
-- @tparam function run `run(work)`
-- @tparam table work the record, or its batch
function _M.run(record, run, work)
  local own = context.port.own()
  local outer = own.load
  own.load = record.id
  if record.aside then run_aside(record, run, work) else run(work) end
  own.load = outer
end

return _M

-- SPDX-License-Identifier: MIT

--- Internal work: tasks that no user holds, such as loads.
--
-- They belong to the outermost run, not to whoever began them, and their record stays with the
-- worker for the next one: starting one makes no garbage.
-- @module perigee.runtime.inside

local scheduler = require "perigee.runtime.scheduler"

local resume = coroutine.resume
local take_worker, prepare, started = scheduler.take_worker, scheduler.prepare, scheduler.started
local may_start = scheduler.may_start

local _M = {}

local function add_record(records, slot)
  local record = { scope = false, index = 0, slot = slot or false, stop = false, status = false,
    waiter = false, load = 0, internal = true, fn = false, a = false, b = false }
  if slot then records[slot] = record end -- else it starts later, elsewhere
  return record
end

-- The results of the work are nobody's.
local function work(fn, a, b)
  fn(a, b)
end

--- The port's spawn: see the port contract in `perigee.runtime`.
function _M.spawn(fn, a, b)
  local world, creator, slot = scheduler.world(), scheduler.current(), take_worker()
  local record = slot and world.records[slot] or add_record(world.records, slot)
  record.scope = (creator and creator.scope or world.root).root.work
  record.index, record.stop, record.status = 0, false, false
  record.cancelled, record.raised = nil, nil
  record.fn, record.a, record.b = fn, a, b
  if slot and may_start() then
    started(record, resume(prepare(record, slot), record, work, fn, a, b))
    return
  end
  if slot then
    world.records[slot] = false -- the record goes with the task; whoever is next makes his own
    scheduler.give_back(slot)
  end
  scheduler.defer(record, work, fn, a, b)
end

return _M

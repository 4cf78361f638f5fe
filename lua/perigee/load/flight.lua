-- SPDX-License-Identifier: MIT
--- The face of `flight.h`: one load per key at a time, and who waits for it.
--
-- C knows the loads that run, their waiters and fences; this module holds what C must not: a
-- *record* per load with its loader and its result. A waiter keeps the record, so a result needs
-- no place of its own. No closure and no table is made per waiter.
-- @module perigee.load.flight

local ffi = require "ffi"

local C = require("perigee.lib").core
local atomic = require "perigee.atomic"
local context = require "perigee.context"
local hosting = require "perigee.load.hosting"

local SLOTS = C.PERIGEE_FLIGHT_SLOTS

local error = error
local join_host, run_hosted = hosting.join, hosting.run

local _M = {}

local registry = C.perigee_flight_new()
if registry == nil then error("perigee: out of memory", 0) end

ffi.gc(registry, function(handle)
  registry = C.perigee_flight_closed() -- finalizers of a closing Lua state run in any order
  C.perigee_flight_free(handle)
end)

local numbers = 0

--- A number for a cache, or a part of one, whose loads meet no others.
-- @treturn number
_M.new_number = atomic(function()
  numbers = numbers + 1
  return numbers
end)

--- Whether any load runs, of any cache.
-- @treturn boolean
function _M.any()
  return C.perigee_flight_running(registry) > 0
end

local records = {} -- by the slot of a load's id

--- The running load of a key that a newcomer may join.
-- @tparam number cache the cache's number
-- @param s identity of the key
-- @tparam number n identity of the key
-- @tparam number version the cache's version
-- @treturn table|nil its record
function _M.find(cache, s, n, version)
  local id = C.perigee_flight_find(registry, cache, 0, s, n, version)
  if id == 0 then return nil end
  local record = records[id % SLOTS]
  if record and record.id == id then return record end -- else a finalizer has ended it in between
end

--- Registers a load; it is the one to join from now on.
-- @tparam table record with `cache` (a cache), `key` and whatever the caller needs; gets `id`, and
--   in `outer` the load that the running code works for
-- @param s identity of the key
-- @tparam number n identity of the key
-- @tparam number group id of the head of its group, or 0
-- @treturn table record
function _M.begin(record, s, n, group)
  local cache = record.cache
  local id = C.perigee_flight_begin(registry, cache.number, 0, s, n, cache.version, group)
  if id == 0 then error("perigee: out of memory", 0) end
  record.id = id
  records[id % SLOTS] = record
  if context.port.own then
    join_host(record, group ~= 0 and _M.record(group) or nil)
  else
    record.outer = context.load
  end
  return record
end

--- The record of a load.
-- @tparam number id its id
-- @treturn table|nil the record, while it runs
function _M.record(id)
  local record = records[id % SLOTS]
  return record and record.id == id and record or nil
end

local victims = 0 -- waiters woken because their wait would never end, who have not left yet

-- The loop is apart, so that a load nobody waits for is compiled as one straight trace.
local function wake_from(ticket)
  local unpark = context.port.unpark
  repeat
    if ticket < 0 then victims, ticket = victims + 1, -ticket end
    unpark(ticket)
    ticket = C.perigee_flight_dismiss(registry)
  until ticket == 0
end

local function wake_all()
  local ticket = C.perigee_flight_dismiss(registry)
  if ticket ~= 0 then wake_from(ticket) end
end

--- Ends a load. Its result must be in the record before; its waiters wake in the next turn.
-- @tparam table record from `begin`
-- @tparam boolean succeeded whether there is a value
-- @treturn boolean whether the value may be kept
function _M.land(record, succeeded)
  local id = record.id
  local slot = id % SLOTS
  if records[slot] == record then records[slot] = false end -- first: C may give the slot away
  local keep = C.perigee_flight_land(registry, id, record.cache.version, succeeded and 1 or 0)
  record.done = true
  if record.life ~= 0 then C.perigee_life_work(record.life, -1) end
  wake_all()
  return keep == 1
end

--- The key was written or forgotten: no load of it that runs now may be kept.
-- @tparam number cache the cache's number
-- @param s identity of the key
-- @tparam number n identity of the key
function _M.fence(cache, s, n)
  C.perigee_flight_fence(registry, cache, 0, s, n)
end

--- Nobody may join this load any more.
-- @tparam table record from `begin`
function _M.detach(record)
  C.perigee_flight_detach(registry, record.id)
end

local function name_of(id)
  local record = _M.record(id)
  if not record then return "a load that has ended" end
  local spell = record.cache.spell or tostring
  return ("%s of %s"):format(spell(record.key), record.cache:describe())
end

local DEADLOCK = "perigee: deadlock, "

--- Whether an error says that loads waited for each other.
-- @param err anything
-- @treturn boolean
function _M.is_deadlock(err)
  return type(err) == "string" and err:sub(1, #DEADLOCK) == DEADLOCK
end

local function deadlock_message()
  local names, first = {}, nil
  for i = 0, 15 do
    local id = C.perigee_flight_chain(registry, i)
    if id == 0 then break end
    first = first or id
    names[#names + 1] = name_of(id)
  end
  if first then names[#names + 1] = name_of(first) end
  return DEADLOCK .. "the loads wait for each other: " .. table.concat(names, " -> ")
end

--- Raises the error of a cycle of loads.
-- @tparam table record a load that is part of it
function _M.raise_cycle(record)
  local name = name_of(record.id)
  error(("%sa load waits for itself: %s -> %s"):format(DEADLOCK, name, name), 0)
end

-- Waits until the load has landed. What the port returns passes through.
local function park_on(record, timeout)
  local port = context.port
  local ticket, why = port.can_wait()
  if not ticket then error(why, 0) end
  local waiter = C.perigee_flight_wait(registry, record.id, ticket, context.load)
  if waiter == -1 then error(deadlock_message(), 0) end
  if waiter == 0 then
    if record.done then return true end -- a finalizer has ended it in between
    error("perigee: out of memory", 0)
  end
  local woken, raised = port.wait(ticket, timeout)
  if not raised and record.done and victims == 0 then return woken end -- by its end: it has left
  if C.perigee_flight_leave(registry, waiter) == 1 then
    victims = victims - 1
    error(deadlock_message(), 0)
  end
  if raised then error(raised, 0) end
  return woken
end

-- Woken, but not by the end of the load: waits for the rest of the time. By calls, not by a loop:
-- a loop on the way of a wait would keep `cache:get` from being compiled.
local function wait_on(record, deadline)
  if record.done then return true end
  local left = deadline - context.port.now()
  if left <= 0 then return false end
  park_on(record, left)
  return wait_on(record, deadline)
end

--- Waits until a load has ended.
-- @tparam table record from `find` or `begin`
-- @tparam number timeout seconds of patience, or math.huge
-- @treturn boolean whether it has ended
-- @raise `"cancelled"`; a cycle of loads; that waiting is impossible here
function _M.wait(record, timeout)
  if timeout < math.huge then return wait_on(record, context.port.now() + timeout) end
  park_on(record)
  return record.done or wait_on(record, math.huge)
end

--- Calls `look(record)` for each load that runs.
-- @tparam function look
function _M.each(look)
  local slot, record = next(records)
  while slot do
    if record and not record.done then look(record) end
    slot, record = next(records, slot)
  end
end

--- Starts `run(work)` as the work of a load. While a load starts another in place, it waits for
-- it as far as cycles are concerned.
-- @tparam table record from `begin`; the work runs for it
-- @tparam function run the work; must land the record
-- @tparam[opt=record] table work what to run it with
function _M.start(record, run, work)
  local outer, waiter = record.outer, 0
  if outer ~= 0 and record.in_place then
    waiter = C.perigee_flight_wait(registry, record.id, 1, outer)
  end
  if context.port.lead then
    run_hosted(record, run, work or record)
  else
    outer, context.load = context.load, record.id
    context.port.spawn(run, work or record)
    context.load = outer
  end
  if waiter > 0 then C.perigee_flight_leave(registry, waiter) end
end

--- Whether the running code works for a load of this key, at whatever depth.
-- @tparam table cache the cache
-- @param key the key
-- @treturn table|nil the record of that load
function _M.running_for(cache, key)
  local id = context.load
  while id ~= 0 do
    local record = _M.record(id)
    if not record then return nil end
    if record.cache == cache and record.key == key then return record end
    id = record.outer
  end
end

function context.moves(load, delta)
  C.perigee_flight_tasks(registry, load, delta)
  wake_all()
end

function context.abandoned(_, work)
  if type(work) == "table" and work.abandon then work:abandon() end
end

return _M

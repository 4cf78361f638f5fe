-- SPDX-License-Identifier: MIT

--- The runtime inside nginx: its light threads wait, its clock counts, its timers do what nobody
-- waits for.
--
-- A *ticket* is a slot with a semaphore of ngx_lua and a generation. A slot is free, early
-- (unparked before anybody parked), parked or fired. A light thread that is killed while it is
-- parked never gives its slot back: that is seen by its semaphore, which nobody waits for any more.
--
-- Beside what every port has:
--
-- - `lead(fn, work)`: runs the load of a caller who may have to leave before its end, in a light
--   thread of his request; returns that. The others run their loads themselves;
-- - `timebox(fn, work, seconds)`: the same in a timer, ended after that time; `is_timer()`;
-- - `kill(thread, life)`: ends what `lead` returned, if it is the caller's;
-- - `is_stuck()`: whether what was spawned waits, and no timer can be had for it;
-- - `may_wait()`: whether `can_wait` may succeed, cheaply;
-- - `life()`, `is_over(life)`, `own()`: see `perigee.runtime.request`;
-- - `at_close`: the port for when the Lua state closes, and nothing turns any more.
-- @module perigee.runtime.openresty

local clock = require "perigee.runtime.clock"
local heart = require "perigee.runtime.heart"
local jobs = require "perigee.runtime.jobs"
local lib = require "perigee.lib"
local ngx = require "perigee.runtime.nginx"
local none = require "perigee.runtime.none"
local request = require "perigee.runtime.request"
local semaphore = require "ngx.semaphore"

local C = lib.core
local get_phase, WAITING = ngx.get_phase, request.WAITING

local _M = {}

local context -- set by `bind`: `perigee.context` is above us

-- Time ----------------------------------------------------------------------------------------

-- nginx' monotonic milliseconds, as of this turn of its loop (ngx.now jumps with the wall clock).
local exported = lib.host(
  [[extern volatile uint64_t perigee_nginx_msec[1] __asm__("ngx_current_msec");]],
  "perigee_nginx_msec")
if not exported then error("perigee: this nginx does not export ngx_current_msec", 0) end
clock.host_ms = exported.perigee_nginx_msec

local port = { name = "openresty", life = request.life, is_over = request.is_over,
  own = request.own, may_wait = request.may_wait, at_close = none.port }

function port.now()
  if not heart.beats then heart.start() end
  return C.perigee_clock_now(clock) * 1e-3
end

-- Tickets -------------------------------------------------------------------------------------

local STEP, LAST = 2 ^ 24, 2 ^ 53
local FREE, EARLY, PARKED, FIRED = 0, 1, 2, 3
local FOR_EVER_S = 1e6
local SHORTEST_S = 0.001 -- a semaphore does not yield for less

local semaphores, tickets, states = {}, {}, {} -- by slot
local free, free_count = {}, 0
local slot_count, cursor = 0, 0

local function renew(slot)
  local following = tickets[slot] + STEP
  tickets[slot] = following < LAST and following or slot + STEP
  states[slot] = FREE
end

local function give_back(slot)
  renew(slot)
  free_count = free_count + 1
  free[free_count] = slot
end

-- Whether the light thread that parked there was killed: nobody waits, though nobody was woken.
local function is_left(slot)
  local state = states[slot]
  if state == PARKED then return semaphores[slot]:count() >= 0 end
  return state == FIRED and semaphores[slot]:count() > 0
end

-- Looks at a few slots that are in use.
local function reclaim_some()
  for _ = 1, math.min(4, slot_count) do
    cursor = cursor % slot_count + 1
    if is_left(cursor) then
      semaphores[cursor] = assert(semaphore.new())
      give_back(cursor)
    end
  end
end

local function free_slot()
  if free_count == 0 then reclaim_some() end
  if free_count > 0 then return free[free_count] end
  local made = assert(semaphore.new())
  slot_count = slot_count + 1
  local slot = slot_count
  semaphores[slot], tickets[slot], states[slot] = made, slot, EARLY
  renew(slot)
  free_count = free_count + 1
  free[free_count] = slot
  return slot
end

local function why_not(phase)
  return ("cannot wait here: nginx lets nothing wait in the phase %s; do it in the rewrite, access "
    .. "or content phase, or in a timer (ngx.timer.at)"):format(phase)
end

function port.can_wait()
  heart.start()
  local phase = get_phase()
  if not WAITING[phase] then return nil, why_not(phase) end
  local slot = free_slot()
  if states[slot] == EARLY then renew(slot) end
  return tickets[slot]
end

-- Takes a slot from the free ones: the last, but for those given back since its ticket was asked.
-- Returns whether it was there: a finalizer that tried to park in between has taken it.
local function take(slot)
  local i = free_count
  while i > 0 and free[i] ~= slot do i = i - 1 end
  if i == 0 then return false end
  free[i], free[free_count] = free[free_count], nil
  free_count = free_count - 1
  return true
end

-- nginx runs all that is posted before it looks at its timers and sockets again: those who wake
-- each other without end would keep it from that.
local WAKES_MAX = 1000
local wakes, wakes_ms = 0, 0

local function is_long_turn()
  local now = C.perigee_clock_now(clock)
  wakes = now == wakes_ms and wakes + 1 or 0
  wakes_ms = now
  return wakes >= WAKES_MAX
end

local function park_in(slot, timeout)
  if not take(slot) then return true end
  states[slot] = PARKED
  local seconds = timeout and math.min(math.max(timeout, SHORTEST_S), FOR_EVER_S) or FOR_EVER_S
  local woken = semaphores[slot]:wait(seconds)
  if states[slot] == FIRED and not woken then
    semaphores[slot]:wait(0) -- fired when the time was up already
    woken = true
  end
  give_back(slot)
  if woken and is_long_turn() then park_in(free_slot(), SHORTEST_S) end
  return woken or not timeout
end

-- A task that was cancelled (`perigee.task.light`) does not go on waiting.
local function check_task(slot)
  local task = context.task
  if not task or not task:is_stopped() then return task end
  if slot then renew(slot) end -- whoever has its ticket must not wake the next one
  error("cancelled", 0)
end

function port.park(ticket, timeout)
  local slot = ticket % STEP
  if tickets[slot] ~= ticket then return true end
  if states[slot] == EARLY then
    renew(slot)
    return true
  end
  if states[slot] ~= FREE then return true end
  local task = check_task(slot)
  if task then task.ticket = ticket end
  local woken = park_in(slot, timeout)
  if task then
    task.ticket = false
    check_task()
  end
  return woken
end

function port.wait(ticket, timeout)
  local ok, woken = pcall(port.park, ticket, timeout)
  if ok then return woken end
  return nil, woken
end

function port.unpark(ticket)
  local slot = ticket % STEP
  if tickets[slot] ~= ticket then return end
  if states[slot] == FREE then
    states[slot] = EARLY
  elseif states[slot] == PARKED then
    states[slot] = FIRED
    semaphores[slot]:post(1)
  end
end

-- Work ----------------------------------------------------------------------------------------

port.spawn, port.is_stuck = jobs.add, jobs.is_stuck

local function run_as(load, session, fn, work)
  context.load, context.session = load, session
  fn(work)
  context.load, context.session = 0, nil
end

function port.lead(fn, work)
  if WAITING[get_phase()] then
    return ngx.thread.spawn(run_as, context.load, context.session, fn, work)
  end
  fn(work)
  return false
end

--- Whether this is a timer, outside any request.
function port.is_timer()
  return get_phase() == "timer"
end

-- Runs work that may have to be ended after some time, in a timer.
function port.timebox(fn, work, seconds)
  local ticket, is_over = port.can_wait(), false
  local thread = ngx.thread.spawn(function(load, session)
    run_as(load, session, fn, work)
    is_over = true
    port.unpark(ticket)
  end, context.load, context.session)
  if not is_over then port.park(ticket, seconds) end
  if not is_over then ngx.thread.kill(thread) end
end

-- Only whoever began a light thread may end it, while his request lives.
function port.kill(thread, life)
  return life == request.life() and ngx.thread.kill(thread) and true or false
end

--- @tparam table bound `perigee.context`
function _M.bind(bound)
  context = request.bind(bound)
  jobs.bind(bound)
end

_M.port = port

return _M

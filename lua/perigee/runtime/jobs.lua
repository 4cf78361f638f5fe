-- SPDX-License-Identifier: MIT

--- Work behind the callers' backs, inside nginx: in timers, outside any request.
--
-- A timer that nginx has no room for is dropped with an alert, so few are used: a queue, and
-- *runners* that take from it until it is empty. Before the workers exist, and where timers cannot
-- be had, the queue waits.
-- @module perigee.runtime.jobs

local C = require("perigee.lib").core
local clock = require "perigee.runtime.clock"
local each = require("perigee.value.names").each
local log = require "perigee.log"
local ngx = require "perigee.runtime.nginx"
local request = require "perigee.runtime.request"

local _M = {}

local RUNNERS_MAX = 128 -- of nginx' 256, by default

local queue, first, last = {}, 1, 0
-- By their number: the life that each runs in; before it runs, minus the time when it was made.
local runners, count = {}, 0
local DROPPED_MS = 2000 -- a timer that nginx has no room for is dropped without a word
local numbers = 0

local context -- set by `bind`: `perigee.context` is above us

local NO_TIMERS = { init = true, exit_worker = true }

--- As ngx.timer.at, wherever that may be called.
-- @tparam number seconds
-- @tparam function fn
-- @param ... its arguments, behind whether the worker ends
-- @treturn boolean whether it will be called
function _M.at(seconds, fn, ...)
  return not NO_TIMERS[ngx.get_phase()] and ngx.timer.at(seconds, fn, ...) and true or false
end

local function take()
  local job = queue[first]
  queue[first] = nil
  first = first + 1
  if first > last then first, last = 1, 0 end
  return job
end

local function run(job)
  context.load, context.session = job.load, job.session
  local ok, err = pcall(job.fn, job.a, job.b)
  context.load, context.session = 0, nil
  if not ok then log.error("work in the background failed: " .. tostring(err)) end
end

local function work(_, number)
  if not runners[number] then count = count + 1 end -- it was late, and given up
  runners[number] = request.life()
  while first <= last do run(take()) end
  runners[number], count = nil, count - 1
end

-- A runner is gone without a word when its work calls ngx.exit, or when it could not be run.
local function forget_dead()
  local dead, now = {}, C.perigee_clock_now(clock)
  for number, life in each(runners) do
    local is_dropped = life < 0 and now + life > DROPPED_MS
    if is_dropped or life > 0 and request.is_over(life) then dead[#dead + 1] = number end
  end
  for _, number in ipairs(dead) do runners[number] = nil end
  count = count - #dead
end

--- Makes sure that somebody runs what waits.
function _M.wake()
  if first > last then return end
  if count >= RUNNERS_MAX then forget_dead() end
  if count >= RUNNERS_MAX then return end
  if not _M.at(0, work, numbers + 1) then return end -- the heart tries again
  numbers = numbers + 1
  runners[numbers], count = -C.perigee_clock_now(clock), count + 1
end

--- Runs `fn(a, b)` soon, with the load and the session of the caller.
-- @tparam function fn
-- @param a
-- @param b
function _M.add(fn, a, b)
  last = last + 1
  queue[last] = { fn = fn, a = a, b = b, load = context.load, session = context.session }
  _M.wake()
end

--- Whether something waits, and nobody can be had to run it.
-- @treturn boolean
function _M.is_stuck()
  forget_dead()
  _M.wake()
  return count == 0 and first <= last
end

--- @tparam table bound `perigee.context`
function _M.bind(bound)
  context = bound
end

return _M

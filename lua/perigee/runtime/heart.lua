-- SPDX-License-Identifier: MIT

--- What a loop's turns do elsewhere, inside nginx: one timer per worker that calls the turn hooks
-- when they asked for it, and once a second in any case; and the end hooks when the worker ends.
--
-- With `lua_code_cache off` each request has a Lua state of its own, which lives as long as a timer
-- of it is set: then only that of the latest state goes on.
-- @module perigee.runtime.heart

local C = require("perigee.lib").core
local clock = require "perigee.runtime.clock"
local failures = require "perigee.runtime.failures"
local hooks = require "perigee.runtime.hooks"
local jobs = require "perigee.runtime.jobs"
local log = require "perigee.log"
local ngx = require "perigee.runtime.nginx"

local _M = {}

local BEAT_S, SHORTEST_S = 1, 0.001

local own_state = C.perigee_core_states(1)

--- Whether the timer is set.
_M.beats = false

local ended = false
local due, number = 0, 0 -- of the beat that is set
local LATE_MS = 2000     -- then nginx has dropped it

local function call(list, what)
  local wanted = BEAT_S
  for i = 1, #list do
    local ok, wish = pcall(list[i])
    if not ok then
      log.error(("%s failed: %s"):format(what, tostring(wish)))
    elseif wish then
      wanted = math.min(wanted, wish)
    end
  end
  return math.max(wanted, SHORTEST_S)
end

local beat

local function finish()
  if ended then return end
  ended, _M.beats = true, true
  call(hooks.ending, "an ending hook")
  call(hooks.stop, "a stop hook")
end

local function set(seconds)
  number = number + 1
  due = C.perigee_clock_now(clock) + seconds * 1000
  return jobs.at(seconds, beat, number)
end

function beat(premature, own)
  if own ~= number then return end
  if premature or ngx.worker.exiting() then return finish() end
  jobs.wake()
  failures.report()
  local wanted = call(hooks.turn, "a turn hook")
  if C.perigee_core_states(0) ~= own_state then return end
  if set(wanted) then return end
  if ngx.worker.exiting() then return finish() end
  _M.beats = false -- no room: whoever comes next tries again
end

--- Begins, in a worker, or again: a timer is dropped when too many run.
function _M.start()
  if ended or _M.beats and C.perigee_clock_now(clock) < due + LATE_MS then return end
  _M.beats = set(0)
end

return _M

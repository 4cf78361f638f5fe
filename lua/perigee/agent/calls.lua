-- SPDX-License-Identifier: MIT

--- Calls in a session: they are checked, made or refused, recorded, and kept for explaining.
--
-- Calls in flight together are one round: a call begins a new one if any call of the current round
-- has ended. A tool calls `begin`, and then `finish`, or `leave` when nothing came of the call.
-- @module perigee.agent.calls

local ffi = require "ffi"

local C = require("perigee.lib").core
local context = require "perigee.context"
local counts = require "perigee.agent.counts"
local dependence = require "perigee.agent.dependence"
local events = require "perigee.events"
local guard = require "perigee.agent.guard"
local legible = require "perigee.agent.legible"
local log = require "perigee.log"
local messages = require "perigee.agent.messages"
local prints = require "perigee.agent.prints"
local refusal = require "perigee.agent.refusal"
local returns = require "perigee.value.returns"

local handlers = events.handlers
local AT, add = counts.AT, counts.add
local OK, REFRESH, BLOCK = C.PERIGEE_GUARD_OK, C.PERIGEE_GUARD_REFRESH, C.PERIGEE_GUARD_BLOCK
local WARN = C.PERIGEE_GUARD_WARN
local guard_check, guard_record = C.perigee_guard_check, C.perigee_guard_record

local _M = {}

local WARNED_MAX = 256 -- loops that are known to have been logged

local new_call, verdict = ffi.typeof "perigee_guard_call", ffi.new "perigee_guard_verdict"

-- Verdicts -----------------------------------------------------------------------------------

local function log_once(self, v)
  local rung = v.loop_id .. v.action
  local warned = self.warned
  if not warned or warned.count >= WARNED_MAX then
    warned = { count = 0 }
    self.warned = warned
  end
  if warned[rung] then return end
  warned[rung], warned.count = true, warned.count + 1
  log.warn(("agent session %q: %s"):format(self.session_id, v.message))
end

local function tell(self, v)
  if not handlers.loop then return end
  events.emit("loop", { session_id = self.session_id, tool = v.tool, kind = v.kind,
    action = v.action, count = v.count, period = v.period, loop_id = v.loop_id,
    message = v.message })
end

-- What the guard has found, for whoever has to be told.
local function describe(self, tool, key, answer)
  local v = guard.describe(verdict) -- first: whatever makes garbage may run a finalizer that calls
  v.tool = tool.name
  if not v.kind then return v end
  if v.kind == "cycle" then v.steps = self.trail:steps(tool, v.period) end
  local is_of_tool = v.kind == "error" or v.kind == "stagnant"
  answer = answer or self.trail:answer(tool, key, is_of_tool)
  v.answer, v.failed = answer and legible.answer(answer), answer and answer.failed
  v.is_made = self.on_loop == "warn"
  local is_literal = self.literal and v.kind == "cycle"
  v.message = is_literal and messages.literal(v) or messages.text(v)
  return v
end

-- The call is not made. Who listens may reset or close the session.
local function refuse(self, tool, key, call, v)
  local raises = self.on_loop ~= "short_circuit"
  C.perigee_guard_refuse(self.guard, call)
  add(self.counts, tool.counts, AT.refusals, 1)
  v.outcome = "refused"
  self.trail:add(tool, key, self.round, v, false)
  self.round = self.round + 1
  dependence.own(self.number)
  local err = raises and refusal.new(v, self.session_id, self.number)
  self.stopped = err
  tell(self, v)
  if raises then error(err, 0) end
end

-- Anything but "ok". Returns what is to be done, and the verdict.
local function judge(self, tool, key, call, answer, action)
  local v = describe(self, tool, key, answer)
  if not v.kind or action == REFRESH then return action, v end
  if action == WARN then
    tell(self, v)
    if self.on_loop == "warn" then log_once(self, v) end
    return OK, v
  end
  add(self.counts, tool.counts, AT.loop_detections, 1)
  add(self.counts, tool.counts, counts.KINDS + v.number, 1)
  if self.on_loop ~= "warn" then
    refuse(self, tool, key, call, v)
    return BLOCK, v
  end
  tell(self, v)
  log_once(self, v)
  return OK, v
end

-- Calls --------------------------------------------------------------------------------------

local function raise_again(self, tool)
  add(self.counts, tool.counts, AT.refusals, 1)
  dependence.own(self.number)
  error(self.stopped, 0)
end

-- From here on it must be ended, by `finish` or `leave`.
local function go(self, ...)
  self.pending = self.pending + 1
  return ...
end

--- A call is about to be made.
-- @tparam table self the session
-- @tparam table tool `name`, `kind` (its number in C), `counts`
-- @param key of its arguments, for the guard
-- @tparam table|nil answer what the cache could answer, a box
-- @treturn cdata|nil the call, for `finish`; nil: nothing is guarded
-- @treturn number what to do, as in C: OK, REFRESH, or BLOCK: it has ended, and was not made
-- @treturn table|nil the verdict, if it is not "ok"
-- @raise a refusal
function _M.begin(self, tool, key, answer)
  if self.stopped then raise_again(self, tool) end
  local now = context.port.now()
  if self.idle_timeout then self.used = now end
  add(self.counts, tool.counts, AT.calls, 1)
  if not self.guard then return go(self, nil, OK) end
  local call = new_call()
  prints.name(call, tool.name, key)
  call.now, call.round, call.kind = now + self.offset, self.round, tool.kind
  call.cached, call.pending = answer and 1 or 0, self.pending
  local action = guard_check(self.guard, call, verdict)
  if action == OK then return go(self, call, OK) end
  local v
  action, v = judge(self, tool, key, call, answer, action)
  if action == BLOCK then return call, action, v end
  return go(self, call, action, v)
end

--- What a caller gets whose call was refused and who asked for no error: the last answer that was
-- none, or nil and the refusal.
-- @tparam table self the session
-- @tparam table tool as for `begin`
-- @param key as for `begin`
-- @tparam table|nil answer what the cache has
-- @tparam table v the verdict
-- @treturn table a box
function _M.in_place(self, tool, key, answer, v)
  answer = answer or self.trail:answer(tool, key)
  if answer and not answer.failed then return answer end
  return returns.box(nil, refusal.new(v, self.session_id, self.number))
end

--- Nothing came of a call: it was given up.
-- @tparam table self the session
-- @tparam cdata|nil call from `begin`
function _M.leave(self, call)
  self.pending = self.pending - 1
  if self.idle_timeout then self.used = context.port.now() end
  if not call or call.round == self.round then self.round = self.round + 1 end
end

--- A call has an answer.
-- @tparam table self the session
-- @tparam table tool as for `begin`
-- @param key as for `begin`
-- @tparam cdata|nil call from `begin`
-- @tparam string|table what came of it: a word, or the verdict, with that word as `outcome`
-- @tparam table answer a box
-- @tparam number print its fingerprint
-- @tparam number flags of the result, as in C
function _M.finish(self, tool, key, call, what, answer, print, flags)
  self.trail:add(tool, key, call and call.round or self.round, what, answer)
  _M.leave(self, call)
  if call and self.guard then guard_record(self.guard, call, print, flags) end
end

return _M

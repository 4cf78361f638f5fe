-- SPDX-License-Identifier: MIT

--- Sessions: what one agent does, from its first call to its last. Who runs in a session finds it
-- in `perigee.context`; tasks inherit it.
--
-- Calls in flight together are one round: a call begins a new one if any call of the current round
-- has ended. A tool calls `begin`, and then `finish`, or `leave` when nothing came of the call.
-- @module perigee.agent.session

local ffi = require "ffi"

local C = require("perigee.lib").core
local context = require "perigee.context"
local counts = require "perigee.agent.counts"
local events = require "perigee.events"
local guard = require "perigee.agent.guard"
local legible = require "perigee.agent.legible"
local log = require "perigee.log"
local messages = require "perigee.agent.messages"
local options = require "perigee.options"
local paths = require "perigee.agent.paths"
local prints = require "perigee.agent.prints"
local refusal = require "perigee.agent.refusal"
local returns = require "perigee.returns"
local trail_face = require "perigee.agent.trail"
local writes = require "perigee.agent.writes"

local kinds = options.kinds
local handlers = events.handlers
local AT, add = counts.AT, counts.add
local OK, REFRESH, BLOCK = C.PERIGEE_GUARD_OK, C.PERIGEE_GUARD_REFRESH, C.PERIGEE_GUARD_BLOCK
local WARN = C.PERIGEE_GUARD_WARN
local guard_check, guard_record = C.perigee_guard_check, C.perigee_guard_record

local _M = {}

--- The methods of a session.
_M.methods = {}

local methods = _M.methods
local mt = { __index = methods, __name = "perigee.agent.session" }

-- What a session has until that changes: there may be many, and most never do.
methods.on_loop = "raise"
methods.literal = false -- whether calls alone are evidence
methods.guard = false
methods.pending = 0     -- calls that have begun and not ended
methods.offset = 0      -- of its clock, from the port's
methods.closed = false
methods.stopped = false -- or the refusal that every call gets from now on
methods.scoped = false  -- whether it may have copies of its own
methods.idle_timeout = false -- seconds; then also `used`, when it was used last

local WARNED_MAX = 256 -- loops that are known to have been logged

local new_call, verdict = ffi.typeof "perigee_guard_call", ffi.new "perigee_guard_verdict"
local numbers = 0

-- Life ---------------------------------------------------------------------------------------

local SPEC = { session_id = kinds.name, loop_detection = kinds.boolean,
  on_loop = options.one_of { "raise", "warn", "short_circuit" }, idle_timeout = kinds.duration }
for name, kind in next, guard.LIMITS do SPEC[name] = kind end

--- Options of a session, for `options.check`.
_M.SPEC = SPEC

--- The limits that a session has: the seeds' ones, unless the caller says otherwise.
-- @tparam table opts options, checked before
-- @treturn cdata
function _M.limits(opts)
  local limits = guard.limits_of(opts)
  limits.repeats = opts.max_tool_repeats or 5
  limits.depth = opts.max_execution_depth or 50
  limits.refresh_by_hits = 1
  return limits
end

-- Those that end when nobody uses them, in a ring; and when they were looked at last.
local idle_ring, looked_at = { idle_timeout = math.huge }, 0
idle_ring.after, idle_ring.before = idle_ring, idle_ring

local function enter_ring(session)
  session.before, session.after = idle_ring.before, idle_ring
  session.before.after, session.after.before = session, session
end

local function leave_ring(session)
  if not session.after then return end
  session.before.after, session.after.before = session.after, session.before
  session.before, session.after = nil, nil
end

local function is_idle(session)
  return context.port.now() - session.used >= session.idle_timeout
end

-- Closes those that nobody has used for their time. Each is looked at once a second at most.
local function close_idle()
  local now = context.port.now()
  if idle_ring.after == idle_ring or now - looked_at < 1 and now >= looked_at then return end
  looked_at = now
  local session = idle_ring.after
  while session ~= idle_ring do
    local following = session.after
    if is_idle(session) then session:close() end
    session = following
  end
end

--- Makes a session.
-- @tparam table opts options, checked before
-- @tparam[opt] cdata handle its guard; default: a new one
-- @treturn table the session
function _M.new(opts, handle)
  close_idle()
  if opts.loop_detection ~= false then
    handle = handle or C.perigee_guard_new(_M.limits(opts))
    if handle == nil then error("perigee: out of memory", 0) end
    handle = ffi.gc(handle, C.perigee_guard_free)
  end
  numbers = numbers + 1
  local session = setmetatable({
    number = numbers,
    session_id = opts.session_id or ("session-%d"):format(numbers),
    guard = handle,
    counts = counts.new(),
    trail = trail_face.new(),
    round = 1,
  }, mt)
  if opts.on_loop then session.on_loop = opts.on_loop end
  if opts.evidence == "calls" then session.literal = true end
  if opts.idle_timeout and opts.idle_timeout < math.huge then
    session.idle_timeout, session.used = opts.idle_timeout, context.port.now()
    enter_ring(session)
  end
  return session
end

--- Whether a value is a session.
-- @param value anything
-- @treturn boolean
function _M.is(value)
  return type(value) == "table" and getmetatable(value) == mt
end

--- The session of the running code. A load belongs to the cache: it goes on when the session that
-- began it has been closed.
-- @treturn table|nil
-- @raise when it is closed
function _M.current()
  local session = context.session
  if session == nil then return nil end
  if session.idle_timeout and is_idle(session) then session:close() end
  if not session.closed then return session end
  if context.load ~= 0 then return nil end
  error(("agent: the session %q is closed"):format(session.session_id), 0)
end

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
  local v = { action = messages.ACTIONS[verdict.action], tool = tool.name }
  if verdict.kind == 0 then return v end
  guard.describe(v, verdict)
  if v.kind == "cycle" then v.steps = self.trail:steps(tool.name, v.period) end
  local is_of_tool = v.kind == "error" or v.kind == "stagnant"
  answer = answer or self.trail:answer(tool.name, key, is_of_tool)
  v.answer, v.failed = answer and legible.answer(answer), answer and answer.failed
  v.is_made = self.on_loop == "warn"
  local is_literal = self.literal and v.kind == "cycle"
  v.message = is_literal and messages.literal(v) or messages.text(v)
  return v
end

-- The call is not made. Returns nothing if the caller gets an answer in its place.
local function refuse(self, tool, key, call, v)
  C.perigee_guard_refuse(self.guard, call)
  add(self.counts, tool.counts, AT.refusals, 1)
  v.outcome = "refused"
  self.trail:add(tool.name, key, self.round, v, false)
  self.round, self.pending = self.round + 1, self.pending - 1
  if self.on_loop == "short_circuit" then return end
  self.stopped = refusal.new(v, self.session_id, self.number)
  error(self.stopped, 0)
end

-- Anything but "ok". Returns what is to be done, and the verdict.
local function judge(self, tool, key, call, answer)
  local action, kind = verdict.action, verdict.kind
  local v = describe(self, tool, key, answer)
  if kind == 0 or action == REFRESH then return action, v end
  tell(self, v)
  if action == WARN then
    if self.on_loop == "warn" then log_once(self, v) end
    return OK, v
  end
  add(self.counts, tool.counts, AT.loop_detections, 1)
  add(self.counts, tool.counts, counts.KINDS + kind, 1)
  if self.on_loop == "warn" then
    log_once(self, v)
    return OK, v
  end
  refuse(self, tool, key, call, v)
  return BLOCK, v
end

-- Calls --------------------------------------------------------------------------------------

--- A call is about to be made.
-- @tparam table self the session
-- @tparam table tool `name`, `kind` (its number in C), `counts`
-- @param key of its arguments, for the guard
-- @tparam table|nil answer what the cache could answer, a box
-- @treturn cdata|nil the call, for `finish`; nil: nothing is guarded
-- @treturn number what to do, as in C: OK, REFRESH, or BLOCK: answer without making it
-- @treturn table|nil the verdict, if it is not "ok"
-- @raise a refusal
function _M.begin(self, tool, key, answer)
  if self.stopped then
    add(self.counts, tool.counts, AT.refusals, 1)
    error(self.stopped, 0)
  end
  local now = context.port.now()
  if self.idle_timeout then self.used = now end
  add(self.counts, tool.counts, AT.calls, 1)
  if not self.guard then return nil, OK end
  local call = new_call()
  prints.name(call, tool.name, key)
  call.now, call.round, call.kind = now + self.offset, self.round, tool.kind
  call.cached, call.pending = answer and 1 or 0, self.pending
  self.pending = self.pending + 1
  local action = guard_check(self.guard, call, verdict)
  if action == OK then return call, OK end
  return call, judge(self, tool, key, call, answer)
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
  answer = answer or self.trail:answer(tool.name, key)
  if answer and not answer.failed then return answer end
  return returns.box(nil, refusal.new(v, self.session_id, self.number))
end

local function end_round(self, call)
  self.pending = self.pending - 1
  if call.round == self.round then self.round = self.round + 1 end
end

--- Nothing came of a call: it was given up.
-- @tparam table self the session
-- @tparam cdata|nil call from `begin`
function _M.leave(self, call)
  if call then end_round(self, call) else self.round = self.round + 1 end
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
  self.trail:add(tool.name, key, call and call.round or self.round, what, answer)
  _M.leave(self, call)
  if call and self.guard then guard_record(self.guard, call, print, flags) end
end

-- Methods ------------------------------------------------------------------------------------

local function check(self, method)
  if not _M.is(self) then
    error(("session:%s: call it with a colon, on a session"):format(method), 3)
  end
  return self
end

local function back_to(outer, ok, ...)
  context.session = outer
  if not ok then error((...), 0) end
  return ...
end

--- Runs a function in the session. Tasks that it spawns belong to it, too.
-- @tparam function fn the function
-- @param ... its arguments
-- @return its results
-- @raise its error, unchanged; that the session is closed
function methods:run(fn, ...)
  check(self, "run")
  options.argument("session:run", "fn", kinds.callable, fn, 2)
  if self.idle_timeout and is_idle(self) then self:close() end
  if self.closed then
    error(("session:run: the session %q is closed"):format(self.session_id), 2)
  end
  if self.idle_timeout then self.used = context.port.now() end
  local outer = context.session
  context.session = self
  return back_to(outer, pcall(fn, ...))
end

--- Ends the session: its own copies are forgotten, and calls in it raise. Closing twice does no
-- harm.
function methods:close()
  check(self, "close")
  if self.closed then return end
  self.closed = true
  leave_ring(self)
  if self.guard then
    C.perigee_guard_free(ffi.gc(self.guard, nil))
    self.guard = false
  end
  if self.scoped then writes.forget(paths.of_session(self.number)) end
end

--- Forgets all that was seen: a session that was stopped goes on. Its metrics stay.
function methods:reset()
  check(self, "reset")
  if self.guard then C.perigee_guard_reset(self.guard) end
  self.stopped, self.warned, self.trail = false, nil, trail_face.new()
end

--- There was progress: the counts of `max_tool_repeats` and `max_execution_depth` begin again.
function methods:progress()
  check(self, "progress")
  if self.guard then C.perigee_guard_progress(self.guard) end
end

--- What was done in the session.
-- @treturn table numbers by name: see `docs/api.md`
function methods:get_metrics()
  check(self, "get_metrics")
  return counts.table(self.counts)
end

return _M

-- SPDX-License-Identifier: MIT

--- Sessions: what one agent does, from its first call to its last. Who runs in a session finds it
-- in `perigee.context`; tasks inherit it. What happens in one: `perigee.agent.calls`.
-- @module perigee.agent.session

local ffi = require "ffi"

local C = require("perigee.lib").core
local atomic = require "perigee.atomic"
local context = require "perigee.context"
local counts = require "perigee.agent.counts"
local each = require("perigee.value.names").each
local guard = require "perigee.agent.guard"
local options = require "perigee.options"
local paths = require "perigee.agent.paths"
local trail_face = require "perigee.agent.trail"
local writes = require "perigee.agent.writes"

local kinds = options.kinds

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

local numbers = 0

local next_number = atomic(function()
  numbers = numbers + 1
  return numbers
end)

-- Life ---------------------------------------------------------------------------------------

local SPEC = { session_id = kinds.name, loop_detection = kinds.boolean,
  on_loop = options.one_of { "raise", "warn", "short_circuit" }, idle_timeout = kinds.duration }
for name, kind in each(guard.LIMITS) do SPEC[name] = kind end

--- Options of a session, for `options.check`.
_M.SPEC = SPEC

--- The limits that a session has: those of the Python library, unless the caller says otherwise.
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
local idle_ring, looked_at = {}, 0
idle_ring.after, idle_ring.before = idle_ring, idle_ring

local enter_ring = atomic(function(session)
  session.before, session.after = idle_ring.before, idle_ring
  session.before.after, session.after.before = session, session
end)

local leave_ring = atomic(function(session)
  if not session.after then return end
  session.before.after, session.after.before = session.after, session.before
  session.before, session.after = nil, nil
end)

-- Closes one that nobody has used for its time.
local function close_if_idle(session)
  if not session.idle_timeout or session.pending > 0 then return end
  if context.port.now() - session.used >= session.idle_timeout then session:close() end
end

-- Closes those that nobody has used for their time. Each is looked at once a second at most.
local function close_idle()
  local now = context.port.now()
  if idle_ring.after == idle_ring or now - looked_at < 1 and now >= looked_at then return end
  looked_at = now
  local session = idle_ring.after
  while session ~= idle_ring do
    local following = session.after
    close_if_idle(session)
    -- Who heard of that may have closed others.
    session = following.after and following or idle_ring.after
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
  local number = next_number()
  local session = setmetatable({
    number = number,
    session_id = opts.session_id or ("session-%d"):format(number),
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
  close_if_idle(session)
  if not session.closed then return session end
  if context.load ~= 0 then return nil end
  error(("agent: the session %q is closed"):format(session.session_id), 0)
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
  close_if_idle(self)
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
    C.perigee_guard_reset(self.guard) -- freed when nobody has it any more: a call may be at it
    self.guard = false
  end
  if self.scoped then writes.forget { paths = { paths.of_session(self.number) } } end
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

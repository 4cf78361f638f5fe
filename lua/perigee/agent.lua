-- SPDX-License-Identifier: MIT

--- Tools of agents: what they read is cached, what they write makes it old, and an agent that goes
-- in circles is stopped.
--
--     local agent = require "perigee.agent"
--     local get_cart = agent.cache { resource = "cart", ttl = 60, name = "get_cart" } (fetch_cart)
--     local add = agent.invalidator { resource = "cart", name = "add_to_cart" } (add_item)
--
--     agent.session({ max_tool_repeats = 5 }, function(session)
--       add("user_1", "laptop")
--       return get_cart "user_1"
--     end)
--
-- @module perigee.agent

local counts = require "perigee.agent.counts"
local definition = require "perigee.agent.definition"
local options = require "perigee.options"
local refusal = require "perigee.agent.refusal"
local sessions = require "perigee.agent.session"
local snapshots = require "perigee.agent.snapshots"
local trail = require "perigee.agent.trail"

local kinds = options.kinds

local _M = {}

_M.cache, _M.invalidator = definition.cache, definition.invalidator

local function check_options(where, opts)
  options.argument(where, "opts", kinds.list, opts, 3)
  options.check(where, opts, sessions.SPEC, 3)
  return opts
end

--- Opens a session, for who cannot put all that happens in it into one function.
-- @tparam[opt] table opts `session_id`, a label (`"session-1"` …); `loop_detection` (true);
--   `max_tool_repeats` (5, for answers that do not change); `max_execution_depth` (50 calls);
--   `on_loop`: `"raise"`, `"warn"` (logs, and runs on) or `"short_circuit"` (gives the last
--   answer); `evidence`: `"results"` or `"calls"`; `idle_timeout` (seconds; for ever); the limits
--   of `perigee.agent.guard`
-- @treturn table the session: `run`, `close`, `reset`, `progress`, `get_metrics`, `snapshot`
-- @raise on a mistake in the options
function _M.open(opts)
  return sessions.new(check_options("agent.open", opts or {}))
end

local function close(session, ok, ...)
  session:close()
  if not ok then error((...), 0) end
  return ...
end

local function run(opts, fn, ...)
  local session = sessions.new(opts)
  return close(session, pcall(session.run, session, fn, session, ...))
end

--- Runs a function in a session of its own, which is closed whatever happens.
-- @tparam[opt] table opts as for `open`
-- @tparam function fn `fn(session, ...)`
-- @param ... its further arguments
-- @return its results
-- @raise its error, unchanged; on a mistake in the options
function _M.session(opts, fn, ...)
  if options.is_callable(opts) then return run({}, opts, fn, ...) end
  check_options("agent.session", opts == nil and {} or opts)
  options.argument("agent.session", "fn", kinds.callable, fn, 2)
  return run(opts or {}, fn, ...)
end

--- Opens a session that goes on where another one was, in whatever process: see `session:snapshot`.
-- @tparam string bytes the snapshot, which may come from anywhere
-- @tparam[opt] table opts as for `open`; `session_id` is the old one's unless it is given
-- @treturn table|nil the session
-- @treturn string|nil why there is none
-- @raise on a mistake in the options
function _M.restore(bytes, opts)
  options.argument("agent.restore", "bytes", kinds.string, bytes, 2)
  return snapshots.restore(bytes, check_options("agent.restore", opts or {}))
end

--- What was done with all tools, in all sessions and outside.
-- @treturn table numbers by name: `calls`; `hits` (`hits_memory`, `hits_stale`, `hits_remote`),
--   `misses` (`coalesced` among them), `hit_rate`; `executed`, `executed_seconds`, `errors`;
--   `invalidations` (calls that wrote), `fence_rejects` (answers not kept because of them);
--   `refreshes` (`refreshes_confirmed`, `refreshes_changed`); `loop_detections`, `loops` (by kind),
--   `refusals`; `saved_calls`, `saved_seconds`
function _M.get_metrics()
  return counts.table()
end

--- Whether a value is the error of a call that was refused.
-- @param value anything
-- @treturn boolean
function _M.is_loop_error(value)
  return refusal.is(value)
end

local SESSION = { "a session", sessions.is }

local explanation_mt = { __name = "perigee.agent.explanation" }

function explanation_mt.__tostring(self)
  local metrics = self.metrics
  local head = ("session %q: %d calls, %d hits, %d executed, %d loops found, %d calls refused")
    :format(self.session_id, metrics.calls, metrics.hits, metrics.executed,
      metrics.loop_detections, metrics.refusals)
  local stopped = self.stopped and "\nstopped: " .. self.stopped.message or ""
  return head .. "\n" .. trail.lines(self.calls) .. stopped
end

--- What an agent did, and what it was told.
-- @tparam table session the session
-- @treturn table `session_id`, `metrics`, `stopped` (the refusal that stopped it), and `calls`, the
--   last 25: `number`, `round`, `tool`, `arguments` (text), `outcome` (`"hit"`, `"load"`, `"wait"`,
--   `"refresh"`, `"executed"`, `"refused"`), `answer` (text), `action`, and if that is not "ok":
--   `kind`, `count`, `period`, `since`, `loop_id`, `message`. `tostring` makes a text of it
function _M.explain(session)
  options.argument("agent.explain", "session", SESSION, session, 2)
  return setmetatable({ session_id = session.session_id, metrics = session:get_metrics(),
    stopped = session.stopped or nil, calls = session.trail:calls() }, explanation_mt)
end

return _M

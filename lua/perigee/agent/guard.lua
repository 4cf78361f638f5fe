-- SPDX-License-Identifier: MIT

--- Tells an agent's spending without learning from honest work: the face of `guard.h`.
--
--     local g = guard.new { stop = 10 }
--     local v = g:check { tool = "search", args = { "perigee" } }
--     if v.action == "block" or v.action == "stop" then
--       g:refuse(v)                      -- and tell the model v.message
--     else
--       g:record(v, search "perigee")
--     end
--
-- The same call with the same result taught nothing. Which results are the same, `result_key` may
-- say; which calls, `loop_key`. The rules: docs/design/0012-guard.md.
-- @module perigee.agent.guard

local bit = require "bit"
local each = require("perigee.value.names").each
local ffi = require "ffi"

local C = require("perigee.lib").core
local context = require "perigee.context"
local messages = require "perigee.agent.messages"
local options = require "perigee.options"
local prints = require "perigee.agent.prints"

local kinds = options.kinds

local _M = {}
local mt = { __index = _M, __name = "perigee.agent.guard" }

local ACTIONS, KINDS = messages.ACTIONS, messages.KINDS

--- What a tool may do, by name.
local CALL_KINDS = { read = C.PERIGEE_GUARD_READ, write = C.PERIGEE_GUARD_WRITE,
  exec = C.PERIGEE_GUARD_EXEC, poll = C.PERIGEE_GUARD_POLLS }

_M.CALL_KINDS = CALL_KINDS

local IS_ERROR, IS_TRANSIENT = C.PERIGEE_GUARD_IS_ERROR, C.PERIGEE_GUARD_IS_TRANSIENT
local WAS_CACHED = C.PERIGEE_GUARD_WAS_CACHED

local new_call = ffi.typeof "perigee_guard_call"

local LIMIT = { "a number of calls > 0, or math.huge",
  function(v) return type(v) == "number" and v > 0 end }

local LIMITS = { "warn", "block", "stop", "recur_warn", "recur_block", "stag_warn", "stag_block",
  "err_warn", "err_block", "stall_warn", "stall_block", "poll_block", "refresh_at", "veto_stop",
  "soft_calls", "max_calls" }

local SPEC = { clock = kinds.callable, loop_key = kinds.callable, result_key = kinds.callable,
  poll_gap = { "seconds > 0, or math.huge", LIMIT[2] },
  max_tool_repeats = LIMIT, max_execution_depth = LIMIT,
  evidence = options.one_of { "results", "calls" } }
for _, name in ipairs(LIMITS) do SPEC[name] = LIMIT end

--- The options of `new` that are limits, for those who take them along.
_M.LIMITS = {}
for name, kind in each(SPEC) do _M.LIMITS[name] = kind end
_M.LIMITS.clock, _M.LIMITS.loop_key, _M.LIMITS.result_key = nil, nil, nil

--- What `new` makes of its options, in C.
-- @tparam table opts checked before
-- @treturn cdata
local function limits_of(opts)
  local limits = ffi.new "perigee_guard_limits"
  C.perigee_guard_default_limits(limits)
  for _, name in ipairs(LIMITS) do limits[name] = opts[name] or limits[name] end
  limits.poll_gap = opts.poll_gap or limits.poll_gap
  limits.repeats = opts.max_tool_repeats or limits.repeats
  limits.repeats_strict = opts.max_tool_repeats and 1 or 0
  limits.depth = opts.max_execution_depth or limits.depth
  limits.by_calls = opts.evidence == "calls" and 1 or 0
  return limits
end
_M.limits_of = limits_of

local function wrap(opts, handle)
  if handle == nil then error("perigee: out of memory", 0) end
  return setmetatable({
    handle = ffi.gc(handle, C.perigee_guard_free),
    verdict = ffi.new "perigee_guard_verdict",
    clock = opts.clock or context.port.now,
    loop_key = opts.loop_key, result_key = opts.result_key,
  }, mt)
end

--- All of a guard in C as bytes.
-- @tparam cdata handle the guard
-- @treturn string
function _M.save(handle)
  local size = C.perigee_guard_save(handle, nil, 0)
  local bytes = ffi.new("char[?]", size)
  C.perigee_guard_save(handle, bytes, size)
  return ffi.string(bytes, size)
end

local why = ffi.new "const char *[1]"

--- A guard in C of what `save` wrote.
-- @tparam cdata limits its limits
-- @tparam string bytes from anywhere
-- @treturn cdata|nil the guard, which the caller owns
-- @treturn string|nil why there is none
function _M.load(limits, bytes)
  local handle = C.perigee_guard_restore(limits, bytes, #bytes, why)
  if handle == nil then return nil, ffi.string(why[0]) end
  return handle
end

--- Makes a guard.
-- @tparam[opt] table opts limits, in calls: `warn` (3), `block` (5), `stop` (8); `recur_warn` (4),
--   `recur_block` (8); `stag_warn` (6), `stag_block` (10); `err_warn` (4), `err_block` (6);
--   `stall_warn` (16), `stall_block` (28); `poll_block` (60), `poll_gap` (10 seconds); `refresh_at`
--   (3), `veto_stop` (4), `soft_calls` (100), `max_calls` (1000); `max_tool_repeats` and
--   `max_execution_depth` (none). `evidence`: `"results"`, or `"calls"` for the calls alone.
--   `clock()`: seconds. `loop_key(tool, args)`, `result_key(tool, result)`: what stands for them
-- @treturn table the guard
-- @raise on a mistake in the options
function _M.new(opts)
  opts = opts or {}
  options.argument("guard.new", "opts", kinds.list, opts, 2)
  options.check("guard.new", opts, SPEC, 2)
  return wrap(opts, C.perigee_guard_new(limits_of(opts)))
end

-- The call in C, by what `check` was given.
local function call_of(self, spec)
  local call, args = new_call(), spec.args
  if self.loop_key then args = self.loop_key(spec.tool, args) end
  prints.name(call, spec.tool, prints.key_of("guard:check", args))
  call.now, call.round = self.clock(), spec.round or 0
  call.kind = CALL_KINDS[spec.kind or "exec"]
  call.cached = spec.cached and 1 or 0
  return call
end

local function print_of(self, tool, result, failed)
  if failed then return prints.of_error(result) end
  if self.result_key then result = self.result_key(tool, result) end
  return prints.of(result)
end

-- Checking -------------------------------------------------------------------------------------

-- The guard in C. C would take nil for it, and much else.
local function handle_of(self, method)
  if type(self) == "table" and getmetatable(self) == mt then return self.handle end
  error(("guard:%s: call it with a colon, on a guard"):format(method), 3)
end

local CALL = { tool = kinds.name, kind = options.one_of { "read", "write", "exec", "poll" },
  round = { "a number that the calls in flight together share",
    function(v) return type(v) == "number" and v == v end } }

local function check_call(spec)
  options.argument("guard:check", "call", kinds.list, spec, 3)
  if type(spec.tool) ~= "string" or spec.tool == "" then
    options.fail("guard:check", "option \"tool\"", CALL.tool[1], spec.tool, 3)
  end
  local kind = spec.kind
  if kind and not CALL_KINDS[kind] then
    options.fail("guard:check", "option \"kind\"", CALL.kind[1], kind, 3)
  end
  local round = spec.round
  if round and not CALL.round[2](round) then
    options.fail("guard:check", "option \"round\"", CALL.round[1], round, 3)
  end
end

local function check_verdict(where, v)
  if type(v) == "table" and ffi.istype("perigee_guard_call", v.call) then return end
  options.fail(where, "verdict", "what guard:check has returned", v, 3)
end

--- What C says, as a table. It is read before anything is made.
-- @tparam cdata verdict from C
-- @treturn table `action`, and if there is something to say: `kind`, `number` (of the kind, in C),
--   `period`, `count`, `since`, `loop_id`
function _M.describe(verdict)
  local action, kind, period = verdict.action, verdict.kind, verdict.period
  local count, since = verdict.count, verdict.since
  local high, low = verdict.loop_high, verdict.loop_low
  if kind == 0 then return { action = ACTIONS[action] } end
  return { action = ACTIONS[action], kind = KINDS[kind], number = kind, period = period,
    count = count, since = since, loop_id = bit.tohex(high) .. bit.tohex(low) }
end

--- What to do with a call that is about to be made. Nothing is counted yet: `record` or `refuse`
-- must follow.
-- @tparam table spec `tool`, its name; `args`, its arguments (any value that can be a key); `kind`:
--   `"read"`, `"write"`, `"exec"` (default) or `"poll"`; `cached`: the cache could answer it;
--   `round`: a number that the calls in flight together share
-- @treturn table `action`: `"ok"`, `"warn"`, `"refresh"` (run it, although the cache could answer),
--   `"block"` (refuse it) or `"stop"` (refuse it, and whatever comes); and if it is not "ok":
--   `kind`, `period`, `count`, `since` (number of the call that it began with), `loop_id`,
--   `message`
-- @raise on arguments that cannot be a key
function _M:check(spec)
  local handle = handle_of(self, "check")
  check_call(spec)
  local call, verdict = call_of(self, spec), self.verdict
  C.perigee_guard_check(handle, call, verdict)
  local v = _M.describe(verdict)
  v.tool, v.call = spec.tool, call
  if v.kind then v.message = messages.text(v) end
  return v
end

--- The call was made, or answered by the cache.
-- @tparam table v from `check`
-- @param result what it gave: what cannot be a key is unlike any other result
-- @tparam[opt] table how `error`: it failed, and `result` says how; `transient`: it may work later;
--   `cached`: the cache answered
function _M:record(v, result, how)
  local handle = handle_of(self, "record")
  check_verdict("guard:record", v)
  local flags = 0
  if how then
    if how.error then flags = IS_ERROR end
    if how.transient then flags = flags + IS_TRANSIENT end
    if how.cached then flags = flags + WAS_CACHED end
  end
  C.perigee_guard_record(handle, v.call, print_of(self, v.tool, result, how and how.error), flags)
end

--- The call was refused. That counts as one more of the same.
-- @tparam table v from `check`
function _M:refuse(v)
  local handle = handle_of(self, "refuse")
  check_verdict("guard:refuse", v)
  C.perigee_guard_refuse(handle, v.call)
end

--- The counts of `max_tool_repeats` and `max_execution_depth` begin again.
function _M:progress()
  C.perigee_guard_progress(handle_of(self, "progress"))
end

--- Everything is forgotten.
function _M:reset()
  C.perigee_guard_reset(handle_of(self, "reset"))
end

--- What the guard has seen.
-- @treturn table `calls`, `stall` (calls since anything new), `vetoes` (refused since then),
--   `bytes`
function _M:stats()
  local handle = handle_of(self, "stats")
  return {
    calls = C.perigee_guard_calls(handle), stall = C.perigee_guard_stall(handle),
    vetoes = C.perigee_guard_vetoes(handle), bytes = C.perigee_guard_bytes(handle),
  }
end

--- All of it as bytes, for `restore`. Limits are not part of them, nor is the clock: that of the
-- guard that takes them must go on from this one's.
-- @treturn string
function _M:snapshot()
  return _M.save((handle_of(self, "snapshot")))
end

--- Makes a guard from a snapshot, which may come from anywhere.
-- @tparam string bytes from `snapshot`
-- @tparam[opt] table opts as for `new`
-- @treturn table|nil the guard
-- @treturn string|nil why there is none
function _M.restore(bytes, opts)
  opts = opts or {}
  options.argument("guard.restore", "bytes", kinds.string, bytes, 2)
  options.argument("guard.restore", "opts", kinds.list, opts, 2)
  options.check("guard.restore", opts, SPEC, 2)
  local handle, reason = _M.load(limits_of(opts), bytes)
  if not handle then return nil, "guard.restore: bytes " .. reason end
  return wrap(opts, handle)
end

return _M

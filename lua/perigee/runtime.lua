-- SPDX-License-Identifier: MIT

--- What everything that waits is written against.
--
-- A **port** is a table of functions, the same for every event loop; `context.port` is the one
-- in force:
--
-- - `name`: `"libev"`, `"openresty"` (inside nginx), `"none"` (plain code: waiting blocks),
--   `"virtual"` (`perigee.testing`);
-- - `now()`: monotonic seconds, of this turn of the loop;
-- - `can_wait()` -> a ticket (a positive number) for the caller's next park, or nil and why not;
-- - `park(ticket [, timeout])` -> true when the ticket was unparked (also before the park) or is
--   stale (a finalizer that tries to wait takes it away): the caller looks again; false after
--   `timeout` seconds; raises the plain string `"cancelled"` in a cancelled task;
-- - `wait(ticket [, timeout])`: the same, but returns nil and what `park` would raise;
-- - `unpark(ticket)`: wakes it in the next turn; a stale ticket is ignored;
-- - `spawn(fn, a, b)`: starts internal work at once, which runs until it first waits. It
--   belongs to the outermost run, inherits `context.load` and `context.session`, and should
--   not raise. In plain code it runs in place; inside nginx in a timer, soon.
--
-- Where callers run loads themselves (inside nginx), it has more: `perigee.runtime.openresty`.
-- @module perigee.runtime

local context = require "perigee.context"
local hooks = require "perigee.runtime.hooks"

local _M = {}

local KNOWN = { libev = true, none = true, virtual = true, openresty = true }

--- The clock of everything that expires (`perigee_clock`).
_M.clock = require "perigee.runtime.clock"

--- The name of the runtime in force.
-- @treturn string `"libev"`, `"openresty"`, `"none"` or `"virtual"`
function _M.name()
  return context.port.name
end

--- The runtime that `perigee.run` is to use: PERIGEE_RUNTIME, or libev.
-- @treturn string
-- @raise when PERIGEE_RUNTIME names no runtime of this build
function _M.choice()
  local wanted = os.getenv("PERIGEE_RUNTIME")
  if not wanted or wanted == "" then return "libev" end
  if not KNOWN[wanted] then
    error(("PERIGEE_RUNTIME is '%s'; this build has libev, none and virtual"):format(wanted), 0)
  end
  return wanted
end

--- Asks to be called before each outermost run begins. It must not wait.
-- @tparam function fn
function _M.on_begin(fn)
  hooks.begin[#hooks.begin + 1] = fn
end

--- Asks to be called once per turn of the loop, after the clock moved and before tasks go on.
-- @tparam function fn returns in how many seconds it wants the next turn at the latest: 0 when
-- work is left, nil when it does not care. It must not wait.
function _M.on_turn(fn)
  hooks.turn[#hooks.turn + 1] = fn
end

--- Asks to be called before the loop waits, when every task that could go on has done so. It must
-- not wait; what it spawns may.
-- @tparam function fn
function _M.on_wait(fn)
  hooks.wait[#hooks.wait + 1] = fn
end

--- Asks to be called at the end of each outermost run, while what runs behind the callers' backs
-- (`port.spawn`) still goes on; it may wait for that.
-- @tparam function fn
function _M.on_ending(fn)
  hooks.ending[#hooks.ending + 1] = fn
end

--- Asks to be called in the last task of each outermost run, where it may wait.
-- @tparam function fn
function _M.on_stop(fn)
  hooks.stop[#hooks.stop + 1] = fn
end

return _M

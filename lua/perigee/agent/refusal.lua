-- SPDX-License-Identifier: MIT

--- The error of a call that was refused: a table, so that a program can tell it from what a tool
-- raises, and a text for the model.
-- @module perigee.agent.refusal

local _M = {}

local CODE = "agent_loop_detected"

local mt = { __name = "perigee.agent.refusal" }

function mt.__tostring(self) return self.message end

--- Makes one.
-- @tparam table v a verdict, with `message`
-- @tparam string session_id whose call it was
-- @tparam number session number of the session
-- @treturn table `code`, `kind`, `tool`, `count`, `period`, `since`, `loop_id`, `action`,
--   `message`, `session_id`
function _M.new(v, session_id, session)
  return setmetatable({ code = CODE, kind = v.kind, tool = v.tool, count = v.count,
    period = v.period, since = v.since, loop_id = v.loop_id, action = v.action,
    message = v.message, session_id = session_id, session = session }, mt)
end

--- Whether a value is such an error.
-- @param value anything
-- @treturn boolean
function _M.is(value)
  return type(value) == "table" and getmetatable(value) == mt
end

return _M

-- SPDX-License-Identifier: MIT

--- What a guard says to the model that made the call: what repeated, how often, over which period,
-- and what to do instead.
-- @module perigee.agent.messages

local C = require("perigee.lib").core

local _M = {}

--- The names of actions, and of kinds, by their numbers in C.
_M.ACTIONS = {
  [C.PERIGEE_GUARD_OK] = "ok", [C.PERIGEE_GUARD_WARN] = "warn",
  [C.PERIGEE_GUARD_REFRESH] = "refresh", [C.PERIGEE_GUARD_BLOCK] = "block",
  [C.PERIGEE_GUARD_STOP] = "stop",
}
_M.KINDS = {
  [C.PERIGEE_GUARD_CYCLE] = "cycle", [C.PERIGEE_GUARD_RECURRENCE] = "recurrence",
  [C.PERIGEE_GUARD_STAGNANT] = "stagnant", [C.PERIGEE_GUARD_ERROR] = "error",
  [C.PERIGEE_GUARD_STALL] = "stall", [C.PERIGEE_GUARD_POLL] = "poll",
  [C.PERIGEE_GUARD_STICKY] = "sticky", [C.PERIGEE_GUARD_BUDGET] = "budget",
  [C.PERIGEE_GUARD_REPEAT] = "repeat", [C.PERIGEE_GUARD_DEPTH] = "depth",
}

local SUFFIXES = { "st", "nd", "rd" }

local function ordinal(n)
  local suffix = n % 100 - n % 10 ~= 10 and SUFFIXES[n % 10] or "th"
  return ("%d%s"):format(n, suffix)
end

local SAID = {
  cycle = function(v)
    if v.steps and v.period > 1 then
      return ("Cycle detected: %s. It comes round for the %s time, with the same results")
        :format(v.steps, ordinal(v.count))
    end
    if v.period == 1 then
      return ("%s was called %d times in a row with the same arguments and gave the same result")
        :format(v.tool, v.count)
    end
    return ("a sequence of %d steps, %s among them, comes round for the %s time, with the same "
      .. "results"):format(v.period, v.tool, ordinal(v.count))
  end,
  recurrence = function(v)
    return ("%s was called %d times with the same arguments since call %d, and nothing else came "
      .. "of it"):format(v.tool, v.count, v.since)
  end,
  stagnant = function(v)
    return ("%d calls of %s with different arguments gave the same result"):format(v.count, v.tool)
  end,
  error = function(v)
    return ("%s has failed %d times in a row with the same error"):format(v.tool, v.count - 1)
  end,
  stall = function(v)
    return ("the last %d calls brought nothing that was not known"):format(v.count - 1)
  end,
  poll = function(v)
    return ("%s was asked %d times, and its answer did not change"):format(v.tool, v.count)
  end,
  sticky = function(v)
    return ("%s was refused with these arguments before, and nothing was learned since")
      :format(v.tool)
  end,
  budget = function(v) return ("this is call %d of the session"):format(v.count) end,
  ["repeat"] = function(v)
    return ("%s was called %d times with the same arguments"):format(v.tool, v.count)
  end,
  depth = function(v) return ("this is call %d since there was progress"):format(v.count) end,
}

local ADVICE = {
  cycle = "use what is known, change the plan, or say what is missing",
  recurrence = "use the result that is known, or say what is missing",
  stagnant = "the arguments make no difference: look for it another way",
  error = "the arguments make no difference: read the error, and do something about its cause",
  stall = "stop gathering: act on what is known, or say what is missing",
  poll = "wait for longer, or go on without it",
  sticky = "do something else",
  budget = "finish with what is known",
  ["repeat"] = "use the result that is known, or say what is missing",
  depth = "finish with what is known",
}

local NOTHING_KNOWN = "read the error, do something about its cause, or say what is missing"

-- Of a call that failed, no result is known.
local function advice(v)
  local counts_on_result = v.kind == "cycle" or v.kind == "recurrence" or v.kind == "repeat"
  return v.failed and counts_on_result and NOTHING_KNOWN or ADVICE[v.kind]
end

local LEADS = {
  warn = "Careful", refresh = "Careful", block = "Refused", stop = "Stopped",
}

--- The message of a verdict.
-- @tparam table v `action`, `kind`, `tool`, `period`, `count`, `since`; if they are known, `steps`
--   of a cycle, `answer`, what the call gave the last time, and whether that `failed`; `is_made`:
--   the call is made, whatever the action is
-- @treturn string
function _M.text(v)
  local answer = v.answer and (" The last answer was %s."):format(v.answer) or ""
  local lead = v.is_made and "Careful" or LEADS[v.action]
  return ("%s: %s.%s Instead: %s."):format(lead, SAID[v.kind](v), answer, advice(v))
end

--- The message of the rule by which any sequence of calls that comes twice is a loop.
-- @tparam table v with `steps`
-- @treturn string
function _M.literal(v)
  return "Cycle detected: " .. v.steps
end

return _M

-- SPDX-License-Identifier: MIT

--- What came of a call: its answer, as a box of `perigee.value.returns`; how the guard sees it; how
-- the caller gets it.
-- @module perigee.agent.outcome

local C = require("perigee.lib").core
local calls = require "perigee.agent.calls"
local each = require("perigee.value.names").each
local log = require "perigee.log"
local options = require "perigee.options"
local prints = require "perigee.agent.prints"
local refusal = require "perigee.agent.refusal"
local returns = require "perigee.value.returns"

local error, pcall, select, type, unpack = error, pcall, select, type, unpack
local box = returns.box

local _M = {}

local IS_ERROR, IS_TRANSIENT = C.PERIGEE_GUARD_IS_ERROR, C.PERIGEE_GUARD_IS_TRANSIENT
local WAS_CACHED = C.PERIGEE_GUARD_WAS_CACHED

--- The answer of a function that returned, or raised.
-- @tparam boolean ok from pcall
-- @param ... from pcall
-- @treturn table the answer
function _M.of(ok, ...)
  local answer = box(...)
  if not ok then
    answer.failed = "raised"
  elseif answer[1] == nil and answer[2] ~= nil then
    answer.failed = "returned"
  end
  return answer
end

--- The error of an answer.
-- @tparam table answer that has `failed`
-- @return the error
function _M.error_of(answer)
  if answer.failed == "raised" then return answer[1] end
  return answer[2]
end

--- Returns what an answer holds, or raises it.
-- @tparam table answer the answer
-- @return its results
function _M.give(answer)
  if answer.failed == "raised" then error(answer[1], 0) end
  return returns.unpack(answer)
end

-- What goes away by itself, unless somebody knows better.
local function classify(err)
  return (err == "timeout" or err == "cancelled") and "transient" or "error"
end

local function class_of(tool, err)
  if not tool.classify then return classify(err) end
  local class = tool.classify(err)
  if class ~= "error" and class ~= "transient" then
    options.fail("agent", "the result of option \"classify\"", "\"error\" or \"transient\"", class,
      -1)
  end
  return class
end
_M.class_of = class_of

-- The flags of an answer, as in C.
local function flags_of(tool, answer, cached)
  local flags = cached and WAS_CACHED or 0
  if not answer.failed then return flags end
  if class_of(tool, _M.error_of(answer)) == "transient" then flags = flags + IS_TRANSIENT end
  return flags + IS_ERROR
end

-- A result that was made a key by the user's function, or stands for itself.
local function result_of(tool, answer)
  local n = answer.n
  if tool.result_key then return tool.result_key(unpack(answer, 1, n)) end
  if n == 1 then return answer[1] end
  return { n = n, unpack(answer, 1, n) }
end

--- The fingerprint of an answer; it is made once.
-- @tparam table tool with `result_key`, if it has one
-- @tparam table answer the answer
-- @treturn number
-- @raise what `result_key` raises
function _M.print(tool, answer)
  local print = answer.print
  if print then return print end
  if answer.failed then
    print = prints.of_error(_M.error_of(answer))
  else
    print = prints.of(result_of(tool, answer))
  end
  answer.print = print
  return print
end

local function evidence(tool, answer, cached)
  return _M.print(tool, answer), flags_of(tool, answer, cached)
end

-- What the user's functions say of an answer. When they fail, it is unlike any other: it is given.
local function evidence_of(tool, answer, cached)
  local ok, print, flags = pcall(evidence, tool, answer, cached)
  if ok then return print, flags end
  log.error(("%s: the tool %q: %s"):format(tool.where, tool.name, tostring(print)))
  return prints.of_nothing(), cached and WAS_CACHED or 0
end

-- Neither says anything about the tool.
local function is_no_answer(answer)
  if not answer.failed then return false end
  local err = _M.error_of(answer)
  return err == "cancelled" and answer.failed == "raised" or refusal.is(err)
end

--- Tells a session what came of a call.
-- @tparam table session the session
-- @tparam table tool the tool
-- @param key of the arguments, for the guard
-- @tparam cdata|nil call from `session.begin`
-- @tparam table|nil v the verdict, from there too
-- @tparam string word what came of it
-- @tparam table answer the answer
-- @tparam boolean cached whether the cache gave it
function _M.tell(session, tool, key, call, v, word, answer, cached)
  if is_no_answer(answer) then return calls.leave(session, call) end
  if v then v.outcome = word end
  if answer.print and not answer.failed then
    return calls.finish(session, tool, key, call, v or word, answer, answer.print,
      cached and WAS_CACHED or 0)
  end
  local print, flags = evidence_of(tool, answer, cached)
  calls.finish(session, tool, key, call, v or word, answer, print, flags)
end

--- Whether two answers are the same to the guard.
-- @tparam table tool the tool
-- @tparam table a an answer
-- @tparam table b an answer
-- @treturn boolean
function _M.are_same(tool, a, b)
  return (evidence_of(tool, a, false)) == (evidence_of(tool, b, false))
end

-- Hints --------------------------------------------------------------------------------------

local HINTS = { ttl = true, tags = true, cache = true }

local function are_hints(value)
  if type(value) ~= "table" or next(value) == nil then return false end
  for name in each(value) do
    if not HINTS[name] then return false end
  end
  return true
end

--- Takes the hints out of what a function returned: `value, nil, { ttl =, tags =, cache = }`.
-- @tparam boolean ok from pcall
-- @param ... from pcall
-- @treturn table the answer
-- @treturn table|nil the hints
function _M.with_hints(ok, ...)
  local _, err, hints = ...
  if ok and err == nil and select("#", ...) == 3 and are_hints(hints) then
    return box((...)), hints
  end
  return _M.of(ok, ...)
end

return _M

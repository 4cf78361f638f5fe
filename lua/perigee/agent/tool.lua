-- SPDX-License-Identifier: MIT

--- Tools that read: their answers are cached, and in a session their calls are guarded.
--
-- A tool is { name, kind, scoped, cache, tags_of, key_of, counts, … }: what `wrap` makes of its
-- options. Its answers are boxes of `perigee.value.returns`. A call is first *served*, from memory,
-- and if that cannot be, *executed*; the first part is compiled and makes no garbage.
-- @module perigee.agent.tool

local C = require("perigee.lib").core
local calls = require "perigee.agent.calls"
local context = require "perigee.context"
local counts = require "perigee.agent.counts"
local dependence = require "perigee.agent.dependence"
local keys = require "perigee.value.keys"
local loading = require "perigee.agent.loading"
local outcome = require "perigee.agent.outcome"
local paths = require "perigee.agent.paths"
local prints = require "perigee.agent.prints"
local returns = require "perigee.value.returns"
local sessions = require "perigee.agent.session"
local writes = require "perigee.agent.writes"

local error, pcall, select = error, pcall, select
local is_box = returns.is_box
local AT, add, hit = counts.AT, counts.add, counts.hit
local REFRESH, BLOCK = C.PERIGEE_GUARD_REFRESH, C.PERIGEE_GUARD_BLOCK
local give = outcome.give

local _M = {}

-- Sources of answers that nothing was executed for, and where they are counted.
local HITS = { memory = AT.hits_memory, stale = AT.hits_stale, remote = AT.hits_remote,
  shared = AT.hits_remote }

-- Calls --------------------------------------------------------------------------------------

-- Why a call is not served from memory: see `perigee.agent.loading`. In a session it has `call` and
-- `verdict` from there.
local function pending_of(session, key, store_key, guard_key)
  return { session = session, key = key, store_key = store_key, guard_key = guard_key,
    call = nil, verdict = nil, refresh = false, alone = false }
end

local function store_key_of(tool, session, key)
  if tool.scoped then return keys.two("agent.cache", session.number, key) end
  return key
end

-- Only who is in a load around this one asks how long an answer will be kept.
local function hand_up(tool, session, key, store_key, answer, ...)
  local around = dependence.around()
  if not around then return end
  local left = tool.cache.store:look(store_key, 0)
  dependence.hand_up(around, tool, session, key, tool.tags_of(...), answer, left)
end

-- In a session.
local function serve_guarded(tool, session, key, guard_key)
  local store_key, store = store_key_of(tool, session, key), tool.cache.store
  local left, value = store:look(store_key, 0)
  local answer = left and left > 0 and is_box(value) and value or nil
  local call, action, v = calls.begin(session, tool, guard_key, answer)
  if action == BLOCK then return calls.in_place(session, tool, guard_key, answer, v) end
  if answer and action ~= REFRESH then
    store:get(store_key, 0) -- counts, and tells the policy
    hit(session.counts, tool.counts, AT.hits_memory)
    outcome.tell(session, tool, guard_key, call, v, "hit", answer, true)
    return answer
  end
  local pending = pending_of(session, key, store_key, guard_key)
  pending.call, pending.verdict, pending.refresh = call, v, action == REFRESH
  return nil, pending
end

--- Answers a call from memory, if it may be.
-- @tparam table tool the tool
-- @tparam string|number|boolean key of its arguments
-- @param guard_key of its arguments, for the guard
-- @treturn table|nil the answer
-- @treturn table|nil why there is none, for `execute`
-- @raise a refusal; that the session is closed
local function serve(tool, key, guard_key)
  local session = sessions.current()
  if session then
    if tool.scoped then session.scoped = true end
    return serve_guarded(tool, session, key, guard_key)
  end
  if tool.scoped then return nil, pending_of(nil, key, nil, guard_key) end
  local slot, value = tool.cache.store:get(key, 0)
  if slot < 0 or not is_box(value) then return nil, pending_of(nil, key, key, guard_key) end
  add(nil, tool.counts, AT.calls, 1)
  hit(nil, tool.counts, AT.hits_memory)
  return value
end

local function count_source(tool, pending, before, answer, source)
  local session = pending.session and pending.session.counts
  if HITS[source] then return hit(session, tool.counts, HITS[source]) end
  if not pending.refresh then
    add(session, tool.counts, AT.misses, 1)
    if source == "wait" then add(session, tool.counts, AT.coalesced, 1) end
  end
  if not before or answer.failed then return end
  local same = outcome.are_same(tool, answer, before)
  add(session, tool.counts, same and AT.refreshes_confirmed or AT.refreshes_changed, 1)
end

-- Tells the session.
local function finish(tool, pending, answer, source)
  local word = HITS[source] and "hit" or pending.refresh and "refresh" or source
  outcome.tell(pending.session, tool, pending.guard_key, pending.call, pending.verdict, word,
    answer, HITS[source] ~= nil)
end

-- What is not cached: a tool of a session's, outside any session.
local function call_straight(tool, key, ...)
  local began, around = context.port.now(), dependence.around()
  if around then dependence.depend(around, tool, key, tool.tags_of(...)) end
  local answer = outcome.with_hints(pcall(tool.fn, ...))
  loading.count(tool, began, answer.failed)
  return give(answer)
end

--- Makes a call that could not be served.
-- @tparam table tool the tool
-- @tparam table pending from `serve`
-- @param ... its arguments
-- @return what it gave
-- @raise what it raised
local function execute(tool, pending, ...)
  local session = pending.session
  if not session then add(nil, tool.counts, AT.calls, 1) end
  if not pending.store_key then return call_straight(tool, pending.key, ...) end
  local _, before
  if pending.refresh then _, before = tool.cache.store:look(pending.store_key, 0) end
  local made, list = pcall(tool.tags_of, ...)
  if not made then
    if session then calls.leave(session, pending.call) end
    error(list, 0)
  end
  local answer, source = loading.fetch(tool, pending, list, select("#", ...), ...)
  if session then finish(tool, pending, answer, source) end
  count_source(tool, pending, is_box(before) and before, answer, source)
  hand_up(tool, session, pending.key, pending.store_key, answer, ...)
  return give(answer)
end

--- A fresh call: in a session it is guarded like any other.
-- @tparam table tool the tool
-- @param ... its arguments
-- @return what it gave
function _M.refresh(tool, ...)
  local key, session = tool.key_of(...), sessions.current()
  local guard_key = tool.guard_key_of(key, ...)
  if tool.scoped and not session then return execute(tool, pending_of(nil, key), ...) end
  if tool.scoped then session.scoped = true end
  local pending = pending_of(session, key, store_key_of(tool, session, key), guard_key)
  pending.refresh, pending.alone = true, true
  if session then
    local action
    pending.call, action, pending.verdict = calls.begin(session, tool, guard_key, nil)
    if action == BLOCK then
      return give(calls.in_place(session, tool, guard_key, nil, pending.verdict))
    end
  end
  return execute(tool, pending, ...)
end

--- Forgets the answer to a call. What runs now is not kept.
-- @tparam table tool the tool
-- @param ... its arguments
-- @treturn boolean true
-- @treturn string|nil why it is not known that the remote cache forgot it, too
function _M.forget(tool, ...)
  local key, session = tool.key_of(...), tool.scoped and sessions.current()
  if tool.scoped and not session then return true end
  local path = paths.of_call(tool.mark, key)
  if session then path = paths.of_session(session.number, path) end
  writes.forget { paths = { path }, everywhere = not tool.scoped, tool = tool.name }
  return tool.cache:delete(store_key_of(tool, session, key))
end

--- Forgets all answers, and what was made of them.
-- @tparam table tool the tool
-- @treturn boolean true
-- @treturn string|nil why it is not known that the remote cache forgot them, too
function _M.clear(tool)
  writes.forget { paths = { paths.of_call(tool.mark) }, everywhere = true, tool = tool.name }
  return tool.cache:clear()
end

-- By number of arguments: the first ones are compiled from their head, one with `...` never is.

local function answered(tool, answer, key, ...)
  if context.load ~= 0 then
    local session = tool.scoped and context.session or nil
    hand_up(tool, session, key, store_key_of(tool, session, key), answer, ...)
  end
  return give(answer)
end

local CALLS = {}

CALLS[0] = function(tool, where)
  local key = keys.encode(where, 3, 0)
  return function()
    local answer, pending = serve(tool, key, key)
    if pending then return execute(tool, pending) end
    return answered(tool, answer, key)
  end
end

CALLS[1] = function(tool, where)
  return function(a)
    local key = keys.one(where, a)
    local answer, pending = serve(tool, key, key)
    if pending then return execute(tool, pending, a) end
    return answered(tool, answer, key, a)
  end
end

CALLS[2] = function(tool, where)
  return function(a, b)
    local key = keys.two(where, a, b)
    local answer, pending = serve(tool, key, key)
    if pending then return execute(tool, pending, a, b) end
    return answered(tool, answer, key, a, b)
  end
end

CALLS[3] = function(tool, where)
  return function(a, b, c)
    local key = keys.three(where, a, b, c)
    local answer, pending = serve(tool, key, key)
    if pending then return execute(tool, pending, a, b, c) end
    return answered(tool, answer, key, a, b, c)
  end
end

local function call_with_any(tool)
  return function(...)
    local key = tool.key_of(...)
    local answer, pending = serve(tool, key, tool.guard_key_of(key, ...))
    if pending then return execute(tool, pending, ...) end
    return answered(tool, answer, key, ...)
  end
end

--- Makes the call of a tool.
-- @tparam table tool the tool
-- @tparam string where the function's name, for messages
-- @tparam number|false count of its arguments, if they are the key as they stand
-- @treturn function
-- @treturn number|nil how many arguments it takes, if that is known
function _M.call(tool, where, count)
  local by_count = CALLS[count]
  if by_count then return by_count(tool, where), count end
  return call_with_any(tool)
end

--- Where a refusal's key comes from: the arguments' own key, or what `loop_key` makes of them.
-- @tparam string where the function's name, for messages
-- @tparam function|nil loop_key of the user's
-- @treturn function `guard_key_of(key, ...)`
function _M.guard_key(where, loop_key)
  if not loop_key then return function(key) return key end end
  return function(_, ...) return prints.key_of(where, loop_key(...)) end
end

return _M

-- SPDX-License-Identifier: MIT

--- Tools that read: their answers are cached, and in a session their calls are guarded.
--
-- A tool is { name, kind, scoped, cache, tags_of, key_of, counts, … }: what `wrap` makes of its
-- options. Its answers are boxes of `perigee.returns`. A call is first *served*, from memory, and
-- if that cannot be, *executed*; the first part is compiled and makes no garbage.
-- @module perigee.agent.tool

local C = require("perigee.lib").core
local calls = require "perigee.agent.calls"
local context = require "perigee.context"
local counts = require "perigee.agent.counts"
local dependence = require "perigee.agent.dependence"
local flight = require "perigee.flight"
local keys = require "perigee.keys"
local load = require "perigee.load"
local log = require "perigee.log"
local options = require "perigee.options"
local outcome = require "perigee.agent.outcome"
local paths = require "perigee.agent.paths"
local prints = require "perigee.agent.prints"
local refusal = require "perigee.agent.refusal"
local returns = require "perigee.returns"
local sessions = require "perigee.agent.session"
local tags = require "perigee.tags"
local writes = require "perigee.agent.writes"

local error, pcall, select, type, unpack = error, pcall, select, type, unpack
local is_box = returns.is_box
local AT, add, hit = counts.AT, counts.add, counts.hit
local REFRESH, BLOCK = C.PERIGEE_GUARD_REFRESH, C.PERIGEE_GUARD_BLOCK
local give = outcome.give

local _M = {}

-- Sources of answers that nothing was executed for, and where they are counted.
local HITS = { memory = AT.hits_memory, stale = AT.hits_stale, remote = AT.hits_remote,
  shared = AT.hits_remote }

-- Loading ------------------------------------------------------------------------------------

local DURATION = options.kinds.duration

-- How long an error is kept: seconds, or nil.
local function neg_ttl(tool, err)
  local neg = tool.neg_errors
  if type(neg) == "number" then
    return outcome.class_of(tool, err) ~= "transient" and neg or nil
  end
  neg = neg(err)
  if not neg then return nil end
  return options.result("agent.cache", "the result of option \"neg_errors\"", DURATION, neg)
end

-- The same. Nothing that befell the caller is kept; when the user's function fails, nothing is.
local function keeps_error(tool, err)
  if not tool.neg_errors or err == "cancelled" or flight.is_deadlock(err) then return nil end
  local ok, ttl = pcall(neg_ttl, tool, err)
  if ok then return ttl end
  log.error(("the tool %q: %s"):format(tool.name, tostring(ttl)))
end

-- What a load has learned as tags of its entry: in a session's own copy also the session's.
local function learned_by(spec)
  local session = spec.session
  if not session then return spec.learned end
  local list = {}
  for i = 1, #spec.learned do
    list[2 * i - 1] = spec.learned[i]
    list[2 * i] = paths.of_session(session.number, spec.learned[i])
  end
  return list
end

-- Whether anything that it stands under was written since it began.
local function is_old(record, list)
  return not (writes.may_keep(record.spec.tags, record.began) and
    writes.may_keep(list, record.began))
end

-- What is being written while it was read is handed out and not kept.
local function is_fenced(tool, record, list)
  local marked = writes.are_marked(record.spec.tags, tool.cache, record.key) or
    writes.are_marked(list, tool.cache, record.key)
  if marked or is_old(record, list) then
    local session = context.session
    add(session and session.counts, tool.counts, AT.fence_rejects, 1)
  end
  return marked
end

-- What the cache is told of an answer: as a loader tells it.
local function hints_of(tool, record, answer, ttl, keep)
  local spec = record.spec
  local list, left = learned_by(spec), spec.deadline - context.port.now()
  if #spec.learned > 0 then answer.tags = spec.learned end
  answer.owner = spec.owner
  if is_fenced(tool, record, list) or not spec.keep or left <= 0 then keep = false end
  return { ttl = keep and math.min(ttl or tool.ttl, left) or nil, tags = list, cache = keep }
end

local function check_hints(hints)
  if hints.ttl ~= nil then options.result("agent.cache", "hints.ttl", DURATION, hints.ttl) end
  if hints.tags ~= nil then options.result("agent.cache", "hints.tags", tags.LIST, hints.tags) end
end

local function count_executed(tool, seconds, failed)
  local session = context.session and context.session.counts
  add(session, tool.counts, AT.executed, 1)
  add(session, tool.counts, AT.executed_seconds, seconds)
  if failed then add(session, tool.counts, AT.errors, 1) end
end

local UNKEPT = { cache = false }

-- An error that is not kept reaches everybody who waits as it would without a cache; unless it is
-- not for everybody: one session's, or older than what somebody may have come after.
local function pass_on(record, answer)
  local spec, err = record.spec, outcome.error_of(answer)
  answer.owner = refusal.is(err) and err.session or spec.owner
  answer.is_old = is_old(record, learned_by(spec))
  if answer.owner or answer.is_old then return answer, nil, UNKEPT end
  if answer.failed == "raised" then error(err, 0) end
  return returns.pack(unpack(answer, 1, answer.n))
end

-- What the function gave, as a loader gives it: value, err, hints.
local function landed(tool, record, began, ...)
  local answer, hints = outcome.with_hints(...)
  count_executed(tool, context.port.now() - began, answer.failed)
  if answer.failed then
    local err = outcome.error_of(answer)
    local ttl = not refusal.is(err) and keeps_error(tool, err)
    if not ttl then return pass_on(record, answer) end
    return answer, nil, hints_of(tool, record, answer, ttl, true)
  end
  if not hints then return answer, nil, hints_of(tool, record, answer, nil, true) end
  check_hints(hints)
  if hints.tags then dependence.learn(record.spec, hints.tags) end
  return answer, nil, hints_of(tool, record, answer, hints.ttl, hints.cache ~= false)
end

local function loader_of(tool, n, ...)
  local fn, list = tool.fn, { ... }
  return function()
    local record = flight.record(context.load)
    record.spec.ran = true
    return landed(tool, record, context.port.now(), pcall(fn, unpack(list, 1, n)))
  end
end

-- Calls --------------------------------------------------------------------------------------

-- Why a call is not served from memory. In a session it has `call` and `verdict` from there.
-- `refresh`: nothing but an execution will do; `alone`: one that begins now.
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

-- The tags of an entry: in a session's own copy also the session's, and those of the call.
local function tags_of_entry(tool, session, key, list)
  if not session then return list end
  local all = { paths.of_call(tool.mark, key) }
  for i = 1, #list do
    all[2 * i], all[2 * i + 1] = list[i], paths.of_session(session.number, list[i])
  end
  return all
end

-- One load that this call begins or joins.
local function load_once(tool, pending, list, loader)
  local cache, key = tool.cache, pending.store_key
  local session = tool.scoped and pending.session or nil
  local alone = pending.alone or pending.refresh and not load.joinable(cache, key)
  local spec = dependence.spec(tool, session, tags_of_entry(tool, session, pending.key, list),
    alone or pending.refresh)
  if alone then return spec, pcall(load.fresh, cache, key, load.start, loader, spec) end
  if pending.refresh then
    return spec, pcall(load.through, cache, key, nil, load.start, loader, spec)
  end
  local slot, value = cache.store:get(key, 0)
  if slot >= 0 and is_box(value) then return spec, true, value, nil, "memory" end
  if slot >= 0 then return spec, pcall(load.fresh, cache, key, load.start, loader, spec) end
  return spec, pcall(load.missing, cache, key, slot, load.start, loader, spec)
end

-- Whether an answer that this call waited for is not for it: another session's, or an error that
-- is older than what it may have come after.
local function is_for_others(answer, session)
  return answer.is_old or answer.owner and answer.owner ~= (session and session.number)
end

-- The answer, and where it came from.
local function fetch(tool, pending, list, loader)
  local spec, ok, value, err, source = load_once(tool, pending, list, loader)
  if not ok then return outcome.of(false, value), spec.ran and "load" or "wait" end
  if is_box(value) then
    if spec.ran or not is_for_others(value, pending.session) then return value, source end
  elseif value == nil and err ~= nil then
    return outcome.of(true, returns.unpack_failure(err)), source
  end -- else: what a tier has under this name is no answer
  pending.alone = true
  return fetch(tool, pending, list, loader)
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
  count_executed(tool, context.port.now() - began, answer.failed)
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
  local answer, source = fetch(tool, pending, list, loader_of(tool, select("#", ...), ...))
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

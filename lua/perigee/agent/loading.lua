-- SPDX-License-Identifier: MIT

--- How a tool's answer comes to be: its loads, what they may keep, and who gets what they give.
--
-- A load's options (`record.spec`) are those of `perigee.agent.dependence`. An answer has an
-- `owner` if it is one session's, and `is_old` if it is an error that is older than a write: those
-- who joined the load do not take it, and begin one of their own.
-- @module perigee.agent.loading

local context = require "perigee.context"
local counts = require "perigee.agent.counts"
local dependence = require "perigee.agent.dependence"
local flight = require "perigee.load.flight"
local landing = require "perigee.load.landing"
local load = require "perigee.load"
local log = require "perigee.log"
local options = require "perigee.options"
local outcome = require "perigee.agent.outcome"
local paths = require "perigee.agent.paths"
local refusal = require "perigee.agent.refusal"
local returns = require "perigee.value.returns"
local writes = require "perigee.agent.writes"

local error, pcall, type, unpack = error, pcall, type, unpack
local is_box = returns.is_box
local AT, add = counts.AT, counts.add

local _M = {}

-- What a load gives ---------------------------------------------------------------------------

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

--- Counts an execution in the session of the running code.
-- @tparam table tool the tool
-- @tparam number began when it began, by the port's time
-- @param failed whether its answer is an error
function _M.count(tool, began, failed)
  local session = context.session
  counts.execution(session and session.counts, tool.counts, context.port.now() - began, failed)
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
  _M.count(tool, began, answer.failed)
  if answer.failed then
    local err = outcome.error_of(answer)
    local ttl = not refusal.is(err) and keeps_error(tool, err)
    if not ttl then return pass_on(record, answer) end
    return answer, nil, hints_of(tool, record, answer, ttl, true)
  end
  if not hints then return answer, nil, hints_of(tool, record, answer, nil, true) end
  landing.check_hints("agent.cache", hints.ttl, hints.tags)
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

-- Who gets it ----------------------------------------------------------------------------------

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
  if slot >= 0 then return spec, true, value, nil, "memory" end
  return spec, pcall(load.missing, cache, key, slot, load.start, loader, spec)
end

-- Whether an answer that this call waited for is not for it: another session's, or an error that
-- is older than what it may have come after.
local function is_for_others(answer, session)
  return answer.is_old or answer.owner and answer.owner ~= (session and session.number)
end

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

--- The answer to a call that memory has none for.
-- @tparam table tool the tool
-- @tparam table pending `session`, `key`, `store_key`; `refresh`: nothing but an execution will do;
--   `alone`: one that begins now
-- @tparam table list tags of the call
-- @tparam number n how many arguments it has
-- @param ... its arguments
-- @treturn table the answer
-- @treturn string where it came from, as `cache:get` says it
function _M.fetch(tool, pending, list, n, ...)
  return fetch(tool, pending, list, loader_of(tool, n, ...))
end

return _M

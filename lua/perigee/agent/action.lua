-- SPDX-License-Identifier: MIT

--- Tools whose calls are executed whatever was before: those that write, and those that do what
-- must not be remembered. In a session they are guarded; what they write is forgotten before and
-- after.
-- @module perigee.agent.action

local C = require("perigee.lib").core
local calls = require "perigee.agent.calls"
local context = require "perigee.context"
local counts = require "perigee.agent.counts"
local keys = require "perigee.value.keys"
local log = require "perigee.log"
local outcome = require "perigee.agent.outcome"
local paths = require "perigee.agent.paths"
local prints = require "perigee.agent.prints"
local returns = require "perigee.value.returns"
local sessions = require "perigee.agent.session"
local writes = require "perigee.agent.writes"

local error, pcall = error, pcall
local AT, add = counts.AT, counts.add
local BLOCK = C.PERIGEE_GUARD_BLOCK

local _M = {}

-- Plans --------------------------------------------------------------------------------------

-- The key of a read with the arguments that `key_fn` gave.
local function key_of_read(plan, reader, ...)
  local ok, key = pcall(reader.key_of, ...)
  if ok then return key end
  local why = tostring(key):gsub("^[^\n]-:%d+: ", "") -- which line of ours it was is no help
  error(("agent.invalidator: what %q is to forget of the tool %q: %s"):format(plan.tool,
    reader.name, why), 0)
end

-- Of every read of the resource with the same arguments: its key; and a path, for what was made of
-- it, and for the sessions' own copies.
local function add_read(reader, plan, session, ...)
  if plan.readers[reader] then return end
  plan.readers[reader] = true
  local key = key_of_read(plan, reader, ...)
  local path = paths.of_call(reader.mark, key)
  if plan.everywhere then
    plan.paths[#plan.paths + 1] = path
    if not reader.scoped then
      plan.keys[#plan.keys + 1], plan.keys[#plan.keys + 2] = reader.cache, key
    end
  elseif session and reader.scoped then
    plan.paths[#plan.paths + 1] = paths.of_session(session.number, path)
    plan.keys[#plan.keys + 1] = reader.cache
    plan.keys[#plan.keys + 1] = keys.two("agent.invalidator", session.number, key)
  end
end

local function add_reads(plan, session, ...)
  writes.each(plan.resource, add_read, plan, session, ...)
end

local function add_paths(plan, session, list)
  for i = 1, #list do
    local path = list[i]
    if plan.everywhere then
      plan.paths[#plan.paths + 1] = path
    elseif session then
      plan.paths[#plan.paths + 1] = paths.of_session(session.number, path)
    end
  end
end

-- What a call of a tool that writes makes old.
local function plan_of(tool, session, ...)
  local plan = { tool = tool.name, resource = tool.resource, paths = {}, keys = {}, readers = {},
    everywhere = not tool.scoped }
  if tool.tags_of then add_paths(plan, session, tool.tags_of(...)) end
  if tool.reads_of then
    local reads = returns.box(tool.reads_of(...))
    plan.again = function() add_reads(plan, session, unpack(reads, 1, reads.n)) end
    plan.again()
  end
  return plan
end

-- Calls --------------------------------------------------------------------------------------

-- The tool's function, with what it writes forgotten before and after.
local function run(tool, session, ...)
  local plan = tool.writes and plan_of(tool, session, ...)
  if plan then writes.begin(plan) end
  local began = context.port.now()
  local answer = outcome.of(pcall(tool.fn, ...))
  local counted = session and session.counts
  counts.execution(counted, tool.counts, context.port.now() - began, answer.failed)
  if not plan then return answer end
  add(counted, tool.counts, AT.invalidations, 1)
  if plan.again then pcall(plan.again) end -- tools that were made meanwhile
  return answer, writes.finish(plan)
end

-- The guard's key of a call. Arguments that cannot be one make it unlike any other.
local function guard_key_of(tool, ...)
  if tool.loop_key then return prints.key_of(tool.where, tool.loop_key(...)) end
  local ok, key = pcall(tool.key_of, ...)
  if ok then return key end
  return prints.unique()
end

local function call_guarded(tool, session, ...)
  local key = guard_key_of(tool, ...)
  local call, action, v = calls.begin(session, tool, key, nil)
  if action == BLOCK then return calls.in_place(session, tool, key, nil, v) end
  local ok, answer, err = pcall(run, tool, session, ...)
  if not ok then -- it was not even begun
    calls.leave(session, call)
    error(answer, 0)
  end
  outcome.tell(session, tool, key, call, v, "executed", answer, false)
  return answer, err
end

--- Calls a tool.
-- @tparam table tool `name`, `fn`, `kind`, `counts`; if it writes: `writes`, `scoped`, `resource`,
--   and `tags_of` or `reads_of`
-- @param ... its arguments
-- @return what it returned
-- @raise what it raised; a refusal
function _M.call(tool, ...)
  local session = sessions.current()
  local answer, err
  if session then
    answer, err = call_guarded(tool, session, ...)
  else
    add(nil, tool.counts, AT.calls, 1)
    answer, err = run(tool, nil, ...)
  end
  if err == "cancelled" and not answer.failed then error(err, 0) end
  if err ~= nil then log.error(("the tool %q: %s"):format(tool.name, tostring(err))) end
  return outcome.give(answer)
end

return _M

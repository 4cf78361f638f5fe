-- SPDX-License-Identifier: MIT

--- Answers that were made of other answers: a tool that calls others while it loads depends on
-- what they depend on. Their tags and their shortest life are handed up to the load around them.
--
-- The options of a tool's load (`record.spec` in `perigee.load.landing`) gather them: `learned`, a
-- list of paths; `deadline`, by the port's time; `keep`, false if it must not be kept at all;
-- `owner`, the number of the session whose answer it is, or was refused in: then it is for nobody
-- else.
-- @module perigee.agent.dependence

local context = require "perigee.context"
local flight = require "perigee.load.flight"
local paths = require "perigee.agent.paths"
local tags = require "perigee.tags"

local _M = {}

--- The options of a tool's load.
-- @tparam table tool the tool
-- @tparam table|nil session the session whose own copy it will be
-- @tparam table list its tags, as far as they are known
-- @tparam boolean fresh whether no cache may answer
-- @treturn table
function _M.spec(tool, session, list, fresh)
  local use_cache = nil
  if fresh then use_cache = false end
  return { tool = tool, session = session, tags = list, use_cache = use_cache, learned = {},
    known = {}, deadline = math.huge, keep = true, owner = nil, ran = false }
end

--- The load of a tool that the running code works for, at whatever depth.
-- @treturn table|nil its options
function _M.around()
  local id = context.load
  while id ~= 0 do
    local record = flight.record(id)
    if not record then return nil end
    local spec = record.spec
    if spec and spec.learned then return spec end
    id = record.outer
  end
end

-- Unlike any other path's.
local function name_of(path)
  local names = {}
  for i = 1, #path do names[i] = #path[i] .. ":" .. path[i] end
  return table.concat(names)
end

--- Adds tags to what a load depends on.
-- @tparam table spec its options
-- @tparam table list tags
function _M.learn(spec, list)
  for i = 1, #list do
    local path = tags.parts(list[i])
    local name = name_of(path)
    if not spec.known[name] then
      spec.known[name] = true
      spec.learned[#spec.learned + 1] = path
    end
  end
end

--- What a load does depend on, of a call in it.
-- @tparam table spec its options
-- @tparam table tool that was called
-- @tparam string|number|boolean key key of the call
-- @tparam table list the tags of the call
function _M.depend(spec, tool, key, list)
  _M.learn(spec, list)
  _M.learn(spec, { paths.of_call(tool.mark, key) })
end

--- A call in the load around it was refused, or gave what is one session's: neither is for others.
-- @tparam number session the session's number
function _M.own(session)
  local spec = _M.around()
  if spec then spec.keep, spec.owner = false, session end
end

--- An answer was given to a load around it. One that is not kept has no time left.
-- @tparam table spec options of the load around it
-- @tparam table tool whose answer it is
-- @tparam table|nil session the session that it was given in
-- @tparam string|number|boolean key key of the call
-- @tparam table list the tags of the call
-- @tparam table answer the answer
-- @tparam number|nil left milliseconds that it will be kept; nil: it is not
function _M.hand_up(spec, tool, session, key, list, answer, left)
  if tool.scoped and spec.session ~= session then spec.keep, spec.owner = false, session.number end
  if answer.owner then spec.keep, spec.owner = false, answer.owner end
  _M.depend(spec, tool, key, list)
  if answer.tags then _M.learn(spec, answer.tags) end
  if left and left > 0 then
    spec.deadline = math.min(spec.deadline, context.port.now() + left / 1000)
  elseif not answer.failed then
    spec.keep = false
  end
end

return _M

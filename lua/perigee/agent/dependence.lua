-- SPDX-License-Identifier: MIT

--- Answers that were made of other answers: a tool that calls others while it loads depends on
-- what they depend on. Their tags and their shortest ttl are handed up to the load around them.
--
-- The options of a tool's load (`record.spec` in `perigee.landing`) gather them: `learned`, a list
-- of tags; `ttl`, seconds; `keep`, false if it must not be kept at all.
-- @module perigee.agent.dependence

local context = require "perigee.context"
local flight = require "perigee.flight"
local tags = require "perigee.tags"

local _M = {}

--- The options of a tool's load.
-- @tparam table tool the tool
-- @tparam table list its tags, as far as they are known
-- @tparam boolean fresh whether no cache may answer
-- @treturn table
function _M.spec(tool, list, fresh)
  local use_cache = nil
  if fresh then use_cache = false end
  return { tool = tool, tags = list, use_cache = use_cache, learned = {}, known = {},
    ttl = math.huge, keep = true, ran = false }
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

--- Adds tags to what a load depends on.
-- @tparam table spec its options
-- @tparam table list tags
function _M.learn(spec, list)
  for i = 1, #list do
    local path = tags.parts(list[i])
    local name = table.concat(path, "\0")
    if not spec.known[name] then
      spec.known[name] = true
      spec.learned[#spec.learned + 1] = path
    end
  end
end

--- An answer was given to a load around it. One that is not kept has no time left.
-- @tparam table spec options of the load around it
-- @tparam table tool whose answer it is
-- @tparam table list the tags of the call
-- @tparam table answer the answer
-- @tparam number|nil left milliseconds that it will be kept; nil: it is not
function _M.hand_up(spec, tool, list, answer, left)
  if tool.scoped and not spec.tool.scoped then
    spec.keep = false -- what one session has is not for all
    return
  end
  _M.learn(spec, list)
  if answer.tags then _M.learn(spec, answer.tags) end
  if left and left > 0 then
    spec.ttl = math.min(spec.ttl, left / 1000)
  elseif not answer.failed then
    spec.keep = false
  end
end

return _M

-- SPDX-License-Identifier: MIT

--- The counters of all workers of one nginx: each tells its own about once a second, in the shared
-- dictionary of the first cache that has one; whoever is asked adds them up. Those of a worker that
-- has ended are gone after a few seconds.
-- @module perigee.workers

local buffer = require "string.buffer"

local codec_face = require "perigee.codec"
local context = require "perigee.context"
local metrics = require "perigee.metrics"
local ngx = require "perigee.runtime.nginx"
local runtime = require "perigee.runtime"

local _M = {}

local PREFIX = "\0perigee\0m"
local EVERY_S, KEEP_S = 1, 5

local dict, due = false, 0
local codec = codec_face.new("perigee.workers", "buffer", 1)

local function tell(now)
  due = now + EVERY_S
  local told = buffer.encode { pid = ngx.worker.pid(), caches = metrics.all() }
  dict:set(PREFIX .. ngx.worker.id(), told, KEEP_S)
end

--- Has the workers meet in this dictionary, if they do not meet in another.
-- @tparam table shared a lua_shared_dict
function _M.meet(shared)
  dict = dict or shared
end

local function is_number_by_name(list)
  for name, value in next, list do
    if type(name) ~= "string" or type(value) ~= "number" then return false end
  end
  return true
end

-- What a worker has told: counters by cache name; nil if that is none.
local function heard(id)
  local bytes = dict:get(PREFIX .. id)
  if not bytes then return nil end
  local ok, told = codec.decode(bytes)
  if not ok or type(told) ~= "table" or type(told.caches) ~= "table" then return nil end
  for name, counters in next, told.caches do
    if type(name) ~= "string" or type(counters) ~= "table" or not is_number_by_name(counters) then
      return nil
    end
  end
  return told.caches
end

--- What the others have told.
-- @treturn table list of counters by cache name
function _M.others()
  local list, own = {}, ngx.worker.id()
  for id = 0, dict and own and ngx.worker.count() - 1 or -1 do
    list[#list + 1] = id ~= own and heard(id) or nil
  end
  return list
end

if ngx then
  metrics.others = _M.others
  runtime.on_turn(function()
    local now = context.port.now()
    if not dict or not ngx.worker.id() then return nil end
    if now >= due then tell(now) end
    return due - now
  end)
end

return _M

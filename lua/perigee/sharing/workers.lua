-- SPDX-License-Identifier: MIT

--- The numbers of all workers of one nginx: each tells its own about once a second, in the shared
-- dictionary of the first cache that has one; whoever is asked adds them up. Those of a worker that
-- has ended are gone after a few seconds.
--
-- Workers of two versions of Perigee may meet: whoever does not know a part of what was told does
-- without it. Histograms say by `buckets` which ones they have; that number goes up when those of
-- `histogram.h` change.
-- @module perigee.sharing.workers

local buffer = require "string.buffer"

local codec_face = require "perigee.value.codec"
local context = require "perigee.context"
local each = require("perigee.value.names").each
local histogram = require "perigee.metrics.histogram"
local metrics = require "perigee.metrics"
local ngx = require "perigee.runtime.nginx"
local runtime = require "perigee.runtime"

local _M = {}

local PREFIX = "\0perigee\0m"
local EVERY_S, KEEP_S = 1, 5
local BUCKETS = 1

local dict, due = false, 0
local codec = codec_face.new("perigee.sharing.workers", "buffer", 1)

-- Histograms as they travel; those that are empty stay at home.
local function listed(durations)
  local lists = {}
  for name, by_what in each(durations) do
    local own = {}
    for what, one in each(by_what) do
      if histogram.count(one) > 0 then own[what] = histogram.list(one) end
    end
    if next(own) then lists[name] = own end
  end
  return lists
end

local function tell(now)
  due = now + EVERY_S
  local told = buffer.encode { pid = ngx.worker.pid(), caches = metrics.all(), buckets = BUCKETS,
    durations = listed(metrics.durations()) }
  dict:set(PREFIX .. ngx.worker.id(), told, KEEP_S)
end

--- Has the workers meet in this dictionary, if they do not meet in another.
-- @tparam table shared a lua_shared_dict
function _M.meet(shared)
  dict = dict or shared
end

--- Where the workers meet.
-- @treturn table|nil a lua_shared_dict; nil: no cache has one
function _M.dictionary()
  return dict or nil
end

local function is_number_by_name(list)
  for name, value in each(list) do
    if type(name) ~= "string" or type(value) ~= "number" then return false end
  end
  return true
end

-- What `listed` made; nil if that is not what this is.
local function read_durations(lists)
  local durations = {}
  for name, own in each(lists) do
    if type(name) ~= "string" or type(own) ~= "table" then return nil end
    durations[name] = {}
    for what, list in each(own) do
      local one = type(what) == "string" and histogram.read(list)
      if not one then return nil end
      durations[name][what] = one
    end
  end
  return durations
end

-- What a worker has told; nil if nothing that can be read.
local function heard(id)
  local bytes = dict:get(PREFIX .. id)
  if not bytes then return nil end
  local ok, told = codec.decode(bytes)
  if not ok or type(told) ~= "table" or type(told.caches) ~= "table" then return nil end
  for name, counters in each(told.caches) do
    if type(name) ~= "string" or type(counters) ~= "table" or not is_number_by_name(counters) then
      return nil
    end
  end
  local known = told.buckets == BUCKETS and type(told.durations) == "table"
  return { counters = told.caches, durations = known and read_durations(told.durations) or {} }
end

--- What the others have told.
-- @treturn table list of `{ counters =, durations = }`, each by cache name
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

-- SPDX-License-Identifier: MIT

--- The reads of one turn leave as one: whoever misses joins the trip that is open, which leaves
-- before the loop waits, or at once when it is full. So 50 tasks ask with one command, and nobody
-- waits for company longer than the turn takes.
--
-- A trip has a worker, which waits for its answer, lands the loads that the second level has, and
-- starts the others. It is full at half of what is on its way, so that the server works on one
-- part while this process works on another.
-- @module perigee.gathering

local context = require "perigee.context"
local runtime = require "perigee.runtime"
local trip_face = require "perigee.tier.trip"

local _M = {}
local mt = { __index = _M, __name = "perigee.gathering" }

local FULL_LEAST, FULL_PART = 25, 2

local open_ones, open_count = {}, 0 -- those whose trip is open

--- Gathers what is read for a cache.
-- @tparam table remote its `perigee.remote`: `answered(trip)` lands or starts the loads of a trip
--   (its `records`), `unanswered(trip, why)` those that got no answer
-- @treturn table
function _M.new(remote)
  return setmetatable({ remote = remote, open = false, on_their_way = 0, spare = {} }, mt)
end

local function new_trip(self)
  local trip = table.remove(self.spare)
  if trip then return trip end
  trip = trip_face.new()
  trip.records = {}
  return trip
end

local function give_back(self, trip)
  self.on_their_way = self.on_their_way - trip.n
  trip_face.clear(trip)
  self.spare[#self.spare + 1] = trip
end

local function ask(share, trip)
  local number = share:send(trip)
  if not number then -- not connected, most likely
    local ok, why = share.client:open()
    if not ok then return nil, why end
    number, why = share:send(trip)
    if not number then return nil, why end
  end
  return share:take(trip, number)
end

local function work(self, trip)
  local called, ok, why = pcall(ask, self.remote.share, trip)
  if not called then ok, why = nil, ok end
  if ok then
    self.remote:answered(trip)
  else
    self.remote:unanswered(trip, why)
  end
  give_back(self, trip)
end

-- The trip takes nobody more with it.
local function depart(self)
  local trip, load, session = self.open, context.load, context.session
  self.open = false
  context.load, context.session = 0, nil -- it works for many
  context.port.spawn(work, self, trip)
  context.load, context.session = load, session
end

runtime.on_wait(function()
  for i = 1, open_count do
    local self = open_ones[i]
    open_ones[i] = false
    if self.open then depart(self) end
  end
  open_count = 0
end)

local function open_trip(self)
  self.open = new_trip(self)
  open_count = open_count + 1
  open_ones[open_count] = self
  return self.open
end

--- Takes a load along.
-- @tparam table record the load
-- @tparam string space name of its space
function _M:add(record, space)
  local trip = self.open or open_trip(self)
  local i = trip_face.add(trip, space, record.key, record.spec and record.spec.tags or false)
  trip.records[i] = record
  record.session = context.session
  self.on_their_way = self.on_their_way + 1
  if i >= FULL_LEAST and i >= self.on_their_way / FULL_PART then
    depart(self)
    self.remote.share:write()
  end
end

return _M

-- SPDX-License-Identifier: MIT

--- The reads of one turn leave as one: whoever misses joins the trip that is open, which leaves at
-- the end of the turn, or at once when it is full. So 50 tasks ask with one command, and nobody
-- waits for company longer than the turn takes.
--
-- A trip has a worker, which waits for its answer, lands the loads that the second level has, and
-- starts the others. It is full at a quarter of what is on its way, so that the server works on one
-- part while this process works on another.
-- @module perigee.gathering

local context = require "perigee.context"
local trip_face = require "perigee.tier.trip"

local _M = {}
local mt = { __index = _M, __name = "perigee.gathering" }

local FULL_LEAST, FULL_PART = 25, 4

--- Gathers what is read for a cache.
-- @tparam table remote its `perigee.remote`: `answered(trip, records, from)` lands or starts the loads
--   of a trip, `unanswered(records, n, why)` those that got no answer
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
  trip.number, trip.why, trip.connection = nil, nil, nil
  self.spare[#self.spare + 1] = trip
end

-- The trip takes nobody more with it.
local function depart(self, trip)
  if self.open == trip then self.open = false end
  trip.number, trip.why = self.remote.share:send(trip)
end

local function await(self, trip)
  local port, share = context.port, self.remote.share
  local ticket, why = port.can_wait()
  if not ticket then return nil, why end
  port.park(ticket, 0)
  if not trip.number then
    local ok
    ok, why = share.client:open()
    depart(self, trip)
    if not trip.number then return nil, ok and trip.why or why end
  end
  return share:take(trip, trip.number)
end

local function work(self, trip)
  local called, ok, why = pcall(await, self, trip)
  if self.open == trip then self.open = false end -- it never left
  if not called then ok, why = nil, ok end
  if ok then
    self.remote:answered(trip)
  else
    self.remote:unanswered(trip, why)
  end
  give_back(self, trip)
end

local function open_trip(self)
  local trip = new_trip(self)
  self.open = trip
  local load, session = context.load, context.session
  context.load, context.session = 0, nil -- it works for many
  context.port.spawn(work, self, trip)
  context.load, context.session = load, session
  return trip
end

--- Takes a load along. It runs from then on.
-- @tparam table record the load
-- @tparam string space name of its space
function _M:add(record, space)
  local trip = self.open or open_trip(self)
  local i = trip_face.add(trip, space, record.key, record.spec and record.spec.tags or nil)
  trip.records[i] = record
  record.session = context.session
  self.on_their_way = self.on_their_way + 1
  if i >= FULL_LEAST and i >= self.on_their_way / FULL_PART then
    depart(self, trip)
    self.remote.share:write()
  end
end

return _M

-- SPDX-License-Identifier: MIT

--- The reads of one turn leave as one: whoever misses joins the trip that is open, which leaves
-- before the loop waits, or at once when it is full. So 50 tasks ask with one command, and nobody
-- waits for company longer than the turn takes.
--
-- A trip has a worker, begun by whoever misses first, as a part of his run. It waits for the
-- answer, lands the loads that the second level has, and starts the others. A trip is full at half
-- of what is on its way, so that the server works on one part while this process works on another.
-- @module perigee.remote.gathering

local context = require "perigee.context"
local each = require("perigee.value.names").each
local histogram = require "perigee.metrics.histogram"
local runtime = require "perigee.runtime"
local trip_face = require "perigee.tier.trip"

local _M = {}
local mt = { __index = _M, __name = "perigee.remote.gathering" }

local FULL_LEAST, FULL_PART = 25, 2

-- Those who ever opened a trip, and whether one may be open. No list of those that are: a finalizer
-- may open another at any time.
local travelled, some_open = setmetatable({}, { __mode = "k" }), false

--- Gathers what is read for a cache.
-- @tparam table remote its `perigee.remote`: `answered(trip)` lands or starts the loads of a trip
--   (its `records`), `unanswered(trip, why)` those that got no answer
-- @treturn table
function _M.new(remote)
  return setmetatable({ remote = remote, open = false, adding = false, on_their_way = 0,
    spare = {} }, mt)
end

-- The worker did not end in time.
local function abandon(trip)
  trip.gathering.remote:unanswered(trip, "cancelled")
end

local function new_trip(self)
  local trip = table.remove(self.spare)
  if trip then return trip end
  trip = trip_face.new()
  trip.records, trip.gathering, trip.abandon = {}, self, abandon
  trip.ticket, trip.number, trip.began = false, false, 0
  return trip
end

local function give_back(self, trip)
  self.on_their_way = self.on_their_way - trip.n
  trip_face.clear(trip)
  trip.ticket, trip.number = false, false
  self.spare[#self.spare + 1] = trip
end

-- The trip takes nobody more with it, and its worker wakes when the answer is there; at once, if it
-- could not be sent.
local function depart(self)
  local trip, share = self.open, self.remote.share
  if not trip then return end -- a finalizer had it depart in between
  self.open = false
  trip.number = share:send(trip) or false
  if trip.number then
    share.client.wake(trip.connection, trip.number, trip.ticket)
  else
    context.port.unpark(trip.ticket)
  end
end

local function await(self, trip)
  local port, share = context.port, self.remote.share
  local ticket, why = port.can_wait()
  if not ticket then return nil, why end
  trip.ticket = ticket
  port.park(ticket, share.client.opts.timeout)
  if self.open == trip then self.open = false end
  if not trip.number then return share:read(trip) end -- not connected, most likely
  return share:take(trip, trip.number, 0) -- it is there, or its time is up
end

local function work(trip)
  local self = trip.gathering
  local called, ok, why = pcall(await, self, trip)
  if self.open == trip then self.open = false end
  if not called then ok, why = nil, ok end
  if why ~= "cancelled" then -- a read that was cut off tells nothing
    histogram.observe(self.remote.durations, context.port.now() - trip.began)
  end
  if ok then
    self.remote:answered(trip)
  else
    self.remote:unanswered(trip, why)
  end
  give_back(self, trip)
end

runtime.on_wait(function()
  if not some_open then return end
  some_open = false
  for self in each(travelled) do
    if self.open then depart(self) end
  end
end)

local function open_trip(self)
  local trip = new_trip(self)
  self.open, trip.began = trip, context.port.now()
  travelled[self], some_open = true, true
  local load, session = context.load, context.session
  context.load, context.session = 0, nil -- it works for many
  context.port.spawn(work, trip)
  context.load, context.session = load, session
  return trip
end

--- Takes a load along.
-- @tparam table record the load
-- @tparam string space name of its space
-- @treturn boolean false: not now (a finalizer asks, in the middle of somebody else's asking)
function _M:add(record, space)
  if self.adding then return false end
  self.adding = true
  local trip = self.open or open_trip(self)
  local spec = record.spec
  local i = trip_face.add(trip, space, record.key, spec and spec.tags or false, record.is_fresh)
  trip.records[i] = record
  record.session = context.session
  self.on_their_way = self.on_their_way + 1
  self.adding = false
  if i >= FULL_LEAST and i >= self.on_their_way / FULL_PART then
    depart(self)
    self.remote.share:write()
  end
  return true
end

return _M

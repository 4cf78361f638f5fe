-- SPDX-License-Identifier: MIT

--- One load among many processes: who misses takes the lease of the key, or waits for whoever has
-- it.
-- @module perigee.remote.leases

local context = require "perigee.context"

local _M = {}

local LOOK_FIRST_S, LOOK_LAST_S = 0.002, 0.05 -- for another process' value

-- Those who have waited for one holder of the lease as long as a lease lasts wait no more.
local function is_patient(remote, record, holder, patience)
  local now, seen = context.port.now(), patience[record]
  if not seen or seen.holder ~= holder then
    seen = { holder = holder, ends = now + remote.single_load }
    patience[record] = seen
  end
  return now < seen.ends
end

-- Tries to become the one process that loads. Returns the loads that are to be run here, and those
-- that others have; what is there by now is landed.
local function take_leases(remote, records, patience)
  local trip = remote:ask(records, remote.share.lease)
  if not trip then return records, {} end
  local ours, others = {}, {}
  for i, record in ipairs(records) do
    if record.done then -- it took too long, and its callers have gone
      if trip.tokens[i] then remote:give_back(trip.spaces[i], record.key, trip.tokens[i]) end
    elseif not remote:learn(record, trip, i) then
      local waits = not record.token and is_patient(remote, record, trip.holders[i], patience)
      local list = waits and others or ours
      list[#list + 1] = record
    end
  end
  return ours, others
end

--- Runs loads of keys that the second level has nothing for: those whose lease we get are loaded
-- here, the others waited for.
-- @tparam table remote the cache's `perigee.remote`
-- @tparam table records the loads
-- @tparam function load `load(records)` loads some of them and lands them
function _M.lead(remote, records, load)
  local patience, pause, port = {}, LOOK_FIRST_S, context.port
  while #records > 0 do
    local ours, others = take_leases(remote, records, patience)
    if #ours > 0 then load(ours) end
    if #others == 0 then return end
    local ticket = port.can_wait()
    if not ticket then return load(others) end
    port.park(ticket, pause)
    pause, records = math.min(pause * 1.5, LOOK_LAST_S), others
  end
end

return _M

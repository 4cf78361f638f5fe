-- SPDX-License-Identifier: MIT

--- What the turns of a loop do for the stores: reclaiming expired and dead entries, a bounded
-- number per turn, so that no turn is long.
-- @module perigee.store.turns

local C = require("perigee.lib").core
local atomic = require "perigee.atomic"
local context = require "perigee.context"

local _M = {}

-- Every store that may have something to reclaim.
local living, cursor = setmetatable({}, { __mode = "v" }), 0
local living_count = 0

--- Enters a store; it leaves when it is collected.
-- @function register
-- @tparam table store a `perigee.store`
_M.register = atomic(function(store)
  living_count = living_count + 1
  living[living_count] = store
end)

-- The last store takes the place of one that was collected.
local close_up = atomic(function(place)
  if living[place] then return end
  living[place], living[living_count] = living[living_count], nil
  living_count = living_count - 1
end)

local ROUNDS_PER_TURN = 64 -- of C.PERIGEE_GONE_MAX entries each: well under a millisecond

-- Seconds until a store wants to be stepped; 0 when it still has work.
local function turn_of(self, now_ms)
  local due = C.perigee_store_due_ms(self.handle)
  local rounds = 0
  while due <= now_ms do
    if rounds == ROUNDS_PER_TURN then return 0 end
    rounds = rounds + 1
    C.perigee_store_step(self.handle, 4 * C.PERIGEE_GONE_MAX)
    self:drain()
    if self.queued > 0 then context.port.spawn(self.tell, self) end
    due = C.perigee_store_due_ms(self.handle)
  end
  return (due - now_ms) / 1000
end

local STORES_PER_TURN = 64
local LAG = 0.1 -- seconds between turns while more stores than that have something to expire
local some_due = false

-- The next store in a round over all of them; places of collected ones are closed up.
local function next_store()
  if cursor >= living_count then cursor, some_due = 0, false end
  cursor = cursor + 1
  local store = living[cursor]
  if store then return store end
  close_up(cursor)
  cursor = cursor - 1
end

--- One loop turn's share of reclaiming: a bounded number of entries of a bounded number of stores.
-- @tparam number now_ms the clock
-- @treturn number seconds until the next turn is wanted
function _M.turn(now_ms)
  local wanted = math.huge
  for _ = 1, math.min(STORES_PER_TURN, living_count) do
    local store = living_count > 0 and next_store()
    if store then wanted = math.min(wanted, turn_of(store, now_ms)) end
    if wanted == 0 then return 0 end
  end
  some_due = some_due or wanted < math.huge
  if living_count <= STORES_PER_TURN or not some_due then return wanted end
  return math.min(wanted, LAG)
end

return _M

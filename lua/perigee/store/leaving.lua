-- SPDX-License-Identifier: MIT

--- Who hears of values that left a store: its `on_evict` and the listeners of events. They are
-- told from a queue, when the store is consistent again.
-- @module perigee.store.leaving

local events = require "perigee.events"
local log = require "perigee.log"
local returns = require "perigee.value.returns"

local handlers = events.handlers

local _M = {}

--- Gives a store its queue.
-- @tparam table self a `perigee.store`
function _M.open(self)
  self.queue = {} -- key, value, reason; key, value, ...
  self.queued = 0
  self.told = 0       -- how much of the queue has been told
  self.teller = false -- the coroutine that tells
end

local function call_on_evict(self, key, value, reason)
  local ok, err = xpcall(self.on_evict, debug.traceback, key, value, reason)
  if not ok then
    log.error(("on_evict of cache %q failed for key %s: %s"):format(self.name, tostring(key), err))
  end
end

local function tell_of(self, key, value, reason)
  if self.on_evict then call_on_evict(self, key, value, reason) end
  if handlers.evict then
    events.emit("evict", { cache = self.name, key = key, value = value, reason = reason })
  end
end

--- Tells `on_evict` and the listeners that a value left. Nothing is called before `tell`; but of
-- what a finalizer's load has given, while somebody is busy with the store, they hear at once.
-- @tparam table self the store
-- @param key its key
-- @param value the value
-- @tparam string reason as `on_evict` gets it
function _M.left(self, key, value, reason)
  if self.busy then return tell_of(self, key, returns.first(value), reason) end
  self.busy = true
  local queue, n = self.queue, self.queued
  queue[n + 1], queue[n + 2], queue[n + 3] = key, value, reason
  if value == nil then queue[n + 2] = queue end -- a mark for nil: it may not leave a hole
  self.queued = n + 3
  self.busy = false
end

-- Takes the oldest of what `left` has queued: reason, key, value; nothing when it is empty.
local function next_left(self, me)
  local key, value, reason
  local fresh = {}
  self.busy = true
  self.teller = self.queued > 0 and me
  if self.queued > 0 then
    local queue, at = self.queue, self.told
    key, value, reason = queue[at + 1], queue[at + 2], queue[at + 3]
    if value == queue then value = nil end
    value = returns.first(value)
    self.told = at + 3
    if self.told == self.queued then self.queue, self.queued, self.told = fresh, 0, 0 end
  end
  self.busy = false
  return reason, key, value
end

--- Runs what `left` has queued. Calling back into the store is allowed: what that gives up is
-- told by the same run, in order. A handler that waits holds up nobody but its caller.
-- @tparam table self the store
function _M.tell(self)
  local me = coroutine.running() or "main"
  if self.busy or self.teller == me then return end
  local reason, key, value = next_left(self, me)
  while reason do
    tell_of(self, key, value, reason)
    reason, key, value = next_left(self, me)
  end
end

return _M

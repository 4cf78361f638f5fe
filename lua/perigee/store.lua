-- SPDX-License-Identifier: MIT
--- The Lua half of a store: C decides who lives, this holds what lives.
--
-- C hands out slots; `keys[slot]` anchors the key (its address is its identity in C) and
-- `values[slot]` holds the value. Both are kept in segments of 4,096 slots: a collector step
-- walks one segment at most, and a full store never rehashes a table.
--
-- The order that keeps this safe: C forgets a key first; then key and value are taken out of
-- their slot; then C may use the slot again. New key and value are assigned at once after `put`,
-- with no allocation in between, since an allocation may run a finalizer, which may use this
-- very store. User code (`on_evict`) runs from a queue, when all of that is over.
-- @module perigee.store

local bit = require "bit"
local ffi = require "ffi"
local new_table = require "table.new"

local C = require("perigee.lib").core
local events = require "perigee.events"
local log = require "perigee.log"
local turns = require "perigee.turns"

local band, rshift = bit.band, bit.rshift
local handlers = events.handlers

local SEGMENT_BITS = 12
local SEGMENT = 2 ^ SEGMENT_BITS
local MASK = SEGMENT - 1
local REPLACED = C.PERIGEE_GONE_REPLACED
local MISS, AGAIN, STALE = C.PERIGEE_MISS, C.PERIGEE_AGAIN, C.PERIGEE_STALE
local FIRST_ROOM = 128
local STEP = 4096 -- entries looked at by one step of a full reclaim

local POLICIES = {
  fifo = C.PERIGEE_POLICY_FIFO,
  lru = C.PERIGEE_POLICY_LRU,
  sieve = C.PERIGEE_POLICY_SIEVE,
  s3fifo = C.PERIGEE_POLICY_S3FIFO,
  wtinylfu = C.PERIGEE_POLICY_S3FIFO,
  auto = C.PERIGEE_POLICY_S3FIFO,
}

local REASONS = {
  [C.PERIGEE_GONE_SIZE] = "size",
  [C.PERIGEE_GONE_EXPIRED] = "expired",
  [C.PERIGEE_GONE_REPLACED] = "replaced",
  [C.PERIGEE_GONE_DELETED] = "deleted",
  [C.PERIGEE_GONE_CLEARED] = "cleared",
  [C.PERIGEE_GONE_INVALIDATED] = "invalidated",
}

-- Booleans are keys by the address of a constant.
local BOOLEANS = { [true] = C.perigee_core_bool(1), [false] = C.perigee_core_bool(0) }

local type = type

local _M = {}
local mt = { __index = _M, __name = "perigee.store" }

--- The identity of a key, as C takes it.
-- @tparam string|number|boolean key checked before
-- @return the string or address that stands for it, or nil
-- @treturn number the number, or 0
function _M.identity(key)
  local kind = type(key)
  if kind == "string" then return key, 0 end
  if kind == "number" then return nil, key end
  return BOOLEANS[key], 0
end

local identity = _M.identity

-- Frees the C store when the Lua store is collected. When a Lua state closes, everything is
-- finalized in any order: then the Lua store may still be used, and gets one that is closed.
local function free_with(self)
  local weak = setmetatable({ self }, { __mode = "v" })
  ffi.gc(self.handle, function(handle)
    local store = weak[1]
    if store then
      store.handle = C.perigee_store_closed()
      store.view = C.perigee_store_get_view(store.handle)
    end
    C.perigee_store_free(handle)
  end)
end

--- Makes an empty store.
-- @tparam table opts `maxsize`, `maxweight`, `grace` (seconds), `ttl_jitter`, `policy`, `on_evict`,
--   `name`; checked before
-- @tparam cdata clock the `perigee_clock` that entries expire by
-- @treturn table the store
function _M.new(opts, clock)
  local config = ffi.new("perigee_store_config", {
    max_entries = opts.maxsize,
    max_weight = opts.maxweight,
    grace_ms = opts.grace * 1000,
    jitter = opts.ttl_jitter,
    policy = POLICIES[opts.policy],
  })
  local tags = ffi.gc(C.perigee_tags_new(), C.perigee_tags_free)
  local handle = tags ~= nil and C.perigee_store_new(config, clock, tags)
  if not handle or handle == nil then error("perigee.new: out of memory", 0) end
  local self = setmetatable({
    name = opts.name or "",
    handle = handle,
    clock = clock, -- the C store reads it
    tags = tags,
    view = C.perigee_store_get_view(handle),
    keys = {},
    values = {},
    -- A put is between C's slot and Lua's assignment. Nothing is allocated there, but leaving
    -- compiled code can run finalizers all the same: what they put then is not kept.
    filling = false,
    slots = 0, -- how many slots have a place in `keys` and `values`
    on_evict = opts.on_evict or false,
    queue = {}, -- key, value, reason of values that left, to be told to on_evict
    queued = 0,
    told = 0,       -- how much of the queue has been told
    teller = false, -- the coroutine that tells
  }, mt)
  free_with(self)
  turns.register(self)
  -- The collector sees a pointer only: let it work as if the native memory were its own.
  collectgarbage("step", math.floor(tonumber(C.perigee_store_bytes(handle)) / 1024))
  return self
end

-- Room for more slots: the first segment doubles until it is whole, then whole segments follow.
-- An allocation may run a finalizer that needs room itself: so first allocate, then look.
local function add_room(self)
  local slots = self.slots
  local size = math.min(SEGMENT, slots == 0 and FIRST_ROOM or slots * 2)
  local keys, values = new_table(size, 0), new_table(size, 0)
  if self.slots ~= slots then return end
  if slots >= SEGMENT then
    local at = slots / SEGMENT
    self.keys[at], self.values[at] = keys, values
    self.slots = slots + SEGMENT
    return
  end
  for i = 0, slots - 1 do keys[i], values[i] = self.keys[0][i], self.values[0][i] end
  self.keys[0], self.values[0] = keys, values
  self.slots = size
end

--- The value in a slot.
-- @tparam number slot as C returned it, before any other call
function _M:value(slot)
  return self.values[rshift(slot, SEGMENT_BITS)][band(slot, MASK)]
end

--- The key in a slot.
-- @tparam number slot as C returned it, before any other call
function _M:key(slot)
  return self.keys[rshift(slot, SEGMENT_BITS)][band(slot, MASK)]
end

--- Tells `on_evict` and the listeners that a value left. Nothing is called before `tell`.
-- @param key its key
-- @param value the value
-- @tparam string reason as `on_evict` gets it
function _M:left(key, value, reason)
  local queue, n = self.queue, self.queued
  queue[n + 1], queue[n + 2], queue[n + 3] = key, value, reason
  if value == nil then queue[n + 2] = queue end -- a mark for nil: it may not leave a hole
  self.queued = n + 3
end

local function call_on_evict(self, key, value, reason)
  local ok, err = xpcall(self.on_evict, debug.traceback, key, value, reason)
  if not ok then
    log.error(("on_evict of cache %q failed for key %s: %s"):format(self.name, tostring(key), err))
  end
end

-- Takes the oldest of what `left` has queued: key, value, reason.
local function next_left(self)
  local queue, at = self.queue, self.told
  local key, value, reason = queue[at + 1], queue[at + 2], queue[at + 3]
  if value == queue then value = nil end
  self.told = at + 3
  if self.told == self.queued then self.queue, self.queued, self.told = {}, 0, 0 end
  return key, value, reason
end

--- Runs what `left` has queued. Calling back into the store is allowed: what that gives up is
-- told by the same run, in order. A handler that waits holds up nobody but its caller.
function _M:tell()
  local me = coroutine.running() or "main"
  if self.teller == me then return end
  while self.queued > 0 do
    self.teller = me
    local key, value, reason = next_left(self)
    if self.on_evict then call_on_evict(self, key, value, reason) end
    if handlers.evict then
      events.emit("evict", { cache = self.name, key = key, value = value, reason = reason })
    end
  end
  self.teller = false
end

--- Takes the slots that C gave up out of Lua's hands. From `pop` to `release` nothing allocates.
function _M:drain()
  if self.filling then return end -- a finalizer inside a put, which drains when it is done
  local view, handle = self.view, self.handle
  local observed = self.on_evict or handlers.evict
  while view.gone_count > 0 do
    local slot = C.perigee_store_pop(handle)
    local reason = view.reason
    local keys = self.keys[rshift(slot, SEGMENT_BITS)]
    local values = self.values[rshift(slot, SEGMENT_BITS)]
    local i = band(slot, MASK)
    local key, value = keys[i], values[i]
    keys[i], values[i] = nil, nil
    C.perigee_store_release(handle, slot)
    if observed then self:left(key, value, REASONS[reason]) end
  end
end

local function put_once(self, key, ttl_ms, weight)
  local kind = type(key)
  self.filling = true
  if self.view.gone_count > 0 or self.view.high >= self.slots then return AGAIN end
  if kind == "string" then
    return C.perigee_store_put(self.handle, 0, key, #key, 0, ttl_ms, weight)
  elseif kind == "number" then
    return C.perigee_store_put(self.handle, 0, nil, 0, key, ttl_ms, weight)
  end
  return C.perigee_store_put(self.handle, 0, BOOLEANS[key], 1, 0, ttl_ms, weight)
end

-- Drains what C gave up, and has room for every slot that it may hand out next.
local function make_ready(self)
  repeat
    self:drain()
    if self.view.high >= self.slots then add_room(self) end
  until self.view.gone_count == 0 and self.view.high < self.slots
end

-- The loops are apart, so that the usual put is compiled as one straight trace.
local function take_slot_again(self, key, ttl_ms, weight)
  local slot
  repeat
    make_ready(self)
    slot = put_once(self, key, ttl_ms, weight)
    if slot == AGAIN then self.filling = false end
  until slot ~= AGAIN
  return slot
end

local function take_slot(self, key, ttl_ms, weight)
  local slot = put_once(self, key, ttl_ms, weight)
  if slot ~= AGAIN then return slot end
  self.filling = false
  return take_slot_again(self, key, ttl_ms, weight)
end

-- Tags the entry just put.
local function tag(self, slot, tags)
  for i = 1, #tags do
    if C.perigee_store_tag(self.handle, slot, self:tag_node(tags[i])) ~= 0 then
      error("perigee: out of memory", 0)
    end
  end
end

--- Stores a value. Tells nobody yet: the caller runs `tell` when it is done.
-- @tparam string|number|boolean key checked before
-- @param value anything, nil too
-- @tparam number ttl_ms lifetime in milliseconds, or infinity
-- @tparam number weight 0 if entries are not weighed
-- @tparam[opt] table tags list of tags
-- @tparam[opt] boolean used whether this counts as a use of an entry that is there
function _M:put(key, value, ttl_ms, weight, tags, used)
  if self.filling then return self:delete(key) end -- a finalizer inside another put
  local slot = take_slot(self, key, ttl_ms, weight)
  if slot < 0 then
    self.filling = false
    if slot == C.PERIGEE_NO_MEMORY then error("perigee: out of memory", 0) end
    return self:drain()
  end
  local view, displaced = self.view, self.view.displaced
  local keys = self.keys[rshift(slot, SEGMENT_BITS)]
  local values = self.values[rshift(slot, SEGMENT_BITS)]
  local i = band(slot, MASK)
  -- What stood there is read only if somebody wants it: a compiled loop would be bound to its type.
  local observed, old_key, old_value = self.on_evict or handlers.evict, nil, nil
  if observed then old_key, old_value = keys[i], values[i] end
  keys[i], values[i] = key, value
  self.filling = false
  -- From here on the slot may be lost to a finalizer at any allocation.
  if tags then tag(self, slot, tags) end
  if used and displaced == REPLACED then C.perigee_store_promote(self.handle, slot) end
  if view.gone_count > 0 then self:drain() end
  if observed and displaced ~= 0 then
    self:left(old_key, old_value, REASONS[displaced])
  end
end

--- Replaces the number of a live entry; its lifetime and its tags stay. A use of the entry.
-- @tparam number slot from `find`
-- @tparam number value the new one
-- @tparam number|nil weight its weight, if entries are weighed
function _M:replace(slot, value, weight)
  self.values[rshift(slot, SEGMENT_BITS)][band(slot, MASK)] = value
  C.perigee_store_promote(self.handle, slot)
  if not weight then return end
  local result = C.perigee_store_reweigh(self.handle, slot, weight)
  self:drain()
  while result ~= 0 do
    result = C.perigee_store_fit(self.handle)
    self:drain()
  end
end

--- Looks a key up without counting and without telling the policy.
-- @tparam string|number|boolean key checked before
-- @treturn number a slot, or a negative number: `MISS`, or `STALE` minus a stale slot
function _M:find(key)
  local s, n = identity(key)
  return C.perigee_store_find(self.handle, 0, s, n)
end

-- What has to drain first cannot be done by a finalizer that runs inside a put.
local function refuse_inside_put(self)
  if self.filling then error("perigee: not in a finalizer, while the cache is being written", 0) end
end

--- Forgets a key.
-- @tparam string|number|boolean key checked before
-- @treturn boolean whether it was live
function _M:delete(key)
  local s, n = identity(key)
  local found = C.perigee_store_del(self.handle, 0, s, n)
  while found == AGAIN do
    refuse_inside_put(self)
    self:drain()
    found = C.perigee_store_del(self.handle, 0, s, n)
  end
  self:drain()
  return found == 1
end

--- Forgets everything, in constant time unless somebody wants to be told of each value.
function _M:clear()
  while C.perigee_store_clear(self.handle) == AGAIN do
    refuse_inside_put(self)
    self:reclaim()
  end
  if self.on_evict or handlers.evict then self:reclaim() end
end

--- The node of a tag: a path of parts split at `:`, or a list of parts.
-- @tparam string|table path the tag, checked before
-- @treturn number the node, until the next call
function _M:tag_node(path)
  local node
  if type(path) == "string" then
    node = C.perigee_tags_path(self.tags, path, #path)
  else
    node = C.PERIGEE_TAG_ROOT
    for i = 1, #path do
      node = C.perigee_tags_part(self.tags, node, path[i], #path[i])
      if node < 0 then break end
    end
  end
  if node < 0 then error("perigee: out of memory", 0) end
  return node
end

--- Whether the result of a load that began at tag version `began` may be kept under these tags.
-- @tparam table tags list of tags
-- @tparam number began from `tag_version`
-- @treturn boolean
function _M:may_keep(tags, began)
  for i = 1, #tags do
    if C.perigee_tags_may_keep(self.tags, self:tag_node(tags[i]), began) == 0 then return false end
  end
  return true
end

--- The number of tag writes so far.
function _M:tag_version()
  return C.perigee_tags_version(self.tags)
end

--- Invalidates everything under a tag.
-- @tparam string|table path the tag, checked before
function _M:write_tag(path)
  C.perigee_tags_write(self.tags, self:tag_node(path))
  C.perigee_store_invalidate(self.handle)
end

--- Reclaims all that is expired or dead, now.
function _M:reclaim()
  if self.filling then return end
  repeat
    local more = C.perigee_store_step(self.handle, STEP)
    self:drain()
  until more == 0
end

--- Changes the bound on entries.
-- @tparam number maxsize entries, or infinity
function _M:resize(maxsize)
  refuse_inside_put(self)
  repeat
    local result = C.perigee_store_resize(self.handle, maxsize)
    self:drain()
    if result == C.PERIGEE_NO_MEMORY then error("perigee: out of memory", 0) end
  until result ~= AGAIN
end

_M.MISS, _M.STALE = MISS, STALE
_M.SEGMENT_BITS, _M.SEGMENT_MASK = SEGMENT_BITS, MASK

return _M

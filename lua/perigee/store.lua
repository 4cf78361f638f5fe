-- SPDX-License-Identifier: MIT
--- The Lua half of a store: C decides who lives, this holds what lives.
--
-- C hands out slots; `keys[slot]` anchors the key (its address is its identity in C) and
-- `values[slot]` holds the value. Both are kept in segments of 4,096 slots: a collector step
-- walks one segment at most, and a full store never rehashes a table.
--
-- The order that keeps this safe: C forgets a key first; then key and value are taken out of
-- their slot; then C may use the slot again. New key and value are assigned at once after `put`.
-- User code (`on_evict`) runs from a queue, when all of that is over.
--
-- A finalizer may use this very store, and may run at any allocation; but not only there: when
-- compiled code is left while the collector finalizes, one runs at whatever place that is. So
-- whoever holds a slot or a tag's node, or has the queue in an odd state, says `busy` meanwhile.
-- A busy store takes nothing new from a finalizer: a put only forgets the key's old value, what
-- C gives up is drained later, and what cannot be done so raises. It may be read, and is as busy as
-- before when that is over: several finalizers may run one after another.
-- @module perigee.store

local bit = require "bit"
local ffi = require "ffi"
local new_table = require "table.new"

local C = require("perigee.lib").core
local events = require "perigee.events"
local leaving = require "perigee.store.leaving"
local spaces = require "perigee.store.spaces"
local tagging = require "perigee.store.tagging"
local turns = require "perigee.store.turns"

local band, rshift = bit.band, bit.rshift
local handlers = events.handlers

local SEGMENT_BITS = 12
local SEGMENT = 2 ^ SEGMENT_BITS
local MASK = SEGMENT - 1
local REPLACED = C.PERIGEE_GONE_REPLACED
local MISS, AGAIN, STALE = C.PERIGEE_MISS, C.PERIGEE_AGAIN, C.PERIGEE_STALE
local FIRST_ROOM, STEP = 128, 4096 -- STEP: entries looked at by one step of a full reclaim

local POLICIES = {
  fifo = C.PERIGEE_POLICY_FIFO,
  lru = C.PERIGEE_POLICY_LRU,
  sieve = C.PERIGEE_POLICY_SIEVE,
  s3fifo = C.PERIGEE_POLICY_S3FIFO,
  wtinylfu = C.PERIGEE_POLICY_WTINYLFU,
  auto = C.PERIGEE_POLICY_AUTO,
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
      if store.before_close then store.before_close() end
      store.handle = C.perigee_store_closed()
      store.view = C.perigee_store_get_view(store.handle)
      store.tags = C.perigee_store_get_tags(store.handle)
    end
    C.perigee_store_free(handle)
  end)
end

--- Makes an empty store.
-- @tparam table opts `maxsize`, `maxweight`, `grace` (seconds), `ttl_jitter`, `policy`, `on_evict`,
--   `name`; checked before
-- @tparam cdata clock the `perigee_clock` that entries expire by
-- @tparam[opt] cdata shared the `perigee_tags` that it shares with other stores
-- @treturn table the store
function _M.new(opts, clock, shared)
  local config = ffi.new("perigee_store_config", {
    max_entries = opts.maxsize,
    max_weight = opts.maxweight,
    grace_ms = opts.grace * 1000,
    jitter = opts.ttl_jitter,
    policy = POLICIES[opts.policy],
  })
  local tags = shared or C.perigee_tags_new()
  local handle = tags ~= nil and C.perigee_store_new(config, clock, tags)
  if not shared then C.perigee_tags_free(tags) end -- the store owns them, too
  if not handle or handle == nil then error("perigee.new: out of memory", 0) end
  local self = setmetatable({
    name = opts.name or "",
    handle = handle,
    clock = clock, -- the C store reads it
    tags = tags,
    view = C.perigee_store_get_view(handle),
    keys = {},
    values = {},
    busy = false, -- see above
    slots = 0, -- how many slots have a place in `keys` and `values`
    before_close = false,
    changes = false, -- what a backup does not know (`perigee.backup.changes`), if there is one;
    lists = false,   -- and then the lists of tags, in segments like the values
    on_evict = opts.on_evict or false,
  }, mt)
  leaving.open(self)
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
  local lists = self.lists and new_table(size, 0)
  self.busy = true
  if self.slots == slots then
    if slots < SEGMENT then
      for i = 0, slots - 1 do keys[i], values[i] = self.keys[0][i], self.values[0][i] end
      for i = 0, lists and slots - 1 or -1 do lists[i] = self.lists[0][i] end
      slots = 0
    end
    local at = slots / SEGMENT
    self.keys[at], self.values[at] = keys, values
    if lists then self.lists[at] = lists end
    self.slots = slots + size
  end
  self.busy = false
end

local function value_in(self, slot)
  return self.values[rshift(slot, SEGMENT_BITS)][band(slot, MASK)]
end

-- Whether what a busy store has in a slot is the key's yet.
local function holds(self, slot, key)
  return self.keys[rshift(slot, SEGMENT_BITS)][band(slot, MASK)] == key
end

--- The value of a live key. Counts a hit or a miss and tells the policy.
-- @tparam string|number|boolean key checked before
-- @tparam number space whose key it is
-- @treturn number a slot, or a negative number: `MISS`, or at most `STALE`
-- @return the value, if there is a slot
function _M:get(key, space)
  local s, n = identity(key)
  local slot, value
  local was_busy = self.busy
  self.busy = true
  if space == 0 then
    slot = C.perigee_store_get(self.handle, s, n)
  else
    slot = C.perigee_store_get_in(self.handle, space, s, n)
  end
  if was_busy and slot >= 0 and not holds(self, slot, key) then slot = MISS end
  if slot >= 0 then value = value_in(self, slot) end
  self.busy = was_busy
  return slot, value
end

--- The value of a key, live or stale, without counting and without telling the policy.
-- @tparam string|number|boolean key checked before
-- @tparam number space whose key it is
-- @treturn number|nil milliseconds left; negative when it is stale; nil when it is not there
-- @return the value
function _M:look(key, space)
  local s, n = identity(key)
  local was_busy = self.busy
  self.busy = true
  local slot, left, value = C.perigee_store_find(self.handle, space, s, n), nil, nil
  if slot <= STALE then slot = STALE - slot end
  if slot >= 0 and (not was_busy or holds(self, slot, key)) then
    left, value = C.perigee_store_ttl(self.handle, slot), value_in(self, slot)
  end
  self.busy = was_busy
  return left, value
end

--- The next live entry.
-- @tparam number slot the last one, or -1
-- @treturn number its slot, negative at the end
-- @return its key
-- @return its value
-- @treturn number milliseconds left
function _M:next(slot)
  local key, value, left
  local was_busy = self.busy
  self.busy = true
  slot = C.perigee_store_next(self.handle, slot)
  if slot >= 0 then
    key, value = self.keys[rshift(slot, SEGMENT_BITS)][band(slot, MASK)], value_in(self, slot)
    left = C.perigee_store_ttl(self.handle, slot)
  end
  self.busy = was_busy
  return slot, key, value, left
end

_M.left, _M.tell = leaving.left, leaving.tell
_M.new_space, _M.clear_space = spaces.new_space, spaces.clear_space
_M.may_keep, _M.tag_version = tagging.may_keep, tagging.tag_version
_M.write_tag = tagging.write_tag
local refuse_while_busy = tagging.refuse_while_busy

-- Takes one slot that C gave up: reason, key, value; nothing when none is left.
local function take_gone(self)
  local reason, key, value
  local changes, saved, space = self.changes, 0, 0
  self.busy = true
  local slot = C.perigee_store_pop(self.handle)
  if slot >= 0 then
    reason = self.view.reason
    local keys = self.keys[rshift(slot, SEGMENT_BITS)]
    local values = self.values[rshift(slot, SEGMENT_BITS)]
    local i = band(slot, MASK)
    key, value = keys[i], values[i]
    keys[i], values[i] = nil, nil
    if changes then
      self.lists[rshift(slot, SEGMENT_BITS)][i] = nil
      saved, space = self.view.saved, self.view.space
    end
    C.perigee_store_release(self.handle, slot)
  end
  self.busy = false
  if saved ~= 0 then changes:left(key, space) end
  return reason, key, value
end

--- Takes the slots that C gave up out of Lua's hands.
function _M:drain()
  if self.busy then return end -- in a finalizer: whoever is busy drains
  local observed = self.on_evict or handlers.evict
  while self.view.gone_count > 0 do
    local reason, key, value = take_gone(self)
    if observed and reason then self:left(key, value, REASONS[reason]) end
  end
end

local function put_once(self, space, key, ttl_ms, weight)
  local kind = type(key)
  self.busy = true
  if self.view.gone_count > 0 or self.view.high >= self.slots then return AGAIN end
  if kind == "string" then
    return C.perigee_store_put(self.handle, space, key, #key, 0, ttl_ms, weight)
  elseif kind == "number" then
    return C.perigee_store_put(self.handle, space, nil, 0, key, ttl_ms, weight)
  end
  return C.perigee_store_put(self.handle, space, BOOLEANS[key], 1, 0, ttl_ms, weight)
end

-- Drains what C gave up, and has room for every slot that it may hand out next.
local function make_ready(self)
  repeat
    self:drain()
    if self.view.high >= self.slots then add_room(self) end
  until self.view.gone_count == 0 and self.view.high < self.slots
end

-- The loops are apart, so that the usual put is compiled as one straight trace.
local function take_slot_again(self, space, key, ttl_ms, weight)
  local slot
  repeat
    make_ready(self)
    slot = put_once(self, space, key, ttl_ms, weight)
    if slot == AGAIN then self.busy = false end
  until slot ~= AGAIN
  return slot
end

local function take_slot(self, space, key, ttl_ms, weight)
  local slot = put_once(self, space, key, ttl_ms, weight)
  if slot ~= AGAIN then return slot end
  self.busy = false
  return take_slot_again(self, space, key, ttl_ms, weight)
end

_M.OUT_OF_MEMORY = "perigee: out of memory"

-- A value that cannot be stored, or not with its tags: what was there before is older still.
local function put_nothing(self, space, key)
  self.busy = false
  self:delete(key, space)
  error(_M.OUT_OF_MEMORY, 0)
end

-- Stores what comes from a backup: as `put`, but it is no write.
local function put_entry(self, space, key, value, ttl_ms, weight, tags, used)
  local changes = self.changes
  if changes then tags = tags and tagging.copy(tags) end
  if self.busy then return self:delete(key, space) end
  local slot = take_slot(self, space, key, ttl_ms, weight)
  if slot < 0 then
    if slot == C.PERIGEE_NO_MEMORY then put_nothing(self, space, key) end
    self.busy = false
    return self:drain()
  end
  local view, displaced = self.view, self.view.displaced
  local keys = self.keys[rshift(slot, SEGMENT_BITS)]
  local values = self.values[rshift(slot, SEGMENT_BITS)]
  local i = band(slot, MASK)
  -- What stood there is read only if somebody wants it: a compiled loop would be bound to its type.
  local observed, old_key, old_value = self.on_evict or handlers.evict, nil, nil
  local saved_key, saved_space = nil, 0
  if observed then old_key, old_value = keys[i], values[i] end
  if changes then
    if view.saved ~= 0 then saved_key, saved_space = keys[i], view.space end
    self.lists[rshift(slot, SEGMENT_BITS)][i] = tags
  end
  values[i] = value -- first: by its key a finalizer knows that it is there
  keys[i] = key
  if used and displaced == REPLACED then C.perigee_store_promote(self.handle, slot) end
  self.busy = false
  -- From here on the slot may be lost to a finalizer: then another entry gets a tag too many.
  if saved_key ~= nil then changes:left(saved_key, saved_space) end
  local tagged = not tags or tagging.tag(self, slot, tags)
  if view.gone_count > 0 then self:drain() end
  if observed and displaced ~= 0 then
    self:left(old_key, old_value, REASONS[displaced])
  end
  if not tagged then put_nothing(self, space, key) end
end
_M.put_entry = put_entry

--- Stores a value. Tells nobody yet: the caller runs `tell` when it is done.
-- @tparam number space whose key it is
-- @tparam string|number|boolean key checked before
-- @param value anything, nil too
-- @tparam number ttl_ms lifetime in milliseconds, or infinity
-- @tparam number weight 0 if entries are not weighed
-- @tparam[opt] table tags list of tags
-- @tparam[opt] boolean used whether this counts as a use of an entry that is there
-- @raise when memory is out; the key is not there then
function _M:put(space, key, value, ttl_ms, weight, tags, used)
  local changes = self.changes
  if changes and changes.written then changes:wrote(space, key) end
  return put_entry(self, space, key, value, ttl_ms, weight, tags, used)
end

--- Replaces the value of a live key of space 0; its lifetime and its tags stay. A use of the entry.
-- @tparam string|number|boolean key checked before
-- @tparam number was the value that is to be there
-- @param value the new one
-- @tparam number|nil weight its weight, if entries are weighed
-- @treturn boolean whether it was there
function _M:replace(key, was, value, weight)
  local result = 0
  refuse_while_busy(self)
  self.busy = true
  local slot = self:find(key)
  if slot >= 0 and was == was and value_in(self, slot) ~= was then slot = MISS end
  if slot >= 0 then
    self.values[rshift(slot, SEGMENT_BITS)][band(slot, MASK)] = value
    C.perigee_store_promote(self.handle, slot)
    if weight then result = C.perigee_store_reweigh(self.handle, slot, weight) end
    if self.changes then C.perigee_store_set_changed(self.handle, slot) end
  end
  self.busy = false
  while result ~= 0 do
    self:drain()
    result = C.perigee_store_fit(self.handle)
  end
  self:drain()
  return slot >= 0
end

--- Looks a key of space 0 up without counting and without telling the policy.
-- @tparam string|number|boolean key checked before
-- @treturn number a slot, or a negative number: `MISS`, or at most `STALE`
function _M:find(key)
  local s, n = identity(key)
  return C.perigee_store_find(self.handle, 0, s, n)
end

--- Forgets a key.
-- @tparam string|number|boolean key checked before
-- @tparam number space whose key it is
-- @treturn boolean whether it was live or stale
function _M:delete(key, space)
  local s, n = identity(key)
  if self.changes then self.changes:deleted(space, key) end
  local found = C.perigee_store_del(self.handle, space, s, n)
  while found == AGAIN do
    refuse_while_busy(self)
    self:drain()
    found = C.perigee_store_del(self.handle, space, s, n)
  end
  self:drain()
  return found == 1
end

--- Forgets everything, in constant time unless somebody wants to be told of each value.
function _M:clear()
  while C.perigee_store_clear(self.handle) == AGAIN do
    refuse_while_busy(self)
    self:reclaim()
  end
  if self.changes then self.changes:clear() end
  if self.on_evict or handlers.evict then self:reclaim() end
end

--- Reclaims all that is expired or dead, now.
function _M:reclaim()
  if self.busy then return end
  repeat
    local more = C.perigee_store_step(self.handle, STEP)
    self:drain()
  until more == 0
end

--- Changes the bound on entries.
-- @tparam number maxsize entries, or infinity
function _M:resize(maxsize)
  refuse_while_busy(self)
  repeat
    local result = C.perigee_store_resize(self.handle, maxsize)
    self:drain()
  until result ~= AGAIN
end

_M.MISS, _M.STALE = MISS, STALE
_M.SEGMENT_BITS, _M.SEGMENT_MASK = SEGMENT_BITS, MASK

return _M

-- SPDX-License-Identifier: MIT

--- What has happened to a store that its backup does not know yet.
--
-- Which entries have changed is marked in C, slot by slot (`store_track.c`). Here are the keys that
-- left, which no slot stands for any more; and, while a backup is being read, the keys that were
-- written meanwhile: what is read of those is old.
-- @module perigee.backup.changes

local bit = require "bit"

local C = require("perigee.lib").core
local atomic = require "perigee.atomic"

local band, rshift = bit.band, bit.rshift
local SEGMENT_BITS, SEGMENT_MASK = 12, 4095 -- of `perigee.store`
local PLACE = 0xFFFF -- the part of a space's number that stays when it is cleared

local _M = {}
local mt = { __index = _M, __name = "perigee.backup.changes" }

--- Watches a store, from when it is new.
-- @tparam table store a `perigee.store`
-- @treturn table what changes from now on
function _M.watch(store)
  if C.perigee_store_track(store.handle) ~= 0 then error("perigee: out of memory", 0) end
  C.perigee_store_assume_saved(store.handle, 1) -- until it was read, it may hold anything
  local self = setmetatable({
    store = store,
    keys = {},       -- that left since they were saved
    spaces = {},     -- whose they were
    count = 0,
    cleared = false, -- whether all that the backup holds is to go before that
    clears = 0,      -- how often the store was cleared
    written = false, -- while a backup is read: by place of the space, the keys written meanwhile
  }, mt)
  store.changes, store.lists = self, {}
  return self
end

--- A key is not in the store any more, but may be in the backup.
-- @tparam string|number|boolean key the key
-- @tparam number space whose it was
function _M:left(key, space)
  local n = self.count + 1
  self.keys[n], self.spaces[n], self.count = key, space, n
end

--- A key was forgotten on request: the backup may hold it also when the store does not.
-- @tparam number space whose it is
-- @tparam string|number|boolean key the key
function _M:deleted(space, key)
  self:left(key, space)
  if self.written then self:wrote(space, key) end
end

--- The store was cleared.
function _M:clear()
  self.keys, self.spaces, self.count = {}, {}, 0
  self.cleared, self.clears = true, self.clears + 1
  C.perigee_store_unsave(self.store.handle)
end

--- The next live entry that has changed; it counts as saved from now on.
-- @tparam number slot the last one, or -1
-- @treturn number its slot, negative at the end
-- @return its key
-- @return its value
-- @treturn number whose key it is
-- @treturn number milliseconds left
-- @treturn table|nil its tags
function _M:next(slot)
  local store, handle, key, value, space, left, tags = self.store, self.store.handle
  local was_busy = store.busy
  store.busy = true
  slot = C.perigee_store_next_changed(handle, slot)
  if slot >= 0 then
    local at, i = rshift(slot, SEGMENT_BITS), band(slot, SEGMENT_MASK)
    key, value, tags = store.keys[at][i], store.values[at][i], store.lists[at][i]
    space, left = C.perigee_store_space(handle, slot), C.perigee_store_ttl(handle, slot)
    C.perigee_store_set_saved(handle, slot, 1)
  end
  store.busy = was_busy
  return slot, key, value, space, left, tags
end

local exchange = atomic(function(self, keys, spaces)
  local cleared, old_keys, old_spaces, count = self.cleared, self.keys, self.spaces, self.count
  self.cleared, self.keys, self.spaces, self.count = false, keys, spaces, 0
  return cleared, old_keys, old_spaces, count
end)

--- All that left goes to whoever saves.
-- @treturn boolean whether everything goes first
-- @treturn table the keys
-- @treturn table their spaces
-- @treturn number how many
function _M:take()
  return exchange(self, {}, {})
end

--- Whether the backup may hold what is not here, or the other way round. Dead entries that nobody
-- has come across yet are in neither place.
-- @treturn boolean
function _M:pending()
  local store = self.store
  return self.cleared or self.count > 0 or C.perigee_store_next_changed(store.handle, -1) >= 0
    or C.perigee_store_due_ms(store.handle) <= C.perigee_clock_now(store.clock)
end

--- What the backup holds of any key is known now: what is here and marked so.
function _M:know_all()
  C.perigee_store_assume_saved(self.store.handle, 0)
end

--- A backup is about to be read: notes what is written from now on.
function _M:begin_reading()
  self.written = {}
end

--- It has been read.
function _M:end_reading()
  self.written = false
end

-- What was written in a space that nothing had been written in, unless a finalizer was there first.
local open_notes = atomic(function(written, place, keys)
  written[place] = written[place] or keys
  return written[place]
end)

--- A key was written or forgotten.
-- @tparam number space whose it is
-- @tparam string|number|boolean key the key
function _M:wrote(space, key)
  local place = band(space, PLACE)
  local keys = self.written[place]
  keys = keys or open_notes(self.written, place, {})
  if keys ~= true then keys[key] = true end
end

--- A space was cleared.
-- @tparam number space its number
function _M:wrote_all(space)
  self.written[band(space, PLACE)] = true
end

--- Whether what a backup holds of a key is older than what was done to it here.
-- @tparam number space whose it is
-- @tparam string|number|boolean key the key
-- @treturn boolean
function _M:is_outdated(space, key)
  local keys = self.written and self.written[band(space, PLACE)]
  return keys == true or keys ~= nil and keys ~= false and keys[key] == true
end

return _M

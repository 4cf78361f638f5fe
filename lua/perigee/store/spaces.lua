-- SPDX-License-Identifier: MIT

--- Spaces of a store: keys that meet no others. And their names, in a cache with tiers: numbers die
-- with the process, names travel.
--
-- Space 0, of the direct API, is `""`; a wrapped function's has its `name`. Where a tier brings
-- entries of a function that was not wrapped yet, its space waits for it here.
-- @module perigee.store.spaces

local bit = require "bit"

local C = require("perigee.lib").core
local events = require "perigee.events"
local tagging = require "perigee.store.tagging"

local handlers = events.handlers
local PLACE = 0xFFFF -- the part of a number that stays when the space is cleared

local _M = {}

-- Names --------------------------------------------------------------------------------------

--- The names of a cache that has none yet.
-- @treturn table
function _M.new()
  return { numbers = {}, names = { [0] = "" }, owners = setmetatable({}, { __mode = "v" }) }
end

--- The space of a name, which is a new one if nobody has it.
-- @tparam table cache the cache
-- @tparam string name the name
-- @treturn number
function _M.number_of(cache, name)
  if name == "" then return 0 end
  local spaces = cache.spaces
  local number = spaces.numbers[name]
  if not number then
    number = cache.store:new_space()
    spaces.numbers[name], spaces.names[bit.band(number, PLACE)] = number, name
  end
  return number
end

--- The name of a space.
-- @tparam table cache the cache
-- @tparam number number the space's, also from before it was cleared
-- @treturn string|nil nil: nobody has it any more
function _M.name_of(cache, number)
  return cache.spaces.names[bit.band(number, PLACE)]
end

--- Gives the space of a name to somebody.
-- @tparam table cache the cache
-- @tparam string name the name
-- @tparam table owner whoever has it, as long as he lives
-- @treturn number|nil the space; nil: another one has it
function _M.take(cache, name, owner)
  local owners = cache.spaces.owners
  if owners[name] then
    collectgarbage() -- it may be one that nobody has any more
    if owners[name] then return nil end
  end
  local number = _M.number_of(cache, name)
  owners[name] = owner
  return number
end

--- The space of a name was cleared, and has another number now.
-- @tparam table cache the cache
-- @tparam string name the name
-- @tparam number number from `clear_space`
function _M.renumber(cache, name, number)
  cache.spaces.numbers[name] = number
end

-- Spaces of a store ------------------------------------------------------------------------

--- A space of its own for the keys of somebody who must meet no other's.
-- @tparam table self the store
-- @treturn number
function _M.new_space(self)
  local space = C.perigee_store_new_space(self.handle)
  if space == 0 then -- nobody may have some of them any more
    collectgarbage()
    self:reclaim()
    space = C.perigee_store_new_space(self.handle)
  end
  if space == 0 then error("perigee: out of memory, or of spaces (65,535) for one cache", 0) end
  return space
end

--- Forgets what is in a space, in constant time unless somebody wants to be told of each value.
-- @tparam table self the store
-- @tparam number space the space
-- @treturn number the number it has from now on
function _M.clear_space(self, space)
  if self.changes and self.changes.written then self.changes:wrote_all(space) end
  local cleared = C.perigee_store_clear_space(self.handle, space)
  while cleared == 0 do
    tagging.refuse_while_busy(self)
    self:reclaim()
    cleared = C.perigee_store_clear_space(self.handle, space)
  end
  if self.on_evict or handlers.evict then self:reclaim() end
  return cleared
end

return _M

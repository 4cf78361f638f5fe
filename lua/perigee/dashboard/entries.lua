-- SPDX-License-Identifier: MIT

--- The entries of a cache: some at a time, and how one is named in a form.
--
-- They come in the order of their slots, which is stable as long as they stay. A request looks at
-- `MOST_LOOKED` at most, with pauses, and the next one goes on where it stopped.
-- @module perigee.dashboard.entries

local bit = require "bit"

local C = require("perigee.lib").core
local each = require("perigee.value.names").each
local metrics = require "perigee.metrics"
local part_face = require "perigee.memo.part"
local place = require "perigee.tier.place"
local returns = require "perigee.value.returns"
local spaces = require "perigee.store.spaces"
local store_face = require "perigee.store"
local task = require "perigee.task"

local _M = {}

--- Entries of a page.
_M.PAGE = 25

--- How many are looked at for one, where few match.
_M.MOST_LOOKED = 20000

local SLICE = 1000 -- between two pauses
local MOST_KEY = 4096

-- Caches ------------------------------------------------------------------------------------------

--- The caches of a name, those without one by the order in which they were made.
-- @tparam string name `""`: those without one
-- @treturn table list
function _M.caches(name)
  local list = {}
  for _, cache in ipairs(metrics.caches()) do
    if (cache.name or "") == name then list[#list + 1] = cache end
  end
  table.sort(list, function(a, b) return a.number < b.number end)
  return list
end

--- A cache by its name, and, as some have none, by its number.
-- @tparam string name
-- @tparam number|nil number
-- @treturn perigee.cache|nil
function _M.cache(name, number)
  local list = _M.caches(name)
  for _, cache in ipairs(list) do
    if cache.number == number then return cache end
  end
  return not number and list[1] or nil
end

-- Keys --------------------------------------------------------------------------------------------

local function hex(byte) return ("%02x"):format(byte:byte()) end
local function unhex(digits) return string.char(tonumber(digits, 16)) end

-- Numbers of spaces differ from worker to worker; where caches have levels below, names do not.
local function space_name(cache, space)
  if space == 0 then return "" end
  local name = cache.spaces and spaces.name_of(cache, space)
  return name and "n" .. name or "#" .. space
end

local function space_of(cache, name)
  if name == "" then return 0 end
  if name:sub(1, 1) == "#" then return tonumber(name:sub(2)) end
  return cache.spaces and cache.spaces.numbers[name:sub(2)]
end

--- An entry's key as it stands in a form: digits, whatever its bytes are.
-- @tparam perigee.cache cache
-- @tparam table entry its `key` and `space`
-- @treturn string|nil nil: it is too long for that
function _M.name_of(cache, entry)
  local key = entry.key
  if type(key) == "string" and #key > MOST_KEY then return nil end
  return (place.of(space_name(cache, entry.space), key):gsub(".", hex))
end

--- The key that a form names.
-- @tparam perigee.cache cache
-- @tparam string name from anywhere
-- @treturn string|number|boolean|nil the key; nil: that is no name, or its space is gone
-- @treturn number its space
function _M.key_of(cache, name)
  if #name % 2 == 1 or name:find "%X" then return nil end
  local owner, key = place.read((name:gsub("..", unhex)))
  local space = owner and space_of(cache, owner)
  if not space then return nil end
  return key, space
end

-- Walking -----------------------------------------------------------------------------------------

local function tags_at(store, slot)
  if not store.lists then return nil end
  return store.lists[bit.rshift(slot, store_face.SEGMENT_BITS)][
    bit.band(slot, store_face.SEGMENT_MASK)]
end

local function matches(key, search)
  return search == "" or tostring(key):lower():find(search, 1, true) ~= nil
end

--- Some entries of a cache.
-- @tparam perigee.cache cache
-- @tparam number after the slot before the first of them; -1: from the beginning
-- @tparam string search what their keys contain, in any case
-- @treturn table list of `{ key =, value =, left = seconds, space =, tags = }`
-- @treturn number|nil the slot to go on from; nil: these were the last
-- @treturn number how many were looked at
function _M.list(cache, after, search)
  local store, list, slot, looked = cache.store, {}, after, 0
  search = search:lower()
  repeat
    local last, next_slot, key, value, left = slot, store:next(slot)
    if next_slot < 0 then return list, nil, looked end
    slot = next_slot
    if matches(key, search) then
      if #list == _M.PAGE then return list, last, looked end
      list[#list + 1] = { key = key, value = returns.first(value), left = left / 1000,
        space = C.perigee_store_space(store.handle, slot), tags = tags_at(store, slot) }
    end
    looked = looked + 1
    if looked % SLICE == 0 then task.sleep(0) end -- others go on
  until looked == _M.MOST_LOOKED
  return list, slot, looked
end

-- Changing ----------------------------------------------------------------------------------------

local function part_with(cache, space)
  for part in each(cache.parts) do
    if part.space == space then return part end
  end
end

--- Deletes an entry, as `cache:delete` does, whoever's it is.
-- @tparam perigee.cache cache
-- @tparam string|number|boolean key
-- @tparam number space whose key it is
function _M.delete(cache, key, space)
  if space == 0 then return cache:delete(key) end
  local part = part_with(cache, space)
  if part then return part_face.delete(part, key) end
  cache.store:delete(key, space) -- nobody has the function any more
end

return _M

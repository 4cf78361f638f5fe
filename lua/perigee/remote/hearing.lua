-- SPDX-License-Identifier: MIT

--- What others do to the second level, as it concerns a cache's memory: each notice is a `delete`,
-- a `clear` or a write of a tag here.
-- @module perigee.remote.hearing

local context = require "perigee.context"
local each = require("perigee.value.names").each
local flight = require "perigee.load.flight"
local spaces = require "perigee.store.spaces"
local store_face = require "perigee.store"

local identity = store_face.identity

local _M = {}

-- Tells of what has left, in work of its own: whoever is told may wait.
local function tell(cache)
  local store = cache.store
  if store.queued > 0 then context.port.spawn(store.tell, store) end
end

-- Forgets a key that somebody else has changed. A space may have entries and nobody who holds its
-- function.
local function forget(cache, space, key)
  local s, n = identity(key)
  local number = 0
  if space == "" then
    flight.fence(cache.number, s, n)
  else
    number = cache.spaces.numbers[space]
    for part in each(cache.parts) do
      if part.kept_as == space then flight.fence(part.number, s, n) end
    end
  end
  if number then cache.store:delete(key, number) end
  tell(cache)
end

local function forget_space(cache, space)
  local old = cache.spaces.numbers[space]
  if not old then return end
  local new = cache.store:clear_space(old)
  spaces.renumber(cache, space, new)
  for part in each(cache.parts) do
    if part.kept_as == space then
      part.version = part.version + 1
      if part.space == old then part.space = new end
    end
  end
  tell(cache)
end

-- Forgets everything, but not the numbers.
local function forget_all(cache)
  cache.version = cache.version + 1
  for part in each(cache.parts) do part.version = part.version + 1 end
  cache.store:clear()
  tell(cache)
end

-- What a backup brought may have changed while nobody listened.
local function forget_restored(cache)
  if not cache.backup then return end
  if cache.restoring then cache.restoring:settle(math.huge) end
  forget_all(cache)
end

--- Makes a cache hear.
-- @tparam perigee.cache cache the cache
-- @tparam table share where the notices come from: see `perigee.tier.redis`
-- @tparam table tell_remote `noticed()`, `cleared()` (by somebody else), `opened()`: hears what
--   happens
function _M.listen(cache, share, tell_remote)
  local was_lost, was_open = false, false
  local function drop(...)
    if cache.shared and share ~= cache.shared.ears then cache.shared:drop(...) end
  end
  function share.on_key(space, key)
    tell_remote.noticed()
    drop("key", space, key)
    forget(cache, space, key)
  end
  function share.on_long_key() -- which one it is was not said
    tell_remote.noticed()
    drop "all"
    forget_all(cache)
  end
  function share.on_clear()
    tell_remote.noticed()
    tell_remote.cleared()
    drop "all"
    forget_all(cache)
  end
  function share.on_space(space)
    tell_remote.noticed()
    drop("space", space)
    forget_space(cache, space)
  end
  function share.on_tag(parts)
    tell_remote.noticed()
    drop("tag", parts)
    cache.tagged = true
    cache.store:write_tag(parts)
  end
  function share.on_lost()
    was_lost = true
    drop "all"
    forget_all(cache)
  end
  function share.on_open(has_failed, was_down)
    if not was_open then forget_restored(cache) end
    -- What was loaded while nobody could say what had changed may be old.
    if was_lost or was_down then drop "all" end -- else the other workers have listened
    if was_lost or has_failed then forget_all(cache) end
    was_lost, was_open = false, true
    tell_remote.opened()
  end
end

return _M

-- SPDX-License-Identifier: MIT

--- What others do to the second level, as it concerns a cache's memory: each notice is a `delete`,
-- a `clear` or a write of a tag here.
-- @module perigee.hearing

local flight = require "perigee.flight"
local store_face = require "perigee.store"

local identity = store_face.identity

local _M = {}

-- The cache, or the part of it, whose space has a name.
local function owner_of(cache, space)
  if space == "" then return cache end
  for part in next, cache.parts do
    if part.kept_as == space then return part end
  end
end

-- Forgets a key that somebody else has changed.
local function forget(cache, space, key)
  local owner = owner_of(cache, space)
  if not owner then return end
  local s, n = identity(key)
  if owner.loading > 0 then flight.fence(owner.number, s, n) end
  cache.store:delete(key, owner.space)
  if cache.store.queued > 0 then cache.store:tell() end
end

-- Forgets everything, but not the numbers.
local function forget_all(cache)
  cache.version = cache.version + 1
  for part in next, cache.parts do part.version = part.version + 1 end
  cache.store:clear()
  if cache.store.queued > 0 then cache.store:tell() end
end

--- Makes a cache hear.
-- @tparam perigee.cache cache the cache
-- @tparam table share where the notices come from: see `perigee.tier.redis`
-- @tparam function count is called for each of them
-- @tparam function opened is called when the second level answers
function _M.listen(cache, share, count, opened)
  local was_lost = false
  function share.on_key(space, key)
    count()
    forget(cache, space, key)
  end
  function share.on_long_key() -- which one it is was not said
    count()
    forget_all(cache)
  end
  function share.on_clear()
    count()
    forget_all(cache)
  end
  function share.on_space(space)
    count()
    local part = owner_of(cache, space)
    if part and part ~= cache then part:forget_all() end
  end
  function share.on_tag(parts)
    count()
    cache.tagged = true
    cache.store:write_tag(parts)
  end
  function share.on_lost()
    was_lost = true
    forget_all(cache)
  end
  function share.on_open()
    -- What was loaded while nobody could say what had changed may be old.
    if was_lost then forget_all(cache) end
    was_lost = false
    opened()
  end
end

return _M

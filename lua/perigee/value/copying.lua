-- SPDX-License-Identifier: MIT
--- Deep copies of tables, for caches with `copy = true`.
-- @module perigee.value.copying

local _M = {}

local function copy_table(original, made)
  local known = made[original]
  if known then return known end
  local copied = {}
  made[original] = copied
  local name, value = next(original) -- no `for in`, whose compiled code a finalizer may not leave
  while name ~= nil do
    local key = type(name) == "table" and copy_table(name, made) or name
    if type(value) == "table" then value = copy_table(value, made) end
    rawset(copied, key, value)
    name, value = next(original, name)
  end
  return setmetatable(copied, debug.getmetatable(original))
end

--- A copy that shares no table with the original; cycles and shared tables stay as they are,
-- metatables are kept, everything but tables is the same value.
-- @param value anything
-- @return the copy, or the value itself if it is no table
function _M.copy(value)
  if type(value) ~= "table" then return value end
  return copy_table(value, {})
end

local copy = _M.copy

--- Gives a cache methods that copy what goes in and what comes out.
-- @tparam perigee.cache cache the cache
-- @tparam table class its methods
function _M.wrap(cache, class)
  function cache.get(self, key, opts)
    local value, err, source = class.get(self, key, opts)
    return copy(value), err, source
  end
  function cache.refresh(self, key, loader)
    local value, err, source = class.refresh(self, key, loader)
    return copy(value), err, source
  end
  function cache.get_many(self, keys, opts)
    local values, errors, sources = class.get_many(self, keys, opts)
    local key, value = next(values)
    while key ~= nil do
      values[key] = copy(value)
      key, value = next(values, key)
    end
    return values, errors, sources
  end
  function cache.peek(self, key)
    local value, left = class.peek(self, key)
    return copy(value), left
  end
  function cache.entries(self)
    local following = class.entries(self)
    return function()
      local key, value, left = following()
      return key, copy(value), left
    end
  end
  function cache.set(self, key, value, opts) return class.set(self, key, copy(value), opts) end
  function cache.add(self, key, value, opts) return class.add(self, key, copy(value), opts) end
  function cache.set_many(self, map, opts)
    return class.set_many(self, type(map) == "table" and copy(map) or map, opts)
  end
end

return _M

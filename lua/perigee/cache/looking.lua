-- SPDX-License-Identifier: MIT

--- Where no loop hears what other processes have changed, each call of a cache takes that in first:
-- in plain code what a remote cache tells, inside nginx what other workers have done.
-- @module perigee.cache.looking

local _M = {}

local METHODS = { "get_many", "set", "set_many", "add", "incr", "delete", "clear",
  "invalidate_tags", "refresh", "peek", "contains", "ttl", "touch", "entries", "get_metrics" }

--- Gives a cache methods that look first.
-- @tparam perigee.cache cache the cache
-- @tparam table class its methods
function _M.wrap(cache, class)
  local below = cache.below
  for _, name in ipairs(METHODS) do
    local method = rawget(cache, name) or class[name]
    cache[name] = function(self, ...)
      below:look()
      return method(self, ...)
    end
  end
  local get = rawget(cache, "get") or class.get
  function cache.get(self, key, opts) -- without `...`: it is compiled from its head
    below:look()
    return get(self, key, opts)
  end
end

--- The same for a wrapped function's call.
-- @tparam table below what the cache looks at
-- @tparam function call the call
-- @tparam number|nil count of its arguments, if it is called with as many
-- @treturn function
function _M.first(below, call, count)
  if count == 0 then return function() below:look() return call() end end
  if count == 1 then return function(a) below:look() return call(a) end end
  if count == 2 then return function(a, b) below:look() return call(a, b) end end
  if count == 3 then return function(a, b, c) below:look() return call(a, b, c) end end
  return function(...) below:look() return call(...) end
end

return _M

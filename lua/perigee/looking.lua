-- SPDX-License-Identifier: MIT

--- Plain code has no loop that hears what other processes have changed: there, each call of a cache
-- with a remote one takes that in first.
-- @module perigee.looking

local _M = {}

local METHODS = { "get_many", "set", "set_many", "add", "incr", "delete", "clear",
  "invalidate_tags", "refresh", "peek", "contains", "ttl", "touch", "entries", "get_metrics" }

--- Gives a cache methods that look first.
-- @tparam perigee.cache cache the cache
-- @tparam table class its methods
function _M.wrap(cache, class)
  local remote = cache.remote
  for _, name in ipairs(METHODS) do
    local method = rawget(cache, name) or class[name]
    cache[name] = function(self, ...)
      remote:look()
      return method(self, ...)
    end
  end
  local get = rawget(cache, "get") or class.get
  function cache.get(self, key, opts) -- without `...`: it is compiled from its head
    remote:look()
    return get(self, key, opts)
  end
end

--- The same for a wrapped function's call.
-- @tparam table remote the cache's
-- @tparam function call the call
-- @tparam number|nil count of its arguments, if it is called with as many
-- @treturn function
function _M.first(remote, call, count)
  if count == 0 then return function() remote:look() return call() end end
  if count == 1 then return function(a) remote:look() return call(a) end end
  if count == 2 then return function(a, b) remote:look() return call(a, b) end end
  if count == 3 then return function(a, b, c) remote:look() return call(a, b, c) end end
  return function(...) remote:look() return call(...) end
end

return _M

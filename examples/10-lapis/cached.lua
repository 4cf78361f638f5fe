-- SPDX-License-Identifier: MIT
-- Actions of Lapis whose answers are kept: in the memory of each worker, and below it in a
-- dictionary that all workers share. One worker runs the action, the others wait for it.
local perigee = require "perigee"

local _M = {}

local cache = perigee.new {
  name = "actions",
  shared = "perigee",          -- a lua_shared_dict of nginx.conf
  maxsize = 10000,
  default_ttl = 60,
  stale_while_revalidate = 10, -- then the old answer at once, and a fresh one behind it
  stale_if_error = 600,        -- the old answer while the database is down
}

local function named(params, names)
  local found = {}
  for _, name in ipairs(names) do found[name] = params[name] end
  return found
end

-- The same answer, with a header that says where it came from. The one in the cache stays as it is.
local function told(answer, source)
  local copy = { headers = { ["X-Cache"] = source } }
  for name, value in pairs(answer) do copy[name] = value end
  return copy
end

--- Makes a cached action.
-- @tparam {string,...} names the parameters that count; what else a client sends makes no new entry
-- @tparam function fn gets a table of them; returns what an action returns, then nil and hints
--   (`ttl`, `tags`), or nil and an error. It runs for all who wait for its answer, so it has no
--   request, and cannot leave by `assert_error` or `yield_error`
-- @treturn function an action
function _M.action(names, fn)
  return function(self)
    local params = named(self.params, names)
    local key = perigee.key(self.route_name, params)
    local answer, err, source = cache:get(key, function() return fn(params) end)
    if answer then return told(answer, source) end
    return { status = 502, json = { error = tostring(err) } }
  end
end

--- Forgets what is tagged so, in all workers.
-- @tparam string|{string,...} tag
function _M.forget(tag) cache:invalidate_tags(tag) end

return _M

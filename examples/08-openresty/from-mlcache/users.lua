-- SPDX-License-Identifier: MIT
-- Users of a database, cached: above each piece the lines of lua-resty-mlcache that it replaces.
local perigee = require "perigee"
local database = require "database"

local _M = {}

-- new ---------------------------------------------------------------------------------------------
--
--     local cache, err = mlcache.new("users", "cache_shm", {
--       lru_size = 1000, ttl = 3600, neg_ttl = 30, resurrect_ttl = 60,
--       shm_miss = "cache_misses", shm_locks = "cache_locks", ipc_shm = "cache_ipc",
--       l1_serializer = compile,
--       resty_lock_opts = { timeout = 5 },
--     })
--     if not cache then error(err) end

local cache = perigee.new { -- a mistake in it raises
  name = "users", shared = "perigee",
  maxsize = 1000,
  default_ttl = 3600,  -- not given: for ever; mlcache has 30
  neg_ttl = 30,        -- not given: as default_ttl; mlcache has 5
  stale_if_error = 60, -- after its end, for so long, an entry answers for a load that fails
  load_timeout = 5,    -- of the load itself; those who wait are woken when it ends
}

-- get ---------------------------------------------------------------------------------------------
--
--     local function fetch(id)
--       local row, err = database.user(id)
--       if err then return nil, err end       -- not cached
--       return row, nil, row and row.ttl      -- a third result is a ttl; < 0: not to be cached
--     end
--
--     local user, err, level = cache:get("user:" .. id, nil, fetch, id)
--     -- level: 1 (L1), 2 (shared), 3 (callback), 4 (stale), -1 (miss without a callback)

local function load(key)
  local row, err = database.user((key:gsub("^user:", "")))
  if err then return nil, err end
  return row, nil, row and row.ttl -- or { ttl =, tags =, cache = false }
end

--- A user. What the loader raises is raised here, unchanged; mlcache returned it as text.
-- @treturn table|nil
-- @treturn string|nil why not
-- @treturn string `"memory"`, `"shared"`, `"load"`, `"wait"` (for another's load) or `"stale"`
function _M.get(id)
  return cache:get("user:" .. id, load)
end

-- A callback's arguments --------------------------------------------------------------------------
--
--     cache:get("friends:" .. a .. ":" .. b, { ttl = 5 }, fetch_friends, a, b)

-- A wrapped function makes the key of its arguments.
_M.are_friends = perigee.ttl {
  name = "friends", shared = "perigee", time_to_live = 5,
} (function(a, b) return database.are_friends(a, b) end)

-- l1_serializer -----------------------------------------------------------------------------------
--
--     local function compile(row)               -- called when a value enters L1
--       row.greet = loadstring(row.code)
--       return row
--     end

-- Memory holds each row as one table until it changes: so what is made of it can hang on it. (It
-- must not refer to the row: neither would ever go.)
local compiled = setmetatable({}, { __mode = "k" })

local function compile(row)
  compiled[row] = compiled[row] or assert(loadstring(row.code))
  return compiled[row]
end

--- What a user's own code says.
function _M.greeting(id)
  local user = _M.get(id)
  return user and compile(user)(user.name) or "nobody"
end

-- get_bulk ----------------------------------------------------------------------------------------
--
--     local bulk = mlcache.new_bulk(#ids)
--     for _, id in ipairs(ids) do bulk:add("user:" .. id, nil, fetch, id) end
--     local res, err = cache:get_bulk(bulk, { concurrency = 3 })
--     for i, user, err, level in mlcache.each_bulk_res(res) do ... end

-- One query for all that are missing. Without one that takes a list: `{ loader = load }`, whose
-- loads run side by side.
local function load_all(keys)
  local ids = {}
  for i, key in ipairs(keys) do ids[i] = key:gsub("^user:", "") end
  return perigee.aligned(database.users(ids), #keys)
end

--- Users by their ids.
function _M.get_many(ids)
  local keys, users = {}, {}
  for i, id in ipairs(ids) do keys[i] = "user:" .. id end
  local rows, errors = cache:get_many(keys, load_all)
  if errors then error(errors[next(errors)], 0) end
  for i, id in ipairs(ids) do users[id] = rows[keys[i]] end
  return users
end

-- peek --------------------------------------------------------------------------------------------
--
--     local ttl, err, user = cache:peek("user:" .. id)           -- looks into the shared dict

--- Whether there is one. A get without a loader asks memory and the dict, and loads nothing;
-- `cache:peek(key)`, which returns the value and its seconds, is about this worker's memory.
function _M.peek(id)
  local user, _, source = cache:get("user:" .. id)
  return source ~= "miss" and (user and user.name or "nobody") or "unknown"
end

-- set, delete, purge, update ----------------------------------------------------------------------
--
--     cache:set("user:" .. id, { ttl = 60 }, row)                -- the value comes last
--     cache:delete("user:" .. id)
--     cache:purge()                                              -- and all others in the dict
--     cache:update()                                             -- in each request, before get

--- Renames a user. The other workers know before their next answer: there is no `update` to call.
function _M.rename(id, name)
  local row = database.rename(id, name)
  return cache:set("user:" .. id, row, { ttl = 60 })
end

--- Forgets a user.
function _M.forget(id)
  return cache:delete("user:" .. id)
end

--- Forgets all users, and nothing else that is in the dict.
function _M.forget_all()
  return cache:clear()
end

return _M

-- SPDX-License-Identifier: MIT
-- Inside an nginx worker (OpenResty's Lua module), beside lua-resty-mlcache, lua-resty-lrucache and
-- the shared dict: all in one request that does nothing else, in processor time of the worker. The
-- last lines count requests: each gets a hundred keys from memory and says a word, beside one that
-- says it at once.

local nginx = require "bench.support.nginx"

local WORKER = "bench.support.openresty"
local MOST_ROUNDS = 9 -- of requests: each takes a second
local GETS = 100

local mlcache_missing = nginx.missing_mlcache()

local function inside(what)
  return function(line, effort)
    return nginx.call(WORKER, what, line.entries, effort.operations, effort.rounds)
  end
end

local LOCATIONS = [[
  location = /say { content_by_lua_block { ngx.say "hello" } }
]]

local function location_of(name)
  return ('  location = /%s { content_by_lua_block { require("%s").answer "%s" } }\n')
    :format(name, WORKER, name)
end

-- What is requested, by name and path: neighbours are compared.
local REQUESTS = { { "ngx.say", "say" }, { "perigee", "perigee" },
  { "perigee with shared", "shared" }, { "lrucache", "lrucache" }, { "shared dict", "dict" } }
if not mlcache_missing then table.insert(REQUESTS, { "mlcache", "mlcache" }) end

local function beside_requests()
  local list = {}
  for _, request in ipairs(REQUESTS) do
    if request[1] ~= "perigee" then table.insert(list, request[1]) end
  end
  return list
end

local function measure_requests(line, effort)
  local rounds = require "bench.support.rounds"
  local locations = LOCATIONS
  for i = 2, #REQUESTS do locations = locations .. location_of(REQUESTS[i][2]) end
  return nginx.with_server(locations, function(server)
    server:lua(("require(%q).prepare(...)"):format(WORKER), line.entries, not mlcache_missing)
    local contenders = {}
    for i, request in ipairs(REQUESTS) do
      contenders[i] = { name = request[1], seconds = function(n)
        return nginx.request(server, "/" .. request[2], n)
      end }
    end
    return rounds.run(contenders, 1, math.min(effort.rounds, MOST_ROUNDS))
  end)
end

local function beside_mlcache(line)
  line.missing, line.figure = mlcache_missing, "perigee"
  return line
end

local function hits(label, entries)
  return beside_mlcache { name = "openresty-hits-" .. label, entries = entries,
    what = "in a worker: cache:get(key, loader), a hit, zipf", measure = inside "hits",
    beside = { "mlcache", "lrucache", "shared dict", "table" },
    targets = { { "perigee", over = "mlcache", at_most = 0.6 } } }
end

local function shared_hits(label, entries)
  return beside_mlcache { name = "openresty-shared-" .. label, entries = entries,
    what = "in a worker: cache:get(key, loader), found in the shared dict",
    measure = inside "shared_hits", beside = { "mlcache", "shared dict" },
    targets = { { "perigee", over = "mlcache", at_most = 0.8 } } }
end

return {
  missing = nginx.missing(),
  hits("1k", 1000),
  hits("100k", 100000),
  { name = "openresty-hits-with-shared", entries = 1000, figure = "perigee",
    what = "in a worker: cache:get(key, loader), a hit, of a cache that has a shared dict, zipf",
    measure = inside "hits_with_shared", beside = { "not shared" },
    targets = { { "perigee", over = "not shared", at_most = 1.2 } } },
  shared_hits("1k", 1000),
  shared_hits("100k", 100000),
  beside_mlcache { name = "openresty-misses", entries = 16384,
    what = "in a worker: cache:get(key, loader), a miss, loader returns at once; of mlcache it is"
      .. " not kept",
    measure = inside "misses", beside = { "mlcache" },
    targets = { { "perigee", over = "mlcache", at_most = 0.6 } } },
  beside_mlcache { name = "openresty-shared-misses", entries = 8192,
    what = "in a worker: cache:get(key, loader), a miss, the result goes to the shared dict, too",
    measure = inside "shared_misses", beside = { "mlcache" },
    targets = { { "perigee", over = "mlcache", at_most = 0.6 } } },
  { name = "openresty-requests", entries = 1000, missing = nginx.missing_wrk(),
    what = ("a request with %d gets, 1 worker, 16 connections"):format(GETS),
    measure = measure_requests, figure = "perigee", beside = beside_requests(),
    targets = { { "ngx.say", over = "perigee", at_least = 0.88 } } },
}

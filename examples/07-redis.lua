-- SPDX-License-Identifier: MIT
-- Two processes share a cache through a Redis server. This program starts itself a second time.
--
--     luajit examples/07-redis.lua                       with a redis-server of its own
--     REDIS_SOCKET=/run/redis/redis.sock luajit examples/07-redis.lua
package.path = (arg[0]:match "^.*/" or "./") .. "?.lua;" .. package.path

local perigee = require "perigee"
local redis_server = require "support.redis_server"

local function say(what) print((arg[1] or "first") .. ": " .. what) end

local function load_price(name)
  say("loading the price of " .. name)
  perigee.sleep(0.2) -- think of a web service
  return #name
end

local function ask(cache, name)
  local price, _, source = cache:get(name, load_price)
  say(("%s costs %d, from %s"):format(name, price, source))
end

local function open(unix)
  return perigee.new {
    name = "prices", -- processes that use the same name share the entries
    default_ttl = 60,
    remote_cache = perigee.redis { unix = unix },
    single_load = 5, -- of all processes one loads a key; should it die, the others wait so long
  }
end

local function first(unix)
  local cache = open(unix)
  cache:delete "tea" -- what earlier runs left
  cache:delete "coffee"
  ask(cache, "tea")
  local second = perigee.spawn(perigee.exec, { arg[-1], arg[0], "second", unix })
  ask(cache, "coffee") -- both processes want it at once
  io.write(assert(second:wait()).stdout)
  ask(cache, "tea") -- memory had it, and has heard that it is old
  cache:close()
end

local function second(unix)
  local cache = open(unix)
  ask(cache, "tea")
  ask(cache, "coffee")
  say "tea has a new price"
  cache:delete "tea"
  cache:close()
end

perigee.run(function(role, unix)
  if role == "second" then return second(unix) end
  unix = os.getenv "REDIS_SOCKET"
  if unix then return first(unix) end
  local server, why = redis_server.start()
  if not server then return print("this example needs a Redis server: " .. why) end
  first(server.unix)
  server:stop()
end, ...)

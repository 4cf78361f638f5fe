-- SPDX-License-Identifier: MIT
-- The HTTP server: a kilobyte from a cache, in processor time of the server, beside nginx with its
-- Lua module and lua-resty-lrucache (one worker); what a thousand slow clients cost the fast ones;
-- and what is left in memory of a million requests. `wrk` asks, on 64 connections that are kept.

local http = require "bench.support.http"
local nginx = require "bench.support.nginx"
local rounds = require "bench.support.rounds"

local CONNECTIONS = 64
local WRK_S = 1
local MOST_ROUNDS = 7 -- each takes seconds
local PATH = "/k"

local LOCATIONS = [[
  keepalive_requests 1000000000;
  location = /k { content_by_lua_block { require("bench.support.openresty").page() } }
]]

local function missing()
  return nginx.missing() or nginx.missing_wrk()
end

-- Calls `work` with the servers that are compared: `port` and `pid`.
local function with_both(work)
  return http.with_server(function(server)
    return nginx.with_server(LOCATIONS, function(peer)
      return work(server, { port = peer.port, pid = peer:workers()[1] })
    end)
  end)
end

-- What a request costs while so many come as can in a second: nanoseconds of the server's processor
-- time, and on the wall.
local function cost_of(server)
  local before = http.cpu(server.pid)
  local requests, seconds = http.ask(server.port, PATH, CONNECTIONS, WRK_S)
  return (http.cpu(server.pid) - before) / requests * 1e9, seconds / requests * 1e9
end

local function measure_cached(_, effort)
  local function busy(server)
    return function(n) return n * cost_of(server) * 1e-9 end
  end
  return with_both(function(server, peer)
    return rounds.run({ { name = "perigee", seconds = busy(server) },
      { name = "nginx", seconds = busy(peer) } }, 1, math.min(effort.rounds, MOST_ROUNDS))
  end)
end

-- Two servers, of which one has slow clients. They stand still while the other one is asked.
local function measure_slow_beside(clients, crowded, alone, count)
  local series = { perigee = {}, alone = {}, ["on the wall"] = {}, ["alone on the wall"] = {} }
  for i = 1, count do
    clients:resume()
    series.perigee[i], series["on the wall"][i] = cost_of(crowded)
    clients:pause()
    series.alone[i], series["alone on the wall"][i] = cost_of(alone)
  end
  return series
end

local function measure_slow(line, effort)
  local count = math.min(effort.rounds, MOST_ROUNDS)
  return http.with_server(function(alone)
    return http.with_server(function(crowded)
      return http.with_slow_clients(crowded.port, line.entries, function(clients)
        return measure_slow_beside(clients, crowded, alone, count)
      end)
    end)
  end)
end

local function ask_for(server, count)
  local done = 0
  while done < count do
    local seconds = math.max(1, math.min(10, math.floor((count - done) / 50000)))
    done = done + http.ask(server.port, PATH, CONNECTIONS, seconds)
  end
  return done
end

-- The least memory between some seconds of requests: garbage comes and goes.
local function memory_of(server, looks)
  local least = math.huge
  for _ = 1, looks do
    http.ask(server.port, PATH, CONNECTIONS, WRK_S)
    least = math.min(least, http.memory(server.pid))
  end
  return least
end

-- Bytes for each of so many requests, after a tenth of them.
local function growth(server, count, looks)
  ask_for(server, count / 10)
  local before = memory_of(server, looks)
  local done = ask_for(server, count)
  return (memory_of(server, looks) - before) / done
end

local function measure_memory(line, effort)
  local looks, count = math.min(effort.rounds, MOST_ROUNDS), line.entries
  return with_both(function(server, peer)
    return { perigee = { growth(server, count, looks) }, nginx = { growth(peer, count, looks) } }
  end)
end

return {
  missing = missing(),
  { name = "http-cached", entries = CONNECTIONS, measure = measure_cached, figure = "perigee",
    what = "a cached kilobyte by HTTP, in processor time of the server", per = "request",
    beside = { "nginx" },
    targets = { { "perigee", at_most = 50000 }, { "perigee", over = "nginx", at_most = 2.5 } } },
  { name = "http-slow-clients", entries = 1000, measure = measure_slow, figure = "perigee",
    what = "the same while so many slow clients are connected", per = "request",
    beside = { "alone", "on the wall", "alone on the wall" },
    targets = { { "perigee", over = "alone", at_most = 1.25 },
      { "on the wall", over = "alone on the wall", at_most = 1.5 } } },
  { name = "http-memory", entries = 1000000, measure = measure_memory, figure = "perigee",
    what = "what the server has grown by after so many requests", unit = "bytes/request",
    beside = { "nginx" }, targets = { { "perigee", at_most = 1 } } },
}

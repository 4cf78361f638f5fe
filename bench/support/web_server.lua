-- SPDX-License-Identifier: MIT
-- The server that `bench/cases/http.lua` measures, in a process of its own: a cached kilobyte at
-- any path, and a megabyte at /large. Its first line of output is its port.
local perigee = require "perigee"

local LARGE = ("x"):rep(2 ^ 20)

local cache = perigee.new { maxsize = 1000, default_ttl = 3600 }

local function load() return ("x"):rep(1024) end

local function handle(request)
  if request.path == "/large" then return LARGE end
  return cache:get(request.path, load)
end

perigee.run(function()
  local server = assert(perigee.http.listen { port = 0, handler = handle, max_connections = 4096,
    idle_timeout = 3600 })
  print(server.port)
  io.stdout:flush()
  server:wait()
end)

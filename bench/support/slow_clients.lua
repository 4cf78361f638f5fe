-- SPDX-License-Identifier: MIT
-- Slow clients for `bench/cases/http.lua`, in a process of their own: `PORT COUNT`. Each second,
-- each of them does a little: half of them send one byte of a request that has no end, the others
-- take in a few bytes of a megabyte. Says "ready" when all are connected.
local socket = require "socket"

local PORT, COUNT = tonumber(arg[1]), tonumber(arg[2])
local TURN_S = 0.01
local TAKEN = 512 -- bytes
local BEGIN_S = 2 -- in which the server sends at first what they have room for

local clients = {}

-- Connects the client of this number, anew if need be.
local function connect(i)
  local client = assert(socket.tcp())
  client:setoption("tcp-nodelay", true)
  client:setoption("recv-buffer-size", 4096)
  client:settimeout(5)
  assert(client:connect("127.0.0.1", PORT))
  client:settimeout(0)
  client:send(i % 2 == 0 and "GET / HTTP/1.1\r\nHost: h\r\nX-Slow: "
    or "GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
  clients[i] = client
end

local function step(i)
  local client, did = clients[i], i % 2 == 0 and clients[i].send or clients[i].receive
  local _, why = did(client, i % 2 == 0 and "x" or TAKEN)
  if why == "closed" then
    client:close()
    connect(i)
  end
end

for i = 1, COUNT do connect(i) end
socket.sleep(BEGIN_S)
print "ready"
io.stdout:flush()

local at, per_turn = 0, math.max(1, math.floor(COUNT * TURN_S))
while true do
  for _ = 1, per_turn do
    at = at % COUNT + 1
    step(at)
  end
  socket.sleep(TURN_S)
end

-- SPDX-License-Identifier: MIT
--- Loopback ports for servers that the specs start: who was given one has it to himself, however
-- many specs run side by side.
--
-- A port that the kernel chose is free again until the server takes it, and meanwhile anybody may
-- be given it: another spec, or a client as its own end. These here are below those that the kernel
-- gives to clients; and this process, while it lives, holds the same number for UDP, which nobody
-- here uses else.
local socket = require "socket"

local FIRST, COUNT = 20000, 12000

local _M = { held = {} }

-- Whether nobody listens there, at any address.
local function is_free(port)
  local tcp = assert(socket.tcp())
  local free = tcp:bind("*", port)
  tcp:close()
  return free ~= nil
end

local function take(port)
  local udp = assert(socket.udp())
  if udp:setsockname("127.0.0.1", port) and is_free(port) then
    _M.held[port] = udp
    return port
  end
  udp:close()
end

-- Where to begin looking: each process elsewhere.
local function random_start()
  local file = assert(io.open("/dev/urandom", "rb"))
  file:setvbuf "no"
  local a, b = file:read(2):byte(1, 2)
  file:close()
  return a * 256 + b
end

--- A port that nobody listens at, and that no other spec will be given.
-- @treturn number
function _M.free()
  local start = random_start()
  for i = 0, COUNT - 1 do
    local port = take(FIRST + (start + i) % COUNT)
    if port then return port end
  end
  error "every port is taken"
end

return _M

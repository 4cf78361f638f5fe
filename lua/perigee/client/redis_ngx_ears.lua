-- SPDX-License-Identifier: MIT

--- The connection that hears which keys others have changed, inside nginx: one per worker, in a
-- timer that lasts as long as it does.
--
-- It switches tracking on itself (CLIENT TRACKING with REDIRECT to its own number): connections
-- that write come from a pool, and any of them may be gone. One light thread reads, another one
-- pings: reads are never given up half-way but at the end, so no byte of a message is lost.
-- @module perigee.client.redis_ngx_ears

local ngx = require "perigee.runtime.nginx"
local wire = require "perigee.client.redis_ngx_wire"

local _M = {}
local mt = { __index = _M, __name = "perigee.client.redis_ngx_ears" }

local CHANNEL = "__redis__:invalidate"
local PING_S, SILENCE_S = 1, 2.5
local PING = "*1\r\n$4\r\nPING\r\n"

-- Says what makes a new connection listen.
local function subscribe(red, opts, watches)
  local ok, id = wire.greet(red, opts)
  if not ok then return nil, id end
  if not id then return nil, "the server does not tell the number of a connection" end
  local replies, why = wire.converse(red, { { "CLIENT", "TRACKING", "ON", "REDIRECT",
    ("%d"):format(id), "BCAST", "PREFIX", watches } })
  if not replies then return nil, why end
  if replies[1] ~= "OK" then return nil, replies[1].err or "Protocol error: no OK" end
  local called, reply
  called, reply, why = pcall(red.subscribe, red, CHANNEL)
  if called and type(reply) == "table" and reply[1] == "subscribe" then return true end
  return nil, tostring(called and why or reply)
end

--- Connects. Waits.
-- @tparam table opts options of `perigee.redis`
-- @tparam string pool name that no other connection has
-- @tparam string watches prefix of the keys whose changes are to be heard
-- @treturn table|nil
-- @treturn string|nil why not
function _M.open(opts, pool, watches)
  local red, why = wire.connect(opts, { pool = pool, pool_size = 1 }, opts.connect_timeout)
  if not red then return nil, why end
  local ok
  ok, why = subscribe(red, opts, watches)
  if ok then
    red:set_timeout(SILENCE_S * 1000)
    return setmetatable({ red = red, open = true }, mt)
  end
  red:close()
  return nil, why
end

-- lua-resty-redis would wait for the answer; the other light thread does.
local function ping(self)
  while self.open do
    ngx.sleep(PING_S)
    if self.open then self.red._sock:send(PING) end
  end
end

-- What is no Redis server may make the reader raise.
local function next_message(red)
  local called, message, why = pcall(red.read_reply, red)
  if not called then return nil, "Protocol error: " .. tostring(message) end
  return message, why
end

-- Tells of the keys of one message; of none: all have changed.
local function take(message, client)
  if type(message) ~= "table" then return nil, "Protocol error: no message" end
  if message[1] == "pong" then return true end
  local keys = message[3]
  if message[1] ~= "message" then return nil, "Protocol error: another message" end
  if type(keys) ~= "table" then
    client.on_notice(nil)
    return true
  end
  for i = 1, #keys do client.on_notice(keys[i]) end
  return true
end

local function read(self, client)
  while self.open and not ngx.worker.exiting() do
    local message, why = next_message(self.red)
    if not message then return why or "Protocol error: an error as a message" end
    local ok
    ok, why = take(message, client)
    if not ok then return why end
    client:heard()
  end
  return "closed"
end

--- Listens until the connection is lost, closed, or the worker is about to end.
-- @tparam table client is told: `on_notice(key)`, `heard()`
-- @treturn string why it ended
function _M:listen(client)
  local pinging = ngx.thread.spawn(ping, self)
  local _, why = pcall(read, self, client) -- whoever is told may raise
  self.open = false
  ngx.thread.kill(pinging)
  self.red:close()
  return tostring(why or "closed")
end

--- Ends it, before the next message.
function _M:close()
  self.open = false
end

return _M

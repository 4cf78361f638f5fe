-- SPDX-License-Identifier: MIT

--- A Redis client on our own loop: one connection for commands, and one that hears which keys
-- others have changed.
--
-- What all tasks ask in one turn leaves together. A client is *open*, *connecting* or *down*. It
-- goes down when a connection fails, or when nothing has moved on it for `timeout` while somebody
-- waited; then it tries again by itself, after 0.1 s at first and up to 5 s, and nobody waits for
-- it meanwhile (a circuit breaker). In plain code, where nothing happens by itself, the call that
-- comes after the pause tries, and waits `connect_timeout` at most. Its face:
--
-- - `client:open()` -> true, or nil and why not; connects if need be, and waits for it
-- - `client:ask(commands)` -> replies, or nil and why not: a list of lists of strings; waits
-- - `client:send(commands)` and `client:receive(request)`: the same in two steps
-- - `client:begin(arguments)` and so on: one command without any table
-- - `client.gathers`: whether requests of one turn leave as one, when the loop waits
-- - `client.deaf`: whether it is open and will hear nothing any more (never)
-- - `client.process()`: a number; processes that were forked from one have each its own
-- - `client:look()`: takes in what came without being asked for; never waits
-- - `client.on_notice(key)`: somebody else changed a key under `client.watches`; nil: all of them
-- - `client.on_lost()`: what others change may have gone unheard
-- - `client.on_open(has_failed)`: whether it could not be connected before
-- - `client.ahead_ms`: how far the server's clock is ahead of ours, as of a second ago at most
--
-- Replies are strings, numbers, lists, `_M.NULL`, or `{ err = text }`.
-- @module perigee.client.redis_ev

local ffi = require "ffi"

local context = require "perigee.context"
local each = require("perigee.value.names").each
local hello = require "perigee.client.redis_hello"
local latch = require "perigee.runtime.latch"
local runtime = require "perigee.runtime"
local scheduler = require "perigee.runtime.scheduler"
local times = require "perigee.client.redis_times"
local wire = require "perigee.client.redis_wire"

local C = require("perigee.lib").rt

local _M = { NULL = wire.NULL, gathers = true, deaf = false }
local mt = { __index = _M, __name = "perigee.client.redis_ev" }

local TEXT, LIST = C.PERIGEE_REPLY_TEXT, C.PERIGEE_REPLY_LIST
local PING_S, DOUBT_S = 1, 0.5

local clients = setmetatable({}, { __mode = "k" })

--- Makes a client; it connects when it is first asked.
-- @tparam table opts options of `perigee.redis`, checked before
-- @tparam string watches prefix of the keys whose changes are to be heard
-- @treturn table the client
function _M.new(opts, watches)
  local self = setmetatable({
    opts = opts, watches = watches,
    state = "idle", err = false,
    data = false, ears = false, -- the two connections
    loop = false,               -- whose they are
    connecting = false,         -- the latch of who connects
    failures = 0, retry_at = 0,
    ping_at = 0, pings = false, doubted = false,
    ahead_ms = 0, looking = false,
    id = nil,                   -- what the server calls `data`, or called it
    on_notice = function() end, on_lost = function() end, on_open = function() end,
  }, mt)
  clients[self] = true
  return self
end

--- Tells processes apart that were forked from one: no loop survives that, nor do we.
-- @treturn number
function _M.process() return 0 end

-- Opening and going down -----------------------------------------------------------------------

-- Why a connection fails that the server has no more.
local GONE = { ["the server closed the connection"] = true, ["Connection reset by peer"] = true }

local function is_gone(connection)
  return C.perigee_redis_state(connection) == C.PERIGEE_REDIS_FAILED
    and GONE[wire.failure_of(connection)]
end

-- Gives the connections up; the next try is made after a while.
local function go_down(self, why)
  local was_open = self.state == "open"
  local data, ears = self.data, self.ears
  -- A server that has begun anew counts from one: the number may be somebody else's there.
  if data and is_gone(data) then self.id = nil end
  self.state, self.err, self.data, self.ears = "down", why, false, false
  self.pings, self.doubted = false, false
  self.failures = self.failures + 1
  self.retry_at = context.port.now() + times.pause_s(self.failures)
  hello.close(data, why)
  hello.close(ears, why)
  if was_open then self.on_lost(why) end
end

local function finish_connecting(self, called, made, why)
  local connecting, has_failed = self.connecting, self.failures > 0
  if called and made then
    self.data, self.ears, self.loop, self.id = made.data, made.ears, made.loop, made.id
    self.ahead_ms = times.ahead_ms(made.time) or self.ahead_ms
  end
  if self.state == "closed" then
    self:close()
  elseif called and made then
    self.state, self.err, self.failures = "open", false, 0
    self.ping_at = context.port.now() + PING_S
  else
    go_down(self, not called and tostring(made) or why)
  end
  self.connecting = false
  if self.state == "open" then self.on_open(has_failed) end
  connecting:release()
end

local function connect_work(self)
  finish_connecting(self, pcall(hello.connect, self.opts, self.watches, self.id))
end

local function start_connecting(self)
  local connecting = latch.new()
  if self.state ~= "idle" and self.state ~= "down" then return end -- a finalizer came first
  self.state, self.connecting = "connecting", connecting
  context.port.spawn(connect_work, self)
end

-- Connections belong to a loop: another one needs its own.
local function leave_other_loop(self)
  if self.data and self.loop ~= scheduler.world().loop then
    go_down(self, "another loop")
    self.state, self.failures, self.retry_at = "idle", 0, 0
  end
end

--- Makes sure that it is open. Waits for the first connection, `connect_timeout` at most; not for
-- one that makes up for a failure, but in plain code.
-- @treturn true|nil
-- @treturn string|nil why not
function _M:open()
  if self.state == "open" and self.loop == scheduler.world().loop then return true end
  leave_other_loop(self)
  if self.state == "idle" or self.state == "down" and context.port.now() >= self.retry_at then
    start_connecting(self)
  end
  local connecting = self.connecting
  if connecting and (self.failures == 0 or context.port.name == "none") then
    local ended, why = connecting:wait(self.opts.connect_timeout)
    if not ended then return nil, why or "timeout while connecting" end
  end
  if self.state == "open" then return true end
  return nil, self.err or "down"
end

-- Asking ---------------------------------------------------------------------------------------

-- An answer did not come: if the other side is silent, nobody else shall wait for it.
local function judge(self, connection, why)
  if self.data ~= connection then return end
  if C.perigee_redis_state(connection) == C.PERIGEE_REDIS_FAILED
    or why == "timeout" and C.perigee_redis_silence(connection) >= self.opts.timeout / 2 then
    go_down(self, why)
  end
end

--- Asks, and waits for the replies, `timeout` at most.
-- @tparam table commands a list of lists of strings
-- @treturn table|nil the replies
-- @treturn string|nil why there are none
function _M:ask(commands)
  local ok, why = self:open()
  if not ok then return nil, why end
  local request
  request, why = self:send(commands)
  if not request then return nil, why end
  return self:receive(request)
end

--- Sends commands. Never waits.
-- @tparam table commands a list of lists of strings
-- @treturn table|nil the request, for `receive`, which must follow
-- @treturn string|nil why they are not on their way
function _M:send(commands)
  local connection = self.data
  if not connection then return nil, self.err or "down" end
  local first, why = wire.send_all(connection, commands)
  if first then return { connection = connection, first = first, count = #commands } end
  judge(self, connection, why)
  return nil, why
end

--- Waits for the replies to what was sent, `timeout` at most.
-- @tparam table request from `send`
-- @treturn table|nil the replies
-- @treturn string|nil why there are none
function _M:receive(request)
  local connection = request.connection
  local replies, why = wire.receive(connection, request.first, request.count, self.opts.timeout)
  if not replies then judge(self, connection, why) end
  return replies, why
end

--- Begins a command that is given by its arguments: `client.argument(connection, bytes, length)`
-- for each, or `client.joined` for two pieces, and `client.submit(connection)`, which gives the
-- number of its request, or 0. `client.wake(connection, number, ticket)`: unparks when it ends.
-- @tparam number arguments how many
-- @treturn cdata|nil the connection
-- @treturn string|nil why it cannot be sent
function _M:begin(arguments)
  local connection = self.data
  if not connection or self.loop ~= scheduler.world().loop then return nil, self.err or "down" end
  if not wire.begin(connection, arguments) then return nil, "too much is waiting" end
  return connection
end

_M.argument, _M.joined = wire.argument, wire.joined
_M.submit, _M.release, _M.wake = wire.submit, wire.release, C.perigee_redis_retarget
_M.text, _M.string = wire.text, wire.string

--- Waits for a reply that is a list, `timeout` at most. It is there until it is given back by
-- `client.release(connection, number)`; `client.text(reply, i)` and `client.string(reply, i)` are
-- its elements.
-- @tparam cdata connection from `begin`
-- @tparam number number from `submit`
-- @tparam number least how many elements it must have
-- @tparam[opt] number timeout seconds in its place
-- @treturn cdata|nil the reply
-- @treturn string|nil why there is none
function _M:reply(connection, number, least, timeout)
  local waited, ok, why = pcall(wire.wait, connection, number, timeout or self.opts.timeout)
  if waited and ok then
    local reply = C.perigee_redis_reply(connection, number)
    ok, why = wire.is_list(reply, least)
    if ok then return reply end
  elseif waited then
    judge(self, connection, why)
  end
  wire.release(connection, number)
  if not waited then error(ok, 0) end
  return nil, why
end

--- Writes what was sent in this turn at once.
function _M:write()
  if self.data then C.perigee_redis_write(self.data) end
end

--- Gives the connections up, and makes new ones after a while.
-- @tparam string why
function _M:give_up(why)
  if self.state == "open" then go_down(self, why) end
end

-- What came by itself ------------------------------------------------------------------------

-- The message is gone with the next one: its keys are taken out first.
local function take_notice(self, message)
  local keys, list = message.elements[2], {}
  if keys.kind ~= LIST then return self.on_notice(nil) end
  for i = 0, keys.length - 1 do
    local key = keys.elements[i]
    if key.kind == TEXT then list[#list + 1] = ffi.string(key.text, key.length) end
  end
  for i = 1, #list do self.on_notice(list[i]) end
end

local function take_notices(self, ears)
  while ears and self.ears == ears do
    local message = C.perigee_redis_message(ears)
    if message == nil then return end
    take_notice(self, message)
  end
end

-- Whether a ping was heard by nobody. It may have left just now, whenever we asked for it.
local function is_unheard(connection, number)
  return C.perigee_redis_check(connection, number) == C.PERIGEE_REQUEST_WAITING
    and C.perigee_redis_silence(connection) >= PING_S / 2
end

-- Pings both connections once a second; the last pings must have been answered. If they were not,
-- one more look decides, a moment later: the whole machine may have stood still, and the server
-- needs a turn, as we did.
local function ping(self, now)
  if now < self.ping_at then return true end
  local pings = self.pings
  if pings and (is_unheard(self.data, pings.data)
    or self.ears and is_unheard(self.ears, pings.ears)) then
    if self.doubted then return false end
    self.doubted, self.ping_at = true, now + DOUBT_S
    return true
  end
  self.doubted, self.ping_at = false, now + PING_S
  if pings then
    local time = C.perigee_redis_reply(self.data, pings.data)
    if time ~= nil then self.ahead_ms = times.ahead_ms(wire.to_lua(time)) or self.ahead_ms end
    C.perigee_redis_release(self.data, pings.data)
    if self.ears then C.perigee_redis_release(self.ears, pings.ears) end
  end
  self.pings = {
    data = wire.send(self.data, { "TIME" }),
    ears = self.ears and wire.send(self.ears, { "PING" }) or 0,
  }
  return true
end

local function is_failed(connection)
  return connection and C.perigee_redis_state(connection) == C.PERIGEE_REDIS_FAILED
end

--- Takes in what came without being asked for.
-- @treturn number seconds until the next look is wanted
function _M:look()
  local now = context.port.now()
  if self.state == "down" then
    if self.failures > 0 and now >= self.retry_at and context.port.name ~= "none" then
      start_connecting(self)
    end
    return math.max(0, self.retry_at - now)
  end
  if self.state ~= "open" or self.loop ~= scheduler.world().loop then return math.huge end
  local ears = self.ears
  if self.looking then return math.huge end -- whoever hears of a notice may ask us again
  self.looking = true
  local ok, err = pcall(take_notices, self, ears)
  self.looking = false
  if not ok then error(err, 0) end
  if self.state ~= "open" then return 0 end
  if is_failed(self.data) or is_failed(ears) then
    go_down(self, is_failed(self.data) and wire.failure_of(self.data) or wire.failure_of(ears))
  elseif not ping(self, now) then
    go_down(self, "no answer to a ping")
  end
  return self.state == "open" and math.max(0, self.ping_at - now) or 0
end

--- The same where no loop turns: reads first what is there.
function _M:peek()
  if self.state == "open" and self.loop == scheduler.world().loop then
    C.perigee_redis_flush(self.data)
    if self.ears then C.perigee_redis_flush(self.ears) end
  end
  self:look()
end

--- Ends it.
function _M:close()
  clients[self] = nil
  hello.close(self.data, "closed")
  hello.close(self.ears, "closed")
  self.state, self.err, self.retry_at = "closed", "closed", math.huge
  self.data, self.ears = false, false
end

runtime.on_begin(function()
  for client in each(clients) do client:peek() end
end)

runtime.on_turn(function()
  local wanted = math.huge
  for client in each(clients) do wanted = math.min(wanted, client:look()) end
  return wanted < math.huge and wanted or nil
end)

return _M

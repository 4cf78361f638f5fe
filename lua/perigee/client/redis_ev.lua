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
-- - `client:look()`: takes in what came without being asked for; never waits
-- - `client.on_notice(key)`: somebody else changed a key under `client.watches`; nil: all of them
-- - `client.on_lost()`: what others change may have gone unheard
-- - `client.on_open()`
-- - `client.ahead_ms`: how far the server's clock is ahead of ours, as of a second ago at most
--
-- Replies are strings, numbers, lists, `_M.NULL`, or `{ err = text }`.
-- @module perigee.client.redis_ev

local ffi = require "ffi"

local context = require "perigee.context"
local exec = require "perigee.exec"
local latch = require "perigee.latch"
local lib = require "perigee.lib"
local runtime = require "perigee.runtime"
local scheduler = require "perigee.runtime.scheduler"

local C, core = lib.rt, lib.core

local _M = { NULL = {} }
local mt = { __index = _M, __name = "perigee.client.redis_ev" }

local NULL = _M.NULL
local CHANNEL = "__redis__:invalidate"
local FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 5
local PING_S = 1
local BYTES_MAX = 128 * 1024 * 1024 -- of commands that wait

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
    ping_at = 0, pings = false,
    ahead_ms = 0,
    on_notice = function() end, on_lost = function() end, on_open = function() end,
  }, mt)
  clients[self] = true
  return self
end

-- Replies -----------------------------------------------------------------------------------

local TEXT, LIST, NUMBER = C.PERIGEE_REPLY_TEXT, C.PERIGEE_REPLY_LIST, C.PERIGEE_REPLY_NUMBER
local ERROR, STATUS = C.PERIGEE_REPLY_ERROR, C.PERIGEE_REPLY_STATUS

local function to_lua(reply)
  local kind = reply.kind
  if kind == TEXT or kind == STATUS then return ffi.string(reply.text, reply.length) end
  if kind == NUMBER then return reply.number end
  if kind == ERROR then return { err = ffi.string(reply.text, reply.length) } end
  if kind ~= LIST then return NULL end
  local list = {}
  for i = 1, reply.length do list[i] = to_lua(reply.elements[i - 1]) end
  return list
end

-- Connections -------------------------------------------------------------------------------

local function send(connection, command)
  C.perigee_redis_begin(connection, #command)
  for i = 1, #command do C.perigee_redis_argument(connection, command[i], #command[i]) end
  return C.perigee_redis_submit(connection, 0)
end

local function failure_of(connection)
  if C.perigee_redis_state(connection) == C.PERIGEE_REDIS_FAILED then
    return ffi.string(C.perigee_redis_error(connection))
  end
  return "too much is waiting"
end

local function release(connection, first, last)
  for number = first, last do C.perigee_redis_release(connection, number) end
end

-- Waits until the last of some requests has its reply, `deadline` at most: true, or why not.
local function wait_for(connection, number, deadline, port)
  while true do
    local state = C.perigee_redis_check(connection, number)
    if state == C.PERIGEE_REQUEST_ANSWERED then return true end
    if state == C.PERIGEE_REQUEST_FAILED then return false, failure_of(connection) end
    local left = deadline - port.now()
    if left <= 0 then return false, "timeout" end
    local ticket, why = port.can_wait()
    if not ticket then return false, why end
    C.perigee_redis_retarget(connection, number, ticket)
    port.park(ticket, left)
  end
end

-- Sends commands, waits for their replies.
local function converse(connection, commands, timeout)
  local port, first, last = context.port, 0, 0
  for i = 1, #commands do
    last = send(connection, commands[i])
    if i == 1 then first = last end
    if last == 0 then
      if first > 0 then release(connection, first, first + i - 2) end
      return nil, failure_of(connection)
    end
  end
  local waited, ok, why = pcall(wait_for, connection, last, port.now() + timeout, port)
  if not waited or not ok then
    release(connection, first, last)
    if not waited then error(ok, 0) end
    return nil, why
  end
  local replies = {}
  for i = 1, #commands do
    replies[i] = to_lua(C.perigee_redis_reply(connection, first + i - 1))
  end
  release(connection, first, last)
  return replies
end

-- Ends a connection. It is freed when nobody looks at it any more.
local function close(connection, why)
  if connection then C.perigee_redis_close(connection, why) end
end

-- The addresses of a host. Names are asked of the system's own resolver, in a process.
local function addresses_of(opts)
  if opts.unix then return { opts.unix }, 0 end
  local host = opts.host or "127.0.0.1"
  if host:find "^%d+%.%d+%.%d+%.%d+$" or host:find(":", 1, true) then return { host }, opts.port end
  local done, err = exec { "getent", "ahosts", host, timeout = opts.connect_timeout }
  if not done then return nil, err end
  local list = {}
  for address in done.stdout:gmatch "([^\n%s]+)%s+STREAM" do list[#list + 1] = address end
  if #list == 0 then return nil, ("cannot resolve %q"):format(host) end
  return list, opts.port
end

local function connect_to(self, address, port_number, deadline)
  local port = context.port
  local connection = C.perigee_redis_connect(self.loop, address, port_number, BYTES_MAX)
  if connection == nil then return nil, "out of memory" end
  connection = ffi.gc(connection, C.perigee_redis_free)
  while C.perigee_redis_state(connection) == C.PERIGEE_REDIS_CONNECTING do
    local left = deadline - port.now()
    local ticket, why = port.can_wait()
    if left <= 0 or not ticket then
      close(connection, "given up")
      return nil, why or "timeout while connecting"
    end
    C.perigee_redis_await(connection, ticket)
    port.park(ticket, left)
  end
  if C.perigee_redis_state(connection) == C.PERIGEE_REDIS_OPEN then return connection end
  return nil, failure_of(connection)
end

local function connect_to_any(self, addresses, port_number, deadline)
  local connection, why
  for _, address in ipairs(addresses) do
    connection, why = connect_to(self, address, port_number, deadline)
    if connection then return connection end
  end
  return nil, why
end

local function auth_of(opts)
  if not opts.password then return nil end
  if opts.username then return { "AUTH", opts.username, opts.password } end
  return { "AUTH", opts.password }
end

-- Says what has to be said first. Returns the replies; any error among them is ours, and the end.
local function greet(connection, commands, deadline)
  local replies, why = converse(connection, commands, math.max(0, deadline - context.port.now()))
  for _, reply in ipairs(replies or {}) do
    why = why or type(reply) == "table" and reply.err
  end
  if not why then return replies end
  close(connection, why)
  return nil, why
end

-- The connection that listens, and its number at the server.
local function open_ears(self, addresses, port_number, deadline)
  local ears, why = connect_to_any(self, addresses, port_number, deadline)
  if not ears then return nil, why end
  local auth = auth_of(self.opts)
  local hello = { { "CLIENT", "ID" }, { "SUBSCRIBE", CHANNEL } }
  if auth then table.insert(hello, 1, auth) end
  C.perigee_redis_listen(ears)
  local replies
  replies, why = greet(ears, hello, deadline)
  if not replies then return nil, why end
  return ears, replies[#replies - 1]
end

-- Takes the reply to TIME: seconds, and microseconds of the next one.
local function read_time(self, reply)
  if type(reply) ~= "table" then return end
  local seconds, micros = tonumber(reply[1]), tonumber(reply[2])
  if not seconds or not micros then return end
  self.ahead_ms = seconds * 1000 + micros / 1000 - core.perigee_clock_wall_ms(runtime.clock)
end

local function open_data(self, addresses, port_number, deadline, listener)
  local data, why = connect_to_any(self, addresses, port_number, deadline)
  if not data then return nil, why end
  local hello = { { "TIME" } }
  if (self.opts.db or 0) > 0 then
    table.insert(hello, 1, { "SELECT", tostring(self.opts.db) })
  end
  local auth = auth_of(self.opts)
  if auth then table.insert(hello, 1, auth) end
  local at_time = #hello
  if listener then
    hello[#hello + 1] = { "CLIENT", "TRACKING", "ON", "REDIRECT", ("%d"):format(listener), "BCAST",
      "PREFIX", self.watches, "NOLOOP" }
  end
  local replies
  replies, why = greet(data, hello, deadline)
  if not replies then return nil, why end
  read_time(self, replies[at_time])
  return data
end

local function connect(self)
  self.loop = scheduler.world().loop
  local deadline = context.port.now() + self.opts.connect_timeout
  local addresses, port_number = addresses_of(self.opts)
  if not addresses then return nil, port_number end
  local ears, listener = false, nil
  if self.opts.coherence then
    ears, listener = open_ears(self, addresses, port_number, deadline)
    if not ears then return nil, listener end
  end
  local data, why = open_data(self, addresses, port_number, deadline, listener)
  if not data then
    close(ears, why)
    return nil, why
  end
  self.data, self.ears = data, ears
  return true
end

local function pause_of(failures)
  local pause = math.min(LAST_PAUSE_S, FIRST_PAUSE_S * 2 ^ math.min(failures - 1, 10))
  return pause * (0.75 + math.random() / 2)
end

-- Gives the connections up; the next try is made after a while.
local function go_down(self, why)
  local was_open = self.state == "open"
  local data, ears = self.data, self.ears
  self.state, self.err, self.data, self.ears, self.pings = "down", why, false, false, false
  self.failures = self.failures + 1
  self.retry_at = context.port.now() + pause_of(self.failures)
  close(data, why)
  close(ears, why)
  if was_open then self.on_lost(why) end
end

local function finish_connecting(self, called, ok, why)
  local connecting = self.connecting
  if self.state == "closed" then
    self:close()
  elseif called and ok then
    self.state, self.err, self.failures = "open", false, 0
    self.ping_at = context.port.now() + PING_S
  else
    go_down(self, not called and tostring(ok) or why)
  end
  self.connecting = false
  if self.state == "open" then self.on_open() end
  connecting:release()
end

local function connect_work(self)
  finish_connecting(self, pcall(connect, self))
end

local function start_connecting(self)
  self.state, self.connecting = "connecting", latch.new()
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

--- Asks, and waits for the replies, `timeout` at most.
-- @tparam table commands a list of lists of strings
-- @treturn table|nil the replies
-- @treturn string|nil why there are none
function _M:ask(commands)
  local ok, why = self:open()
  if not ok then return nil, why end
  local data = self.data
  local replies
  replies, why = converse(data, commands, self.opts.timeout)
  if replies or self.data ~= data then return replies, why end
  if C.perigee_redis_state(data) == C.PERIGEE_REDIS_FAILED
    or why == "timeout" and C.perigee_redis_silence(data) >= self.opts.timeout / 2 then
    go_down(self, why)
  end
  return nil, why
end

--- Gives the connections up, and makes new ones after a while.
-- @tparam string why
function _M:give_up(why)
  if self.state == "open" then go_down(self, why) end
end

-- What came by itself ------------------------------------------------------------------------

local function take_notice(self, message)
  local keys = message.elements[2]
  if keys.kind ~= LIST then return self.on_notice(nil) end
  for i = 0, keys.length - 1 do
    local key = keys.elements[i]
    if key.kind == TEXT then self.on_notice(ffi.string(key.text, key.length)) end
  end
end

-- Whether a ping was heard by nobody. It may have left just now, whenever we asked for it.
local function is_unheard(connection, number)
  return C.perigee_redis_check(connection, number) == C.PERIGEE_REQUEST_WAITING
    and C.perigee_redis_silence(connection) >= PING_S / 2
end

-- Pings both connections once a second; the last pings must have been answered.
local function ping(self, now)
  if now < self.ping_at then return true end
  local pings = self.pings
  self.ping_at = now + PING_S
  if pings and (is_unheard(self.data, pings.data)
    or self.ears and is_unheard(self.ears, pings.ears)) then
    return false
  end
  if pings then
    local time = C.perigee_redis_reply(self.data, pings.data)
    if time ~= nil then read_time(self, to_lua(time)) end
    C.perigee_redis_release(self.data, pings.data)
    if self.ears then C.perigee_redis_release(self.ears, pings.ears) end
  end
  self.pings = {
    data = send(self.data, { "TIME" }),
    ears = self.ears and send(self.ears, { "PING" }) or 0,
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
  while ears and self.ears == ears do
    local message = C.perigee_redis_message(ears)
    if message == nil then break end
    take_notice(self, message)
  end
  if self.state ~= "open" then return 0 end
  if is_failed(self.data) or is_failed(ears) then
    go_down(self, is_failed(self.data) and failure_of(self.data) or failure_of(ears))
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
  close(self.data, "closed")
  close(self.ears, "closed")
  self.state, self.err, self.retry_at = "closed", "closed", math.huge
  self.data, self.ears = false, false
end

runtime.on_turn(function()
  local wanted = math.huge
  for client in next, clients do wanted = math.min(wanted, client:look()) end
  return wanted < math.huge and wanted or nil
end)

return _M

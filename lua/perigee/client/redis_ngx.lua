-- SPDX-License-Identifier: MIT

--- The Redis client inside nginx, with the face of `perigee.client.redis_ev`.
--
-- A socket there belongs to the request or timer that made it, so each that asks takes a connection
-- from nginx' pools, says all it has to say, and puts it back when it has all the answers; a
-- connection on which anything went wrong is closed. What others change is heard in a timer that
-- lasts (`perigee.client.redis_ngx_ears`). All is begun by the first who asks in a worker, so a
-- client may be made before the workers are.
--
-- Like the other one, it is *open*, *connecting* or *down*, and nobody waits for it while it is
-- down; it tries again by itself, after 0.1 s at first and up to 5 s. Where nginx lets nothing
-- wait, nothing can be asked. What is different:
--
-- - `client.gathers` is false: there is no turn in which requests could be gathered;
-- - `client:begin(arguments, request)` adds to what `client:send` has taken; both leave as one,
--   when `client:reply` or `client:receive` waits for the answers;
-- - `timeout` is how long nothing may move: a reply that keeps coming is read to its end;
-- - a worker that is about to end hears nothing any more, but still asks and writes: then
--   `client.deaf` is true. (It could not end while a timer listens.)
-- @module perigee.client.redis_ngx

local ffi = require "ffi"

local context = require "perigee.context"
local each = require("perigee.value.names").each
local ears_face = require "perigee.client.redis_ngx_ears"
local latch = require "perigee.runtime.latch"
local lines_face = require "perigee.client.redis_ngx_lines"
local ngx = require "perigee.runtime.nginx"
local runtime = require "perigee.runtime"
local times = require "perigee.client.redis_times"
local wire = require "perigee.client.redis_ngx_wire"

local _M = { NULL = wire.NULL, gathers = false }
local mt = { __index = _M, __name = "perigee.client.redis_ngx" }

local PING_S, JUST_S = 1, 0.1

local chars_of = ffi.typeof "const char *"

local clients, numbers = setmetatable({}, { __mode = "k" }), 0

--- Makes a client; it connects when it is first asked.
-- @tparam table opts options of `perigee.redis`, checked before
-- @tparam string watches prefix of the keys whose changes are to be heard
-- @treturn table the client
function _M.new(opts, watches)
  numbers = numbers + 1
  local pool = ("perigee:%d:%s:%d:%s:"):format(numbers, opts.unix or opts.host or "",
    opts.unix and 0 or opts.port, opts.username or "")
  local self = setmetatable({
    opts = opts, watches = watches, pool = pool,
    state = "idle", err = false,
    lines = lines_face.new(opts, pool), -- the connections that ask
    ears = false, connecting = false, opened = 0,
    failures = 0, retry_at = 0, give_up_at = 0, ping_at = 0, heard_at = 0,
    missed = false,                     -- whether anybody had to do without us, so far
    ahead_ms = 0, deaf = false,
    on_notice = function() end, on_lost = function() end, on_open = function() end,
  }, mt)
  clients[self] = true
  return self
end

--- Tells processes apart that were forked from one.
-- @treturn number
function _M.process()
  return ngx.worker.pid()
end

-- Going down -----------------------------------------------------------------------------------

local function wake(premature, self)
  if not premature then self:look() end
end

-- The next try is made after a while.
local function go_down(self, why)
  local was_open, ears, pause = self.state == "open", self.ears, times.pause_s(self.failures + 1)
  self.state, self.err, self.ears = "down", why, false
  self.failures, self.retry_at = self.failures + 1, context.port.now() + pause
  if ears then ears:close() end
  ngx.timer.at(pause, wake, self) -- there may be no room: then it is the next look that tries
  if was_open then self.on_lost(why) end
end

-- An answer did not come: if the server is silent, nobody else shall wait for it. If it has just
-- said something, it is about one connection.
local function judge(self, why)
  if why == lines_face.BLOCKED then return end
  local just = self.opts.timeout / 2
  if why ~= "timeout" then just = math.min(just, JUST_S) end
  if context.port.now() - self.heard_at >= just then go_down(self, why) end
end

--- Gives the connections up, and makes new ones after a while.
-- @tparam string why
function _M:give_up(why)
  if self.state == "open" then go_down(self, why) end
end

--- Something came from the server.
function _M:heard()
  self.heard_at = context.port.now()
end

-- Says commands and waits for the replies; without them it may be the end of us. Replies that come
-- when we were down meanwhile are none: what they tell may have changed, unheard.
local function ask(self, commands)
  if self.state ~= "open" then return nil, self.err or "down" end
  local opened = self.opened
  local replies, why = self.lines:converse(commands)
  if self.state ~= "open" or self.opened ~= opened then
    return nil, why or self.err or "the connection was lost meanwhile"
  end
  if replies then self:heard() else judge(self, why) end
  return replies, why
end

-- Opening --------------------------------------------------------------------------------------

local function finish_connecting(self, made, why)
  local connecting, was_down, missed = self.connecting, self.failures > 0, self.missed
  self.connecting = false
  if made and self.state ~= "closed" then
    self.state, self.err, self.failures, self.missed = "open", false, 0, false
    self.opened = self.opened + 1
    self.ping_at = context.port.now() + PING_S
    self.on_open(was_down or missed, was_down)
  elseif self.state ~= "closed" then
    go_down(self, why)
  end
  connecting:release()
end

-- A worker that is about to end has nobody who could go on listening.
local function connect(self)
  local replies, why = self.lines:converse { { "TIME" } }
  if not replies then return nil, why end
  if type(replies[1]) == "table" and replies[1].err then return nil, replies[1].err end
  self:heard()
  self.ahead_ms = times.ahead_ms(replies[1]) or self.ahead_ms
  if not self.opts.coherence or ngx.worker.exiting() then return true end
  return ears_face.open(self.opts, self.pool .. "ears", self.watches)
end

local function go_deaf(self)
  self.deaf = true
  self.on_lost "the worker is about to end"
end

local function listen(self, ears)
  self.ears = ears
  local why = ears:listen(self)
  if self.ears ~= ears then return end
  self.ears = false
  if ngx.worker.exiting() then return go_deaf(self) end
  go_down(self, why)
end

-- The timer in which it connects, and hears.
local function live(_, self, connecting)
  if self.connecting ~= connecting then return end
  local called, made, why = pcall(connect, self)
  if self.connecting ~= connecting then return end
  local told, err = pcall(finish_connecting, self, called and made,
    called and why or tostring(made))
  if not told then go_down(self, tostring(err)) end -- whoever is told may raise
  connecting:release()
  if not called or self.state ~= "open" then return end
  if type(made) == "table" then listen(self, made) elseif self.opts.coherence then go_deaf(self) end
end

local function start_connecting(self)
  local connecting = latch.new()
  self.state, self.connecting = "connecting", connecting
  self.give_up_at = context.port.now() + 3 * self.opts.connect_timeout + PING_S
  local ok, why = ngx.timer.at(0, live, self, connecting)
  if not ok then finish_connecting(self, nil, why) end
end

-- Connects if it is time to, wherever timers can be had.
local function connect_in_time(self)
  local now = context.port.now()
  if self.state == "connecting" and now >= self.give_up_at then -- there was no room for the timer
    finish_connecting(self, nil, "timeout while connecting")
  end
  local wanted = self.state == "idle" or self.state == "down" and now >= self.retry_at
  if wanted and ngx.get_phase() ~= "init" then start_connecting(self) end
end

local function not_open(self, why)
  self.missed = self.missed or self.state ~= "open"
  return nil, why
end

--- Makes sure that it is open. Waits for the first connection, `connect_timeout` at most; not for
-- one that makes up for a failure.
-- @treturn true|nil
-- @treturn string|nil why not
function _M:open()
  if self.state ~= "open" then connect_in_time(self) end
  local may_wait, reason = context.port.can_wait()
  if not may_wait then return not_open(self, reason) end
  if self.state == "open" then return true end
  local connecting = self.connecting
  if connecting and self.failures == 0 then
    local ended, why = connecting:wait(self.opts.connect_timeout)
    if not ended then return not_open(self, why or "timeout while connecting") end
  end
  if self.state == "open" then return true end
  return not_open(self, self.err or "down")
end

-- Asking ---------------------------------------------------------------------------------------

--- Asks, and waits for the replies.
-- @tparam table commands a list of lists of strings
-- @treturn table|nil the replies
-- @treturn string|nil why there are none
function _M:ask(commands)
  local ok, why = self:open()
  if not ok then return nil, why end
  return ask(self, commands)
end

--- Takes commands, which leave when `receive` waits for the replies, or before the command that
-- `begin` adds.
-- @tparam table commands a list of lists of strings
-- @treturn table|nil the request, for `receive`
-- @treturn string|nil why they cannot be sent
function _M:send(commands)
  if self.state ~= "open" then return nil, self.err or "down" end
  return { commands = commands, replies = false, err = false }
end

--- Waits for the replies.
-- @tparam table request from `send`
-- @treturn table|nil the replies
-- @treturn string|nil why there are none
function _M:receive(request)
  if request.replies then return request.replies end
  if request.err then return nil, request.err end
  return ask(self, request.commands)
end

--- Begins a command that is given by its arguments: `client.argument(command, bytes, length)` for
-- each, or `client.joined` for two pieces, and `client.submit(command)`.
-- @tparam number _ how many
-- @tparam[opt] table request from `send`: what is to be said before, in the same breath
-- @treturn table|nil the command
-- @treturn string|nil why it cannot be sent
function _M:begin(_, request)
  if self.state ~= "open" then return nil, self.err or "down" end
  return { request = request }
end

function _M.argument(command, bytes)
  command[#command + 1] = bytes
end

function _M.joined(command, bytes, _, more)
  command[#command + 1] = bytes .. more
end

function _M.submit() return 1 end

function _M.release() end

--- A text in a list, where it is: as long as the list is there.
-- @tparam table reply a list
-- @tparam number i its place there, from 0
-- @treturn cdata|nil pointer to char; nil: there is none
-- @treturn number its bytes
function _M.text(reply, i)
  local element = reply[i + 1]
  if type(element) == "string" then return ffi.cast(chars_of, element), #element end
end

--- A text in a list, as a string.
-- @tparam table reply a list
-- @tparam number i its place there, from 0
-- @treturn string|nil nil: there is none
function _M.string(reply, i)
  local element = reply[i + 1]
  return type(element) == "string" and element or nil
end

-- Says a command, after what is to be said before.
local function say_after(self, request, command)
  if not request then
    local replies, why = ask(self, { command })
    return replies and replies[1], why
  end
  local all = request.commands -- nobody wants them without it any more
  all[#all + 1] = command
  local replies, why = ask(self, all)
  request.replies, request.err = replies, why
  return replies and table.remove(replies), why
end

--- Says the command, and waits for a reply that is a list.
-- @tparam table command from `begin`
-- @tparam number _ from `submit`
-- @tparam number least how many elements it must have
-- @treturn table|nil the reply
-- @treturn string|nil why there is none
function _M:reply(command, _, least)
  local reply, why = say_after(self, command.request, command)
  if not reply then return nil, why end
  if type(reply) == "table" and reply.err then return nil, reply.err end
  if type(reply) == "table" and #reply >= least then return reply end
  return nil, "the server said something else than what was asked for"
end

--- Nothing waits to be written.
function _M.write() end

-- What is done now and then --------------------------------------------------------------------

local function ask_time(self)
  local replies = ask(self, { { "TIME" } })
  if replies then self.ahead_ms = times.ahead_ms(replies[1]) or self.ahead_ms end
  self.ping_at = context.port.now() + PING_S
end

--- Connects again, and asks for the time once a second. Never waits.
-- @treturn number seconds until the next look is wanted
function _M:look()
  local now = context.port.now()
  if self.state == "idle" or self.state == "closed" then return math.huge end
  connect_in_time(self)
  if self.state == "down" then return math.max(0, self.retry_at - now) end
  if self.state == "connecting" then return math.max(0, self.give_up_at - now) end
  if now >= self.ping_at then
    self.ping_at = now + PING_S + self.opts.connect_timeout + self.opts.timeout
    context.port.spawn(ask_time, self)
  end
  return math.max(0, self.ping_at - now)
end

--- Nothing is to be read by hand.
function _M.peek() end

--- Ends it; connections in the pools stay there for a few seconds.
function _M:close()
  clients[self] = nil
  local ears = self.ears
  self.state, self.err, self.retry_at, self.ears = "closed", "closed", math.huge, false
  if ears then ears:close() end
  self.lines:close()
end

runtime.on_turn(function()
  local wanted = math.huge
  for client in each(clients) do wanted = math.min(wanted, client:look()) end
  return wanted < math.huge and wanted or nil
end)

return _M

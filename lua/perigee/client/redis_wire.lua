-- SPDX-License-Identifier: MIT

--- Commands and replies on one connection of `redis.h`.
--
-- A command is made by several calls, and a finalizer may run between any two of them and want to
-- send one of its own: that one is refused, as if too much were waiting.
--
-- Replies are strings, numbers, lists, `_M.NULL`, or `{ err = text }`.
-- @module perigee.client.redis_wire

local ffi = require "ffi"

local C = require("perigee.lib").rt
local context = require "perigee.context"

local _M = { NULL = {} }

local NULL = _M.NULL

-- Replies -----------------------------------------------------------------------------------

local TEXT, LIST, NUMBER = C.PERIGEE_REPLY_TEXT, C.PERIGEE_REPLY_LIST, C.PERIGEE_REPLY_NUMBER
local ERROR, STATUS = C.PERIGEE_REPLY_ERROR, C.PERIGEE_REPLY_STATUS

--- A reply as a Lua value.
-- @tparam cdata reply
-- @return the value
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
_M.to_lua = to_lua

--- A text in a list, where it is.
-- @tparam cdata reply a list
-- @tparam number i its place there, from 0
-- @treturn cdata|nil pointer to char; nil: there is none
-- @treturn number its bytes
function _M.text(reply, i)
  local element = reply.elements[i]
  if element.kind == TEXT then return element.text, element.length end
end

--- A text in a list, as a string.
-- @tparam cdata reply a list
-- @tparam number i its place there, from 0
-- @treturn string|nil nil: there is none
function _M.string(reply, i)
  local element = reply.elements[i]
  if element.kind == TEXT then return ffi.string(element.text, element.length) end
end

--- Whether a reply is a list of so many at least; or else why not.
-- @tparam cdata reply
-- @tparam number least
-- @treturn boolean
-- @treturn string|nil why not
function _M.is_list(reply, least)
  if reply.kind == LIST and reply.length >= least then return true end
  if reply.kind == ERROR then return false, ffi.string(reply.text, reply.length) end
  return false, "the server said something else than what was asked for"
end

-- Requests ----------------------------------------------------------------------------------

local being_made = false

--- Begins a command.
-- @tparam cdata connection
-- @tparam number arguments how many
-- @treturn boolean false: another one is being made
function _M.begin(connection, arguments)
  if being_made then return false end
  being_made = true
  C.perigee_redis_begin(connection, arguments)
  return true
end

_M.argument, _M.joined = C.perigee_redis_argument, C.perigee_redis_joined

--- Ends a command.
-- @tparam cdata connection
-- @treturn number of its request; 0: it is not on its way
function _M.submit(connection)
  being_made = false
  return C.perigee_redis_submit(connection, 0)
end

--- Sends a command.
-- @tparam cdata connection
-- @tparam table command a list of strings
-- @treturn number of its request; 0: it is not on its way
function _M.send(connection, command)
  for i = 1, #command do assert(type(command[i]) == "string") end -- nothing is raised below
  if not _M.begin(connection, #command) then return 0 end
  for i = 1, #command do C.perigee_redis_argument(connection, command[i], #command[i]) end
  return _M.submit(connection)
end

--- Sends commands.
-- @tparam cdata connection
-- @tparam table commands a list of them, not empty
-- @treturn number|nil number of the first request; those of the others follow
-- @treturn string|nil why they are not on their way
function _M.send_all(connection, commands)
  local first = 0
  for i = 1, #commands do
    local number = _M.send(connection, commands[i])
    if number == 0 then
      local why = _M.failure_of(connection)
      if first > 0 then -- half of what was to be said, perhaps half a transaction, must not stand
        _M.release(connection, first, i - 1)
        C.perigee_redis_close(connection, why)
      end
      return nil, why
    end
    if i == 1 then first = number end
  end
  return first
end

--- Why a connection takes no command.
-- @tparam cdata connection
-- @treturn string
function _M.failure_of(connection)
  if C.perigee_redis_state(connection) == C.PERIGEE_REDIS_FAILED then
    return ffi.string(C.perigee_redis_error(connection))
  end
  return "too much is waiting"
end

--- Gives requests up, or back.
-- @tparam cdata connection
-- @tparam number first
-- @tparam[opt=1] number count
function _M.release(connection, first, count)
  for number = first, first + (count or 1) - 1 do C.perigee_redis_release(connection, number) end
end

--- Waits for the reply to a request.
-- @tparam cdata connection
-- @tparam number number of the request
-- @tparam number timeout seconds
-- @treturn boolean whether it is there
-- @treturn string|nil why not
-- @raise `"cancelled"`
function _M.wait(connection, number, timeout)
  local port = context.port
  local deadline = port.now() + timeout
  while true do
    local state = C.perigee_redis_check(connection, number)
    if state == C.PERIGEE_REQUEST_ANSWERED then return true end
    if state == C.PERIGEE_REQUEST_FAILED then return false, _M.failure_of(connection) end
    local left = deadline - port.now()
    if left <= 0 then return false, "timeout" end
    local ticket, why = port.can_wait()
    if not ticket then return false, why end
    C.perigee_redis_retarget(connection, number, ticket)
    port.park(ticket, left)
  end
end

--- Waits for the replies to requests, and gives them back.
-- @tparam cdata connection
-- @tparam number first
-- @tparam number count
-- @tparam number timeout seconds
-- @treturn table|nil the replies
-- @treturn string|nil why they are not there
-- @raise `"cancelled"`
function _M.receive(connection, first, count, timeout)
  local waited, ok, why = pcall(_M.wait, connection, first + count - 1, timeout)
  local replies = waited and ok and {} or nil
  for i = 1, replies and count or 0 do
    replies[i] = to_lua(C.perigee_redis_reply(connection, first + i - 1))
  end
  _M.release(connection, first, count)
  if not waited then error(ok, 0) end
  return replies, why
end

return _M

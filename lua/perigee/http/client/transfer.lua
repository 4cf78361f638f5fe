-- SPDX-License-Identifier: MIT

--- One transfer of `http_client.h`, seen from the task that waits for it.
--
-- Its deadlines are kept here, in the time of the loop that it runs on; whoever gives it up frees
-- it, and curl breaks it off at once.
-- @module perigee.http.client.transfer

local ffi = require "ffi"
local context = require "perigee.context"
local scheduler = require "perigee.runtime.scheduler"
local C = require("perigee.lib").rt

local _M = {}

local Transfer = {}
Transfer.__index = Transfer

local EINVAL, ENOMEM = 22, 12

local FAILURES = {
  [C.PERIGEE_HTTP_TIMEOUT] = "timeout",
  [C.PERIGEE_HTTP_BODY_TOO_LARGE] = "body too large",
  [C.PERIGEE_HTTP_HEAD_TOO_LARGE] = "headers too large",
}

--- A ticket for a wait.
-- @tparam string where who waits
-- @treturn number
-- @raise when nothing can wait here, and why
function _M.ticket(where)
  local ticket, why = context.port.can_wait()
  if not ticket then error(where .. ": " .. why, 0) end
  return ticket
end

--- Begins one, on the loop in force.
-- @tparam string where who asks
-- @tparam cdata order a `perigee_http_client_order`
-- @treturn table|nil the transfer
-- @treturn string|nil why not
function _M.begin(where, order)
  local world = scheduler.world()
  local loop, life = world.loop, world.life
  local id = C.perigee_http_client_begin(loop, order)
  if id == -EINVAL then return nil, "url" end
  if id == -ENOMEM then return nil, where .. ": no memory for another request" end
  -- What is forgotten goes with its coroutine, if not with its loop: a closing Lua state finalizes
  -- in any order.
  local view = ffi.gc(ffi.new "perigee_http_client_view", function()
    if not life.is_over then C.perigee_http_client_drop(loop, id) end
  end)
  return setmetatable({ where = where, loop = loop, world = world, id = id, view = view,
    is_closed = false }, Transfer)
end

--- What there is; valid until the next wait.
-- @treturn cdata|nil a `perigee_http_client_view`; nil: it was closed
function Transfer:look()
  if self.is_closed or self.world.life.is_over then return nil end
  return C.perigee_http_client_look(self.loop, self.id, self.view) == 0 and self.view or nil
end

--- Waits.
-- @tparam function is_there of the view: whether it is what is waited for
-- @tparam number seconds
-- @treturn boolean|nil true; nil: it is not there
-- @treturn string|nil why not
-- @raise `"cancelled"`
function Transfer:wait(is_there, seconds)
  local time = self.world.time
  local ends = time() + seconds
  while true do
    local view = self:look()
    if not view then return nil, "closed" end
    if is_there(view) then return true end
    local left = ends - time()
    if left <= 0 then return nil, "timeout" end
    local ticket = _M.ticket(self.where)
    if scheduler.world() ~= self.world then
      return nil, self.where .. ": this response belongs to another loop"
    end
    C.perigee_http_client_await(self.loop, self.id, ticket)
    context.port.park(ticket, left)
  end
end

--- How it ended.
-- @treturn string|nil why it failed; nil: it did not
function Transfer:failure()
  local view = self.view
  if view.failure == C.PERIGEE_HTTP_FINE then return nil end
  if FAILURES[view.failure] then return FAILURES[view.failure] end
  local is_told = view.failure == C.PERIGEE_HTTP_FAILED
  return self.where .. ": " .. (is_told and ffi.string(view.error) or "no memory for the response")
end

--- The part of the body that is there, which makes room for more.
-- @treturn string
function Transfer:take()
  local chunk = ffi.string(self.view.body, self.view.body_bytes)
  C.perigee_http_client_taken(self.loop, self.id)
  return chunk
end

--- The end of it, whatever state it is in. Who waits for it is woken.
function Transfer:close()
  if self.is_closed then return end
  self.is_closed = true
  ffi.gc(self.view, nil)
  if not self.world.life.is_over then C.perigee_http_client_drop(self.loop, self.id) end
end

--- The headers of a response.
-- @tparam cdata view of a transfer that has its head
-- @treturn table values by name in small letters; those of one name are joined by ", "
function _M.headers(view)
  local headers, last = {}, nil
  local lines = ffi.string(view.head, view.head_bytes):gmatch "([^\r\n]*)\r?\n"
  lines() -- the status
  for line in lines do
    local name, value = line:match "^([^:%s]+)%s*:%s*(.-)%s*$"
    local folded = not name and last and line:match "^[ \t]+(.-)%s*$"
    if folded then
      headers[last] = headers[last] .. " " .. folded
    elseif name then
      last = name:lower()
      headers[last] = headers[last] and headers[last] .. ", " .. value or value
    end
  end
  return headers
end

return _M

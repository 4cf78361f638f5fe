-- SPDX-License-Identifier: MIT

--- Work that is done once at a time, and whoever waits for its end.
-- @module perigee.runtime.latch

local context = require "perigee.context"

local insert = table.insert

local _M = {}
local mt = { __index = _M, __name = "perigee.runtime.latch" }

--- A latch that is closed: the work runs.
-- @treturn table
function _M.new()
  return setmetatable({ open = false, tickets = {} }, mt)
end

--- The work has ended: whoever waits wakes.
function _M:release()
  self.open = true
  for i = 1, #self.tickets do context.port.unpark(self.tickets[i]) end
  self.tickets = {}
end

--- Somebody waits no more.
-- @tparam number ticket his
function _M:leave(ticket)
  for i = #self.tickets, 1, -1 do
    if self.tickets[i] == ticket then table.remove(self.tickets, i) end
  end
end

--- Waits for the end of the work.
-- @tparam number timeout seconds, or math.huge
-- @treturn boolean whether it has ended
-- @treturn string|nil why waiting is impossible here
-- @raise `"cancelled"`
function _M:wait(timeout)
  local port = context.port
  local deadline = timeout < math.huge and port.now() + timeout
  while not self.open do
    local left = deadline and deadline - port.now()
    if left and left <= 0 then return false end
    local ticket, why = port.can_wait()
    if not ticket then return false, why end
    insert(self.tickets, ticket)
    if self.open then return true end -- a finalizer has released it in between
    if not port.park(ticket, left or nil) then self:leave(ticket) end
  end
  return true
end

return _M

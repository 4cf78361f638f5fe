-- SPDX-License-Identifier: MIT

--- Loads inside nginx whose request, or light thread, has ended before them: they are given up, and
-- whoever waits for one begins his own, or joins the first who does.
-- @module perigee.load.losing

local C = require("perigee.lib").core
local context = require "perigee.context"
local flight = require "perigee.load.flight"
local landing = require "perigee.load.landing"

local _M = {}

-- Whether the request that ran a load has ended before it, or no timer can be had to run it.
local function is_lost(record)
  local port = context.port
  if not port.is_over or record.done then return false end
  if record.life ~= 0 then return port.is_over(record.life) end
  return record.aside == "behind" and port.now() - record.since > record.cache.takeover
    and port.is_stuck()
end
_M.is_lost = is_lost

local losses = 0 -- as of the last look

--- Looks whether requests have ended before their loads, and gives those up: whoever waits for one
-- takes over. For the turns of the worker.
function _M.look_after()
  local counted = context.port.is_over and C.perigee_life_losses() or losses
  if counted == losses then return end
  losses = counted
  flight.each(function(record)
    if is_lost(record) then landing.lose(record) end
  end)
end

-- Loads that ran within one whose light thread has been ended will not go on.
local function lose_inner(record)
  flight.each(function(inner)
    if inner.outer == record.id and inner.life == record.life and inner.aside ~= "behind" then
      landing.lose(inner)
      lose_inner(inner)
    end
  end)
end

--- Ends the light thread of a load that took too long, if it is the caller's; not that of a batch.
-- @tparam table record the load
function _M.end_thread(record)
  if record.aside ~= "thread" or not record.loader or not record.thread then return end
  if not context.port.kill(record.thread, record.life) then return end
  record.thread = false
  lose_inner(record)
end

--- Waits, and looks now and then whether the request still lives that runs the load.
-- @tparam table record the load
-- @tparam number seconds at most
-- @treturn boolean whether it is done
function _M.wait(record, seconds)
  local now = context.port.now()
  local deadline = now + seconds
  while now < deadline do
    if flight.wait(record, math.min(deadline - now, record.cache.takeover)) then return true end
    if is_lost(record) then landing.lose(record) end
    if record.done then return true end
    now = context.port.now()
  end
  return false
end

return _M

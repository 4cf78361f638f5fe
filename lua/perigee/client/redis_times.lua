-- SPDX-License-Identifier: MIT

--- Times that both Redis clients reckon with: the server's clock, and pauses between tries.
-- @module perigee.client.redis_times

local core = require("perigee.lib").core
local runtime = require "perigee.runtime"

local _M = {}

local FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 5

--- How far the server's clock is ahead of ours.
-- @param reply what it answered to TIME: seconds, and microseconds of the next one
-- @treturn number|nil milliseconds; nil if that was no time
function _M.ahead_ms(reply)
  if type(reply) ~= "table" then return nil end
  local seconds, micros = tonumber(reply[1]), tonumber(reply[2])
  if not seconds or not micros then return nil end
  local ahead = seconds * 1000 + micros / 1000 - core.perigee_clock_wall_ms(runtime.clock)
  return math.abs(ahead) < math.huge and ahead or nil
end

--- How long to leave a server alone: longer each time, and each process as long as it draws.
-- @tparam number failures how many there were, one after the other, 1 or more
-- @treturn number seconds
function _M.pause_s(failures)
  local pause = math.min(LAST_PAUSE_S, FIRST_PAUSE_S * 2 ^ math.min(failures - 1, 10))
  return pause * (0.75 + core.perigee_core_random() / 2 ^ 33)
end

return _M

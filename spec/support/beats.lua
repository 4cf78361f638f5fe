-- SPDX-License-Identifier: MIT
--- Time as a loop sees it, on our own loop and inside nginx: it is counted in beats, and a beat is
-- a hundredth of a second or more.
--
-- While the machine has no time for this process no beat comes, so a bound in this time says what
-- was waited for, and not how busy the machine is. Compare with clocks: they go on.
local ngx = require "perigee.runtime.nginx"
local perigee = require "perigee"

local BEAT_S = 0.01

local _M = {}
local Clock = {}
Clock.__index = Clock

local function beat(clock, sleep)
  while clock.runs do
    sleep(BEAT_S)
    clock.beats = clock.beats + 1
  end
end

--- Starts a clock; it runs until it is stopped, in a task or a light thread of the caller's.
function _M.start()
  local clock = setmetatable({ beats = 0, runs = true }, Clock)
  if ngx then
    ngx.thread.spawn(beat, clock, ngx.sleep)
  else
    perigee.spawn(beat, clock, perigee.sleep)
  end
  return clock
end

--- Seconds since it was started.
function Clock:seconds() return self.beats * BEAT_S end

function Clock:stop() self.runs = false end

local function stop(clock, ok, ...)
  clock:stop()
  if not ok then error((...), 0) end
  return clock:seconds(), ...
end

--- Calls a function: how many seconds that took, and what it returned.
function _M.measure(fn, ...)
  local clock = _M.start()
  return stop(clock, pcall(fn, ...))
end

return _M

-- SPDX-License-Identifier: MIT
--- Two clocks, in seconds: the processor time of this process, which other programs on the
-- machine disturb least, and the monotonic time on the wall.
-- @module bench.support.clock

local ffi = require "ffi"

ffi.cdef [[
  struct bench_timespec { long seconds, nanoseconds; };
  int clock_gettime(int clock, struct bench_timespec *time);
]]

local CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID = 1, 2

local _M = {}

local time = ffi.new("struct bench_timespec")

--- Processor seconds of this process.
function _M.cpu()
  ffi.C.clock_gettime(CLOCK_PROCESS_CPUTIME_ID, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) * 1e-9
end

--- Monotonic seconds.
function _M.wall()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) * 1e-9
end

return _M

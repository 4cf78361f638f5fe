-- SPDX-License-Identifier: MIT
--- What a program needs to report on itself: a precise clock, percentiles, numbers as people
-- write them, a table, and a line that says how far it is.

local ffi = require "ffi"

local _M = {}

ffi.cdef [[
  typedef struct { long s, ns; } example_time;
  int clock_gettime(int clock, example_time *now);
]]

local MONOTONIC = 1
local time = ffi.new "example_time"

--- Seconds, to the nanosecond. (`perigee.now` is the time of the loop's turn: cheap, and the same
-- for all that happens within a turn. Here a request that memory answers is to be seen too.)
function _M.clock()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.s) + tonumber(time.ns) * 1e-9
end

--- The value that a fraction of all values does not exceed (nearest rank).
-- @tparam table sorted numbers in ascending order, at least one
-- @tparam number fraction 0.5 is the median
function _M.percentile(sorted, fraction)
  return sorted[math.max(1, math.ceil(fraction * #sorted))]
end

--- 12345 -> "12,345"
function _M.count(n)
  local in_threes = ("%d"):format(n):reverse():gsub("%d%d%d", "%0,"):reverse()
  return (in_threes:gsub("^,", ""))
end

--- 0.0123 -> "12.3 ms"
function _M.seconds(s)
  if s >= 1 then return ("%.2f s "):format(s) end
  if s >= 1e-3 then return ("%.1f ms"):format(s * 1e3) end
  return ("%.1f us"):format(s * 1e6)
end

--- 0.123 -> "12.3 %"
function _M.percent(fraction)
  return ("%.1f %% "):format(fraction * 100)
end

local function widths_of(rows)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, #cell) end
  end
  return widths
end

--- Prints rows of text cells: the first column to the left, the others to the right.
function _M.print_table(rows)
  local widths = widths_of(rows)
  for _, row in ipairs(rows) do
    local cells = { ("%-" .. widths[1] .. "s"):format(row[1]) }
    for i = 2, #row do cells[i] = ("%" .. widths[i] .. "s"):format(row[i]) end
    print("  " .. (table.concat(cells, "   "):gsub("%s+$", "")))
  end
end

local ok = os.execute "test -t 1"
local is_terminal = ok == true or ok == 0

--- Something that says how far the work is: on a terminal one line, rewritten ten times a
-- second; elsewhere a new line every five seconds.
-- @tparam string what the work
-- @tparam number total how much there is to do
-- @treturn function to be called with how much is done; with nothing when it is over
function _M.progress(what, total)
  local every, last = is_terminal and 0.1 or 5, _M.clock()
  local form = is_terminal and "\r  %s: %s of %s" or "  %s: %s of %s\n"
  return function(done)
    local now = _M.clock()
    if done and now - last < every then return end
    last = now
    if done then
      io.write(form:format(what, _M.count(done), _M.count(total)))
    elseif is_terminal then
      io.write("\r\27[K")
    end
    io.flush()
  end
end

return _M

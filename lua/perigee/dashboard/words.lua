-- SPDX-License-Identifier: MIT

--- Numbers as people write them.
-- @module perigee.dashboard.words

local _M = {}

--- 12345 -> "12,345"
-- @tparam number n a whole number >= 0
-- @treturn string
function _M.count(n)
  local in_threes = ("%d"):format(n):reverse():gsub("%d%d%d", "%0,"):reverse()
  return (in_threes:gsub("^,", ""))
end

--- 1, "load" -> "1 load"; 2, "load" -> "2 loads"
-- @tparam number n how many
-- @tparam string one what one of them is called
-- @tparam[opt] string many what several are called; default: with an "s"
-- @treturn string
function _M.of(n, one, many)
  return ("%s %s"):format(_M.count(n), n == 1 and one or many or one .. "s")
end

--- 12.3 -> "12 ms"
-- @tparam number ms milliseconds
-- @treturn string
function _M.ms(ms)
  return ("%.0f ms"):format(ms)
end

return _M

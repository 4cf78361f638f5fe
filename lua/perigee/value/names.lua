-- SPDX-License-Identifier: MIT

--- Walking through a table of anybody's where finalizers may come by.
--
-- LuaJIT compiles `for in` over `pairs` for the types that it meets. Where a finalizer meets others
-- in the same loop, the compiled code is left and entered again for ever (seen with Debian's
-- luajit2, git20220320). So what finalizers may reach walks by `next`, or through a list.
-- @module perigee.value.names

local _M = {}

--- The names in a table.
-- @tparam table set any table
-- @treturn table a list of them, in the order of `next`
function _M.of(set)
  local names, count, name = {}, 0, next(set)
  while name ~= nil do
    count = count + 1
    names[count] = name
    name = next(set, name)
  end
  return names
end

return _M

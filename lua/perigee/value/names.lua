-- SPDX-License-Identifier: MIT

--- Walking through a table of anybody's where finalizers may come by.
--
-- LuaJIT has an instruction of its own for `for in` over `pairs` and `next`. Where a finalizer
-- comes by, the compiled loop may be left and entered again for ever (seen with Debian's luajit2,
-- git20220320). So nobody here walks by these: a function that LuaJIT does not take for an iterator
-- gets a plain call, and costs the same.
-- @module perigee.value.names

local _M = {}

local function following(set, name)
  return next(set, name)
end

--- What `pairs` does: `for name, value in each(set) do`.
-- @tparam table set any table
-- @treturn function
-- @treturn table
function _M.each(set)
  return following, set
end

--- The names in a table.
-- @tparam table set any table
-- @treturn table a list of them, in the order of `next`
function _M.of(set)
  local names, count = {}, 0
  for name in following, set do
    count = count + 1
    names[count] = name
  end
  return names
end

--- The names in a table, sorted.
-- @tparam table set any table, with names that can be compared
-- @treturn table a list of them
function _M.sorted(set)
  local names = _M.of(set)
  table.sort(names)
  return names
end

return _M

-- SPDX-License-Identifier: MIT
-- Stands for a database that all workers ask.
-- luacheck: globals ngx
local _M = {}

local names = ngx.shared.database

for id, name in pairs { ["1"] = "Ada", ["2"] = "Grace", ["7"] = "Barbara" } do
  names:add(id, name)
end

local function row_of(id)
  local name = names:get(id)
  return name and { id = id, name = name, code = "return 'Hello, ' .. ... .. '!'" }
end

--- A row, or nil; or nil and an error.
function _M.user(id)
  ngx.sleep(0.05) -- think of a socket
  return row_of(id)
end

--- Rows in the order of a list, nil where there is none.
function _M.users(ids)
  ngx.sleep(0.05)
  local rows = {}
  for i, id in ipairs(ids) do rows[i] = row_of(id) end
  return rows
end

--- Changes a row, and returns it.
function _M.rename(id, name)
  ngx.sleep(0.05)
  names:set(id, name)
  return row_of(id)
end

--- Whether two users know each other.
function _M.are_friends(a, b)
  ngx.sleep(0.05)
  return a ~= b
end

return _M

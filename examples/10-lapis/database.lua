-- SPDX-License-Identifier: MIT
-- Stands for a database that all workers ask.
-- luacheck: globals ngx
local _M = {}

local prices = ngx.shared.database

for id = 1, 20 do prices:add(tostring(id), id * 10) end

local function query()
  prices:incr("queries", 1, 0)
  ngx.sleep(0.05) -- think of a socket
end

local function row_of(id)
  local price = prices:get(id)
  return price and { id = tonumber(id), price = price }
end

--- A product, or nil; or nil and an error.
function _M.find(id)
  query()
  return tonumber(id) and row_of(id)
end

--- Ten products.
function _M.list(page)
  query()
  local products = {}
  for id = page * 10 - 9, page * 10 do products[#products + 1] = row_of(tostring(id)) end
  return products
end

--- Changes a product, and returns it.
function _M.write(id, price)
  query()
  if not tonumber(id) then return nil, "no such product" end
  prices:set(id, price)
  return row_of(id)
end

--- How many there were.
function _M.queries() return prices:get "queries" or 0 end

return _M

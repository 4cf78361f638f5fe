-- SPDX-License-Identifier: MIT
-- What agents can do here: look into carts, and put things into them.
-- luacheck: globals ngx
local agent = require "perigee.agent"

local _M = {}

local shop = { ada = { "a book" } } -- think of a service, asked over a socket

local get_cart = agent.cache { resource = "cart", name = "get_cart", ttl = 60,
  tags = { "cart:{1}" } } (function(user)
  ngx.sleep(0.05)
  return table.concat(shop[user] or {}, ", ")
end)

local add_item = agent.invalidator { resource = "cart", name = "add_item",
  tags = { "cart:{1}" } } (function(user, item)
  ngx.sleep(0.05)
  shop[user] = shop[user] or {}
  table.insert(shop[user], item)
end)

--- Answers a request about a cart, in the request's session.
-- @treturn string
function _M.cart()
  local user, item = ngx.var.user, ngx.var.arg_item
  if ngx.req.get_method() == "POST" and item then add_item(user, item) end
  return get_cart(user)
end

return _M

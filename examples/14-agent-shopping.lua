-- SPDX-License-Identifier: MIT
-- A shopping agent: what it reads is remembered, what it writes makes that old, so that the total
-- is right. Where a line is indented, the shop was really asked.
--
--     luajit examples/14-agent-shopping.lua
local perigee = require "perigee"
local agent = require "perigee.agent"

local prices = { laptop = 900, mouse = 20 } -- the shop: think of web services
local carts = { user_1 = { "mouse" }, user_2 = { "mouse", "mouse" } }

local function work(what)
  print("    the shop " .. what)
  perigee.sleep(0.005)
end

local function fetch_cart(user_id)
  work("looks into the cart of " .. user_id)
  local total = 0
  for _, product_id in ipairs(carts[user_id]) do total = total + prices[product_id] end
  return { total = total }
end

local function fetch_product(product_id)
  work("looks up the " .. product_id)
  return { price = prices[product_id] }
end

local function add_item(user_id, product_id)
  work(("puts a %s into the cart of %s"):format(product_id, user_id))
  table.insert(carts[user_id], product_id)
end

local function sell(user_id)
  work("sells the cart of " .. user_id)
  carts[user_id] = {}
end

-- The agent's tools. A write forgets the whole resource, that is, the carts of all users.
local get_cart = agent.cache { resource = "cart", ttl = 120, name = "get_cart" } (fetch_cart)
local get_product = agent.cache { resource = "product", ttl = 300 } (fetch_product)
local add_to_cart = agent.invalidator { resource = "cart", name = "add_to_cart" } (add_item)
local checkout = agent.invalidator { resource = "cart", name = "checkout" } (sell)

-- With tags, a write forgets what it names: here, the cart of its first argument.
local tagged = { resource = "cart", tags = { "cart:{1}" } }
local get_cart_of = agent.cache(tagged)(fetch_cart)
local add_to_cart_of = agent.invalidator(tagged)(add_item)

local function look(get, user_id)
  print(("the cart of %s costs %d"):format(user_id, get(user_id).total))
end

local function go_shopping(session)
  look(get_cart, "user_1")
  print("a laptop costs " .. get_product("laptop").price)
  add_to_cart("user_1", "laptop")
  look(get_cart, "user_1") -- fetched again: it has changed
  look(get_cart, "user_1") -- from memory: it has not
  checkout "user_1"
  look(get_cart, "user_1")

  local metrics = session:get_metrics()
  print(("%d hit, %d misses, %d invalidations, hit rate %.2f"):format(metrics.hits,
    metrics.misses, metrics.invalidations, metrics.hit_rate))
end

-- Must the cart of user_2 be fetched again, because user_1 buys something?
local function buy_beside(get, add)
  look(get, "user_2")
  add("user_1", "mouse")
  look(get, "user_2")
end

perigee.run(function()
  agent.session({ loop_detection = false }, go_shopping)
  print "\nwithout tags, the carts of others are fetched again:"
  buy_beside(get_cart, add_to_cart)
  print "\nwith tags, they are not:"
  buy_beside(get_cart_of, add_to_cart_of)
end)

-- SPDX-License-Identifier: MIT
-- A shop, as an application of Lapis: what is read often is read from a cache.
--
-- The same file runs under Lapis and under the stand-in for it that is in this folder.
local lapis = require "lapis"
local application = require "lapis.application"
local cached = require "cached"
local database = require "database"

local json_params, respond_to = application.json_params, application.respond_to

local app = lapis.Application()

-- What a cached action returns is for everybody: it sees the parameters that it names, and nothing
-- else of the request. Errors are not kept; that there is no such product is kept for a while.
local show = cached.action({ "id" }, function(params)
  local product, err = database.find(params.id)
  if err then return nil, err end
  if not product then
    return { status = 404, json = { error = "no such product" } }, nil,
      { ttl = 5, tags = { { "product", params.id } } }
  end
  return { json = product }, nil, { tags = { { "product", params.id } } }
end)

-- A list is old when any of its products is: "product" is above all "product:7".
local list = cached.action({ "page" }, function(params)
  local products, err = database.list(tonumber(params.page) or 1)
  if err then return nil, err end
  return { json = products }, nil, { ttl = 30, tags = { "product" } }
end)

-- First the database, then the cache: who asks after the answer to this gets the new product.
local update = json_params(function(self)
  local price = tonumber(self.params.price)
  if not price then return { status = 400, json = { error = "give a price" } } end
  local product, err = database.write(self.params.id, price)
  cached.forget { "product", self.params.id } -- in any case: it may have been written
  if err then return { status = 502, json = { error = err } } end
  return { json = product }
end)

app:match("product", "/products/:id", respond_to {
  GET = show,
  PUT = update,
  on_invalid_method = function() return { status = 405, json = { error = "GET or PUT" } } end,
})

app:get("products", "/products", list)

app:get("queries", "/queries", function()
  return { json = { queries = database.queries() } }
end)

-- Who may ask for this is said in nginx.conf.
app:post("purge", "/purge", function(self)
  if not self.params.tag then return { status = 400, json = { error = "give a tag" } } end
  cached.forget(self.params.tag)
  return { json = { forgotten = self.params.tag } }
end)

function app.handle_404() return { status = 404, json = { error = "no such page" } } end

return app

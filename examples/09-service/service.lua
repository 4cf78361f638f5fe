-- SPDX-License-Identifier: MIT
-- A product catalogue: HTTP in front, a database behind, and a cache between them. However many
-- clients ask for a product that has just expired, the database is asked once.
--
--     perigee examples/09-service/database.lua --port 8081 --delay 0.1 &
--     perigee examples/09-service/service.lua --port 8080 &
--
--     curl -i http://127.0.0.1:8080/products/7
--     curl -i 'http://127.0.0.1:8080/products?ids=1,2,3'
--     curl -i -X PUT -d '{"name": "Tea", "price": 3.5}' http://127.0.0.1:8080/products/7
--     curl http://127.0.0.1:8080/metrics
--     wrk -c 200 -d 10 http://127.0.0.1:8080/products/7; curl http://127.0.0.1:8081/queries
--
-- Options: --port, --database (where it is), --ttl (seconds that a product is kept). Each answer
-- says in its header X-Cache where it came from: memory, load, wait (for another's load), or stale:
-- the database does not answer, and this is what it said last. Needs Debian's lua-cjson.
local cjson = require "cjson.safe"
local perigee = require "perigee"

local options = { port = 8080, database = "http://127.0.0.1:8081", ttl = 10 }
for i = 1, #arg, 2 do
  local name = arg[i]:match "^%-%-(.*)$"
  assert(options[name] and arg[i + 1], "options: --port N, --database URL, --ttl SECONDS")
  options[name] = tonumber(arg[i + 1]) or arg[i + 1]
end

local MAX_IDS = 100        -- in a request
local DATABASE_TIMEOUT = 2 -- seconds
local STOP_GRACE = 5       -- seconds for requests that run when the service is stopped

-- Products, as JSON, by id.
local cache = perigee.new {
  name = "products",
  maxsize = 10000,
  default_ttl = options.ttl,
  neg_ttl = 1,             -- that there is no such product is soon asked again
  stale_if_error = 300,    -- what expired is good enough while the database is down
  batch_window_ms = 2,     -- ids that are missed within this time are one query
  max_batch_size = MAX_IDS,
}

-- The database ------------------------------------------------------------------------------------

local function ask_database(method, path, body)
  local response, err = perigee.http.request { url = options.database .. path, method = method,
    body = body, timeout = DATABASE_TIMEOUT }
  if not response then io.stderr:write("no answer from the database: ", err, "\n") end
  return response, err
end

-- The batch loader: one query for all ids that are missing, whoever asked for them.
local function load_products(ids)
  local response, err = ask_database("GET", "/products?ids=" .. table.concat(ids, ","))
  if not response then return nil, err end
  if response.status ~= 200 then return nil, "the database said " .. response.status end
  local list, why = cjson.decode(response.body)
  if not list then return nil, why end
  local found = {}
  for _, product in ipairs(list) do found[product.id] = cjson.encode(product) end
  return found
end

-- Writes, then forgets what was read before. Loads that run meanwhile are not kept, so who asks
-- after this has returned gets the new product.
local function write_product(id, body)
  local response = ask_database("PUT", "/products/" .. id, body)
  cache:invalidate_tags("product:" .. id) -- in any case: a lost answer may mean a done write
  return response
end

-- Requests ----------------------------------------------------------------------------------------

local function problem(status, text) return { status = status, body = text .. "\n" } end

local function no_database() return problem(502, "the database does not answer") end

local function json(body, source)
  return { headers = { ["Content-Type"] = "application/json", ["X-Cache"] = source }, body = body }
end

local function find(id)
  return cache:get(id, { batch_loader = load_products, tags = { "product:" .. id } })
end

local function get_one(id)
  local product, err, source = find(id)
  if product then return json(product, source) end
  if err then return no_database() end
  return { status = 404, headers = { ["X-Cache"] = source }, body = "there is no such product\n" }
end

-- Ids of the form "1,2,3"; or nil.
local function parse_ids(text)
  if not text or not ("," .. text):find "^[,%d]+$" then return nil end
  local ids = {}
  for id in text:gmatch "%d+" do ids[#ids + 1] = tonumber(id) end
  if #ids >= 1 and #ids <= MAX_IDS then return ids end
end

-- Side by side: those that are not in the cache become one batch.
local function get_many(ids)
  local jobs, found, source = {}, {}, "memory"
  for i, id in ipairs(ids) do
    jobs[i] = function() return { find(id) } end
  end
  for _, result in ipairs(perigee.gather(jobs)) do
    local product, err, from = result[1], result[2], result[3]
    if not product and err then return no_database() end
    found[#found + 1] = product
    if from ~= "memory" and source ~= "stale" then source = from end
  end
  return json("[" .. table.concat(found, ",") .. "]", source)
end

-- Shielded: a client who leaves in the middle must not leave an old product in the cache.
local function put(id, request)
  local response = perigee.shield(write_product, id, request.body or "")
  if not response then return no_database() end
  return { status = response.status, headers = { ["Content-Type"] = "application/json" },
    body = response.body }
end

local function on_product(request, id)
  id = #id <= 15 and tonumber(id:match "^%d+$")
  if not id then return problem(400, "the id of a product is a number") end
  if request.method == "PUT" then return put(id, request) end
  return get_one(id)
end

local function on_products(request)
  local ids = parse_ids(request.query.ids)
  if not ids then return problem(400, ("give ids=1,2,3: %d at most"):format(MAX_IDS)) end
  return get_many(ids)
end

local function on_metrics()
  return { headers = { ["Content-Type"] = "text/plain; version=0.0.4" },
    body = perigee.prometheus() }
end

local READS = { GET = true, HEAD = true }

local function handle(request)
  local path, id = request.path, request.path:match "^/products/([^/]+)$"
  local may = READS[request.method] or id and request.method == "PUT"
  if not may then
    return { status = 405, headers = { Allow = id and "GET, HEAD, PUT" or "GET, HEAD" } }
  end
  if id then return on_product(request, id) end
  if path == "/products" then return on_products(request) end
  if path == "/metrics" then return on_metrics() end
  if path == "/healthz" then return "ok\n" end
  return problem(404, "not found")
end

-- The service -------------------------------------------------------------------------------------

local server = assert(perigee.http.listen {
  port = options.port, handler = handle,
  max_connections = 1000, max_header_bytes = 8192, max_body_bytes = 65536,
  idle_timeout = 30, timeout = 10,
})
print(("the service listens at http://127.0.0.1:%d"):format(server.port))
io.stdout:flush()
pcall(server.wait, server) -- SIGTERM and SIGINT cancel the task of this script
perigee.shield(server.stop, server, STOP_GRACE)

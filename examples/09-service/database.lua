-- SPDX-License-Identifier: MIT
-- The products of a shop: a SQLite database behind HTTP. It is a process of its own, so that a
-- query, which blocks whoever makes it, holds up nobody but those who wait for the database.
-- service.lua stands in front of it.
--
--     perigee examples/09-service/database.lua --port 8081
--     curl 'http://127.0.0.1:8081/products?ids=1,2,3'
--     curl http://127.0.0.1:8081/queries
--
-- Options: --port, --file (a database that stays; default: in memory), --delay (seconds that each
-- query takes longer, to be a slow database). Needs Debian's lua-cjson and lua-dbi-sqlite3.
local DBI = require "DBI"
local cjson = require "cjson.safe"
local perigee = require "perigee"

local options = { port = 8081, file = ":memory:", delay = 0 }
for i = 1, #arg, 2 do
  local name = arg[i]:match "^%-%-(.*)$"
  assert(options[name] and arg[i + 1], "options: --port N, --file NAME, --delay SECONDS")
  options[name] = tonumber(arg[i + 1]) or arg[i + 1]
end

-- The database ------------------------------------------------------------------------------------

local db = assert(DBI.Connect("SQLite3", options.file))
db:autocommit(true)

local function run(sql) assert(assert(db:prepare(sql)):execute()) end

run "CREATE TABLE IF NOT EXISTS products (id INTEGER PRIMARY KEY, name TEXT, price REAL)"
run [[ -- a thousand to begin with
  WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 1000)
  INSERT OR IGNORE INTO products SELECT id, 'Product ' || id, id * 10 FROM n]]

local find = assert(db:prepare [[
  SELECT id, name, price FROM products WHERE id IN (SELECT value FROM json_each(?))]])
local put = assert(db:prepare [[
  INSERT INTO products VALUES (?1, ?2, ?3)
  ON CONFLICT (id) DO UPDATE SET name = excluded.name, price = excluded.price]])

local queries = 0

-- The products with these ids; those that there are not are missing.
local function products(ids)
  queries = queries + 1
  perigee.sleep(options.delay)
  local list = setmetatable({}, cjson.array_mt)
  assert(find:execute(cjson.encode(ids)))
  for row in find:rows(true) do list[#list + 1] = row end
  return list
end

-- What is asked for -------------------------------------------------------------------------------

local function json(status, value)
  return { status = status, headers = { ["Content-Type"] = "application/json" },
    body = cjson.encode(value) }
end

local function get(request)
  local ids = {}
  for id in (request.query.ids or ""):gmatch "%d+" do ids[#ids + 1] = tonumber(id) end
  return json(200, products(ids))
end

local function write(id, text)
  local product = cjson.decode(text)
  if type(product) ~= "table" or type(product.name) ~= "string"
    or type(product.price) ~= "number" then
    return json(400, { error = 'a product is {"name": "...", "price": 1.5}' })
  end
  assert(put:execute(id, product.name, product.price))
  return json(200, { id = id, name = product.name, price = product.price })
end

local function handle(request)
  local id = tonumber(request.path:match "^/products/(%d+)$")
  if request.method == "PUT" and id then return write(id, request.body or "") end
  if request.path == "/products" then return get(request) end
  if request.path == "/queries" then return queries .. "\n" end
  return { status = 404, body = "not found\n" }
end

local server = assert(perigee.http.listen { port = options.port, handler = handle })
print(("the database listens at http://127.0.0.1:%d"):format(server.port))
io.stdout:flush()
server:wait()

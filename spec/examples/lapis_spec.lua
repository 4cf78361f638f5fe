-- SPDX-License-Identifier: MIT
-- suites: dev
-- The example of a Lapis application, run by a real nginx, with the stand-in for Lapis.
local cjson = require "cjson"
local example_server = require "spec.support.example_server"
local nginx = require "spec.support.nginx"

if nginx.missing() then
  describe("the example 10-lapis", function() pending(nginx.missing()) end)
  return
end

describe("the example 10-lapis", function()
  local server

  before_each(function() server = example_server.start "10-lapis" end)
  after_each(example_server.clean)

  local function queries() return cjson.decode((server:get "/queries")).queries end

  local function price(path) return cjson.decode((server:get(path or "/products/7"))).price end

  local function put(path, body)
    return server:ask("PUT " .. path, { ["Content-Type"] = "application/json" }, nil, nil, body)
  end

  it("runs an action once for all clients of all workers", function()
    for _, answer in ipairs(server:together(30, "/products/7")) do
      assert.equal(200, answer[2])
      assert.same({ id = 7, price = 70 }, cjson.decode(answer[1]))
    end
    assert.equal(1, queries())
    local answer = server:ask "/products/7"
    assert.matches("^application/json", answer.headers["content-type"])
    assert.is_true(({ memory = true, shared = true })[answer.headers["x-cache"]])
    assert.same({}, server:errors())
  end)

  it("looks at the parameters that an action names, and at no others", function()
    server:get "/products?page=1"
    server:get "/products?page=1&nonsense=1"
    server:get("/products?nonsense=2&page=1", { Cookie = "a=b" })
    assert.equal(1, queries())
    assert.equal(11, cjson.decode((server:get "/products?page=2"))[1].id)
    assert.equal(2, queries())
  end)

  it("shows a write to all who ask after it, in lists, too, and reads no more than that", function()
    for _ = 1, 8 do price() price "/products/8" end
    server:get "/products"
    assert.equal(3, queries())
    assert.same({ id = 7, price = 5 }, cjson.decode(put("/products/7", '{"price": 5}').body))
    for _ = 1, 8 do
      assert.equal(5, price())
      assert.equal(5, cjson.decode((server:get "/products"))[7].price)
      assert.equal(80, price "/products/8")
    end
    assert.equal(6, queries())
    assert.same({}, server:errors())
  end)

  it("keeps that there is no such product", function()
    for _ = 1, 3 do assert.equal(404, select(2, server:get "/products/99")) end
    assert.equal(1, queries())
    put("/products/99", '{"price": 1}')
    assert.equal(1, price "/products/99")
  end)

  it("refuses what makes no sense, and keeps none of it", function()
    assert.equal(400, put("/products/7", "{}").status)
    assert.equal(400, put("/products/7", "nonsense").status)
    assert.equal(405, server:ask("DELETE /products/7").status)
    assert.equal(404, server:ask("/nothing").status)
    assert.equal(0, queries())
  end)

  it("forgets what it is told to, if that comes from this machine", function()
    price()
    price "/products/8"
    assert.equal(403, server:ask("POST /purge?tag=product", nil, "127.0.0.2").status)
    assert.equal(400, server:ask("POST /purge").status)
    assert.equal('{"forgotten":"product:7"}', (server:get "POST /purge?tag=product:7"))
    for _ = 1, 8 do price() price "/products/8" end
    assert.equal(3, queries())
    assert.equal(200, server:ask("POST /purge?tag=product").status)
    for _ = 1, 8 do price() price "/products/8" end
    assert.equal(5, queries())
  end)

  it("answers over a reload, and keeps what the workers share", function()
    price()
    server:reload()
    for _ = 1, 8 do assert.equal(70, price()) end
    assert.equal(1, queries())
    assert.same({}, server:errors())
  end)
end)

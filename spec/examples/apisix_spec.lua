-- SPDX-License-Identifier: MIT
-- suites: dev
-- The example of a plugin for APISIX, run by a real nginx with a stand-in for APISIX.
local cjson = require "cjson"
local example_server = require "spec.support.example_server"
local nginx = require "spec.support.nginx"
local socket = require "socket"

if nginx.missing() then
  describe("the example 12-apisix", function() pending(nginx.missing()) end)
  return
end

local FORGET = "/v1/plugin/perigee-cache/forget"

describe("the example 12-apisix", function()
  local server

  -- A busy machine may need a while for what the plugin asks its service.
  local function start(replaced)
    local all = { ["minimum = 1, default = 1000"] = "minimum = 1, default = 60000" }
    for old, new in pairs(replaced or {}) do all[old] = new end
    server = example_server.start("12-apisix", all)
  end

  after_each(example_server.clean)

  local function ask(token) return server:ask("/", { Authorization = "Bearer " .. token }) end

  local function subject(token) return ask(token).body:match "^you are (%l+)\n$" end

  local function message(answer) return cjson.decode(answer.body).message end

  local function asked() return tonumber((server:get("/asked", nil, nil, "8082"))) end

  it("has a token checked once for all requests of all workers", function()
    start()
    local connections = {}
    for i = 1, 30 do
      connections[i] = server:send("/", { Authorization = "Bearer ada-3600" })
    end
    for i = 1, 30 do
      assert.equal("you are ada\n", example_server.finish(connections[i]).body)
    end
    assert.equal(1, asked())
    for _ = 1, 10 do assert.equal("ada", subject "ada-3600") end
    assert.equal("bob", subject "bob-3600")
    assert.equal(2, asked())
    assert.same({}, server:errors())
  end)

  it("runs in APISIX' phases, in APISIX' order", function()
    start()
    assert.equal("load", ask("ada-3600").headers["x-token-cache"])
    local phases
    assert(example_server.eventually(function()
      phases = server:log():match "phases: ([%l_ ]+) while"
      return phases
    end))
    local filters = "body_filter delayed_body_filter"
    assert.equal("rewrite access header_filter body log",
      (phases:gsub(filters, "body"):gsub("body body", "body")))
  end)

  it("refuses who has no token, or one that is not valid, and does not ask for it again", function()
    start()
    local answer = server:ask("/", { ["X-Subject"] = "ada" })
    assert.same({ 401, "no token", "Bearer" },
      { answer.status, message(answer), answer.headers["www-authenticate"] })
    assert.equal(0, asked())
    for _ = 1, 5 do
      answer = ask "nonsense"
      assert.same({ 401, "the token is not valid" }, { answer.status, message(answer) })
    end
    assert.equal(1, asked())
    assert.same({}, server:errors())
  end)

  it("lets nobody choose whom the upstream takes him for", function()
    start()
    local answer = server:ask("/", { ["X-Subject"] = "bob", Authorization = "bearer ada-3600" })
    assert.equal("you are ada\n", answer.body)
  end)

  it("knows a token no longer than it lives", function()
    start()
    assert.equal("ada", subject "ada-2")
    assert.equal("ada", subject "ada-2")
    assert.equal(1, asked())
    socket.sleep(2.1)
    assert.equal(401, ask("ada-2").status)
    assert.equal(2, asked())
  end)

  it("keeps no errors, and serves nothing that is old", function()
    start()
    assert.equal("ada", subject "ada-2")
    server:get("/down", nil, nil, "8082")
    socket.sleep(2.2)
    local answer = ask "ada-2"
    assert.same({ 503, "the token cannot be checked" }, { answer.status, message(answer) })
    assert.equal(503, ask("ada-2").status)
    assert.equal(3, asked())
  end)

  it("forgets the tokens of who was logged out, in all workers, when told from here", function()
    start()
    for _ = 1, 10 do
      assert.equal("ada", subject "ada-3600")
      assert.equal("bob", subject "bob-3600")
    end
    server:get("/log-out?name=ada", nil, nil, "8082")
    assert.equal(403, server:ask("POST " .. FORGET .. "?subject=ada", nil, "127.0.0.2").status)
    assert.equal(404, server:ask(FORGET .. "?subject=ada").status)
    assert.equal(400, server:ask("POST " .. FORGET).status)
    assert.equal("ada", subject "ada-3600")
    assert.equal('{"forgotten":"ada"}\n', (server:get("POST " .. FORGET .. "?subject=ada")))
    for _ = 1, 10 do
      assert.equal(401, ask("ada-3600").status)
      assert.equal("bob", subject "bob-3600")
    end
    assert.equal(3, asked())
  end)

  it("leaves no token in the memory that the workers share", function()
    start { ["location = /reload {"] = [[location = /keys {
      content_by_lua_block {
        for _, key in ipairs(ngx.shared.perigee:get_keys(0)) do ngx.say(key) end
      }
    }
    location = /reload {]] }
    subject "ada-3600"
    local keys = server:get "/keys"
    assert.matches("tokens", keys)
    assert.is_nil(keys:find("ada-3600", 1, true))
  end)

  it("can be loaded again while requests run, and by a reload of nginx", function()
    start { ["worker_processes 2"] = "worker_processes 1" }
    subject "bob-3600"
    local waiting = server:send("/", { Authorization = "Bearer ada-3600" })
    assert(example_server.eventually(function() return asked() == 2 end))
    assert.equal("loaded again\n", (server:get "/reload"))
    assert.equal("you are ada\n", example_server.finish(waiting).body)
    assert.equal("shared", ask("bob-3600").headers["x-token-cache"])
    server:reload()
    assert.equal("shared", ask("bob-3600").headers["x-token-cache"])
    assert.same({}, server:errors())
  end)

  it("says what is wrong with a configuration", function()
    local NAME = 'client_id = "gateway",'
    for bad, why in pairs { [""] = 'property "client_id" is required',
      ['client_id = 1,'] = 'property "client_id" validation failed',
      [NAME .. " ttl = 0,"] = 'property "ttl" validation failed' } do
      start { [NAME] = bad }
      assert(example_server.eventually(function() return server:log():find(why, 1, true) end), why)
      example_server.clean()
    end
  end)
end)

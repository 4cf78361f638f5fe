-- SPDX-License-Identifier: MIT
-- suites: dev
-- The example of a plugin for Kong, run by a real nginx with a stand-in for Kong.
local cjson = require "cjson"
local example_server = require "spec.support.example_server"
local nginx = require "spec.support.nginx"
local socket = require "socket"

local FOLDER = "examples/11-kong"

describe("the schema of the example 11-kong", function()
  local TYPES = { record = true, string = true, number = true, boolean = true, set = true,
    foreign = true }
  local schema, path

  setup(function()
    path = package.path
    package.path = FOLDER .. "/stand-in/?.lua;" .. path
    schema = dofile(FOLDER .. "/kong/plugins/perigee-cache/schema.lua")
  end)
  teardown(function()
    package.path, package.loaded["kong.db.schema.typedefs"] = path, nil
  end)

  -- Fields are a list of tables with one name each.
  local function each(fields, visit)
    for i, entry in ipairs(fields) do
      local name, field = next(entry)
      assert.is_nil(next(entry, name), "field " .. i)
      assert.is_true(TYPES[field.type], name)
      visit(name, field)
    end
  end

  it("has the plugin's name, and its configuration as a record", function()
    assert.equal("perigee-cache", schema.name)
    local types = {}
    each(schema.fields, function(name, field) types[name] = field.type end)
    assert.same({ consumer = "foreign", protocols = "set", config = "record" }, types)
  end)

  it("has a default for what need not be given, of its type and in its bounds", function()
    each(schema.fields, function(name, config)
      if name ~= "config" then return end
      each(config.fields, function(key, field)
        assert.is_true(field.required, key)
        if key == "url" then return end
        assert.equal(field.type, type(field.default), key)
        if field.gt then assert.is_true(field.default > field.gt, key) end
      end)
    end)
  end)
end)

if nginx.missing() then
  describe("the example 11-kong", function() pending(nginx.missing()) end)
  return
end

describe("the example 11-kong", function()
  local server

  -- A busy machine may need a while for what the plugin asks its service.
  local function start(replaced)
    local all = { ["default = 1000, gt"] = "default = 60000, gt" }
    for old, new in pairs(replaced or {}) do all[old] = new end
    server = example_server.start("11-kong", all)
  end

  after_each(example_server.clean)

  local function ask(id, path) return server:ask(path or "/", { apikey = id }) end

  local function plan(id) return ask(id).body:match "^your plan: (%l+)\n$" end

  local function asked() return tonumber((server:get("/asked", nil, nil, "8082"))) end

  -- What the log phase has written of each request.
  local function records()
    local list = {}
    for line in server:log():gmatch "%[kong%] ({[^\n]-}) while logging" do
      list[#list + 1] = cjson.decode(line)
    end
    return list
  end

  it("looks a plan up once for all requests of all workers", function()
    start()
    local connections = {}
    for i = 1, 30 do connections[i] = server:send("/", { apikey = "ada" }) end
    for i = 1, 30 do
      assert.equal("your plan: silver\n", example_server.finish(connections[i]).body)
    end
    assert.equal(1, asked())
    for _ = 1, 10 do assert.equal("silver", plan "ada") end
    assert.equal(1, asked())
    assert.equal("silver", plan "bob")
    assert.equal(2, asked())
    assert.same({}, server:errors())
  end)

  it("runs in Kong's phases, in Kong's order, and tells the log what it has found", function()
    start()
    plan "ada"
    assert(example_server.eventually(function() return #records() == 1 end), server:log())
    assert.same({ {
      phases = { "rewrite", "access", "header_filter", "body_filter", "log" },
      log = { plan = { name = "silver", from = "load", bytes = #"your plan: silver\n" } },
    } }, records())
  end)

  it("lets nobody choose his own plan", function()
    start()
    assert.equal("your plan: none\n", (server:get("/", { ["X-Consumer-Plan"] = "gold" })))
    assert.equal("your plan: silver\n",
      (server:get("/", { ["X-Consumer-Plan"] = "gold", apikey = "ada" })))
  end)

  it("refuses who has none, and does not ask again at once", function()
    start()
    for _ = 1, 5 do
      local answer = ask "nobody"
      assert.equal(403, answer.status)
      assert.same({ message = "You have no plan" }, cjson.decode(answer.body))
    end
    assert.equal(1, asked())
    assert.same({}, server:errors())
  end)

  it("forgets a plan in all workers when the upstream says that it has changed", function()
    start()
    for _ = 1, 10 do
      assert.equal("silver", plan "ada")
      plan "bob"
    end
    local answer = ask("ada", "/upgrade")
    assert.equal("sold\n", answer.body)
    assert.is_nil(answer.headers["x-plan-changed"])
    for _ = 1, 10 do
      assert.equal("gold", plan "ada")
      assert.equal("silver", plan "bob")
    end
    assert.equal(3, asked())
    assert.same({}, server:errors())
  end)

  it("goes on with the plans that it knows while their service is down", function()
    start { ["/plans\" }"] = "/plans\", ttl = 1 }", ["stale_while_revalidate = 30"] =
      "stale_while_revalidate = 0", ["worker_processes 2"] = "worker_processes 1" }
    assert.equal("silver", plan "ada")
    server:get("/down", nil, nil, "8082")
    socket.sleep(1.1)
    assert.equal("silver", plan "ada")
    local answer = ask "bob"
    assert.equal(503, answer.status)
    assert.same({ message = "Your plan is not known" }, cjson.decode(answer.body))
    assert.matches("the plans' service: status 503", server:log(), 1, true)
    server:get("/up", nil, nil, "8082")
    assert.equal("silver", plan "bob")
  end)

  it("lets who is not known through, where that is wanted", function()
    start { ["/plans\" }"] = "/plans\", fail_open = true }" }
    server:get("/down", nil, nil, "8082")
    assert.equal("your plan: none\n", ask("ada").body)
  end)

  it("knows the plans over a reload", function()
    start()
    plan "ada"
    server:reload()
    for _ = 1, 10 do assert.equal("silver", plan "ada") end
    assert.equal(1, asked())
    assert.same({}, server:errors())
  end)
end)

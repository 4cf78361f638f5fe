-- SPDX-License-Identifier: MIT
-- suites: dev
-- The scenes of the dashboard inside nginx, where callers are light threads of one request.
local cjson = require "cjson"

local nginx = require "spec.support.nginx"
local reports = require "spec.support.scene_report"

local count, fact = reports.count, reports.fact

local HTTP = [[
  init_by_lua_block {
    perigee, scenes = require "perigee", require "perigee.dashboard.scenes"
  }
]]

local LOCATIONS = [[
  location /scene {
    content_by_lua_block {
      local report, err = scenes.run(ngx.var.arg_name)
      ngx.print(require("cjson").encode(report or { err = err }))
    }
  }
  location /abortable {
    lua_check_client_abort on;
    content_by_lua_block { ngx.print(scenes.run(ngx.var.arg_name) and "played" or "not") }
  }
  location /within {
    content_by_lua_block {
      local report, err = perigee.timeout(tonumber(ngx.var.arg_s), scenes.run, ngx.var.arg_name)
      ngx.print(report and "played" or err)
    }
  }
]]

local LEFT = [[
  local left = {}
  for name in pairs(perigee.metrics()) do left[#left + 1] = name end
  for event, handlers in pairs(require("perigee.events").handlers) do
    if handlers then left[#left + 1] = event end
  end
  return table.concat(left, ", ")
]]

local missing = nginx.missing()
local it = missing and function(name) pending(name .. " (" .. missing .. ")") end or it

describe("inside nginx, the scene", function()
  local server
  before_each(function() server = nginx.start { http = HTTP, locations = LOCATIONS } end)
  after_each(function()
    local left, found = server:lua(LEFT), server:errors()
    nginx.clean()
    assert.equal("", left)
    assert.same({}, found)
  end)

  local function played(name)
    local report = cjson.decode((server:get("/scene?name=" .. name)))
    assert.is_nil(report.err)
    reports.check(report)
    return report
  end

  it("herd has one load for a thousand callers", function()
    local report = played "herd"
    assert.equal("1,000 callers, 1 load; with a plain table 1,000 loads", report.summary)
    assert.equal(1, count(report, "cache", "load"))
    assert.equal(1000, fact(report, "right answers"))
    assert.equal(999, count(report, "callers", "wait"))
  end)

  it("batch asks for a hundred rows in few queries", function()
    local report = played "batch"
    assert.is_true(fact(report, "queries") <= 3)
    assert.equal(100, fact(report, "rows in them"))
    assert.equal("row 13: it is locked", fact(report, "errors"))
    assert.equal(100, fact(report, "asked once more: callers who got their row"))
  end)

  it("expiry serves old values, and no error", function()
    local report = played "expiry"
    assert.matches("; no reader got an error", report.summary)
    assert.is_true(count(report, "reader", "stale") >= 2)
    assert.is_true(count(report, "database", "load") >= 3)
  end)

  it("race leaves the old row in the plain table, and not in the cache", function()
    assert.equal("afterwards Perigee has the new row, and the plain table keeps the old row",
      played("race").summary)
  end)

  it("outage has a table that is switched off", function()
    local report = played "outage"
    assert.matches("^a table in this process, switched off", fact(report, "the second level"))
    assert.equal(0, fact(report, "old rows served"))
    assert.equal("yes", fact(report, "afterwards: it has the new row"))
  end)

  it("agent is stopped at the same calls as elsewhere", function()
    assert.equal("one call, repeated, was stopped at call 5; two calls in turn, was stopped at "
      .. "call 9", played("agent").summary)
  end)
end)

describe("inside nginx, a scene", function()
  local server
  before_each(function() server = nginx.start { http = HTTP, locations = LOCATIONS } end)
  after_each(nginx.clean)

  local function left_soon()
    local left
    for _ = 1, 1000 do
      left = server:lua(LEFT)
      if left == "" then return "" end
      server:lua "ngx.sleep(0.05)"
    end
    return left
  end

  it("is the only one in its worker", function()
    local first = server:begin { path = "/scene?name=expiry" }
    server:lua "ngx.sleep(0.05)"
    assert.equal('{"err":"busy"}', (server:get "/scene?name=race"))
    reports.check(cjson.decode((first:finish())))
    reports.check(cjson.decode((server:get "/scene?name=race")))
    assert.same({}, server:errors())
  end)

  for _, name in ipairs { "herd", "batch", "expiry", "race", "outage", "agent" } do
    it(name .. " leaves nothing behind when it is cancelled, or its request ended", function()
      for _, seconds in ipairs { 0.01, 0.08 } do
        assert.equal("timeout", (server:get(("/within?name=%s&s=%g"):format(name, seconds))))
        assert.equal("", server:lua(LEFT))
        server:abort("/abortable?name=" .. name, seconds)
        assert.equal("", left_soon())
      end
      reports.check(cjson.decode((server:get "/scene?name=race")))
      assert.same({}, server:errors())
    end)
  end

  it("that was ended with its request does not keep the next one waiting", function()
    server:abort("/abortable?name=expiry", 0.1)
    server:lua "ngx.sleep(0.01)"
    reports.check(cjson.decode((server:get "/scene?name=expiry")))
    assert.equal("", left_soon())
  end)

  it("can be played again and again", function()
    for _ = 1, 2 do
      for _, name in ipairs { "herd", "batch", "expiry", "race", "outage", "agent" } do
        reports.check(cjson.decode((server:get("/scene?name=" .. name))))
        assert.equal("", server:lua(LEFT))
      end
    end
    assert.same({}, server:errors())
  end)
end)

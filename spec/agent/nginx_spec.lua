-- SPDX-License-Identifier: MIT
-- suites: dev
-- Agents inside nginx: a session per request, however requests interleave, and tools that the
-- workers share.
local nginx = require "spec.support.nginx"

local TOOLS = [[
  lua_shared_dict shared 1m;
  init_by_lua_block {
    perigee, agent = require "perigee", require "perigee.agent"
    calls = 0
    local function slow(x)
      calls = calls + 1
      ngx.sleep(0.02)
      return x
    end
    mine = agent.cache { resource = "notes", scope = "session", name = "mine" } (slow)
    ours = agent.cache { resource = "cart", name = "ours", shared = "shared" } (slow)
    write = agent.invalidator { resource = "cart", name = "write" } (function(x) return x end)
    sessions = {}
  }
]]

local LOCATIONS = [[
  location /session {
    content_by_lua_block {
      local name = ngx.var.arg_name
      local told = agent.session({ session_id = name }, function(session)
        local first = mine(name)
        local pair = perigee.gather {
          function() return mine(name .. "a") end, function() return mine(name .. "b") end,
        }
        mine(name)
        local metrics = session:get_metrics()
        return table.concat({ first, pair[1], pair[2], metrics.hits, metrics.misses }, " ")
      end)
      ngx.print(told)
    }
  }
  location /loop {
    content_by_lua_block {
      local ok, err = pcall(agent.session, { max_tool_repeats = 3 }, function()
        for _ = 1, 10 do ours("again") end
      end)
      ngx.print(tostring(ok), " ", tostring(agent.is_loop_error(err)), " ", tostring(err.count))
    }
  }
  location /turn {
    content_by_lua_block {
      local id = ngx.req.get_headers()["X-Session"]
      sessions[id] = sessions[id] or agent.open { session_id = id, max_tool_repeats = 2 }
      local ok, err = pcall(sessions[id].run, sessions[id], function() return ours("turn") end)
      ngx.print(ok and "went on" or tostring(agent.is_loop_error(err)))
    }
  }
]]

describe("agents inside nginx", function()
  local server
  after_each(nginx.clean)

  local function start(workers)
    server = nginx.start { workers = workers, http = TOOLS, locations = LOCATIONS }
  end

  it("have a session for each request, however these interleave", function()
    start(1)
    local requests = {}
    for i = 1, 20 do requests[i] = server:begin { path = "/session?name=s" .. i } end
    for i = 1, 20 do
      assert.equal(("s%d s%da s%db 1 3"):format(i, i, i), (requests[i]:finish()))
    end
    assert.equal(60, server:lua "return calls")
    assert.same({}, server:errors())
  end)

  it("are stopped when they loop, each by itself", function()
    start(1)
    for _, answer in ipairs(server:together(5, "/loop")) do
      assert.equal("false true 4", answer.body)
    end
    assert.equal("went on", (server:get("/turn", { ["X-Session"] = "other" })))
    assert.same({}, server:errors())
  end)

  it("keep a session from request to request, by an id from a header", function()
    start(1)
    local said = {}
    for i = 1, 4 do said[i] = (server:get("/turn", { ["X-Session"] = "a" })) end
    assert.same({ "went on", "went on", "true", "true" }, said)
    assert.equal("went on", (server:get("/turn", { ["X-Session"] = "b" })))
  end)

  it("share the answers of a tool between workers, and forget them together", function()
    start(2)
    assert.equal("x", server:lua_in(0, "return ours('x')"))
    assert.equal("x", server:lua_in(1, "return ours('x')"))
    assert.equal(1, server:lua_in(0, "return calls") + server:lua_in(1, "return calls"))
    server:lua_in(1, "write('x')")
    assert.equal("x", server:lua_in(0, "return ours('x')"))
    assert.equal(2, server:lua_in(0, "return calls") + server:lua_in(1, "return calls"))
    assert.same({}, server:errors())
  end)
end)

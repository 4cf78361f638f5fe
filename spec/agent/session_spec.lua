-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan long
-- Sessions: who is in one, how they end, and what they leave behind.
local agent = require "perigee.agent"
local mistake = require "spec.support.mistake"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function own_tool()
  local count = { calls = 0 }
  return agent.cache { resource = "own", scope = "session", name = "own" } (function(k)
    count.calls = count.calls + 1
    return k
  end), count
end

describe("agent.session", function()
  it("returns what its function does", function()
    assert.are.same({ n = 4, 1, nil, 3 }, (function(...)
      return { n = select("#", ...), ... }
    end)(agent.session(function(_, ...) return ... end, 1, nil, 3, nil)))
  end)

  it("raises its function's error unchanged, and is closed", function()
    local raised, opened = {}, nil
    local ok, err = pcall(agent.session, {}, function(session)
      opened = session
      error(raised, 0)
    end)
    assert.is_false(ok)
    assert.equal(raised, err)
    assert.is_true(opened.closed)
    assert.is_nil(require("perigee.context").session)
  end)

  it("takes a callable table for a function, and options for options", function()
    local callable = tasks.callable(function(session) return session.session_id end)
    assert.matches("^session%-%d+$", agent.session(callable))
    assert.equal("x", agent.session({ session_id = "x" }, callable))
    assert.equal("x", agent.session({ session_id = "x" }, function(s) return s.session_id end))
    assert.matches("^session", agent.session(nil, callable))
  end)

  it("checks its options", function()
    mistake(function() agent.session({ max_repeats = 3 }, print) end, { "session", "max_repeats" })
    mistake(function() agent.session({ on_loop = "stop" }, print) end, { "session", "on_loop" })
    mistake(function() agent.session({ max_tool_repeats = 0 }, print) end,
      { "session", "max_tool_repeats", "number 0" })
    mistake(function() agent.session({ idle_timeout = -1 }, print) end,
      { "session", "idle_timeout" })
    mistake(function() agent.session({}) end, { "session", "fn", "nil" })
    mistake(function() agent.session("x", print) end, { "session", "opts" })
    mistake(function() agent.open { evidence = "none" } end, { "open", "evidence" })
    mistake(function() agent.restore(1) end, { "restore", "bytes", "number 1" })
    mistake(function() agent.explain {} end, { "explain", "session" })
  end)

  it("inside another one is the one that counts", function()
    local tool = own_tool()
    agent.session({ session_id = "outer" }, function(outer)
      tool(1)
      agent.session({ session_id = "inner" }, function(inner)
        tool(1)
        tool(2)
        assert.equal(2, inner:get_metrics().calls)
      end)
      tool(3)
      assert.equal(2, outer:get_metrics().calls)
    end)
  end)

  it("is found by tasks that were spawned in it, and by nobody else", tasks.virtual(function()
    local tool = own_tool()
    local inside
    local done = tasks.start(function()
      agent.session(function(session)
        inside = session
        perigee.gather {
          function() perigee.sleep(0.1) tool(1) end,
          function() perigee.sleep(0.2) tool(2) end,
        }
      end)
    end)
    tasks.pass(0.05)
    tool(7) -- outside
    tasks.finish(done)
    assert.equal(2, inside:get_metrics().calls)
  end))

  it("is found again after a wait, whoever ran meanwhile", tasks.virtual(function()
    local names = {}
    local tool = agent.cache { resource = "name", scope = "session" } (function()
      perigee.sleep(0.1)
      return require("perigee.context").session.session_id
    end)
    tasks.finish(tasks.start_many(5, function(i)
      agent.session({ session_id = "s" .. i }, function()
        perigee.sleep(0.01 * i)
        names[i] = tool()
      end)
    end))
    assert.are.same({ "s1", "s2", "s3", "s4", "s5" }, names)
  end))

  it("raises in tasks that outlive it", tasks.virtual(function()
    local tool = own_tool()
    local late
    agent.session({ session_id = "gone" }, function()
      late = tasks.start(function()
        perigee.sleep(1)
        tool(1)
      end)
    end)
    tasks.finish(late)
    assert.is_false(late.ok)
    assert.equal('agent: the session "gone" is closed', late[1])
  end))

  it("may end while a load that it began goes on for others", tasks.virtual(function()
    local inner = agent.cache { resource = "inner" } (function() return "deep" end)
    local outer = agent.cache { resource = "outer" } (function()
      perigee.sleep(1)
      return inner()
    end)
    local session = agent.open()
    local first = tasks.start(function() return session:run(outer) end)
    tasks.settle()
    local second = tasks.start(function()
      return agent.session(function() return outer() end)
    end)
    tasks.settle()
    first.task:cancel()
    session:close()
    tasks.finish { first, second }
    assert.equal("cancelled", first[1])
    assert.equal("deep", second[1])
  end))
end)

describe("an opened session", function()
  it("runs functions until it is closed", function()
    local session = agent.open { session_id = "s" }
    assert.are.same({ 1, 2 }, { session:run(function(...) return ... end, 1, 2) })
    session:close()
    session:close()
    assert.error_matches(function() session:run(print) end,
      'session:run: the session "s" is closed')
    assert.error_matches(function() session:snapshot() end, "session:snapshot: .* is closed")
    assert.equal(0, session:get_metrics().calls)
    session:progress()
    session:reset()
  end)

  it("wants its methods with a colon", function()
    local session = agent.open()
    for _, method in ipairs { "run", "close", "reset", "progress", "get_metrics", "snapshot" } do
      assert.error_matches(function() session[method]({}) end, "session:" .. method .. ": call it")
    end
  end)

  it("forgets its own copies when it is closed, and no others", function()
    local tool, count = own_tool()
    local a, b = agent.open(), agent.open()
    a:run(tool, 1)
    b:run(tool, 1)
    assert.equal(2, tool:get_metrics().size)
    a:close()
    tool.cache.store:reclaim()
    assert.equal(1, tool:get_metrics().size)
    b:run(tool, 1)
    assert.equal(2, count.calls)
  end)

  it("of equal session_id is another one", function()
    local tool, count = own_tool()
    local a, b = agent.open { session_id = "s" }, agent.open { session_id = "s" }
    a:run(tool, 1)
    b:run(tool, 1)
    assert.equal(2, count.calls)
  end)

  it("ends when nobody uses it for its idle_timeout", tasks.virtual(function()
    local tool = own_tool()
    local session = agent.open { session_id = "s", idle_timeout = 10 }
    for _ = 1, 3 do
      tasks.pass(8)
      session:run(tool, 1)
    end
    tasks.pass(11)
    assert.error_matches(function() session:run(tool, 1) end, 'the session "s" is closed')
    assert.is_true(session.closed)
  end))

  it("ends so also when only others are opened", tasks.virtual(function()
    local sessions = {}
    for i = 1, 100 do sessions[i] = agent.open { idle_timeout = i } end
    tasks.pass(50.5)
    agent.open():close()
    local open = 0
    for i = 1, 100 do open = open + (sessions[i].closed and 0 or 1) end
    assert.equal(50, open)
    for i = 1, 100 do sessions[i]:close() end
  end))

  it("ends so while a task is in it", tasks.virtual(function()
    local tool = own_tool()
    local session = agent.open { session_id = "s", idle_timeout = 5 }
    local job = tasks.start(function()
      session:run(function()
        perigee.sleep(10)
        tool(1)
      end)
    end)
    tasks.finish(job)
    assert.equal('agent: the session "s" is closed', job[1])
  end))
end)

describe("many sessions", function()
  it("open at once take little room, and give it back", function()
    local tool = agent.cache { resource = "many", scope = "session", maxsize = 1000 } (
      function(k) return "answer " .. k end)
    local function resident()
      for line in io.lines "/proc/self/status" do
        local kb = line:match "^VmRSS:%s+(%d+)"
        if kb then return tonumber(kb) end
      end
    end
    local function round(count)
      local sessions = {}
      for i = 1, count do
        sessions[i] = agent.open { max_execution_depth = 100 }
        sessions[i]:run(function() for k = 1, 10 do tool(k) end end)
      end
      for i = 1, count do sessions[i]:close() end
    end
    for _ = 1, 3 do round(300) end
    collectgarbage()
    local before = resident()
    for _ = 1, 12 do round(300) end -- of more than 10 KB each
    collectgarbage()
    collectgarbage()
    local grown = resident() - before
    assert.is_true(grown < 12000 or os.getenv "PERIGEE_PRESET" == "asan", grown .. " KB")
  end)
end)

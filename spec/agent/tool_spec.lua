-- SPDX-License-Identifier: MIT
-- agent.cache: what a tool that reads is to its callers; what its options must be.
local agent = require "perigee.agent"
local mistake = require "spec.support.mistake"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function counted(fn)
  local count = { calls = 0 }
  return function(...)
    count.calls = count.calls + 1
    return fn(...)
  end, count
end

describe("a tool that reads", function()
  it("is called like its function: any arguments, all results, nils among them", function()
    local fn, count = counted(function(...) return select("#", ...), nil, ... end)
    local tool = agent.cache { resource = "r" } (fn)
    for _ = 1, 2 do
      assert.are.same({ n = 5, 3, nil, "a", nil, "c" },
        { n = select("#", tool("a", nil, "c")), tool("a", nil, "c") })
    end
    assert.equal(1, count.calls)
    assert.equal(fn, tool.fn)
    assert.equal(3, (tool.call("a", nil, "c")))
  end)

  it("of three parameters is called with three", function()
    local fn, count = counted(function(a, b, c) return a .. b .. c end)
    local tool = agent.cache { resource = "r" } (function(a, b, c) return fn(a, b, c) end)
    for _ = 1, 2 do assert.equal("123", tool(1, 2, 3)) end
    assert.equal("12x", tool(1, 2, "x", "extra"))
    assert.equal(2, count.calls)
  end)

  it("binds arguments to parameters, by what they are", function()
    local fn, count = counted(function(a, b) return tostring(a) .. tostring(b) end)
    local tool = agent.cache { resource = "r" } (function(a, b) return fn(a, b) end)
    assert.equal("1nil", tool(1))
    assert.equal("1nil", tool(1, nil))
    assert.equal("1nil", tool(1, nil, "extra"))
    assert.equal(1, count.calls)
    assert.equal("1nil", tool("1"))
    assert.equal("truenil", tool(true))
    assert.equal(3, count.calls)
    tool({ x = 1, y = 2 })
    tool({ y = 2, x = 1 })
    assert.equal(4, count.calls)
  end)

  it("runs once for all that ask at the same time", tasks.virtual(function()
    local slow, count = tasks.slow(0.1, "answer")
    local tool = agent.cache { resource = "r" } (slow)
    for _, job in ipairs(tasks.together(50, function() return tool "k" end)) do
      assert.equal("answer", job[1])
    end
    assert.equal(1, count.calls)
  end))

  it("takes skip_args and key_fn", function()
    local fn, count = counted(function(_, id) return id end)
    local opts = { resource = "r", skip_args = 1 }
    local tool = agent.cache(opts)(function(o, id) return fn(o, id) end)
    assert.equal(7, tool({}, 7))
    assert.equal(7, tool(print, 7))
    assert.equal(1, count.calls)
    tool = agent.cache { resource = "r", key_fn = function(_, id) return id % 2 end } (
      function(o, id) return fn(o, id) end)
    tool(nil, 1)
    tool(nil, 3)
    assert.equal(2, count.calls)
  end)

  it("can be refreshed, forgotten, cleared", function()
    local value = 1
    local tool = agent.cache { resource = "r" } (function() return value end)
    tool "a"
    value = 2
    assert.equal(1, tool "a")
    assert.equal(2, tool:refresh "a")
    assert.equal(2, tool "a")
    value = 3
    tool:invalidate_cache "a"
    assert.equal(3, tool "a")
    value = 4
    tool:clear_cache()
    assert.equal(4, tool "a")
    assert.equal(1, tool:get_metrics().size)
    assert.equal(4, tool:get_metrics().executed)
  end)

  it("keeps the old answer when a refresh fails", function()
    local broken = false
    local tool = agent.cache { resource = "r" } (function()
      if broken then error("down", 0) end
      return "old"
    end)
    tool()
    broken = true
    assert.has_error(function() tool:refresh() end, "down")
    assert.equal("old", tool())
  end)

  it("takes hints as a third result, and does not show them", tasks.virtual(function()
    local calls = 0
    local tool = agent.cache { resource = "r", ttl = 100 } (function(kind)
      calls = calls + 1
      if kind == "short" then return "s", nil, { ttl = 5 } end
      return "n", nil, { cache = false }
    end)
    assert.equal(1, select("#", tool "short"))
    assert.equal("s", tool "short")
    assert.equal(1, calls)
    tasks.pass(6)
    tool "short"
    assert.equal(2, calls)
    tool "never"
    tool "never"
    assert.equal(4, calls)
  end))

  it("takes no other table for hints", function()
    local function fn() return 1, nil, { ttl = 5, rows = 3 } end
    local tool = agent.cache { resource = "r" } (fn)
    assert.are.same({ ttl = 5, rows = 3 }, (select(3, tool())))
    assert.are.same({ ttl = 5, rows = 3 }, (select(3, tool())))
  end)

  it("raises on hints that are none, and keeps nothing", function()
    local tool = agent.cache { resource = "r" } (function(ttl) return 1, nil, { ttl = ttl } end)
    assert.error_matches(function() tool(-1) end, "hints.ttl must be a number of seconds > 0")
    assert.equal(0, tool:get_metrics().size)
  end)

  it("of kind \"exec\" is executed each time", function()
    local fn, count = counted(function(x) return x end)
    local tool = agent.cache { resource = "r", kind = "exec", name = "run" } (fn)
    assert.equal(1, tool(1))
    assert.equal(1, tool(1))
    assert.equal(2, count.calls)
    assert.equal(2, tool:get_metrics().executed)
    assert.equal("run", tool.name)
  end)

  it("has its resource and its place as a name, unless it is given one", function()
    local tool = agent.cache { resource = "cart" } (function() end)
    assert.matches("^cart@spec/agent/tool_spec.lua:%d+$", tool.name)
    assert.matches("cart@", tostring(tool))
  end)

  it("can be wrapped itself", function()
    local fn, count = counted(function(a) return a end)
    local tool = agent.cache { resource = "r" } (function(a) return fn(a) end)
    local twice = perigee.lru(tool)
    assert.equal(1, twice(1, "extra"))
    assert.equal(1, twice(1))
    assert.equal(1, count.calls)
  end)

  it("refuses arguments that cannot be a key, and says what to do", function()
    local tool = agent.cache { resource = "r" } (function(a) return a end)
    local cyclic = {}
    cyclic.self = cyclic
    for value, what in pairs { [print] = "function", [cyclic] = "contains itself" } do
      assert.error_matches(function() tool(value) end, what)
    end
    agent.session(function(session)
      assert.error_matches(function() tool(cyclic) end, "contains itself")
      assert.equal(0, session:get_metrics().calls)
    end)
  end)

  it("keeps answers that cannot be compared, and takes none of them for the same", function()
    local function fn() return function() end end
    local tool = agent.cache { resource = "r", kind = "exec" } (fn)
    agent.session({ max_tool_repeats = math.huge }, function()
      for _ = 1, 20 do tool "x" end
    end)
  end)
end)

describe("agent.cache", function()
  local function fn() end

  it("needs a resource", function()
    mistake(function() agent.cache {} end, { "cache", "resource", "nil" })
    mistake(function() agent.cache { resource = "" } end, { "cache", "resource", '""' })
    mistake(function() agent.cache { resource = 1 } end, { "cache", "resource", "number 1" })
    mistake(function() agent.cache(fn) end, { "cache", "opts", "function" })
  end)

  it("takes no option it does not know", function()
    mistake(function() agent.cache { resource = "r", tll = 1 } end, { "cache", "tll" })
  end)

  for option, wrong in pairs { scope = "user", kind = "write", ttl = 0, name = "", maxsize = -1,
    skip_args = -1, key_fn = 1, tags = "cart", backup = 1, remote_cache = true, neg_errors = 0,
    classify = 1, loop_key = 1, result_key = 1 } do
    it("checks option " .. option, function()
      mistake(function() agent.cache { resource = "r", [option] = wrong } end, { "cache", option })
    end)
  end

  it("wraps functions only", function()
    mistake(function() agent.cache { resource = "r" } (1) end, { "cache", "fn", "number 1" })
  end)

  it("says which tags are wrong", function()
    local make = agent.cache { resource = "cart", tags = { "user:{1}" } }
    assert.error_matches(function() make(fn) end, 'tags%[1%] must begin with the resource "cart"')
    make = agent.cache { resource = "cart", tags = { "cart:{2}" } }
    assert.error_matches(function() make(function(a) return a end) end,
      "names argument {2}, but the function has 1 parameter")
  end)

  it("keeps what belongs to a session out of tiers", function()
    assert.error_matches(function()
      agent.cache { resource = "r", scope = "session", name = "n", backup = perigee.disk "/tmp/x" }
    end, 'option "backup" goes with scope "global"')
    assert.error_matches(function()
      agent.cache { resource = "r", backup = perigee.disk "/tmp/x" }
    end, 'option "backup" needs option "name"')
  end)
end)

-- SPDX-License-Identifier: MIT
-- Whose answer it is, and how old it may be: loads that are joined, refused, private; writes by
-- key; sessions that are closed and reset at odd moments.
local agent = require "perigee.agent"
local context = require "perigee.context"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function reader(opts, fn)
  if type(opts) == "string" then opts = { resource = opts } end
  return agent.cache(opts)(fn)
end

local function writer(opts, fn)
  if type(opts) == "string" then opts = { resource = opts } end
  return agent.invalidator(opts)(fn)
end

describe("an answer made of what one session has", function()
  it("reaches nobody who joined its load", tasks.virtual(function()
    local note = reader({ resource = "note", scope = "session" }, function()
      perigee.sleep(0.1)
      return context.session.session_id
    end)
    local page = reader("page", function() return "page of " .. note() end)
    local book = reader("book", function() return page() .. ", bound" end)
    local jobs = {}
    for i, id in ipairs { "A", "B", "C" } do
      local session = agent.open { session_id = id }
      jobs[i] = tasks.start(session.run, session, i == 3 and book or page)
    end
    tasks.finish(jobs)
    assert.are.same({ "page of A", "page of B", "page of C, bound" },
      { jobs[1][1], jobs[2][1], jobs[3][1] })
  end))

  it("nor does its error", tasks.virtual(function()
    local note = reader({ resource = "note", scope = "session" }, function()
      perigee.sleep(0.1)
      return context.session.session_id
    end)
    local page = reader("page", function() error("no page of " .. note(), 0) end)
    local jobs = {}
    for i, id in ipairs { "A", "B" } do
      local session = agent.open { session_id = id }
      jobs[i] = tasks.start(session.run, session, page)
    end
    tasks.finish(jobs)
    assert.are.same({ "no page of A", "no page of B" }, { jobs[1][1], jobs[2][1] })
  end))
end)

describe("a write by key", function()
  for name, forget in pairs {
    ["of an invalidator"] = function(cart)
      return writer({ resource = "cart", key_fn = function(u) return u end }, function() end), cart
    end,
    ["of invalidate_cache"] = function(cart)
      return function(u) cart:invalidate_cache(u) end
    end,
    ["of clear_cache"] = function(cart)
      return function() cart:clear_cache() end
    end,
  } do
    it(name .. " forgets what was made of the answer", function()
      local value = 1
      local cart = reader("cart", function(_) return value end)
      local sum = reader("sum", function(u) return "sum " .. cart(u) end)
      local total = reader("total", function(u) return "total of " .. sum(u) end)
      total "u"
      total "other"
      value = 2
      forget(cart) "u"
      assert.equal("total of sum 2", total "u")
      if not name:find "clear" then assert.equal("total of sum 1", total "other") end
    end)
  end

  it("forgets in a session's own copies what was made of the answer", function()
    local value = 1
    local cart = reader({ resource = "cart", scope = "session" }, function() return value end)
    local sum = reader({ resource = "sum", scope = "session" }, function(u) return cart(u) end)
    local own = { resource = "cart", scope = "session", key_fn = function(u) return u end }
    local all = { resource = "cart", key_fn = function(u) return u end }
    local a, b = agent.open(), agent.open()
    local function both(u) return { a:run(sum, u), b:run(sum, u) } end
    assert.are.same({ 1, 1 }, both "u")
    value = 2
    a:run(writer(own, function() end), "u")
    assert.are.same({ 2, 1 }, both "u")
    value = 3
    writer(all, function() end) "u"
    assert.are.same({ 3, 3 }, both "u")
    value = 4
    b:run(function() cart:invalidate_cache "u" end)
    assert.are.same({ 3, 4 }, both "u")
  end)

  it("reaches tools that are made while it runs", function()
    local value, late = 1, nil
    local write = writer({ resource = "cart", key_fn = function(u) return u end }, function(u)
      late = reader("cart", function() return value end)
      assert.equal(1, late(u))
      value = 2
    end)
    write "u"
    assert.equal(2, late "u")
  end)

  it("gives its answer also when a tool is closed meanwhile", function()
    local read = reader("cart", function() return 1 end)
    local other = reader("cart", function() return 1 end)
    local calls = 0
    local third = reader("cart", function()
      calls = calls + 1
      return calls
    end)
    local write = writer({ resource = "cart", key_fn = function(u) return u end }, function()
      if not read.cache.closed then read.cache:close() end
      return "written"
    end)
    assert.equal("written", write "u")
    local off
    off = perigee.on("invalidate", function()
      off()
      other.cache:close()
    end)
    assert.equal("written", write "u")
    assert.equal(third "u", third "u")
  end)

  it("says for which tool its arguments are wrong", function()
    reader({ resource = "nan", name = "read" }, function(u) return u end)
    local write = writer({ resource = "nan", name = "write", key_fn = function() return 0 / 0 end },
      function() end)
    assert.error_matches(write,
      '^agent.invalidator: what "write" is to forget of the tool "read": agent.cache: argument 1')
  end)
end)

describe("a fresh call", function()
  it("begins after it was asked for, whatever runs", tasks.virtual(function()
    local value = 1
    local read = reader("r", function()
      local seen = value
      perigee.sleep(0.1)
      return seen
    end)
    local old = tasks.start(read)
    value = 2
    assert.equal(2, (read:refresh()))
    tasks.finish(old)
    assert.equal(1, old[1])
    assert.equal(2, read())
  end))

  it("of a session that doubts joins no load older than a write", tasks.virtual(function()
    local value, slow = 1, false
    local inner = reader("inner", function() return value end)
    local read = reader("r", function()
      local seen = inner()
      if slow then perigee.sleep(1) end
      return seen
    end)
    local put = writer("inner", function() value = value + 1 end)
    read()
    agent.session({ max_tool_repeats = math.huge }, function()
      read()
      read()
      slow = true
      local old = tasks.start(function() read:refresh() end)
      tasks.settle()
      put()
      assert.equal(2, (read()))
      tasks.finish(old)
    end)
  end))
end)

describe("a refusal", function()
  it("that is returned reaches nobody who joined the load", tasks.virtual(function()
    local probe = reader("p", function(k) return k end)
    local outer = reader("o", function(k)
      perigee.sleep(0.1)
      return probe(k)
    end)
    local session = agent.open { max_execution_depth = 1, on_loop = "short_circuit" }
    local first = tasks.start(session.run, session, outer, 1)
    tasks.settle()
    local second = tasks.start(outer, 1)
    tasks.finish { first, second }
    assert.is_nil(first[1])
    assert.is_true(agent.is_loop_error(first[2]))
    assert.equal(1, second[1])
  end))

  it("keeps what is made of it from being kept", function()
    local value = 1
    local look = reader({ resource = "x", kind = "exec" }, function() return value end)
    local report = reader("x", function() return "value " .. look() end)
    local guess = reader("g", function()
      local ok = pcall(look)
      return ok and "looked" or "guessed"
    end)
    agent.session({ max_tool_repeats = 1, on_loop = "short_circuit" }, function()
      look()
      value = 2
      assert.equal("value 1", report())
    end)
    assert.equal("value 2", report())
    pcall(agent.session, { max_tool_repeats = 1 }, function()
      look()
      guess()
    end)
    assert.equal("looked", guess())
  end)
end)

describe("an error", function()
  it("that is older than a write reaches nobody who comes after it", tasks.virtual(function()
    local exists = false
    local user = reader("user", function() return exists end)
    local function make(how)
      return reader("page", function()
        local found = user()
        perigee.sleep(0.1)
        if found then return "welcome" end
        if how == "raise" then error("no such user", 0) end
        return nil, "no such user"
      end)
    end
    local create = writer("user", function() exists = true end)
    for _, how in ipairs { "raise", "return" } do
      exists = false
      user:clear_cache()
      local page = make(how)
      local old = tasks.start(page)
      tasks.settle()
      create()
      assert.equal("welcome", page())
      tasks.finish(old)
      assert.equal("no such user", old[how == "raise" and 1 or 2])
    end
  end))

  it("that loads wait for each other is not kept", tasks.virtual(function()
    local armed, b = true, nil
    local a = reader({ resource = "a", neg_errors = 60, name = "a" }, function()
      perigee.sleep(0.1)
      return armed and b() or 1
    end)
    b = reader({ resource = "b", neg_errors = 60, name = "b" }, function()
      perigee.sleep(0.1)
      return armed and a() or 1
    end)
    local jobs = tasks.finish { tasks.start(a), tasks.start(b) }
    assert.is_false(jobs[1].ok)
    assert.matches('deadlock.* of the tool "a" %-> .*of the tool "b"', jobs[1][1] .. jobs[2][1])
    armed = false
    assert.equal(1, a())
    assert.equal(1, b())
  end))
end)

describe("a life that is handed up", function()
  it("goes on running while the load around it does", tasks.virtual(function()
    local inner = reader({ resource = "i", ttl = 10 }, function() return 1 end)
    local runs = 0
    local outer = reader("o", function()
      runs = runs + 1
      inner()
      perigee.sleep(8)
      return runs
    end)
    outer()
    tasks.pass(1)
    outer()
    assert.equal(1, runs)
    tasks.pass(2)
    outer()
    assert.equal(2, runs)
  end))
end)

describe("tags", function()
  it("with bytes of any value are told apart", function()
    local parts = { { "t", "a\0b" }, { "t", "a", "b" } }
    local inner, runs = {}, 0
    for i = 1, 2 do
      inner[i] = reader({ resource = "t", tags = function() return { parts[i] } end },
        function() return i end)
    end
    local outer = reader("o", function()
      runs = runs + 1
      return inner[1]() + inner[2]()
    end)
    outer()
    writer({ resource = "t", tags = function() return { parts[2] } end }, function() end)()
    outer()
    assert.equal(2, runs)
  end)
end)

describe("tools of one place", function()
  it("are told apart in a session", function()
    local tools = {}
    for i = 1, 2 do tools[i] = reader("r", function(k) return k * 10 + i end) end
    assert.are_not.equal(tools[1].name, tools[2].name)
    agent.session({ max_tool_repeats = 1, on_loop = "short_circuit" }, function()
      assert.are.same({ 11, 12, 11, 12 }, { tools[1](1), tools[2](1), tools[1](1), tools[2](1) })
    end)
  end)

  it("give no answers of each other, even if they have one name", function()
    local tools = {}
    for i = 1, 2 do
      tools[i] = reader({ resource = "r", name = "same", kind = "exec" }, function() return i end)
    end
    agent.session({ max_tool_repeats = 1, on_loop = "short_circuit" }, function()
      assert.equal(1, tools[1]())
      assert.is_nil((tools[2]()))
    end)
  end)
end)

describe("a generator", function()
  it("keeps the session that it opened to itself", tasks.real(function()
    local who = reader({ resource = "me", scope = "session" }, function()
      return context.session.session_id
    end)
    local theirs
    local generator = perigee.wrap(function()
      agent.session({ session_id = "theirs" }, function()
        theirs = who()
        perigee.sleep(0)
        coroutine.yield(1)
        theirs = theirs .. who()
      end)
      return "done"
    end)
    agent.session({ session_id = "mine" }, function()
      assert.equal(1, generator())
      assert.equal("mine", who())
      assert.equal("done", generator())
      assert.equal("mine", who())
    end)
    assert.equal("theirstheirs", theirs)
  end))
end)

describe("a session", function()
  it("is not idle while a call of it runs", tasks.virtual(function()
    local slow = reader({ resource = "s", kind = "exec" }, function() perigee.sleep(30) end)
    for _, guarded in ipairs { true, false } do
      local opts = { idle_timeout = 10, loop_detection = guarded }
      agent.session(opts, function()
        slow()
        slow()
      end)
      local session = agent.open(opts)
      local job = tasks.start(session.run, session, slow)
      tasks.pass(20)
      agent.open():close()
      assert.is_false(session.closed)
      tasks.finish(job, 60)
      tasks.pass(11)
      agent.open():close()
      assert.is_true(session.closed)
    end
  end))

  it("may be closed or reset by who hears of its refusals", function()
    local read = reader("r", function() return 1 end)
    for _, method in ipairs { "close", "reset" } do
      local session = agent.open { max_tool_repeats = 2 }
      local off = perigee.on("loop", function(info)
        if info.action == "block" then session[method](session) end
      end)
      session:run(read)
      session:run(read)
      local ok, err = pcall(session.run, session, read)
      off()
      assert.is_false(ok)
      assert.is_true(agent.is_loop_error(err))
      assert.is_false(method == "reset" and session.stopped)
    end
  end)

  it("that is idle may be closed by who hears that another one was", tasks.virtual(function()
    local read = reader({ resource = "r", scope = "session" }, function() return 1 end)
    local sessions = {}
    for i = 1, 5 do
      sessions[i] = agent.open { idle_timeout = 5 }
      sessions[i]:run(read)
    end
    local off = perigee.on("evict", function()
      for i = 1, 5 do sessions[i]:close() end
    end)
    tasks.pass(10)
    agent.open():close()
    off()
    for i = 1, 5 do assert.is_true(sessions[i].closed) end
  end))

  it("counts no call twice whose text cannot be told", function()
    local odd = setmetatable({}, { __tostring = function() error("no text", 0) end })
    local act = reader({ resource = "r", kind = "exec", result_key = function() return 1 end },
      function() return { [odd] = 1, [{}] = 2 } end)
    agent.session({ max_tool_repeats = 3 }, function(session)
      local kind
      for _ = 1, 5 do
        local ok, err = pcall(act)
        if not ok then kind = err.kind end
      end
      assert.equal("repeat", kind)
      assert.equal(0, session.pending)
    end)
  end)
end)

describe("a guard by itself", function()
  local guard = require "perigee.agent.guard"

  it("knows a call by what it was when it was checked", function()
    local g, args = guard.new(), { 1 }
    local actions = {}
    for i = 1, 6 do
      args[1] = 1
      local v = g:check { tool = "t", args = args }
      args[1] = i + 100
      g:record(v, "same")
      actions[i] = v.action
    end
    assert.are.same({ "ok", "ok", "warn", "warn", "block", "block" }, actions)
  end)

  it("says what it was given in place of a verdict", function()
    local g = guard.new()
    for _, wrong in ipairs { false, {}, 1 } do
      for _, method in ipairs { "record", "refuse" } do
        assert.error_matches(function() g[method](g, wrong or nil) end,
          "guard:" .. method .. ": verdict must be what guard:check has returned")
      end
    end
  end)
end)

describe("mistakes in a definition", function()
  it("are raised where it stands", function()
    local makes = {
      function() agent.cache { resource = "c", tags = { "d" } } (function() end) end,
      function() agent.cache { resource = "c", skip_args = 3 } (function(a) return a end) end,
      function() agent.invalidator { resource = "c", tags = { "c:{9}" } } (function() end) end,
    }
    for _, make in ipairs(makes) do
      local _, err = pcall(make)
      local line = debug.getinfo(make, "S").linedefined
      assert.matches("^spec/agent/races_spec.lua:" .. line .. ": agent%.", err)
    end
  end)

  it("what functions of the user's return is named without a line", function()
    local tool = reader("r", function() return 1, nil, { ttl = 0 } end)
    local lines = logged(function() end)
    assert.are.same({}, lines)
    assert.error_matches(tool, "^agent.cache: hints.ttl must be a number of seconds > 0")
  end)
end)

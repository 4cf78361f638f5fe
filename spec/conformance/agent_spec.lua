-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan
-- The behaviours of the reference's agent cache, A1 to A17 and D10, and its faults F21 and F22.
local agent = require "perigee.agent"
local disk = require "spec.support.disk"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- A service that counts what is really executed.
local function service()
  local self = { reads = 0, writes = 0, stock = {} }
  function self.read(id)
    self.reads = self.reads + 1
    return { id = id, stock = self.stock[id] or 0 }
  end
  function self.write(id, delta)
    self.writes = self.writes + 1
    self.stock[id] = (self.stock[id] or 0) + (delta or 1)
    return self.stock[id]
  end
  function self.fail()
    self.writes = self.writes + 1
    error("payment declined", 0)
  end
  return self
end

local function loop_error_of(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "nothing was raised")
  assert.is_true(agent.is_loop_error(err), tostring(err))
  return err
end

describe("an agent's tools", function()
  local backend

  before_each(function() backend = service() end)

  local function reader(opts)
    opts = opts or {}
    opts.resource, opts.name = opts.resource or "stock", opts.name or "check_stock"
    return agent.cache(opts)(backend.read)
  end

  local function writer(opts, fn)
    opts = opts or {}
    opts.resource, opts.name = opts.resource or "stock", opts.name or "update_stock"
    return agent.invalidator(opts)(fn or backend.write)
  end

  -- The same in plain code and in a task.
  local function it_does(name, body)
    it(name .. ", in plain code", body)
    it(name .. ", in a task", tasks.virtual(body))
  end

  it_does("A1: a read is cached by its arguments", function()
    local read = reader()
    for _ = 1, 3 do assert.equal("a", read("a").id) end
    assert.equal("b", read("b").id)
    assert.equal(2, backend.reads)
  end)

  it("A2: and expires", tasks.virtual(function()
    local read = reader { ttl = 10 }
    read "a"
    tasks.pass(9)
    read "a"
    assert.equal(1, backend.reads)
    tasks.pass(2)
    read "a"
    assert.equal(2, backend.reads)
  end))

  it_does("A3: an invalidator forgets its resource, and no other", function()
    local stock, price = reader(), reader { resource = "price", name = "price" }
    stock "a"
    price "a"
    writer()("a", 5)
    assert.equal(5, stock("a").stock)
    price "a"
    assert.equal(3, backend.reads)
  end)

  it_does("A4: scope global is shared by sessions", function()
    local read = reader()
    agent.session({ session_id = "A" }, function() read "a" end)
    agent.session({ session_id = "B" }, function() read "a" end)
    read "a"
    assert.equal(1, backend.reads)
  end)

  it_does("A5: scope session is isolated, and empty after the end", function()
    local read = reader { scope = "session" }
    local function work()
      read "a"
      read "a"
    end
    agent.session({ session_id = "A" }, function()
      work()
      agent.session({ session_id = "B" }, work)
      assert.equal(2, backend.reads)
      read "a"
      assert.equal(2, backend.reads)
    end)
    agent.session({ session_id = "A" }, work)
    assert.equal(3, backend.reads)
  end)

  it_does("A6: an invalidator of scope session touches its own session only", function()
    local read, write = reader { scope = "session" }, writer { scope = "session" }
    local a, b = agent.open { session_id = "A" }, agent.open { session_id = "B" }
    a:run(read, "a")
    b:run(read, "a")
    a:run(write, "a", 1)
    assert.equal(0, b:run(read, "a").stock)
    assert.equal(2, backend.reads)
    assert.equal(1, a:run(read, "a").stock)
    assert.equal(3, backend.reads)
    a:close()
    b:close()
  end)

  it_does("A7: more repeats than allowed raise", function()
    local search = reader { resource = "search", name = "search" }
    agent.session({ max_tool_repeats = 3 }, function()
      for _ = 1, 3 do search "q" end
      assert.equal(1, backend.reads)
      local err = loop_error_of(search, "q")
      assert.equal("agent_loop_detected", err.code)
      assert.equal("repeat", err.kind)
      assert.equal("search", err.tool)
      assert.equal(4, err.count)
      assert.matches("search was called 4 times", err.message)
      assert.equal(err.message, tostring(err))
    end)
    assert.equal(1, backend.reads)
  end)

  it_does("A8: a cycle raises at the fourth call, by the calls alone", function()
    local check, update = reader(), writer()
    agent.session({ max_tool_repeats = 100, evidence = "calls" }, function()
      check "SKU-42"
      update("SKU-42", -1)
      check "SKU-42"
      local err = loop_error_of(update, "SKU-42", -1)
      assert.equal("cycle", err.kind)
      assert.equal("Cycle detected: check_stock -> update_stock", err.message)
    end)
    assert.equal(1, backend.writes)
  end)

  it_does("A9: more calls than allowed raise", function()
    local read = reader()
    agent.session({ max_execution_depth = 7 }, function()
      for i = 1, 7 do read(i) end
      local err = loop_error_of(read, 8)
      assert.equal("depth", err.kind)
      assert.equal(8, err.count)
    end)
    assert.equal(7, backend.reads)
  end)

  it_does("A10: calls that fail count", function()
    local charge = writer({ resource = "payment", name = "charge" }, backend.fail)
    local loops = 0
    agent.session({ max_tool_repeats = 3 }, function()
      for _ = 1, 10 do
        local ok, err = pcall(charge, "ORD-1", 99.99)
        assert.is_false(ok)
        if agent.is_loop_error(err) then loops = loops + 1 else
          assert.equal("payment declined", err)
        end
      end
    end)
    assert.equal(3, backend.writes)
    assert.equal(7, loops)
  end)

  it_does("A11: answers from the cache count", function()
    local read = reader()
    read "a"
    agent.session({ max_tool_repeats = 2 }, function()
      read "a"
      read "a"
      loop_error_of(read, "a")
    end)
    assert.equal(1, backend.reads)
  end)

  it_does("A12: on_loop = \"warn\" logs, and goes on", function()
    local charge = writer({ resource = "payment", name = "charge" })
    local lines = logged(function()
      agent.session({ session_id = "W", max_tool_repeats = 3, on_loop = "warn" }, function(session)
        for i = 1, 6 do assert.equal(i, charge("a")) end
        assert.equal(3, session:get_metrics().loop_detections)
      end)
    end)
    assert.equal(1, #lines) -- once for each loop and rung
    assert.equal("warn", lines[1].level)
    assert.matches('agent session "W": .*charge was called 4 times', lines[1].text)
  end)

  it_does("A13: on_loop = \"short_circuit\" answers without executing", function()
    local read, charge = reader(), writer({ resource = "payment", name = "charge" }, backend.fail)
    agent.session({ max_tool_repeats = 2, on_loop = "short_circuit" }, function(session)
      for _ = 1, 4 do assert.equal("a", read("a").id) end
      assert.equal(1, backend.reads)
      pcall(charge, "x")
      pcall(charge, "x")
      local value, err = charge "x"
      assert.is_nil(value)
      assert.is_true(agent.is_loop_error(err))
      assert.equal(3, session:get_metrics().refusals)
    end)
    assert.equal(2, backend.writes)
  end)

  it_does("A14: loop_detection = false switches all of it off", function()
    local read, write = reader(), writer()
    agent.session({ loop_detection = false, max_tool_repeats = 1, max_execution_depth = 1 },
      function(session)
        for _ = 1, 60 do
          read "a"
          write("a", 0)
        end
        assert.equal(0, session:get_metrics().loop_detections)
        assert.equal(120, session:get_metrics().calls)
      end)
    assert.equal(60, backend.reads)
  end)

  it_does("A15: metrics of a session, and of all", function()
    local read, write = reader(), writer()
    local before = agent.get_metrics()
    local function work(session)
      read "a"
      read "a"
      read "a"
      write "a"
      read "a"
      return session:get_metrics()
    end
    local first, second = agent.session(work), agent.session(work)
    assert.equal(2, first.hits)
    assert.equal(2, first.misses)
    assert.equal(1, first.invalidations)
    assert.equal(0, first.loop_detections)
    assert.equal(0.5, first.hit_rate)
    assert.equal(2, second.hits) -- the first session left it there; the third time it is confirmed
    assert.equal(1, second.refreshes_confirmed)
    local after = agent.get_metrics()
    for _, field in ipairs { "hits", "misses", "invalidations", "calls", "executed" } do
      assert.equal(first[field] + second[field], after[field] - before[field], field)
    end
  end)

  it_does("A16: clear_all = false forgets what key_fn names, and nothing else", function()
    local read = reader()
    local write = writer({ clear_all = false, key_fn = function(order) return order.item end },
      function(order) return backend.write(order.item, order.delta) end)
    local touch = writer { clear_all = false } -- its own arguments
    read "a"
    read "b"
    write { item = "a", delta = 2 }
    assert.equal(2, read("a").stock)
    read "b"
    assert.equal(3, backend.reads)
    touch "b"
    assert.equal(1, read("b").stock)
    read "a"
    assert.equal(4, backend.reads)
  end)

  it_does("A17: without a session, global tools are cached and nothing is guarded", function()
    local read, write = reader(), writer()
    for _ = 1, 200 do read "a" end
    assert.equal(1, backend.reads)
    for _ = 1, 200 do write("a", 1) end
    assert.equal(200, backend.writes)
    local own = reader { scope = "session" }
    own "a"
    own "a"
    assert.equal(3, backend.reads)
  end)

  it("D10: answers survive a restart in a backup", function()
    local path = disk.path()
    local function open()
      return reader { backup = perigee.disk(path), name = "check_stock" }
    end
    local read = open()
    assert.equal("a", read("a").id)
    assert.equal(1, read:save_to_backup())
    read.cache:close()
    read = open()
    assert.equal("a", read("a").id)
    assert.equal(1, backend.reads)
    read.cache:close()
    disk.clean()
  end)

  it_does("F21: one user's write leaves the others' entries", function()
    local cart = reader { resource = "cart", name = "cart", tags = { "cart:{1}" } }
    local add = writer { resource = "cart", name = "add", tags = { "cart:{1}" } }
    cart "user_1"
    cart "user_2"
    add "user_1"
    cart "user_1"
    cart "user_2"
    assert.equal(3, backend.reads)
  end)

  it("F21: tools that nobody has any more leave nothing behind", function()
    local caches = setmetatable({}, { __mode = "k" })
    for i = 1, 300 do
      local tool = agent.cache { resource = "r" .. i, name = "t" } (function() return i end)
      tool()
      caches[tool.cache] = true
    end
    collectgarbage()
    collectgarbage()
    local left = 0
    for _ in pairs(caches) do left = left + 1 end
    assert.is_true(left < 10, left .. " caches are still there")
  end)

  it_does("F22: check and act with a changing answer goes on, within the limits of calls",
    function()
      local check, update = reader(), writer()
      agent.session(function()
        for _ = 1, 25 do
          check "a"
          update("a", 1)
        end
        assert.equal("depth", loop_error_of(check, "a").kind)
      end)
      assert.equal(25, backend.writes)
    end)

  it_does("F22: the same with an answer that does not change is stopped", function()
    local check, update = reader(), writer()
    local turns = 0
    agent.session(function()
      local err = loop_error_of(function()
        for _ = 1, 25 do
          check "a"
          update("a", 0)
          turns = turns + 1
        end
      end)
      assert.equal("cycle", err.kind)
    end)
    assert.is_true(turns < 6)
  end)

  it_does("F22: the limits begin again at progress, may be infinite, and polls do not repeat",
    function()
      local read = reader()
      local poll = reader { resource = "job", name = "poll", kind = "poll" }
      agent.session({ max_tool_repeats = 2, max_execution_depth = 6 }, function(session)
        read "a"
        read "a"
        session:progress()
        read "a"
        read "a"
        session:progress()
        for _ = 1, 6 do poll "j" end
        session:progress()
        read "a"
        read "a"
        loop_error_of(read, "a")
      end)
      local endless = { max_execution_depth = math.huge, max_tool_repeats = math.huge }
      agent.session(endless, function()
        for i = 1, 200 do read(i) end
      end)
    end)

  it_does("F22: a refusal cannot be retried away", function()
    local read = reader()
    agent.session({ max_tool_repeats = 1 }, function(session)
      read "a"
      local err = loop_error_of(read, "a")
      for _ = 1, 5 do assert.equal(err, loop_error_of(read, "something else")) end
      session:reset()
      read "something else"
    end)
  end)
end)

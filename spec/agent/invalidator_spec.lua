-- SPDX-License-Identifier: MIT
-- agent.invalidator: what a write makes old, and what happens to reads in between.
local agent = require "perigee.agent"
local mistake = require "spec.support.mistake"
local perigee = require "perigee"
local random = require "spec.support.random"
local tasks = require "spec.support.tasks"

describe("a tool that writes", function()
  it("returns and raises what its function does", function()
    local raised = { "an error" }
    local write = agent.invalidator { resource = "r" } (function(how, ...)
      if how == "raise" then error(raised, 0) end
      return ...
    end)
    assert.are.same({ 1, nil, 3 }, { write("return", 1, nil, 3) })
    assert.equal(0, select("#", write "return"))
    local ok, err = pcall(write, "raise")
    assert.is_false(ok)
    assert.equal(raised, err)
    assert.are.same({ nil, "no" }, { write("return", nil, "no") })
  end)

  it("makes old also when it raises", function()
    local calls = 0
    local read = agent.cache { resource = "r" } (function() calls = calls + 1 end)
    local write = agent.invalidator { resource = "r" } (function() error "no" end)
    read()
    pcall(write)
    read()
    assert.equal(2, calls)
  end)

  it("makes old what sessions have of their own, whoever writes", function()
    local calls = 0
    local read = agent.cache { resource = "r", scope = "session", tags = { "r:{1}" } } (function(k)
      calls = calls + 1
      return k
    end)
    local write = agent.invalidator { resource = "r", tags = { "r:{1}" } } (function(_) end)
    local a, b = agent.open(), agent.open()
    for _, session in ipairs { a, b } do
      session:run(read, "x")
      session:run(read, "y")
    end
    a:run(write, "x")
    for _, session in ipairs { a, b } do
      session:run(read, "x")
      session:run(read, "y")
    end
    assert.equal(6, calls)
    write "y"
    b:run(read, "y")
    assert.equal(7, calls)
  end)

  it("of scope \"session\" leaves what is shared; outside a session it just runs", function()
    local calls = 0
    local shared = agent.cache { resource = "r" } (function() calls = calls + 1 end)
    local opts = { resource = "r", scope = "session" }
    local write = agent.invalidator(opts)(function() return "w" end)
    shared()
    agent.session(function() write() end)
    assert.equal("w", write())
    shared()
    assert.equal(1, calls)
  end)

  it("by key_fn forgets one call of every read of the resource, in all sessions", function()
    local calls = {}
    local function reader(name, fn, opts)
      opts.resource, calls[name] = "r", 0
      return agent.cache(opts)(fn(function() calls[name] = calls[name] + 1 end))
    end
    local one = reader("one", function(count) return function(a) count() return a end end, {})
    local two = reader("two", function(count) return function(a, b) count() return a, b end end, {})
    local own = reader("own", function(count) return function(a) count() return a end end,
      { scope = "session" })
    local opts = { resource = "r", key_fn = function(order) return order.a, order.b end }
    local write = agent.invalidator(opts)(function() end)
    opts.scope = "session"
    local write_own = agent.invalidator(opts)(function() end)
    local a, b = agent.open(), agent.open()
    local function all()
      one(1)
      one(2)
      two(1, 2)
      two(1, 3)
      for _, session in ipairs { a, b } do
        session:run(own, 1)
        session:run(own, 2)
      end
    end
    all()
    write { a = 1, b = 2 }
    all()
    assert.are.same({ one = 3, two = 3, own = 6 }, calls)
    b:run(write_own, { a = 2 })
    all()
    assert.are.same({ one = 3, two = 3, own = 7 }, calls)
  end)

  it("with tags and clear_all forgets everything", function()
    local calls = 0
    local read = agent.cache { resource = "r", tags = { "r:{1}" } } (function(k)
      calls = calls + 1
      return k
    end)
    local opts = { resource = "r", tags = { "r:{1}" }, clear_all = true }
    local write = agent.invalidator(opts)(function(k) return k end)
    read "a"
    read "b"
    write "a"
    read "b"
    assert.equal(3, calls)
  end)
end)

describe("while a write runs", function()
  local rows, reads, read, write

  before_each(function()
    rows, reads = { a = 1, b = 1 }, 0
    read = agent.cache { resource = "row", tags = { "row:{1}" } } (function(k)
      reads = reads + 1
      local seen = rows[k]
      perigee.sleep(0.1)
      return seen
    end)
    local opts = { resource = "row", tags = { "row:{1}" } }
    write = agent.invalidator(opts)(function(k, value, seconds)
      perigee.sleep(seconds / 2)
      rows[k] = value
      perigee.sleep(seconds / 2)
      return value
    end)
  end)

  it("reads run, and what they give is not kept", tasks.virtual(function()
    local writing = tasks.start(write, "a", 2, 10)
    for i = 1, 3 do
      assert.equal(1, read "a")
      assert.equal(i, reads)
    end
    tasks.finish(writing)
    assert.equal(2, read "a")
    assert.equal(2, read "a")
    assert.equal(4, reads)
    assert.equal(3, read:get_metrics().fence_rejects)
  end))

  it("what began before it is not kept, nor what ends after it", tasks.virtual(function()
    local before = tasks.start(read, "a")
    local writing = tasks.start(write, "a", 2, 1)
    tasks.pass(0.95)
    local late = tasks.start(read, "a") -- sees the new row, and may not know that
    tasks.finish { before, writing, late }
    local known = reads
    assert.equal(2, read "a")
    assert.equal(known + 1, reads)
    assert.equal(2, read:get_metrics().fence_rejects)
  end))

  it("a reader who comes after it never joins a load that began before its end",
    tasks.virtual(function()
      local old = tasks.start(read, "a")
      tasks.pass(0.05)
      tasks.finish(tasks.start(write, "a", 2, 0))
      assert.equal(2, read "a")
      tasks.finish(old)
      assert.equal(1, old[1])
    end))

  it("others' rows are kept", tasks.virtual(function()
    local writing = tasks.start(write, "a", 2, 10)
    read "b"
    read "b"
    assert.equal(1, reads)
    tasks.finish(writing)
    read "b"
    assert.equal(1, reads)
  end))

  it("two writers of one row are both waited for", tasks.virtual(function()
    local first, second = tasks.start(write, "a", 2, 1), tasks.start(write, "a", 3, 5)
    tasks.finish(first)
    read "a"
    local known = reads
    read "a"
    assert.equal(known + 1, reads)
    tasks.finish(second)
    assert.equal(3, read "a")
    assert.equal(3, read "a")
  end))

  it("by key_fn the same holds", tasks.virtual(function()
    local by_key = agent.invalidator { resource = "row", key_fn = function(k) return k end } (
      function(k, value)
        perigee.sleep(1)
        rows[k] = value
      end)
    local writing = tasks.start(by_key, "a", 2)
    read "a"
    read "a"
    assert.equal(2, reads)
    read "b"
    read "b"
    assert.equal(3, reads)
    tasks.finish(writing)
    assert.equal(2, read "a")
  end))

  it("a cancelled writer leaves no mark", tasks.virtual(function()
    local writing = tasks.start(write, "a", 2, 10)
    tasks.settle()
    writing.task:cancel()
    tasks.finish(writing)
    read "a"
    read "a"
    assert.equal(1, reads)
  end))

  it("no reader ever sees an old row after it, at random", tasks.virtual(function()
    local source, jobs = random.generator(11), {}
    local written, landed, stale = 0, 0, 0
    rows.a = 0
    local step = agent.invalidator { resource = "row", tags = { "row:a" } } (function(seconds)
      perigee.sleep(seconds / 2)
      written = written + 1
      rows.a = written
      perigee.sleep(seconds / 2)
      return rows.a
    end)
    local function write_one() landed = math.max(landed, step(source(30) / 100)) end
    local function read_one()
      local known = landed
      if read "a" < known then stale = stale + 1 end
    end
    for i = 1, 400 do
      jobs[i] = tasks.start(source(8) == 0 and write_one or read_one)
      tasks.pass(source(20) / 100)
    end
    tasks.finish(jobs)
    assert.equal(0, stale)
    assert.equal(written, read "a")
    assert.is_true(written > 20 and reads < 300, "too little happened")
  end))
end)

describe("agent.invalidator", function()
  it("checks its options", function()
    mistake(function() agent.invalidator {} end, { "invalidator", "resource" })
    mistake(function() agent.invalidator { resource = "r", clear_all = 1 } end,
      { "invalidator", "clear_all", "number 1" })
    mistake(function() agent.invalidator { resource = "r", ttl = 1 } end, { "invalidator", "ttl" })
    mistake(function() agent.invalidator { resource = "r" } (nil) end, { "invalidator", "fn" })
    mistake(function() agent.invalidator(function() end) end, { "invalidator", "opts" })
  end)

  it("points from skip_args to key_fn", function()
    assert.error_matches(function() agent.invalidator { resource = "r", skip_args = 1 } end,
      "agent.invalidator: option \"skip_args\" is not for invalidators; give option \"key_fn\"")
  end)
end)

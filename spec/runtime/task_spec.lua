-- SPDX-License-Identifier: MIT
local ffi = require "ffi"
local mistake = require "spec.support.mistake"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"
local testing = require "perigee.testing"

local function count(...)
  return select("#", ...), ...
end

local function inside(body)
  return function() perigee.run(body) end
end

describe("perigee.run", function()
  it("passes arguments in and every result out, nils included", function()
    local n, a, b, c, d = count(perigee.run(function(...) return ... end, nil, 2, nil, nil))
    assert.same({ 4, nil, 2, nil, nil }, { n, a, b, c, d })
    assert.equal(0, (count(perigee.run(function() perigee.sleep(0) end))))
  end)

  it("raises the very error object that main raised", function()
    local thrown = setmetatable({}, { __tostring = function() return "mine" end })
    for _, err in ipairs { thrown, "text", 42, false, ffi.new("int64_t", 7) } do
      local ok, got = pcall(perigee.run, function()
        perigee.sleep(0)
        error(err, 0)
      end)
      assert.is_false(ok)
      assert.is_true(rawequal(err, got))
    end
    assert.same({ false, nil }, { pcall(perigee.run, function() error(nil) end) })
  end)

  it("works one after the other, and inside a run", function()
    for i = 1, 3 do
      assert.equal(i, perigee.run(function()
        return perigee.run(function()
          perigee.sleep(0)
          return perigee.run(function() return i end)
        end)
      end))
    end
  end)

  it("cancels what still waits when main has ended", function()
    local ended
    perigee.run(function()
      perigee.spawn(function()
        local ok, err = pcall(perigee.sleep, 100)
        ended = { ok, err }
      end)
    end)
    assert.same({ false, "cancelled" }, ended)
  end)

  it("waits for the others instead with drain", function()
    local done = 0
    assert.equal("main", perigee.run { drain = true, main = function()
      for i = 1, 3 do
        perigee.spawn(function()
          perigee.sleep(0.01 * i)
          perigee.spawn(function()
            perigee.sleep(0.01)
            done = done + 1
          end)
        end)
      end
      return "main"
    end })
    assert.equal(3, done)
  end)

  it("inside a run is a scope: it cancels only what was spawned in it", function()
    perigee.run(function()
      local outer = perigee.spawn(function()
        perigee.sleep(0.03)
        return "outer"
      end)
      local inner
      perigee.run(function()
        inner = perigee.spawn(perigee.sleep, 100)
        perigee.sleep(0)
      end)
      assert.same({ false, "cancelled" }, { pcall(inner.wait, inner) })
      assert.equal("outer", outer:wait())
    end)
  end)

  it("takes a callable table for main", function()
    local callable = setmetatable({}, { __call = function(_, x) return x + 1 end })
    assert.equal(6, perigee.run(callable, 5))
    assert.equal(6, perigee.run(function() return perigee.spawn(callable, 5):wait() end))
  end)
end)

describe("a task", function()
  it("starts at once and runs until it first waits", inside(function()
    local order = {}
    perigee.spawn(function()
      order[#order + 1] = "task"
      perigee.sleep(0)
      order[#order + 1] = "later"
    end)
    order[#order + 1] = "spawner"
    perigee.sleep(0.001)
    assert.same({ "task", "spawner", "later" }, order)
  end))

  it("gives all its results to each that waits, however late", inside(function()
    local task = perigee.spawn(function(...)
      perigee.sleep(0)
      return ...
    end, 1, nil, 3, nil)
    local seen = {}
    for i = 1, 3 do perigee.spawn(function() seen[i] = { count(task:wait()) } end) end
    perigee.sleep(0.01)
    for i = 1, 3 do assert.same({ 4, 1, nil, 3, nil }, seen[i]) end
    assert.same({ 4, 1, nil, 3, nil }, { count(task:wait()) })
  end))

  it("raises its error in each that waits, the same object", inside(function()
    local thrown = {}
    local task = perigee.spawn(function()
      perigee.sleep(0)
      error(thrown)
    end)
    for _ = 1, 2 do
      local ok, err = pcall(task.wait, task)
      assert.is_false(ok)
      assert.equal(thrown, err)
    end
  end))

  it("can be waited for with a limit, and goes on after it", inside(function()
    local task = perigee.spawn(function()
      perigee.sleep(0.03)
      return "done"
    end)
    assert.same({ 3, nil, "timeout" }, { 3, task:wait(0.005) })
    assert.same({ nil, "timeout" }, { task:wait(0) })
    assert.equal("done", task:wait(5))
  end))

  it("is waited for on by those who have more patience than others", tasks.virtual(function()
    local task, ended = perigee.spawn(function() perigee.sleep(1) return "done" end), {}
    for i = 1, 4 do
      perigee.spawn(function() ended[i] = { task:wait(i % 2 == 0 and i or 0.1 * i) } end)
    end
    testing.advance(0.5)
    assert.same({ { nil, "timeout" }, nil, { nil, "timeout" } }, ended)
    testing.advance(1)
    assert.same({ "done" }, ended[2])
    assert.same({ "done" }, ended[4])
  end))

  it("cannot wait for itself", inside(function()
    local task
    task = perigee.spawn(function()
      perigee.sleep(0)
      task:wait()
    end)
    local ok, err = pcall(task.wait, task)
    assert.is_false(ok)
    assert.matches("its own end", err, 1, true)
  end))

  it("may yield plainly: the others run meanwhile", inside(function()
    local order = {}
    local task = perigee.spawn(function()
      for i = 1, 3 do
        order[#order + 1] = i
        coroutine.yield()
      end
      return "end"
    end)
    perigee.sleep(0.001)
    order[#order + 1] = "main"
    assert.equal("end", task:wait())
    assert.equal(1, order[1])
    assert.is_true(#order == 4)
  end))

  it("may be started from another, thousands deep", inside(function()
    local function nest(n)
      if n == 0 then return 0 end
      return perigee.spawn(nest, n - 1):wait() + 1
    end
    assert.equal(3000, nest(3000))
  end))

  it("may spawn ten thousand that all wait", inside(function()
    local ended = 0
    for _ = 1, 10000 do
      perigee.spawn(function()
        perigee.sleep(0.001)
        ended = ended + 1
      end)
    end
    perigee.sleep(0.05)
    while ended < 10000 do perigee.sleep(0.01) end
  end))
end)

describe("perigee.gather", function()
  it("runs side by side and keeps the order of the results", inside(function()
    local begun = 0
    local function sleep(seconds)
      begun = begun + 1
      perigee.sleep(seconds)
      assert.equal(3, begun) -- all had begun before one ended
    end
    local got = perigee.gather {
      function() sleep(0.04) return "a", "second" end,
      function() return "b" end,
      function() sleep(0.02) end,
      function() sleep(0.03) return "d" end,
    }
    assert.same({ "a", "b", nil, "d" }, got)
    assert.same({}, perigee.gather {})
  end))

  it("raises the first error after the rest was cancelled and has ended", inside(function()
    local thrown, cleaned = {}, 0
    local function clean_up()
      local ok = pcall(perigee.sleep, 100)
      perigee.shield(perigee.sleep, 0.01)
      if not ok then cleaned = cleaned + 1 end
    end
    local ok, err = pcall(perigee.gather, {
      clean_up,
      function() perigee.sleep(0.01) error(thrown) end,
      clean_up,
    })
    assert.is_false(ok)
    assert.equal(thrown, err)
    assert.equal(2, cleaned)
  end))

  it("starts no more functions when one fails at once", inside(function()
    local started = false
    local ok = pcall(perigee.gather, {
      function() error "no" end,
      function() started = true end,
    })
    assert.is_false(ok)
    assert.is_false(started)
  end))

  it("cancelled, cancels its members and waits for them", inside(function()
    local ended = {}
    local function member(i)
      return function()
        pcall(perigee.sleep, 100)
        ended[#ended + 1] = i
      end
    end
    local task = perigee.spawn(perigee.gather, { member(1), member(2) })
    perigee.sleep(0)
    task:cancel()
    assert.same({ false, "cancelled" }, { pcall(task.wait, task) })
    table.sort(ended)
    assert.same({ 1, 2 }, ended)
  end))
end)

describe("perigee.timeout", function()
  it("returns all results of what is quick enough", inside(function()
    assert.same({ 4, 1, nil, 3, nil }, { count(perigee.timeout(5, function(...)
      perigee.sleep(0)
      return ...
    end, 1, nil, 3, nil)) })
    assert.equal(1, perigee.timeout(0, function() return 1 end))
  end))

  it("cancels what is not, and returns nil, 'timeout' when it has ended", inside(function()
    local ended = false
    local value, err = perigee.timeout(0.01, function()
      local ok = pcall(perigee.sleep, 100)
      perigee.shield(perigee.sleep, 0.02)
      ended = not ok
      return "late"
    end)
    assert.same({ nil, "timeout" }, { value, err })
    assert.is_true(ended)
  end))

  it("raises the error of its function", inside(function()
    local ok, err = pcall(perigee.timeout, 1, function() error("mine", 0) end)
    assert.same({ false, "mine" }, { ok, err })
  end))
end)

describe("perigee.wrap", function()
  it("makes a generator in which waiting works", inside(function()
    local next_item = perigee.wrap(function(first)
      perigee.sleep(0.001)
      local second = coroutine.yield(first + 1, nil)
      perigee.sleep(0.001)
      coroutine.yield(second + 1)
      return "end"
    end)
    assert.same({ 2, 2, nil }, { count(next_item(1)) })
    assert.equal(11, next_item(10))
    assert.equal("end", next_item())
    assert.is_false((pcall(next_item)))
  end))

  it("works inside another generator", inside(function()
    local outer = perigee.wrap(function()
      local inner = perigee.wrap(function()
        perigee.sleep(0.001)
        coroutine.yield "inner"
        perigee.sleep(0.001)
      end)
      coroutine.yield(inner())
      inner()
      perigee.sleep(0.001)
      coroutine.yield "outer"
    end)
    assert.equal("inner", outer())
    assert.equal("outer", outer())
  end))

  it("raises its errors, also the one of a cancelled wait", inside(function()
    local broken = perigee.wrap(function() error({ "mine" }) end)
    local ok, err = pcall(broken)
    assert.same({ false, { "mine" } }, { ok, err })
    local task = perigee.spawn(perigee.wrap(function() perigee.sleep(100) end))
    task:cancel()
    assert.same({ false, "cancelled" }, { pcall(task.wait, task) })
  end))

  it("is what a coroutine of the user's own is told to be", inside(function()
    local waits = {
      function() perigee.sleep(1) end,
      function() perigee.spawn(perigee.sleep, 1):wait() end,
      function() perigee.gather { function() end } end,
      function() perigee.timeout(1, function() end) end,
      function() perigee.run(function() end) end,
      function() perigee.exec { "true" } end,
    }
    for _, wait in ipairs(waits) do
      local ok, err = coroutine.wrap(function() return pcall(wait) end)()
      assert.is_false(ok)
      assert.matches("perigee.wrap", err, 1, true)
    end
    perigee.sleep(0)
  end))
end)

describe("a method of a task called with a dot", function()
  for _, method in ipairs { "wait", "cancel" } do
    it("says so: " .. method, inside(function()
      local task = perigee.spawn(function() end)
      local ok, message = pcall(function() task[method]() end)
      assert.is_false(ok)
      assert.is_truthy(message:find("^[^ ]*task_spec.lua:%d+: task:" .. method
        .. ": call it with a colon, on a task$"), message)
    end))
  end
end)

describe("a mistake in a call", function()
  local CASES = {
    { "run", function() perigee.run() end, "main", "nil" },
    { "run", function() perigee.run {} end, "main", "nil" },
    { "run", function() perigee.run { main = print, dry = true } end, "dry" },
    { "run", function() perigee.run { main = print, drain = 1 } end, "drain", "1" },
    { "spawn", function() perigee.spawn(7) end, "fn", "7" },
    { "sleep", function() perigee.sleep() end, "seconds", "nil" },
    { "sleep", function() perigee.sleep(-1) end, "seconds", "-1" },
    { "sleep", function() perigee.sleep(0 / 0) end, "seconds", "nan" },
    { "gather", function() perigee.gather(print) end, "fns", "function" },
    { "gather", function() perigee.gather { print, 2 } end, "fns[2]", "2" },
    { "timeout", function() perigee.timeout("1", print) end, "seconds", "1" },
    { "timeout", function() perigee.timeout(1) end, "fn", "nil" },
    { "shield", function() perigee.shield "x" end, "fn", "x" },
    { "wrap", function() perigee.wrap(1) end, "fn", "1" },
    { "wait", function() perigee.spawn(function() end):wait "soon" end, "timeout", "soon" },
    { "exec", function() perigee.exec "ls" end, "spec", "ls" },
    { "exec", function() perigee.exec {} end, "item 1", "nil" },
    { "exec", function() perigee.exec { "ls", "a\0b" } end, "item 2" },
    { "exec", function() perigee.exec { "ls", cwd = "/" } end, "cwd" },
    { "exec", function() perigee.exec { "ls", timeout = -1 } end, "timeout", "-1" },
    { "exec", function() perigee.exec { "ls", stdin = 5 } end, "stdin", "5" },
    { "exec", function() perigee.exec { "ls", max_output = "1" } end, "max_output", "1" },
  }

  for i, case in ipairs(CASES) do
    it(("raises where the caller stands: perigee.%s (%d)"):format(case[1], i), function()
      local words = { case[1], case[3], case[4] }
      mistake(case[2], words)
    end)
  end
end)

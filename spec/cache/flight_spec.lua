-- SPDX-License-Identifier: MIT
local ffi = require "ffi"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local unpack = unpack

describe("one load for many callers", function()
  it("goes on for the others when the first caller is cancelled (on the real loop)",
    tasks.real(function()
      local cache = perigee.new()
      local loader, count = tasks.slow(0.03, "v")
      local jobs = tasks.start_many(3, function() return cache:get("k", loader) end)
      perigee.sleep(0.005)
      jobs[1].task:cancel()
      tasks.finish(jobs)
      assert.are.equal("cancelled", jobs[1][1])
      assert.are.equal("v", jobs[2][1])
      assert.are.equal("v", jobs[3][1])
      assert.are.equal(1, count.calls)
    end))

  it("goes on for the cache when all callers are cancelled", tasks.virtual(function()
    local cache = perigee.new()
    local loader, count = tasks.slow(0.1, "v")
    local jobs = tasks.start_many(3, function() return cache:get("k", loader) end)
    for _, job in ipairs(jobs) do
      job.task:cancel()
    end
    tasks.pass(0.2)
    assert.are.equal("v", (cache:get("k")))
    assert.are.equal(1, count.calls)
  end))

  it("can be joined after all its callers were cancelled", tasks.virtual(function()
    local cache = perigee.new()
    local loader, count = tasks.slow(0.2, "v")
    local first = tasks.start(cache.get, cache, "k", loader)
    tasks.pass(0.05)
    first.task:cancel()
    tasks.pass(0.05)
    local second = tasks.start(cache.get, cache, "k", loader)
    tasks.finish(second)
    assert.are.same({ "v", nil, "wait" }, { second[1], second[2], second[3] })
    assert.are.equal(1, count.calls)
  end))

  it("wakes callers in the order they came", tasks.virtual(function()
    local cache, order = perigee.new(), {}
    tasks.together(50, function(i)
      cache:get("k", (tasks.slow(0.1, "v")))
      order[#order + 1] = i
    end)
    for i = 1, 50 do
      assert.are.equal(i, order[i])
    end
  end))

  it("runs at once in the caller's turn when the loader does not wait", tasks.virtual(function()
    local cache, turns = perigee.new(), 0
    local ticker = perigee.spawn(function()
      while true do
        perigee.sleep(0)
        turns = turns + 1
      end
    end)
    local before = turns
    assert.are.equal("v", (cache:get("k", function() return "v" end)))
    assert.are.equal(before, turns)
    ticker:cancel()
  end))

  it("is not run again by a second caller that has another loader", tasks.virtual(function()
    local cache = perigee.new()
    local first = tasks.start(cache.get, cache, "k", (tasks.slow(0.1, "first")))
    local second = tasks.start(cache.get, cache, "k", function() return "second" end)
    tasks.finish { first, second }
    assert.are.equal("first", second[1])
  end))

  it("a caller without a loader does not wait for it", tasks.virtual(function()
    local cache = perigee.new()
    local job = tasks.start(cache.get, cache, "k", (tasks.slow(0.1, "v")))
    local asked = tasks.start(cache.get, cache, "k")
    tasks.settle()
    assert.is_true(asked.done)
    assert.are.equal("miss", asked[3])
    tasks.finish(job)
  end))

  it("still is one load when the cache stores nothing", tasks.virtual(function()
    local cache = perigee.new { maxsize = 0 }
    local loader, count = tasks.slow(0.1, "v")
    for _, job in ipairs(tasks.together(10, function() return cache:get("k", loader) end)) do
      assert.are.equal("v", job[1])
    end
    assert.are.equal(1, count.calls)
    assert.are.equal(0, cache:get_metrics().size)
  end))

  it("survives the scope it was begun in", tasks.virtual(function()
    local cache = perigee.new()
    local loader, count = tasks.slow(0.2, "v")
    perigee.run(function()
      perigee.spawn(cache.get, cache, "k", loader)
      perigee.sleep(0)
    end)
    local job = tasks.start(cache.get, cache, "k", loader)
    tasks.finish(job)
    assert.are.equal("v", job[1])
    assert.are.equal(1, count.calls)
  end))

  it("survives perigee.timeout and a gather that failed", tasks.virtual(function()
    local cache = perigee.new()
    local loader, count = tasks.slow(0.2, "v")
    local job = tasks.start(function()
      local v, err = perigee.timeout(0.05, cache.get, cache, "k", loader)
      pcall(perigee.gather, {
        function() cache:get("k", loader) end,
        function() error("fails") end,
      })
      return v, err, (cache:get("k", loader))
    end)
    tasks.finish(job)
    assert.are.same({ nil, "timeout", "v" }, { job[1], job[2], job[3] })
    assert.are.equal(1, count.calls)
  end))
end)

describe("an error object", function()
  local objects = {
    table = {}, string = "text", number = 5, boolean = true, ["false"] = false,
    ["function"] = print, thread = coroutine.create(print), userdata = io.stdout,
    cdata = ffi.new("int64_t", 7),
    struct = ffi.new("struct { int code; }"),
    ["table with a __tostring that raises"] = setmetatable({}, { __tostring = error }),
    ["table with an __eq that raises"] = setmetatable({}, { __eq = error }),
  }

  for name, object in pairs(objects) do
    it("that is a " .. name .. " reaches every caller as it is", tasks.virtual(function()
      local cache = perigee.new()
      local jobs = tasks.together(4, function()
        return cache:get("k", function()
          perigee.sleep(0.1)
          error(object, 0)
        end)
      end)
      for _, job in ipairs(jobs) do
        assert.is_false(job.ok)
        assert.is_true(rawequal(object, job[1]))
      end
      assert.is_false(cache:contains("k"))
      local ok, err = pcall(cache.get, cache, "k", function() error(object, 0) end)
      assert.is_false(ok)
      assert.is_true(rawequal(object, err))
      ok, err = pcall(cache.get, cache, "k", { batch_loader = function() error(object, 0) end })
      assert.is_false(ok)
      assert.is_true(rawequal(object, err))
      ok, err = pcall(cache.get_many, cache, { "k" },
        { batch_loader = function() error(object, 0) end })
      assert.is_false(ok)
      assert.is_true(rawequal(object, err))
    end))
  end

  it("that is nil is raised as nil", tasks.virtual(function()
    local cache = perigee.new()
    local jobs = tasks.together(4, function()
      return cache:get("k", function()
        perigee.sleep(0.1)
        error(nil)
      end)
    end)
    for _, job in ipairs(jobs) do
      assert.is_false(job.ok)
      assert.is_nil(job[1])
    end
    local result = { pcall(cache.get, cache, "k", function() error() end) }
    assert.is_false(result[1])
    assert.is_nil(result[2])
    assert.are.equal("fine", (cache:get("k", function() return "fine" end)))
  end))

  it("that is returned comes back as it is", function()
    for _, object in ipairs { {}, 5, true, ffi.new("int64_t", 7), print } do
      local v, err = perigee.new():get("k", function() return nil, object end)
      assert.is_nil(v)
      assert.is_true(rawequal(object, err))
    end
  end)

  it("is not wrapped in text that says where", function()
    local ok, err = pcall(function()
      local v = perigee.new():get("k", function() error("plain", 0) end)
      return v
    end)
    assert.is_false(ok)
    assert.are.equal("plain", err)
  end)
end)

describe("load_timeout", function()
  it("fails a load for all its callers and drops its late result", tasks.virtual(function()
    local cache = perigee.new { load_timeout = 0.5 }
    local loader, count = tasks.slow(2, "late")
    local jobs = tasks.start_many(3, function() return cache:get("k", loader) end)
    tasks.pass(0.45)
    assert.is_false(jobs[1].done)
    tasks.pass(0.1)
    for _, job in ipairs(jobs) do
      assert.is_true(job.done)
      assert.is_true(job.ok)
      assert.are.same({ nil, "timeout" }, { job[1], job[2] })
    end
    assert.are.equal(1, count.calls)
    tasks.pass(3)
    assert.is_false(cache:contains("k"))
  end))

  it("leaves a load in time alone", tasks.virtual(function()
    local cache = perigee.new { load_timeout = 0.5 }
    local job = tasks.start(cache.get, cache, "k", (tasks.slow(0.4, "v")))
    tasks.finish(job)
    assert.are.equal("v", job[1])
    tasks.pass(1)
    assert.are.equal("v", (cache:get("k")))
  end))

  it("lets the next caller load anew, and the late result does not replace that",
    tasks.virtual(function()
      local cache = perigee.new { load_timeout = 0.5 }
      local late = tasks.start(cache.get, cache, "k", (tasks.slow(1, "late")))
      tasks.pass(0.6)
      assert.are.equal("timeout", late[2])
      assert.are.same({ "new", nil, "load" },
        { cache:get("k", function() return "new" end) })
      tasks.pass(1)
      assert.are.equal("new", (cache:get("k")))
    end))

  it("counts from the start of the load, also for one who joined late",
    tasks.virtual(function()
      local cache = perigee.new { load_timeout = 0.5 }
      local loader = tasks.slow(10, "late")
      local first = tasks.start(cache.get, cache, "k", loader)
      tasks.pass(0.4)
      local second = tasks.start(cache.get, cache, "k", loader)
      tasks.pass(0.15)
      assert.is_true(first.done)
      assert.is_true(second.done)
      assert.are.equal("timeout", second[2])
    end))

  it("bounds a batch, get_many and a refresh", tasks.virtual(function()
    local cache = perigee.new { load_timeout = 0.5 }
    cache:set("there", "old")
    local function hangs() perigee.sleep(1000) end
    local jobs = {
      tasks.start(cache.get, cache, "a", { batch_loader = hangs }),
      tasks.start(cache.get_many, cache, { "b", "c" }, { batch_loader = hangs }),
      tasks.start(cache.refresh, cache, "there", hangs),
    }
    tasks.pass(0.6)
    assert.is_true(jobs[1].done)
    assert.are.same({ nil, "timeout" }, { jobs[1][1], jobs[1][2] })
    assert.is_true(jobs[2].done)
    assert.are.same({ b = "timeout", c = "timeout" }, jobs[2][2])
    assert.is_true(jobs[3].done)
    assert.are.same({ nil, "timeout" }, { jobs[3][1], jobs[3][2] })
    assert.are.equal("old", (cache:get("there")))
  end))

  it("works on the real loop", tasks.real(function()
    local cache = perigee.new { load_timeout = 0.02 }
    local started = perigee.now()
    local v, err = cache:get("k", function() perigee.sleep(60) end)
    assert.are.same({ nil, "timeout" }, { v, err })
    assert.is_true(perigee.now() - started < 30)
  end))
end)

describe("a coroutine of the user's own inside a task", function()
  it("may hit, and load what does not wait", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("k", "v")
    local co = coroutine.wrap(function()
      coroutine.yield((cache:get("k")))
      coroutine.yield((cache:get("l", function() return "loaded" end)))
    end)
    assert.are.equal("v", co())
    assert.are.equal("loaded", co())
  end))

  it("is told to use perigee.wrap when it would have to wait, and the load goes on",
    tasks.virtual(function()
      local cache = perigee.new()
      local loader, count = tasks.slow(0.1, "v")
      local ok, err = pcall(coroutine.wrap(function()
        return cache:get("k", loader)
      end))
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find("perigee.wrap", 1, true), tostring(err))
      tasks.pass(0.2)
      assert.are.equal("v", (cache:get("k")))
      assert.are.equal(1, count.calls)
    end))

  it("waits when perigee.wrap made it", tasks.virtual(function()
    local cache = perigee.new()
    local next_value = perigee.wrap(function()
      coroutine.yield((cache:get("a", (tasks.slow(0.1, "a!")))))
      coroutine.yield((cache:get("b", { batch_loader = function()
        perigee.sleep(0.1)
        return { b = "b!" }
      end })))
    end)
    assert.are.equal("a!", next_value())
    assert.are.equal("b!", next_value())
  end))
end)

describe("a load", function()
  it("a cache may be dropped while it loads", tasks.virtual(function()
    local loaded = false
    do
      local cache = perigee.new()
      perigee.spawn(cache.get, cache, "k", function()
        perigee.sleep(0.1)
        loaded = true
      end)
    end
    collectgarbage()
    collectgarbage()
    tasks.pass(0.2)
    collectgarbage()
    assert.is_true(loaded)
  end))

  it("many values of a load's results do not leak into others", tasks.virtual(function()
    local cache = perigee.new()
    local jobs = tasks.together(4, function(i)
      return cache:get(i, function() return unpack({ i, nil, "x", 1, 2, 3 }, 1, 6) end)
    end)
    for i, job in ipairs(jobs) do
      assert.are.equal(3, job.n)
      assert.are.equal(i, job[1])
    end
  end))
end)

-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- Both functions run as tasks at once; nobody may wait for ever and somebody must be told.
local function both(first, second)
  local jobs = { tasks.start(first), tasks.start(second) }
  tasks.finish(jobs)
  assert.is_true(not jobs[1].ok or not jobs[2].ok, "nobody was told")
  return jobs
end

local function names(err, ...)
  for _, key in ipairs { ... } do
    assert.is_truthy(tostring(err):find(key, 1, true),
      ("%q does not name %s"):format(tostring(err), key))
  end
end

describe("a load that would wait for itself", function()
  it("through its own key is told so, and the cache goes on working", tasks.virtual(function()
    local cache = perigee.new()
    local function loader(key)
      return cache:get(key, loader)
    end
    local ok, err = pcall(cache.get, cache, "self", loader)
    assert.is_false(ok)
    names(err, "self")
    assert.are.equal("v", (cache:get("self", function() return "v" end)))
  end))

  it("after it waited is told so", tasks.virtual(function()
    local cache = perigee.new()
    local function loader(key)
      perigee.sleep(0.1)
      return cache:get(key, loader)
    end
    local jobs = tasks.together(3, function() return cache:get("self", loader) end)
    for _, job in ipairs(jobs) do
      assert.is_false(job.ok)
      names(job[1], "self")
    end
  end))

  it("through a chain of keys is told so, with the chain", tasks.virtual(function()
    local cache = perigee.new()
    local nexts = { first = "second", second = "third", third = "first" }
    local function loader(key)
      perigee.sleep(0.01)
      return cache:get(nexts[key], loader)
    end
    local job = tasks.start(cache.get, cache, "first", loader)
    tasks.finish(job)
    assert.is_false(job.ok)
    names(job[1], "first", "second", "third")
  end))

  it("through another cache is told so", tasks.virtual(function()
    local users, orders = perigee.new { name = "spec users" }, perigee.new { name = "spec orders" }
    local load_user
    local function load_order(key)
      return users:get("of " .. key, load_user)
    end
    function load_user()
      return orders:get("order", load_order)
    end
    local ok, err = pcall(orders.get, orders, "order", load_order)
    assert.is_false(ok)
    names(err, "order", "of order")
    users:close()
    orders:close()
  end))

  it("may catch the error and answer otherwise", tasks.virtual(function()
    local cache = perigee.new()
    local function loader(key)
      local ok = pcall(cache.get, cache, key, loader)
      return ok and "impossible" or "otherwise"
    end
    assert.are.equal("otherwise", (cache:get("self", loader)))
    assert.are.equal("otherwise", (cache:get("self")))
  end))

  it("with a timeout on the inner call is told so at once", tasks.virtual(function()
    local cache = perigee.new()
    local function loader(key)
      return cache:get(key, { loader = function() end, timeout = 5 })
    end
    local job = tasks.start(cache.get, cache, "self", loader)
    tasks.settle()
    assert.is_true(job.done)
    assert.is_false(job.ok)
  end))

  it("through tasks it started is told so", tasks.virtual(function()
    local cache = perigee.new()
    local started = {
      ["spawn and wait"] = function(key, loader)
        return perigee.spawn(cache.get, cache, key, loader):wait()
      end,
      gather = function(key, loader)
        return perigee.gather { function() return (cache:get(key, loader)) end }[1]
      end,
      timeout = function(key, loader)
        return perigee.timeout(1000, cache.get, cache, key, loader)
      end,
      run = function(key, loader)
        return perigee.run(function() return cache:get(key, loader) end)
      end,
      get_many = function(key)
        return cache:get_many({ key }, { loader = function() end })[key]
      end,
      warmup = function(key)
        local ok, errors = cache:warmup { [key] = function() end }
        assert(ok, errors and errors[key])
      end,
    }
    for name, start in pairs(started) do
      local function loader(key)
        perigee.sleep(0.01)
        return start(key, loader)
      end
      local job = tasks.start(cache.get, cache, name, loader)
      tasks.pass(1)
      assert.is_true(job.done, name .. " still waits")
      assert.is_false(job.ok, name .. " was not told")
      names(job[1], name)
    end
  end))

  it("through a refresh that begins itself anew is told so", tasks.virtual(function()
    local cache = perigee.new()
    local function loader(key)
      return cache:refresh(key, loader)
    end
    local job = tasks.start(cache.get, cache, "self", loader)
    tasks.settle()
    assert.is_true(job.done)
    assert.is_false(job.ok)
    names(job[1], "self")
  end))

  it("through a batch is told so", tasks.virtual(function()
    local cache = perigee.new()
    local function batch_loader(keys)
      return { [keys[1]] = cache:get(keys[#keys], { batch_loader = function() return {} end }) }
    end
    local jobs = tasks.together(2, function(i)
      return cache:get("batched" .. i, { batch_loader = batch_loader })
    end)
    for _, job in ipairs(jobs) do
      assert.is_false(job.ok)
      names(job[1], "batched2")
    end
  end))

  it("through a batch that has not left yet is told so", tasks.virtual(function()
    local cache = perigee.new { batch_window_ms = 50 }
    local loader
    local function batch_loader(keys)
      cache:get("single", loader)
      return { [keys[1]] = 1 }
    end
    function loader()
      return cache:get("batched", { batch_loader = batch_loader })
    end
    local job = tasks.start(cache.get, cache, "single", loader)
    tasks.finish(job)
    assert.is_false(job.ok)
    names(job[1], "single", "batched")
  end))
end)

describe("two loads that need each other", function()
  it("are told so", tasks.virtual(function()
    local cache = perigee.new()
    local function loader_of(other)
      return function()
        perigee.sleep(0.05)
        return cache:get(other, function() return "unused" end)
      end
    end
    local jobs = both(
      function() return cache:get("left", loader_of "right") end,
      function() return cache:get("right", loader_of "left") end)
    for _, job in ipairs(jobs) do
      if not job.ok then
        names(job[1], "left", "right")
      end
    end
  end))

  it("are told so when one of them handles it, and the other gets its value",
    tasks.virtual(function()
      local cache = perigee.new()
      local function careful(other)
        return function(key)
          perigee.sleep(0.05)
          local ok, value = pcall(cache.get, cache, other, function() return "unused" end)
          return ok and key .. " with " .. value or key .. " alone"
        end
      end
      local jobs = {
        tasks.start(cache.get, cache, "left", careful "right"),
        tasks.start(cache.get, cache, "right", careful "left"),
      }
      tasks.finish(jobs)
      local values = { jobs[1][1], jobs[2][1] }
      table.sort(values)
      assert.is_truthy(values[1] == "left alone" and values[2] == "right with left alone"
        or values[1] == "left with right alone" and values[2] == "right alone")
    end))

  it("are told so across caches and batches", tasks.virtual(function()
    local a, b = perigee.new(), perigee.new()
    local function batch_a(keys)
      perigee.sleep(0.05)
      b:get("y", { batch_loader = function() return {} end })
      return { [keys[1]] = 1 }
    end
    local function batch_b(keys)
      perigee.sleep(0.05)
      a:get("x", function() return 1 end)
      return { [keys[1]] = 1 }
    end
    both(
      function() return a:get("x", { batch_loader = batch_a }) end,
      function() return b:get("y", { batch_loader = batch_b }) end)
  end))

  it("are told so when the waits are in tasks that were gathered", tasks.virtual(function()
    local cache = perigee.new()
    local function loader_of(other)
      return function()
        perigee.gather {
          function() perigee.sleep(0.02) end,
          function()
            perigee.sleep(0.05)
            cache:get(other, function() return "unused" end)
          end,
        }
        return 1
      end
    end
    both(
      function() return cache:get("left", loader_of "right") end,
      function() return cache:get("right", loader_of "left") end)
  end))

  it("are told so in a ring of many", tasks.virtual(function()
    local cache, n = perigee.new(), 20
    local jobs = tasks.together(n, function(i)
      return cache:get(i, function()
        perigee.sleep(0.05)
        return cache:get(i % n + 1, function() return "unused" end)
      end)
    end)
    local told = 0
    for _, job in ipairs(jobs) do
      told = told + (job.ok and 0 or 1)
    end
    assert.is_true(told >= 1)
  end))
end)

describe("loads that need other loads but not themselves are left alone:", function()
  it("a deep chain", tasks.virtual(function()
    local cache = perigee.new { maxsize = math.huge }
    local function loader(key)
      if key == 0 then
        return 0
      end
      perigee.sleep(0.001)
      return cache:get(key - 1, loader) + 1
    end
    assert.are.equal(60, (tasks.await(cache.get, cache, 60, loader)))
  end))

  it("a diamond", tasks.virtual(function()
    local cache = perigee.new()
    local needs = { top = { "left", "right" }, left = { "bottom" }, right = { "bottom" },
      bottom = {} }
    local function loader(key)
      perigee.sleep(0.01)
      local fns = {}
      for i, need in ipairs(needs[key]) do
        fns[i] = function() return (cache:get(need, loader)) end
      end
      return key .. "(" .. table.concat(perigee.gather(fns), ",") .. ")"
    end
    assert.are.equal("top(left(bottom()),right(bottom()))",
      (tasks.await(cache.get, cache, "top", loader)))
    assert.are.equal(4, cache:get_metrics().loads)
  end))

  it("the same key of two caches", tasks.virtual(function()
    local near, far = perigee.new(), perigee.new()
    assert.are.equal("v", (near:get("k", function(key)
      return far:get(key, function()
        perigee.sleep(0)
        return "v"
      end)
    end)))
  end))

  it("a batch that asks for other keys through the same batch loader", tasks.virtual(function()
    local cache = perigee.new()
    local batch_loader
    function batch_loader(keys)
      local map = {}
      for _, key in ipairs(keys) do
        map[key] = key == 0 and 0
          or cache:get(key - 1, { batch_loader = batch_loader }) + 1
      end
      return map
    end
    assert.are.equal(5, (tasks.await(cache.get, cache, 5, { batch_loader = batch_loader })))
  end))

  it("a task that outlives its load may wait for the load's key", tasks.virtual(function()
    local cache, later = perigee.new(), nil
    local function loader(key)
      later = tasks.start(function()
        return cache:get(key, function() return "unused" end)
      end)
      perigee.sleep(0.1)
      return "v"
    end
    assert.are.equal("v", (tasks.await(cache.get, cache, "k", loader)))
    tasks.finish(later)
    assert.is_true(later.ok, tostring(later[1]))
    assert.are.equal("v", later[1])
  end))

  it("a loader that sets its own key and reads it", tasks.virtual(function()
    local cache = perigee.new()
    assert.are.equal("set", (cache:get("k", function(key)
      cache:set(key, "set")
      return (cache:get(key, function() return "unused" end))
    end)))
  end))

  it("a caller who waits for a load while the load waits for something else",
    tasks.virtual(function()
      local cache = perigee.new()
      local outer = tasks.start(cache.get, cache, "a", function()
        return cache:get("b", (tasks.slow(0.1, "b")))
      end)
      local inner = tasks.start(cache.get, cache, "b", function() return "unused" end)
      tasks.finish { outer, inner }
      assert.are.equal("b", outer[1])
      assert.are.equal("b", inner[1])
    end))
end)

-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local logged = require "spec.support.logged"
local tasks = require "spec.support.tasks"

-- A batch loader that answers `answer(keys)` after `seconds` and remembers what it was asked.
local function recording(seconds, answer)
  local asked = {}
  return function(keys)
    local list = {}
    for i, key in ipairs(keys) do
      list[i] = key
    end
    asked[#asked + 1] = list
    if seconds > 0 then
      perigee.sleep(seconds)
    end
    return answer(keys)
  end, asked
end

local function identity(keys)
  local map = {}
  for _, key in ipairs(keys) do
    map[key] = key
  end
  return map
end

local function get(cache, key, batch_loader, more)
  local opts = { batch_loader = batch_loader }
  for name, value in pairs(more or {}) do
    opts[name] = value
  end
  return cache:get(key, opts)
end

describe("a batch", function()
  it("leaves when its window is over", tasks.virtual(function()
    local cache = perigee.new { batch_window_ms = 50 }
    local batch_loader, asked = recording(0, identity)
    local jobs = { tasks.start(get, cache, 1, batch_loader) }
    tasks.pass(0.03)
    jobs[2] = tasks.start(get, cache, 2, batch_loader)
    tasks.pass(0.015)
    assert.are.same({}, asked)
    tasks.pass(0.01)
    assert.are.same({ { 1, 2 } }, asked)
    tasks.finish(jobs)
  end))

  it("waits 5 ms when nothing is said", tasks.virtual(function()
    local batch_loader, asked = recording(0, identity)
    local job = tasks.start(get, perigee.new(), 1, batch_loader)
    tasks.pass(0.004)
    assert.are.equal(0, #asked)
    tasks.pass(0.002)
    assert.are.equal(1, #asked)
    tasks.finish(job)
  end))

  it("leaves at once when it is full", tasks.virtual(function()
    local cache = perigee.new { batch_window_ms = 1000, max_batch_size = 3 }
    local batch_loader, asked = recording(0, identity)
    local jobs = tasks.start_many(3, function(i) return get(cache, i, batch_loader) end)
    tasks.settle()
    assert.are.same({ { 1, 2, 3 } }, asked)
    tasks.finish(jobs)
  end))

  it("forms for each batch loader", tasks.virtual(function()
    local cache = perigee.new()
    local one, asked_one = recording(0, identity)
    local two, asked_two = recording(0, identity)
    tasks.together(4, function(i) return get(cache, i, i % 2 == 0 and two or one) end)
    assert.are.same({ { 1, 3 } }, asked_one)
    assert.are.same({ { 2, 4 } }, asked_two)
  end))

  it("forms for each cache", tasks.virtual(function()
    local batch_loader, asked = recording(0, identity)
    local caches = { perigee.new(), perigee.new() }
    tasks.together(4, function(i) return get(caches[i % 2 + 1], i, batch_loader) end)
    assert.are.equal(2, #asked)
    assert.are.equal(2, #asked[1])
  end))

  it("does not hold a key twice, nor one that is being loaded already",
    tasks.virtual(function()
      local cache = perigee.new()
      local batch_loader, asked = recording(0.1, identity)
      local single = tasks.start(cache.get, cache, 1, (tasks.slow(0.2, "single")))
      local jobs = tasks.start_many(6, function(i) return get(cache, i % 3, batch_loader) end)
      tasks.pass(0.05)
      jobs[#jobs + 1] = single
      tasks.finish(jobs)
      assert.are.same({ { 2, 0 } }, asked)
      assert.are.equal("single", jobs[1][1])
      assert.are.equal("single", jobs[4][1])
      assert.are.equal("wait", jobs[1][3])
    end))

  it("is led by one caller of each key and joined by the others", tasks.virtual(function()
    local cache = perigee.new()
    local batch_loader = recording(0.01, identity)
    local jobs = tasks.together(4, function(i) return get(cache, i % 2, batch_loader) end)
    assert.are.same({ "load", "load", "wait", "wait" },
      { jobs[1][3], jobs[2][3], jobs[3][3], jobs[4][3] })
    local metrics = cache:get_metrics()
    assert.are.equal(4, metrics.misses)
    assert.are.equal(2, metrics.coalesced)
    assert.are.equal(1, metrics.batches)
    assert.are.equal(2, metrics.batched_keys)
    assert.are.equal(2, metrics.loads)
  end))

  it("is loaded although a member was cancelled while it waited for company",
    tasks.virtual(function()
      local cache = perigee.new()
      local batch_loader, asked = recording(0.01, identity)
      local jobs = tasks.start_many(3, function(i) return get(cache, i, batch_loader) end)
      jobs[1].task:cancel()
      tasks.finish(jobs)
      assert.are.equal("cancelled", jobs[1][1])
      assert.are.equal(2, jobs[2][1])
      assert.are.equal(1, #asked)
      assert.are.equal(5, (tasks.await(get, cache, 5, batch_loader)))
    end))

  it("is loaded although all its members were cancelled, and the next one works",
    tasks.virtual(function()
      local cache = perigee.new()
      local batch_loader = recording(0.01, identity)
      local jobs = tasks.start_many(3, function(i) return get(cache, i, batch_loader) end)
      for _, job in ipairs(jobs) do
        job.task:cancel()
      end
      tasks.finish(jobs)
      tasks.pass(0.1)
      assert.are.equal(4, (tasks.await(get, cache, 4, batch_loader)))
      assert.are.equal(1, (tasks.await(get, cache, 1, batch_loader)))
    end))

  it("knows each caller's patience", tasks.virtual(function()
    local cache = perigee.new()
    local batch_loader = recording(0.5, identity)
    local hasty = tasks.start(get, cache, 1, batch_loader, { timeout = 0.1 })
    local patient = tasks.start(get, cache, 2, batch_loader)
    tasks.pass(0.2)
    assert.are.same({ nil, "timeout" }, { hasty[1], hasty[2] })
    tasks.finish(patient)
    assert.are.equal(2, patient[1])
    assert.are.equal(1, (cache:get(1)))
  end))

  it("keeps each caller's ttl and tags", tasks.virtual(function()
    local cache = perigee.new()
    local batch_loader, asked = recording(0.01, identity)
    tasks.together(3, function(i)
      return get(cache, i, batch_loader, { ttl = i * 10, tags = { "tag:" .. i } })
    end)
    assert.are.equal(1, #asked)
    for i = 1, 3 do
      assert.are.near(i * 10, cache:ttl(i), 0.1)
    end
    cache:invalidate_tags("tag:2")
    assert.is_true(cache:contains(1))
    assert.is_false(cache:contains(2))
    assert.is_true(cache:contains(3))
  end))

  it("with a window longer than load_timeout answers or times out, and the next one works",
    tasks.virtual(function()
      local cache = perigee.new { batch_window_ms = 50, load_timeout = 0.02 }
      local batch_loader = recording(0, identity)
      local lines = logged(function()
        for round = 1, 3 do
          local jobs = tasks.together(3, function(i)
            return cache:get(round * 10 + i, { batch_loader = batch_loader })
          end)
          for i, job in ipairs(jobs) do
            assert.is_true(job.ok, tostring(job[1]))
            assert.is_true(job[1] == round * 10 + i or job[2] == "timeout")
          end
          tasks.pass(0.1)
        end
      end)
      assert.are.same({}, lines)
    end))

  it("is asked again with use_cache = false", tasks.virtual(function()
    local cache = perigee.new()
    local batch_loader, asked = recording(0, identity)
    cache:set(1, "old")
    assert.are.equal(1, (tasks.await(get, cache, 1, batch_loader, { use_cache = false })))
    assert.are.equal(1, #asked)
    assert.are.equal(1, (cache:get(1)))
  end))

  it("of ten thousand keys is split and answers all", tasks.virtual(function()
    local cache = perigee.new { maxsize = math.huge, max_batch_size = 1000 }
    local batch_loader, asked = recording(0.01, identity)
    local jobs = tasks.together(10000, function(i) return get(cache, i, batch_loader) end)
    assert.are.equal(10, #asked)
    for i, job in ipairs(jobs) do
      assert.are.equal(i, job[1])
    end
  end))
end)

describe("what a batch loader returns", function()
  local function outcome(batch_loader, keys)
    local cache, results = perigee.new(), {}
    local jobs = tasks.together(#keys, function(i) return get(cache, keys[i], batch_loader) end)
    for i, job in ipairs(jobs) do
      results[keys[i]] = job
    end
    return results, cache
  end

  it("is a map by key, and a key that is nowhere in it is absent", tasks.virtual(function()
    local results, cache = outcome(function() return { a = 1, c = false } end, { "a", "b", "c" })
    assert.are.equal(1, results.a[1])
    assert.is_nil(results.b[1])
    assert.is_nil(results.b[2])
    assert.is_false(results.c[1])
    assert.are.equal("memory", (select(3, cache:get("b"))))
  end))

  it("is by key also when the keys look like a list's positions", tasks.virtual(function()
    local results = outcome(function() return { [2] = "two", [1] = "one" } end, { 2, 1 })
    assert.are.equal("two", results[2][1])
    assert.are.equal("one", results[1][1])
  end))

  it("may hold errors by key", tasks.virtual(function()
    local object = {}
    local results, cache = outcome(function()
      return { a = 1, c = "value" }, { b = object, c = "partly" }
    end, { "a", "b", "c" })
    assert.are.equal(1, results.a[1])
    assert.is_nil(results.b[1])
    assert.are.equal(object, results.b[2])
    assert.is_true(results.b.ok)
    assert.are.equal("value", results.c[1])
    assert.are.equal("partly", results.c[2])
    assert.is_true(cache:contains("a"))
    assert.is_false(cache:contains("b"))
    assert.is_true(cache:contains("c"))
  end))

  it("nil, err fails every key with that err", tasks.virtual(function()
    local results, cache = outcome(function() return nil, "away" end, { "a", "b" })
    for _, key in ipairs { "a", "b" } do
      assert.is_true(results[key].ok)
      assert.is_nil(results[key][1])
      assert.are.equal("away", results[key][2])
      assert.is_false(cache:contains(key))
    end
  end))

  it("with an err that is no table fails every key, whatever the results hold",
    tasks.virtual(function()
      local results, cache = outcome(function() return { a = 1 }, "away" end, { "a", "b" })
      assert.are.equal("away", results.a[2])
      assert.are.equal("away", results.b[2])
      assert.is_nil(results.a[1])
      assert.are.equal(0, cache:get_metrics().size)
    end))

  it("nothing at all means that every key is absent or that the loader is wrong, never a hang",
    tasks.virtual(function()
      local results = outcome(function() end, { "a", "b" })
      assert.is_nil(results.b.ok and results.b[1] or nil)
      assert.are.equal(results.a.ok, results.b.ok)
    end))

  it("that is no table is an error for every caller, never a hang", tasks.virtual(function()
    local results, cache = outcome(function() return "text" end, { "a", "b" })
    for _, key in ipairs { "a", "b" } do
      assert.is_true(not results[key].ok or results[key][2] ~= nil)
    end
    assert.are.equal(0, cache:get_metrics().size)
  end))

  it("may be a list in the order of the keys, marked as aligned", tasks.virtual(function()
    local results, cache = outcome(function(keys)
      local list = {}
      for i, key in ipairs(keys) do
        if key ~= "b" then
          list[i] = key .. "!"
        end
      end
      return perigee.aligned(list, #keys)
    end, { "a", "b", "c" })
    assert.are.equal("a!", results.a[1])
    assert.is_nil(results.b[1])
    assert.are.equal("c!", results.c[1])
    assert.is_true(cache:contains("b"))
  end))

  it("may not be aligned with another number of keys", tasks.virtual(function()
    local cache = perigee.new()
    local ok, err = pcall(cache.get_many, cache, { "a", "b", "c" }, function()
      return perigee.aligned { 1, 2 }
    end)
    assert.is_false(ok)
    assert.matches("first result is a list of 2 for 3 keys", err)
    assert.is_false(cache:contains "a")
  end))

  it("may not be anything but a table, and the error is no line's", tasks.virtual(function()
    local cache = perigee.new()
    local ok, err = pcall(cache.get_many, cache, { "a" }, function() return 5 end)
    assert.is_false(ok)
    assert.equal("batch_loader: the first result must be a table by key (or "
      .. "perigee.aligned(list)), got number 5", err)
  end))

  it("may be aligned with errors by key", tasks.virtual(function()
    local results = outcome(function()
      return perigee.aligned({ 1, 2 }, 3), { b = "bad" }
    end, { "a", "b", "c" })
    assert.are.equal(1, results.a[1])
    assert.is_nil(results.c[1])
    assert.is_true(results.c.ok)
  end))

  it("for keys nobody asked for is ignored", tasks.virtual(function()
    local _, cache = outcome(function() return { a = 1, uninvited = 2 } end, { "a" })
    assert.is_false(cache:contains("uninvited"))
  end))

  it("does not suffer when the loader changes the list of keys", tasks.virtual(function()
    local results = outcome(function(keys)
      local map = identity(keys)
      for i = #keys, 1, -1 do
        keys[i] = nil
      end
      return map
    end, { "a", "b" })
    assert.are.equal("a", results.a[1])
    assert.are.equal("b", results.b[1])
  end))
end)

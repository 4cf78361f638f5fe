-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- Four ways to make a key's running load out of date.
local invalidations = {
  delete = function(cache) cache:delete("key") end,
  clear = function(cache) cache:clear() end,
  set = function(cache) cache:set("key", "written") end,
  invalidate_tags = function(cache) cache:invalidate_tags("tag") end,
}

describe("conformance: faults that must not be here", function()
  it("F1 cancelling the first caller leaves the load to the others", tasks.virtual(function()
    local cache = perigee.new()
    local loader, count = tasks.slow(0.1, "value")
    local jobs = tasks.start_many(5, function()
      return cache:get("key", loader)
    end)
    tasks.pass(0.05)
    jobs[1].task:cancel()
    tasks.finish(jobs)
    assert.are.equal("cancelled", jobs[1][1])
    for i = 2, 5 do
      assert.are.equal("value", jobs[i][1])
    end
    assert.are.equal(1, count.calls)
  end))

  it("F2 cancelling one waiter disturbs neither the first caller nor the other waiters",
    tasks.virtual(function()
      local cache = perigee.new()
      local loader, count = tasks.slow(0.1, "value")
      local jobs = tasks.start_many(5, function()
        return cache:get("key", loader)
      end)
      tasks.pass(0.05)
      jobs[3].task:cancel()
      tasks.settle()
      assert.is_true(jobs[3].done)
      tasks.finish(jobs)
      for i = 1, 5 do
        assert.are.equal(i == 3 and "cancelled" or "value", jobs[i][1])
      end
      assert.are.equal(1, count.calls)
    end))

  it("F3 cancelling one member of a batch leaves the rest and the next batches alone",
    tasks.virtual(function()
      local cache = perigee.new()
      local function batch_loader(keys)
        perigee.sleep(0.1)
        local map = {}
        for _, key in ipairs(keys) do
          map[key] = key * 2
        end
        return map
      end
      for round = 0, 1 do
        local jobs = tasks.start_many(4, function(i)
          return cache:get(round * 10 + i, { batch_loader = batch_loader })
        end)
        tasks.pass(round == 0 and 0.002 or 0.05)
        jobs[1].task:cancel()
        tasks.finish(jobs)
        assert.are.equal("cancelled", jobs[1][1])
        for i = 2, 4 do
          assert.are.equal((round * 10 + i) * 2, jobs[i][1])
        end
      end
    end))

  for name, invalidate in pairs(invalidations) do
    if name ~= "set" then
      it("F4 " .. name .. " during a load is not lost", tasks.virtual(function()
        local cache = perigee.new()
        local loader = tasks.slow(0.1, "old")
        local job = tasks.start(function()
          return cache:get("key", { loader = loader, tags = { "tag" } })
        end)
        tasks.pass(0.05)
        invalidate(cache)
        tasks.finish(job)
        assert.are.equal("old", job[1])
        assert.is_false(cache:contains("key"))
        assert.are.equal("new", (cache:get("key", function() return "new" end)))
      end))
    end
  end

  it("F5 a load does not overwrite a newer set", tasks.virtual(function()
    local cache = perigee.new()
    local job = tasks.start(cache.get, cache, "key", (tasks.slow(0.1, "loaded")))
    tasks.pass(0.05)
    invalidations.set(cache)
    tasks.finish(job)
    assert.are.equal("loaded", job[1])
    assert.are.equal("written", (cache:get("key")))
  end))

  it("F6 a fresh get does not return the value of a load that began before it",
    tasks.virtual(function()
      local cache, database = perigee.new(), "old"
      local function loader()
        local read = database
        perigee.sleep(0.1)
        return read
      end
      local first = tasks.start(cache.get, cache, "key", loader)
      tasks.pass(0.05)
      database = "new"
      local fresh = tasks.start(cache.get, cache, "key", { loader = loader, use_cache = false })
      tasks.finish { first, fresh }
      assert.are.equal("old", first[1])
      assert.are.equal("new", fresh[1])
      assert.are.equal("new", (cache:get("key")))
    end))

  it("F6 a refresh that fails keeps the good value", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("key", "good")
    local job = tasks.start(cache.refresh, cache, "key", function()
      perigee.sleep(0.1)
      error("away", 0)
    end)
    tasks.finish(job)
    assert.is_false(job.ok)
    assert.are.equal("away", job[1])
    assert.are.equal("good", (cache:get("key")))
    assert.are.equal("busy", select(2, cache:refresh("key", function() return nil, "busy" end)))
    assert.are.equal("good", (cache:get("key")))
  end))

  it("F13 with copy nobody can change a cached value from outside", function()
    local cache = perigee.new { copy = true }
    local given = { list = { 1, 2 } }
    cache:set("key", given)
    given.list[1] = "changed"
    local got = cache:get("key")
    assert.are.same({ list = { 1, 2 } }, got)
    got.list[1] = "changed"
    assert.are.same({ list = { 1, 2 } }, (cache:get("key")))
  end)

  it("F14 setting a key that is there renews its recency", function()
    local cache = perigee.new { maxsize = 3, policy = "lru" }
    cache:set("a", 1)
    cache:set("b", 2)
    cache:set("c", 3)
    cache:set("a", 4)
    cache:set("d", 5)
    assert.are.equal(4, (cache:get("a")))
    assert.is_false(cache:contains("b"))
  end)

  for _, policy in ipairs { "lru", "fifo", "sieve", "s3fifo" } do
    it("F15 expired entries never push out live ones (" .. policy .. ")",
      tasks.virtual(function()
        local cache = perigee.new { maxsize = 100, policy = policy }
        for i = 1, 50 do
          cache:set("live" .. i, i)
        end
        for i = 1, 50 do
          cache:set("short" .. i, i, 0.1)
        end
        tasks.pass(0.2)
        assert.are.equal(50, cache:get_metrics().size)
        for i = 1, 50 do
          cache:set("new" .. i, i)
        end
        for i = 1, 50 do
          assert.are.equal(i, (cache:get("live" .. i)))
          assert.are.equal(i, (cache:get("new" .. i)))
        end
        assert.are.equal(100, cache:get_metrics().size)
      end))
  end

  it("F15 expired entries are given up without anybody asking for them",
    tasks.virtual(function()
      local cache = perigee.new { maxsize = math.huge }
      local values = setmetatable({}, { __mode = "v" })
      for i = 1, 2000 do
        values[i] = {}
        cache:set(i, values[i], 0.1)
      end
      tasks.pass(10)
      collectgarbage()
      collectgarbage()
      assert.are.equal(0, cache:get_metrics().size)
      assert.is_nil(next(values))
    end))

  it("F19 a slow load of one key does not hold up another key", tasks.virtual(function()
    local cache = perigee.new()
    local slow = tasks.start(cache.get, cache, "slow", (tasks.slow(10, "slow")))
    local quick = tasks.start(cache.get, cache, "quick", (tasks.slow(0.01, "quick")))
    tasks.pass(0.1)
    assert.is_true(quick.done)
    assert.is_false(slow.done)
    assert.are.equal("in place", (cache:get("third", function() return "in place" end)))
    tasks.finish(slow)
  end))

  it("F23 a perfect herd is one load with the others told apart", tasks.virtual(function()
    local cache = perigee.new { maxsize = 1 }
    local loader = tasks.slow(0.5, "value")
    tasks.together(10, function()
      return cache:get("key", loader)
    end)
    pcall(cache.get, cache, "broken", error)
    cache:set("other", 1)
    local metrics = cache:get_metrics()
    assert.are.equal(9, metrics.coalesced)
    assert.are.equal(11, metrics.misses)
    assert.are.equal(1, metrics.load_errors)
    assert.are.equal(1, metrics.evictions)
    assert.is_true(metrics.load_seconds >= 0.45 and metrics.load_seconds <= 0.6)
  end))
end)

-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function value(x)
  return function() return x end
end

describe("cache:refresh", function()
  it("loads although the value is there, returns and keeps the new one", function()
    local cache = perigee.new()
    cache:set("k", "old")
    assert.are.same({ "new", nil, "load" }, { cache:refresh("k", value("new")) })
    assert.are.equal("new", (cache:get("k")))
  end)

  it("loads what is not there", function()
    local cache = perigee.new()
    assert.are.same({ "new", nil, "load" }, { cache:refresh("k", value("new")) })
    assert.is_true(cache:contains("k"))
  end)

  it("counts as a load, not as a hit or a miss", function()
    local cache = perigee.new()
    cache:set("k", "old")
    cache:refresh("k", value("new"))
    cache:refresh("absent", value("new"))
    local metrics = cache:get_metrics()
    assert.are.equal(2, metrics.loads)
    assert.are.equal(0, metrics.hits)
    assert.are.equal(0, metrics.misses)
    assert.are.equal(0, metrics.hit_rate)
  end)

  it("leaves the old value to others until it succeeds", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("k", "old")
    local job = tasks.start(cache.refresh, cache, "k", (tasks.slow(0.1, "new")))
    tasks.pass(0.05)
    assert.are.same({ "old", nil, "memory" }, { cache:get("k", value("unused")) })
    tasks.finish(job)
    assert.are.same({ "new", nil, "memory" }, { cache:get("k") })
  end))

  it("does not join a load that began before it", tasks.virtual(function()
    local cache, database = perigee.new(), "old"
    local function loader()
      local read = database
      perigee.sleep(0.1)
      return read
    end
    local first = tasks.start(cache.get, cache, "k", loader)
    tasks.pass(0.05)
    database = "new"
    local fresh = tasks.start(cache.refresh, cache, "k", loader)
    tasks.finish { first, fresh }
    assert.are.equal("old", first[1])
    assert.are.equal("new", fresh[1])
    assert.are.equal("new", (cache:get("k")))
  end))

  it("of several, the one started last stays, whatever the order they end in",
    tasks.virtual(function()
      for _, seconds in ipairs { { 0.3, 0.2, 0.1 }, { 0.1, 0.2, 0.3 }, { 0.2, 0.3, 0.1 } } do
        local cache, jobs = perigee.new(), {}
        cache:set("k", "old")
        for i = 1, 3 do
          jobs[i] = tasks.start(cache.refresh, cache, "k", (tasks.slow(seconds[i], "new " .. i)))
          tasks.pass(0.01)
        end
        tasks.finish(jobs)
        for i = 1, 3 do
          assert.are.equal("new " .. i, jobs[i][1])
        end
        assert.are.equal("new 3", (cache:get("k")))
      end
    end))

  it("an earlier one counts when the one started last fails", tasks.virtual(function()
    for _, last in ipairs { 0.05, 0.3 } do
      local cache = perigee.new()
      cache:set("k", "old")
      local jobs = {
        tasks.start(cache.refresh, cache, "k", (tasks.slow(0.1, "first"))),
        tasks.start(cache.refresh, cache, "k", function()
          perigee.sleep(last)
          error("away", 0)
        end),
      }
      tasks.finish(jobs)
      assert.are.equal("first", jobs[1][1])
      assert.is_false(jobs[2].ok)
      assert.are.equal("first", (cache:get("k")))
    end
  end))

  it("a plain load that began earlier does not replace it", tasks.virtual(function()
    local cache = perigee.new()
    local plain = tasks.start(cache.get, cache, "k", (tasks.slow(0.3, "plain")))
    tasks.pass(0.01)
    local fresh = tasks.start(cache.refresh, cache, "k", (tasks.slow(0.1, "fresh")))
    tasks.finish { plain, fresh }
    assert.are.equal("plain", plain[1])
    assert.are.equal("fresh", (cache:get("k")))
  end))

  it("that fails keeps the old value and its lifetime", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("k", "old", 10)
    tasks.pass(4)
    assert.are.equal("away", (select(2, cache:refresh("k", function() return nil, "away" end))))
    local object = {}
    local ok, err = pcall(cache.refresh, cache, "k", function() error(object) end)
    assert.is_false(ok)
    assert.are.equal(object, err)
    assert.are.equal("old", (cache:get("k")))
    assert.are.near(6, cache:ttl("k"), 0.01)
    assert.are.equal(2, cache:get_metrics().load_errors)
  end))

  it("is taken into account by a delete, a set and a clear while it runs",
    tasks.virtual(function()
      for _, write in ipairs { "delete", "set", "clear" } do
        local cache = perigee.new()
        cache:set("k", "old")
        local job = tasks.start(cache.refresh, cache, "k", (tasks.slow(0.1, "read before")))
        tasks.pass(0.05)
        cache[write](cache, "k", "written")
        tasks.finish(job)
        assert.are.equal("read before", job[1])
        assert.are.equal(write == "set" and "written" or nil, (cache:get("k")))
      end
    end))

  it("gives nil its place", function()
    local cache = perigee.new { neg_ttl = 5 }
    cache:set("k", "old")
    cache:refresh("k", value(nil))
    assert.are.same({ nil, nil, "memory" }, { cache:get("k") })
    assert.are.near(5, cache:ttl("k"), 0.1)
  end)

  it("whose caller is cancelled goes on", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("k", "old")
    local job = tasks.start(cache.refresh, cache, "k", (tasks.slow(0.1, "new")))
    tasks.pass(0.05)
    job.task:cancel()
    tasks.pass(0.1)
    assert.are.equal("cancelled", job[1])
    assert.are.equal("new", (cache:get("k")))
  end))
end)

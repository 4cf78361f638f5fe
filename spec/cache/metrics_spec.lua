-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local counters = {
  "hits", "misses", "size", "hit_rate", "loads", "load_errors", "load_seconds", "coalesced",
  "stale_hits", "evictions", "expirations", "batches", "batched_keys",
}

-- The counters that differ from 0, with their values.
local function moved(cache)
  local metrics, map = cache:get_metrics(), {}
  for _, name in ipairs(counters) do
    if metrics[name] ~= 0 then
      map[name] = metrics[name]
    end
  end
  return map
end

local function value(x)
  return function() return x end
end

describe("cache:get_metrics", function()
  local cache

  before_each(function()
    cache = perigee.new { maxsize = 4 }
  end)

  it("has every counter from the start, as a number", function()
    local metrics = cache:get_metrics()
    for _, name in ipairs(counters) do
      assert.is_number(metrics[name], name)
      assert.are.equal(0, metrics[name], name)
    end
  end)

  it("gives a table of the caller's own", function()
    cache:get_metrics().hits = 1000
    assert.are.equal(0, cache:get_metrics().hits)
  end)

  it("counts a hit of a value, a nil and false", function()
    cache:set("a", 1)
    cache:set("b", nil)
    cache:set("c", false)
    for _, key in ipairs { "a", "b", "c" } do
      cache:get(key)
    end
    assert.are.same({ hits = 3, size = 3, hit_rate = 1 }, moved(cache))
  end)

  it("counts a miss without a loader", function()
    cache:get("a")
    assert.are.same({ misses = 1 }, moved(cache))
  end)

  it("counts a load with its seconds", tasks.virtual(function()
    tasks.await(cache.get, cache, "a", (tasks.slow(2, 1)))
    local metrics = moved(cache)
    assert.are.near(2, metrics.load_seconds, 0.1)
    metrics.load_seconds = nil
    assert.are.same({ misses = 1, loads = 1, size = 1 }, metrics)
  end))

  it("counts a failed load, raised or returned", function()
    pcall(cache.get, cache, "a", error)
    cache:get("b", function() return nil, "away" end)
    local metrics = cache:get_metrics()
    assert.are.equal(2, metrics.load_errors)
    assert.are.equal(2, metrics.misses)
    assert.are.equal(0, metrics.size)
  end)

  it("counts those that joined as misses and as coalesced", tasks.virtual(function()
    tasks.together(5, function() return cache:get("k", (tasks.slow(0.1, 1))) end)
    local metrics = cache:get_metrics()
    assert.are.equal(5, metrics.misses)
    assert.are.equal(4, metrics.coalesced)
    assert.are.equal(1, metrics.loads)
  end))

  it("counts evictions of living entries only", tasks.virtual(function()
    for i = 1, 4 do
      cache:set(i, i, i <= 2 and 1 or math.huge)
    end
    tasks.pass(2)
    for i = 5, 7 do
      cache:set(i, i)
    end
    local metrics = cache:get_metrics()
    assert.are.equal(1, metrics.evictions)
    assert.are.equal(2, metrics.expirations)
    assert.are.equal(4, metrics.size)
  end))

  it("counts neither a delete nor a replacement as an eviction", function()
    cache:set("a", 1)
    cache:set("a", 2)
    cache:delete("a")
    assert.are.same({}, moved(cache))
  end)

  it("counts batches and the keys in them", tasks.virtual(function()
    local function none() return {} end
    tasks.together(4, function(i)
      return cache:get(i % 3, { batch_loader = none })
    end)
    cache:get_many({ 7, 8 }, { batch_loader = none })
    local metrics = cache:get_metrics()
    assert.are.equal(2, metrics.batches)
    assert.are.equal(5, metrics.batched_keys)
  end))

  it("counts every key of get_many as a hit or a miss", function()
    cache:set("a", 1)
    cache:get_many({ "a", "b", "c" }, { batch_loader = function() return { b = 2 } end })
    local metrics = cache:get_metrics()
    assert.are.equal(1, metrics.hits)
    assert.are.equal(2, metrics.misses)
    assert.are.equal(1, metrics.batches)
    assert.are.equal(2, metrics.batched_keys)
    assert.are.equal(3, metrics.size)
  end)

  it("counts a caller who lost patience as a miss once", tasks.virtual(function()
    local job = tasks.start(cache.get, cache, "k", { loader = (tasks.slow(1, 1)), timeout = 0.1 })
    tasks.pass(0.2)
    assert.are.equal("timeout", job[2])
    tasks.pass(1)
    local metrics = cache:get_metrics()
    assert.are.equal(1, metrics.misses)
    assert.are.equal(0, metrics.load_errors)
    assert.are.equal(1, metrics.loads)
  end))

  it("has a hit rate between 0 and 1", function()
    cache:get("a", value(1))
    assert.are.equal(0, cache:get_metrics().hit_rate)
    cache:get("a")
    cache:get("a")
    cache:get("a")
    assert.are.equal(0.75, cache:get_metrics().hit_rate)
  end)

  it("begins anew at clear, and counts a load that was running from there",
    tasks.virtual(function()
      cache:get("a", value(1))
      cache:get("a")
      local job = tasks.start(cache.get, cache, "k", (tasks.slow(0.1, 1)))
      cache:clear()
      assert.are.same({}, moved(cache))
      tasks.finish(job)
      for _, name in ipairs(counters) do
        assert.is_true(cache:get_metrics()[name] >= 0, name)
      end
      assert.are.equal(0, cache:get_metrics().size)
    end))

  it("does not lose count over a million gets", function()
    cache:set("k", 1)
    for _ = 1, 1000000 do
      cache:get("k")
    end
    assert.are.equal(1000000, cache:get_metrics().hits)
  end)
end)

describe("perigee.metrics", function()
  it("gives each cache's metrics by its name", function()
    local users = perigee.new { name = "spec m users" }
    local orders = perigee.new { name = "spec m orders" }
    users:get("a", value(1))
    users:get("a")
    orders:get("a")
    local all = perigee.metrics()
    assert.are.equal(1, all["spec m users"].hits)
    assert.are.equal(1, all["spec m users"].misses)
    assert.are.equal(1, all["spec m users"].size)
    assert.are.equal(0.5, all["spec m users"].hit_rate)
    assert.are.equal(1, all["spec m orders"].misses)
    users:close()
    orders:close()
  end)

  it("sums the caches that have no name under \"\"", function()
    collectgarbage()
    collectgarbage()
    local before = perigee.metrics()[""] or { hits = 0, misses = 0, size = 0 }
    local caches = {}
    for i = 1, 3 do
      caches[i] = perigee.new()
      caches[i]:set("k", 1)
      caches[i]:get("k")
      caches[i]:get("absent")
    end
    local after = perigee.metrics()[""]
    assert.are.equal(3, after.hits - before.hits)
    assert.are.equal(3, after.misses - before.misses)
    assert.are.equal(3, after.size - before.size)
    assert.is_true(after.hit_rate > 0 and after.hit_rate < 1)
    assert.are.equal(3, #caches)
  end)

  it("does not keep a cache alive", function()
    local weak = setmetatable({ perigee.new { name = "spec m dropped" } }, { __mode = "v" })
    assert.is_truthy(perigee.metrics()["spec m dropped"])
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
    collectgarbage()
    assert.is_nil(perigee.metrics()["spec m dropped"])
  end)
end)

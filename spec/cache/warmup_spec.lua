-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function tracked(n, seconds)
  local state, loaders = { running = 0, most = 0, calls = 0 }, {}
  for i = 1, n do
    loaders["k" .. i] = function(key)
      state.calls = state.calls + 1
      state.running = state.running + 1
      state.most = math.max(state.most, state.running)
      perigee.sleep(seconds)
      state.running = state.running - 1
      return key .. "!"
    end
  end
  return loaders, state
end

describe("cache:warmup", function()
  it("runs sixteen loads side by side when nothing is said", tasks.virtual(function()
    local cache = perigee.new { maxsize = math.huge }
    local loaders, state = tracked(100, 0.1)
    local job = tasks.start(cache.warmup, cache, loaders)
    tasks.finish(job)
    assert.is_true(job[1])
    assert.is_nil(job[2])
    assert.are.equal(16, state.most)
    assert.are.equal(100, state.calls)
    assert.are.equal("k7!", (cache:get("k7")))
  end))

  it("runs as many as concurrency says", tasks.virtual(function()
    for _, concurrency in ipairs { 1, 3, 1000 } do
      local loaders, state = tracked(20, 0.01)
      local cache = perigee.new()
      local job = tasks.start(cache.warmup, cache, loaders, { concurrency = concurrency })
      tasks.finish(job)
      assert.is_true(job[1])
      assert.are.equal(math.min(20, concurrency), state.most)
    end
  end))

  it("of nothing is done at once", function()
    assert.is_true(perigee.new():warmup {})
  end)

  it("skips what is already there, a cached nil too", function()
    local cache = perigee.new()
    local loaders, state = tracked(2, 0)
    cache:set("k1", "there")
    cache:set("k2", nil)
    assert.is_true(cache:warmup(loaders))
    assert.are.equal(0, state.calls)
    assert.are.equal("there", (cache:get("k1")))
  end)

  it("joins what is being loaded", tasks.virtual(function()
    local cache = perigee.new()
    local loaders, state = tracked(1, 0)
    local single = tasks.start(cache.get, cache, "k1", (tasks.slow(0.1, "single")))
    local warm = tasks.start(cache.warmup, cache, loaders)
    tasks.finish { single, warm }
    assert.is_true(warm[1])
    assert.are.equal(0, state.calls)
    assert.are.equal("single", (cache:get("k1")))
  end))

  it("gives the errors by key, raised or returned, and keeps the rest",
    tasks.virtual(function()
      local cache, object = perigee.new(), {}
      local loaders = tracked(3, 0.01)
      loaders.raises = function() error(object) end
      loaders.returns = function() return nil, "away" end
      loaders["nil"] = function() return nil end
      local job = tasks.start(cache.warmup, cache, loaders)
      tasks.finish(job)
      assert.is_true(job.ok)
      assert.is_nil(job[1])
      assert.are.equal(object, job[2].raises)
      assert.are.equal("away", job[2].returns)
      assert.is_nil(job[2].k1)
      assert.are.equal(4, cache:get_metrics().size)
    end))

  it("uses the loader's hints", function()
    local cache = perigee.new()
    cache:warmup { k = function() return 1, nil, { ttl = 5, tags = { "t" } } end }
    assert.are.near(5, cache:ttl("k"), 0.1)
    cache:invalidate_tags("t")
    assert.is_false(cache:contains("k"))
  end)

  it("stops when its caller is cancelled", tasks.virtual(function()
    local cache = perigee.new()
    local loaders, state = tracked(40, 0.1)
    local job = tasks.start(cache.warmup, cache, loaders, { concurrency = 4 })
    tasks.pass(0.05)
    job.task:cancel()
    tasks.settle()
    assert.is_true(job.done)
    assert.are.equal("cancelled", job[1])
    tasks.pass(1)
    assert.are.equal(4, state.calls)
  end))

  it("does not hold a key's caller up longer than the key's load", tasks.virtual(function()
    local cache = perigee.new()
    local loaders = tracked(10, 0.1)
    tasks.start(cache.warmup, cache, loaders, { concurrency = 10 })
    local job = tasks.start(cache.get, cache, "k3", function() return "unused" end)
    tasks.pass(0.11)
    assert.is_true(job.done)
    assert.are.equal("k3!", job[1])
  end))
end)

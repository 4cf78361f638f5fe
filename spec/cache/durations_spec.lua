-- SPDX-License-Identifier: MIT
-- How long loads and reads of a remote cache take, as Prometheus sees it.
local logged = require "spec.support.logged"
local perigee = require "perigee"
local prometheus = require "spec.support.prometheus"
local redis = require "spec.support.redis"
local tasks = require "spec.support.tasks"

local LOADS, READS = "perigee_load_duration_seconds", "perigee_remote_duration_seconds"

local function durations(family, name)
  return prometheus.histograms(prometheus.read(perigee.prometheus()), family)[name]
end

-- How many events each bucket has alone, by its bound.
local function alone(one)
  local counts, below = {}, 0
  for i, bound in ipairs(one.bounds) do
    if one.counts[i] > below then counts[bound] = one.counts[i] - below end
    below = one.counts[i]
  end
  return counts
end

local function assert_seconds(expected, seconds)
  assert.is_true(math.abs(expected - seconds) < 1e-4, ("%s s, not %s"):format(seconds, expected))
end

local function slow(seconds, value, err)
  return function()
    perigee.sleep(seconds)
    return value, err
  end
end

describe("the durations of loads", function()
  local cache

  local function new(opts)
    opts = opts or {}
    opts.name = "spec d"
    cache = perigee.new(opts)
    return cache
  end

  after_each(function() if not cache.closed then cache:close() end end)

  it("are counted in buckets and summed", tasks.virtual(function()
    new()
    for i, seconds in ipairs { 0.003, 0.003, 0.02, 0.3, 7, 60 } do
      cache:get("k" .. i, slow(seconds, i))
      cache:get("k" .. i)
    end
    local one = durations(LOADS, "spec d")
    assert.same({ [0.005] = 2, [0.025] = 1, [0.5] = 1, [10] = 1, [math.huge] = 1 }, alone(one))
    assert.equal(6, one.count)
    assert_seconds(67.326, one.sum)
  end))

  it("are all zero before the first", function()
    local one = durations(LOADS, new().name)
    assert.equal(0, one.count)
    assert.equal(0, one.sum)
  end)

  it("are those that the other metrics count and sum", tasks.virtual(function()
    new()
    for i = 1, 5 do cache:get(i, slow(i * 0.1, i)) end
    local one, metrics = durations(LOADS, "spec d"), cache:get_metrics()
    assert.equal(5, metrics.loads)
    assert.equal(metrics.loads, one.count)
    assert.equal(metrics.load_seconds, one.sum)
  end))

  it("are of a load, whoever waits for it", tasks.virtual(function()
    new()
    local callers = {}
    for i = 1, 10 do
      callers[i] = function() return (cache:get("k", slow(0.2, 1))) end
    end
    perigee.gather(callers)
    local one = durations(LOADS, "spec d")
    assert.same({ [0.25] = 1 }, alone(one))
  end))

  it("are also of loads that fail, or take too long", tasks.virtual(function()
    new { load_timeout = 2 }
    cache:get("a", slow(0.2, nil, "gone"))
    pcall(cache.get, cache, "b", function()
      perigee.sleep(0.7)
      error "no"
    end)
    cache:get("c", slow(5, 1))
    local one = durations(LOADS, "spec d")
    assert.same({ [0.25] = 1, [1] = 1, [2.5] = 1 }, alone(one))
    assert.equal(3, cache:get_metrics().load_errors)
    assert_seconds(2.9, one.sum)
  end))

  it("are of each key of a batch", tasks.virtual(function()
    new()
    cache:get_many({ "a", "b", "c" }, function(keys)
      perigee.sleep(0.04)
      return perigee.aligned(keys)
    end)
    assert.same({ [0.05] = 3 }, alone(durations(LOADS, "spec d")))
  end))

  it("of a function on a cache are the cache's", tasks.virtual(function()
    new()
    local f = perigee.lru { cache = cache } (function(x)
      perigee.sleep(x)
      return x
    end)
    f(0.3)
    f(0.3)
    cache:get("k", slow(3, 1))
    assert.same({ [0.5] = 1, [5] = 1 }, alone(durations(LOADS, "spec d")))
    assert.equal(1, f:get_metrics().loads)
    assert_seconds(0.3, f:get_metrics().load_seconds)
    f:clear_cache()
    assert.equal(0, f:get_metrics().loads)
    assert.equal(2, cache:get_metrics().loads)
  end))

  it("begin anew with clear", tasks.virtual(function()
    new()
    cache:get("k", slow(0.3, 1))
    cache:clear()
    assert.equal(0, durations(LOADS, "spec d").count)
    assert.equal(0, cache:get_metrics().load_seconds)
    cache:get("k", slow(0.03, 1))
    assert.same({ [0.05] = 1 }, alone(durations(LOADS, "spec d")))
  end))

  it("are not of what was in memory, or nowhere", function()
    new()
    cache:set("a", 1)
    cache:get "a"
    cache:get "b"
    assert.equal(0, durations(LOADS, "spec d").count)
  end)

  it("leave get_metrics a table of numbers", function()
    for field, value in pairs(new():get_metrics()) do assert.is_number(value, field) end
  end)
end)

describe("the durations of reads of a remote cache", function()
  local cache, backend

  before_each(function()
    local entries = {}
    backend = { seconds = 0 }
    function backend.get(self, key)
      perigee.sleep(self.seconds)
      if self.err then return nil, self.err end
      if self.raises then error "no" end
      return entries[key] ~= nil, entries[key]
    end
    function backend.set(_, key, value) entries[key] = value end
    function backend.delete(_, key) entries[key] = nil end
    function backend.clear() entries = {} end
    function backend.close() end
    cache = perigee.new { name = "spec d", remote_cache = backend }
  end)

  after_each(function() cache:close() end)

  it("are counted whether it had the key or not, and are no part of the load's",
    tasks.virtual(function()
      backend.seconds = 0.02
      cache:resize(0)
      cache:get("k", slow(0.3, 1))
      perigee.sleep(1)
      local _, _, source = cache:get "k"
      assert.equal("remote", source)
      assert.same({ [0.025] = 2 }, alone(durations(READS, "spec d")))
      assert.same({ [0.5] = 1 }, alone(durations(LOADS, "spec d")))
    end))

  it("are also of reads that failed", tasks.virtual(function()
    logged(function()
      backend.seconds, backend.err = 0.7, "down"
      assert.equal(1, (cache:get("a", slow(0, 1))))
      backend.seconds, backend.err, backend.raises = 3, nil, true
      assert.equal(2, (cache:get("b", slow(0, 2))))
    end)
    local one = durations(READS, "spec d")
    assert.same({ [1] = 1, [5] = 1 }, alone(one))
    assert_seconds(3.7, one.sum)
    assert.equal(2, cache:get_metrics().remote_errors)
  end))

  it("are one for all who wait for a key", tasks.virtual(function()
    backend.seconds = 0.2
    local callers = {}
    for i = 1, 10 do callers[i] = function() return (cache:get("k", slow(0, 1))) end end
    perigee.gather(callers)
    assert.equal(1, durations(READS, "spec d").count)
  end))

  it("are one for all keys that are asked for together", tasks.virtual(function()
    function backend.get_many()
      perigee.sleep(0.2)
      return {}, {}
    end
    cache:get_many({ "a", "b", "c" }, function(keys) return perigee.aligned(keys) end)
    assert.same({ [0.25] = 1 }, alone(durations(READS, "spec d")))
    assert.equal(3, cache:get_metrics().remote_misses)
  end))

  it("are not of what memory had, nor of writes", tasks.virtual(function()
    cache:set("a", 1)
    cache:get "a"
    perigee.sleep(1)
    assert.equal(0, durations(READS, "spec d").count)
  end))

  it("are not there for a cache that has none", function()
    local other = perigee.new { name = "spec d none" }
    assert.is_nil(durations(READS, "spec d none"))
    assert.is_truthy(durations(LOADS, "spec d none"))
    other:close()
  end)
end)

describe("the durations of reads of Redis", function()
  teardown(redis.clean)
  after_each(redis.close_caches)

  it("are one for the keys that miss in one turn", tasks.real(function()
    local cache = redis.start():cache { name = "spec d redis" }
    cache:get("first", slow(0, 1)) -- connects
    local before = durations(READS, "spec d redis").count
    local callers = {}
    for i = 1, 20 do callers[i] = function() return (cache:get("k" .. i, slow(0, i))) end end
    perigee.gather(callers)
    local one = durations(READS, "spec d redis")
    assert.equal(1, one.count - before)
    assert.equal(21, cache:get_metrics().remote_misses)
  end))

  it("end with its time-out when it says nothing", tasks.real(function()
    local server = redis.start()
    local cache = server:cache({ name = "spec d silent" }, { timeout = 0.1 })
    cache:get("first", slow(0, 1))
    local before = durations(READS, "spec d silent").sum
    server:pause()
    logged(function() assert.equal(2, (cache:get("second", slow(0, 2)))) end)
    server:resume()
    assert.is_true(durations(READS, "spec d silent").sum - before >= 0.09)
  end))
end)

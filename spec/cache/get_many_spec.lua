-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function doubling()
  local asked = {}
  return function(keys)
    local map = {}
    asked[#asked + 1] = #keys
    for _, key in ipairs(keys) do
      map[key] = key * 2
    end
    return map
  end, asked
end

describe("cache:get_many", function()
  local cache

  before_each(function()
    cache = perigee.new { maxsize = math.huge }
  end)

  it("gives values, no errors, and where each is from", function()
    cache:set("a", 1)
    cache:set("nil", nil)
    local values, errors, sources = cache:get_many { "a", "nil", "absent" }
    assert.are.same({ a = 1 }, values)
    assert.is_nil(errors)
    assert.are.same({ a = "memory", ["nil"] = "memory", absent = "miss" }, sources)
    local metrics = cache:get_metrics()
    assert.are.equal(2, metrics.hits)
    assert.are.equal(1, metrics.misses)
  end)

  it("of no keys is nothing", function()
    local values, errors, sources = cache:get_many({}, { batch_loader = error })
    assert.are.same({}, values)
    assert.is_nil(errors)
    assert.are.same({}, sources)
  end)

  it("asks for what is missing in one batch", function()
    local batch_loader, asked = doubling()
    cache:set(2, "there")
    local values, errors, sources = cache:get_many({ 1, 2, 3 }, { batch_loader = batch_loader })
    assert.are.same({ [1] = 2, [2] = "there", [3] = 6 }, values)
    assert.is_nil(errors)
    assert.are.same({ [1] = "load", [2] = "memory", [3] = "load" }, sources)
    assert.are.same({ 2 }, asked)
    assert.are.equal(6, (cache:get(3)))
    assert.are.equal(2, cache:get_metrics().batched_keys)
  end)

  it("does not wait for a window", tasks.virtual(function()
    local slow = perigee.new { batch_window_ms = 60000 }
    local job = tasks.start(slow.get_many, slow, { 1, 2 }, { batch_loader = (doubling()) })
    tasks.settle()
    assert.is_true(job.done)
  end))

  it("splits at max_batch_size", function()
    local small = perigee.new { max_batch_size = 3 }
    local batch_loader, asked = doubling()
    local values = small:get_many({ 1, 2, 3, 4, 5, 6, 7 }, { batch_loader = batch_loader })
    assert.are.equal(14, values[7])
    assert.are.same({ 3, 3, 1 }, asked)
  end)

  it("loads the parts side by side", tasks.virtual(function()
    local small = perigee.new { max_batch_size = 1 }
    local job = tasks.start(small.get_many, small, { 1, 2, 3 }, { batch_loader = function(keys)
      perigee.sleep(0.1)
      return { [keys[1]] = true }
    end })
    tasks.pass(0.15)
    assert.is_true(job.done)
    assert.are.same({ true, true, true }, job[1])
  end))

  it("takes a key that comes twice once", function()
    local batch_loader, asked = doubling()
    assert.are.same({ [1] = 2, [2] = 4 },
      (cache:get_many({ 1, 2, 1, 1 }, { batch_loader = batch_loader })))
    assert.are.same({ 2 }, asked)
  end)

  it("joins loads that are under way", tasks.virtual(function()
    local batch_loader, asked = doubling()
    local single = tasks.start(cache.get, cache, 1, (tasks.slow(0.1, "single")))
    local many = tasks.start(cache.get_many, cache, { 1, 2 }, { batch_loader = batch_loader })
    tasks.finish { single, many }
    assert.are.same({ [1] = "single", [2] = 4 }, many[1])
    assert.are.same({ [1] = "wait", [2] = "load" }, many[3])
    assert.are.same({ 1 }, asked)
  end))

  it("can be joined", tasks.virtual(function()
    local function batch_loader()
      perigee.sleep(0.1)
      return { a = "batched" }
    end
    local many = tasks.start(cache.get_many, cache, { "a" }, { batch_loader = batch_loader })
    local single = tasks.start(cache.get, cache, "a", function() return "single" end)
    tasks.finish { many, single }
    assert.are.equal("batched", single[1])
  end))

  it("shares a load with another get_many that comes to it later", tasks.virtual(function()
    local seconds = { a = 0.2, b = 0.1, c = 0.3 }
    local function loader(key)
      perigee.sleep(seconds[key])
      return key .. "!"
    end
    local function batch_loader(keys)
      local map = {}
      for _, key in ipairs(keys) do
        map[key] = loader(key)
      end
      return map
    end
    for _, opts in ipairs { { loader = loader }, { batch_loader = batch_loader } } do
      cache:clear()
      local first = tasks.start(cache.get_many, cache, { "a", "b" }, opts)
      local second = tasks.start(cache.get_many, cache, { "c", "b" }, opts)
      tasks.finish { first, second }
      assert.are.same({ a = "a!", b = "b!" }, first[1])
      assert.are.same({ b = "b!", c = "c!" }, second[1])
    end
  end))

  it("gives the errors by key", function()
    local values, errors, sources = cache:get_many({ "a", "b" }, { batch_loader = function()
      return { a = 1 }, { b = "bad" }
    end })
    assert.are.same({ a = 1 }, values)
    assert.are.same({ b = "bad" }, errors)
    assert.are.equal("load", sources.a)
    assert.is_false(cache:contains("b"))
  end)

  it("gives every key the err when the whole batch failed", function()
    local values, errors = cache:get_many({ "a", "b" }, { batch_loader = function()
      return nil, "away"
    end })
    assert.are.same({}, values)
    assert.are.same({ a = "away", b = "away" }, errors)
  end)

  it("raises what the batch loader raises", function()
    local object = {}
    local ok, err = pcall(cache.get_many, cache, { "a" }, { batch_loader = function()
      error(object)
    end })
    assert.is_false(ok)
    assert.are.equal(object, err)
  end)

  it("raises although other parts of it went well, and keeps those", tasks.virtual(function()
    local small = perigee.new { max_batch_size = 1 }
    local job = tasks.start(small.get_many, small, { "good", "bad" }, {
      batch_loader = function(keys)
        perigee.sleep(0.01)
        if keys[1] == "bad" then
          error("away", 0)
        end
        return { good = 1 }
      end })
    tasks.finish(job)
    assert.is_false(job.ok)
    assert.are.equal("away", job[1])
    assert.are.equal(1, (small:get("good")))
  end))

  it("takes a loader of single keys, which run side by side", tasks.virtual(function()
    local job = tasks.start(cache.get_many, cache, { "a", "b", "c" }, { loader = function(key)
      perigee.sleep(0.1)
      if key == "c" then
        return nil, "no c"
      end
      return key .. "!"
    end })
    tasks.pass(0.15)
    assert.is_true(job.done)
    assert.are.same({ a = "a!", b = "b!" }, job[1])
    assert.are.same({ c = "no c" }, job[2])
    assert.are.equal("load", job[3].a)
    assert.are.equal("a!", (cache:get("a")))
  end))

  it("raises what a loader of single keys raises", function()
    local ok, err = pcall(cache.get_many, cache, { "a" }, { loader = function()
      error("away", 0)
    end })
    assert.is_false(ok)
    assert.are.equal("away", err)
  end)

  it("uses ttl, neg_ttl, tags and timeout of its options", tasks.virtual(function()
    local function batch_loader() return { a = 1 } end
    cache:get_many({ "a", "nil" },
      { batch_loader = batch_loader, ttl = 10, neg_ttl = 5, tags = { "t" } })
    assert.are.near(10, cache:ttl("a"), 0.01)
    assert.are.near(5, cache:ttl("nil"), 0.01)
    cache:invalidate_tags("t")
    assert.is_false(cache:contains("a"))
    local function slow()
      perigee.sleep(1)
      return { b = 2 }
    end
    local job = tasks.start(cache.get_many, cache, { "b" }, { timeout = 0.1, batch_loader = slow })
    tasks.pass(0.2)
    assert.is_true(job.done)
    assert.are.same({ b = "timeout" }, job[2])
    tasks.pass(1)
    assert.are.equal(2, (cache:get("b")))
  end))

  it("loads everything anew with use_cache = false", function()
    cache:set("a", "old")
    assert.are.same({ a = "new" }, (cache:get_many({ "a" }, { use_cache = false,
      batch_loader = function() return { a = "new" } end })))
    assert.are.equal("new", (cache:get("a")))
  end)

  it("leaves the list of keys as it was", function()
    local keys = { 3, 1, 2 }
    cache:get_many(keys, { batch_loader = (doubling()) })
    assert.are.same({ 3, 1, 2 }, keys)
  end)

  it("is cancelled like any wait", tasks.virtual(function()
    local job = tasks.start(cache.get_many, cache, { "a", "b" }, { batch_loader = function()
      perigee.sleep(0.1)
      return { a = 1, b = 2 }
    end })
    tasks.settle()
    job.task:cancel()
    tasks.settle()
    assert.is_true(job.done)
    assert.are.equal("cancelled", job[1])
    tasks.pass(0.2)
    assert.are.equal(1, (cache:get("a")))
    assert.are.equal(2, (cache:get("b")))
  end))

  it("is cancelled like any wait when it loads single keys", tasks.virtual(function()
    local job = tasks.start(cache.get_many, cache, { "a", "b" },
      { loader = (tasks.slow(0.1, "v")) })
    tasks.settle()
    job.task:cancel()
    tasks.settle()
    assert.is_true(job.done)
    assert.are.equal("cancelled", job[1])
    tasks.pass(0.2)
    assert.are.equal("v", (cache:get("a")))
  end))
end)

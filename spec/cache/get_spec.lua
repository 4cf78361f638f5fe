-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function value(x)
  return function() return x end
end

describe("cache:get", function()
  local cache

  before_each(function()
    cache = perigee.new()
  end)

  describe("says where the value is from:", function()
    it("\"load\" for the call that led the load, then \"memory\"", function()
      assert.are.same({ "v", nil, "load" }, { cache:get("k", value("v")) })
      assert.are.same({ "v", nil, "memory" }, { cache:get("k", value("w")) })
      assert.are.same({ "v", nil, "memory" }, { cache:get("k") })
    end)

    it("\"wait\" for those that joined", tasks.virtual(function()
      local loader = tasks.slow(0.1, "v")
      local jobs = tasks.together(3, function() return cache:get("k", loader) end)
      assert.are.equal("load", jobs[1][3])
      assert.are.equal("wait", jobs[2][3])
      assert.are.equal("wait", jobs[3][3])
    end))

    it("\"miss\" when it is not there and there is no loader", function()
      assert.are.same({ nil, nil, "miss" }, { cache:get("k") })
      assert.are.same({ nil, nil, "miss" }, { cache:get("k", {}) })
    end)
  end)

  it("takes the loader in its options", function()
    assert.are.same({ "v", nil, "load" }, { cache:get("k", { loader = value("v") }) })
  end)

  describe("a failed load", function()
    it("returned as nil, err comes back so and is not cached", function()
      local object, calls = { "gone" }, 0
      local function loader()
        calls = calls + 1
        return nil, object
      end
      for i = 1, 2 do
        local v, err = cache:get("k", loader)
        assert.is_nil(v)
        assert.are.equal(object, err)
        assert.are.equal(i, calls)
      end
      assert.is_false(cache:contains("k"))
    end)

    it("returned as nil, err comes back to all that waited", tasks.virtual(function()
      local object = {}
      local function loader()
        perigee.sleep(0.1)
        return nil, object
      end
      for _, job in ipairs(tasks.together(5, function() return cache:get("k", loader) end)) do
        assert.is_true(job.ok)
        assert.is_nil(job[1])
        assert.are.equal(object, job[2])
      end
    end))

    it("does not replace a value that is there", function()
      cache:set("k", "good")
      local v, err = cache:get("k", { use_cache = false, loader = function()
        return nil, "away"
      end })
      assert.is_nil(v)
      assert.are.equal("away", err)
      assert.are.equal("good", (cache:get("k")))
    end)
  end)

  it("a value with an err counts, and the err is passed on once", function()
    assert.are.same({ "v", "partly", "load" }, { cache:get("k", function()
      return "v", "partly"
    end) })
    assert.are.same({ "v", nil, "memory" }, { cache:get("k") })
  end)

  it("false with an err is a value with an err", function()
    assert.are.same({ false, "hm", "load" }, { cache:get("k", function()
      return false, "hm"
    end) })
    assert.are.same({ false, nil, "memory" }, { cache:get("k") })
  end)

  describe("options", function()
    it("ttl bounds the loaded value", tasks.virtual(function()
      cache:get("k", { loader = value("v"), ttl = 1 })
      tasks.pass(0.9)
      assert.is_true(cache:contains("k"))
      tasks.pass(0.2)
      assert.is_false(cache:contains("k"))
    end))

    it("ttl does not change a value that is there", function()
      cache:set("k", "v")
      cache:get("k", { loader = value("v"), ttl = 1 })
      assert.are.equal(math.huge, cache:ttl("k"))
    end)

    it("neg_ttl bounds a loaded nil only", function()
      cache:get("nil", { loader = value(nil), neg_ttl = 5, ttl = 60 })
      cache:get("value", { loader = value(1), neg_ttl = 5, ttl = 60 })
      assert.are.near(5, cache:ttl("nil"), 0.1)
      assert.are.near(60, cache:ttl("value"), 0.1)
    end)

    it("neg_ttl = false keeps no nil", function()
      cache:get("k", { loader = value(nil), neg_ttl = false })
      assert.is_false(cache:contains("k"))
    end)

    it("tags mark the loaded value", function()
      cache:get("k", { loader = value(1), tags = { "user:1" } })
      assert.is_true(cache:contains("k"))
      cache:invalidate_tags("user")
      assert.is_false(cache:contains("k"))
    end)

    it("timeout is this caller's patience only", tasks.virtual(function()
      local loader, count = tasks.slow(1, "v")
      local patient = tasks.start(cache.get, cache, "k", loader)
      local hasty = tasks.start(cache.get, cache, "k", { loader = loader, timeout = 0.2 })
      tasks.pass(0.3)
      assert.is_true(hasty.done)
      assert.is_true(hasty.ok)
      assert.is_nil(hasty[1])
      assert.are.equal("timeout", hasty[2])
      tasks.finish(patient)
      assert.are.equal("v", patient[1])
      assert.are.equal(1, count.calls)
    end))

    it("timeout of the first caller leaves the load running for the cache",
      tasks.virtual(function()
        local loader, count = tasks.slow(1, "v")
        local job = tasks.start(cache.get, cache, "k", { loader = loader, timeout = 0.2 })
        tasks.pass(0.3)
        assert.are.equal("timeout", job[2])
        tasks.pass(1)
        assert.are.equal("v", (cache:get("k")))
        assert.are.equal(1, count.calls)
      end))
  end)

  describe("hints of the loader", function()
    local function hinting(hints, result)
      return function() return result, nil, hints end
    end

    it("a number is the ttl", function()
      cache:get("k", { loader = hinting(7, 1), ttl = 60 })
      assert.are.near(7, cache:ttl("k"), 0.1)
    end)

    it("a table may hold the ttl", function()
      cache:get("k", { loader = hinting({ ttl = 7 }, 1), ttl = 60 })
      assert.are.near(7, cache:ttl("k"), 0.1)
    end)

    it("a ttl counts for a nil too", function()
      cache:get("k", { loader = hinting({ ttl = 7 }, nil), neg_ttl = 60 })
      assert.are.near(7, cache:ttl("k"), 0.1)
    end)

    it("tags add to those of the call", function()
      for _, tag in ipairs { "by call", "by loader" } do
        cache:get("k", { loader = hinting({ tags = { "by loader" } }, 1), tags = { "by call" } })
        assert.is_true(cache:contains("k"))
        cache:invalidate_tags(tag)
        assert.is_false(cache:contains("k"))
      end
    end)

    it("cache = false hands the value out and keeps nothing", function()
      assert.are.same({ 1, nil, "load" }, { cache:get("k", hinting({ cache = false }, 1)) })
      assert.is_false(cache:contains("k"))
    end)

    it("a string is ignored, so that another cache's get is a good loader", function()
      local other = perigee.new()
      other:set("k", "from the other")
      local function loader(key)
        return other:get(key)
      end
      assert.are.same({ "from the other", nil, "load" }, { cache:get("k", loader) })
      assert.are.same({ "from the other", nil, "memory" }, { cache:get("k", loader) })
    end)
  end)

  describe("with use_cache = false", function()
    it("loads although the value is there, and replaces it", function()
      cache:set("k", "old")
      assert.are.same({ "new", nil, "load" },
        { cache:get("k", { loader = value("new"), use_cache = false }) })
      assert.are.equal("new", (cache:get("k")))
    end)

    it("others get the old value meanwhile", tasks.virtual(function()
      cache:set("k", "old")
      local job = tasks.start(cache.get, cache, "k",
        { loader = (tasks.slow(0.1, "new")), use_cache = false })
      tasks.pass(0.05)
      assert.are.same({ "old", nil, "memory" }, { cache:get("k", value("other")) })
      tasks.finish(job)
      assert.are.equal("new", (cache:get("k")))
    end))

    it("others that find nothing join it", tasks.virtual(function()
      local loader, count = tasks.slow(0.1, "new")
      local fresh = tasks.start(cache.get, cache, "k", { loader = loader, use_cache = false })
      tasks.pass(0.05)
      local joined = tasks.start(cache.get, cache, "k", loader)
      tasks.finish { fresh, joined }
      assert.are.same({ "new", nil, "wait" }, { joined[1], joined[2], joined[3] })
      assert.are.equal(1, count.calls)
    end))

    it("each call starts a load of its own", tasks.virtual(function()
      local loader, count = tasks.slow(0.1, function(_, n) return n end)
      local jobs = tasks.start_many(3, function()
        return cache:get("k", { loader = loader, use_cache = false })
      end)
      tasks.finish(jobs)
      assert.are.equal(3, count.calls)
      assert.are.same({ 1, 2, 3 }, { jobs[1][1], jobs[2][1], jobs[3][1] })
    end))
  end)
end)

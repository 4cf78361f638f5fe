-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function value(x)
  return function() return x end
end

describe("lifetimes", function()
  it("a ttl in set's options counts like a number", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("number", 1, 1.5)
    cache:set("options", 2, { ttl = 1.5 })
    tasks.pass(1.4)
    assert.is_true(cache:contains("number"))
    assert.is_true(cache:contains("options"))
    tasks.pass(0.2)
    assert.is_false(cache:contains("number"))
    assert.is_false(cache:contains("options"))
  end))

  it("fractions of a second count", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("k", 1, 0.005)
    tasks.pass(0.004)
    assert.is_true(cache:contains("k"))
    tasks.pass(0.002)
    assert.is_false(cache:contains("k"))
  end))

  it("a new set begins a new lifetime", tasks.virtual(function()
    local cache = perigee.new { default_ttl = 1 }
    cache:set("k", 1)
    tasks.pass(0.9)
    cache:set("k", 2)
    tasks.pass(0.9)
    assert.are.equal(2, (cache:get("k")))
    tasks.pass(0.2)
    assert.is_false(cache:contains("k"))
  end))

  it("a set without a ttl on a key with one takes the default", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("k", 1, 1)
    cache:set("k", 2)
    tasks.pass(2)
    assert.are.equal(2, (cache:get("k")))
  end))

  it("reading does not lengthen a lifetime", tasks.virtual(function()
    local cache = perigee.new { default_ttl = 1 }
    cache:set("k", 1)
    for _ = 1, 9 do
      tasks.pass(0.1)
      assert.are.equal(1, (cache:get("k")))
    end
    tasks.pass(0.2)
    assert.is_nil((cache:get("k")))
  end))

  it("a lifetime begins when the load has ended", tasks.virtual(function()
    local cache = perigee.new { default_ttl = 1 }
    tasks.await(cache.get, cache, "k", (tasks.slow(5, 1)))
    tasks.pass(0.8)
    assert.is_true(cache:contains("k"))
    tasks.pass(0.3)
    assert.is_false(cache:contains("k"))
  end))

  it("very long and very short ones are told apart", tasks.virtual(function()
    local cache = perigee.new()
    local ttls = { 0.001, 1, 60, 3600, 86400, 30 * 86400, 365 * 86400, 1e9, 1e15, math.huge }
    for i, ttl in ipairs(ttls) do
      cache:set(i, i, ttl)
    end
    local passed = 0
    for i = 1, 7 do
      tasks.pass(ttls[i] * 1.01 - passed)
      passed = ttls[i] * 1.01
      for j = 1, #ttls do
        assert.are.equal(j > i, cache:contains(j))
      end
      assert.are.equal(#ttls - i, cache:get_metrics().size)
    end
  end))

  describe("neg_ttl", function()
    it("is default_ttl when nothing is said", tasks.virtual(function()
      local cache = perigee.new { default_ttl = 1 }
      cache:get("k", value(nil))
      assert.are.near(1, cache:ttl("k"), 0.01)
      tasks.pass(1.1)
      assert.is_false(cache:contains("k"))
    end))

    it("bounds a loaded nil and leaves values alone", tasks.virtual(function()
      local cache = perigee.new { default_ttl = 60, neg_ttl = 1 }
      cache:get("nil", value(nil))
      cache:get("false", value(false))
      tasks.pass(1.1)
      assert.is_false(cache:contains("nil"))
      assert.is_true(cache:contains("false"))
    end))

    it("bounds a nil that was set", function()
      local cache = perigee.new { neg_ttl = 5 }
      cache:set("k", nil)
      assert.are.near(5, cache:ttl("k"), 0.1)
      cache:set("k", nil, 9)
      assert.are.near(9, cache:ttl("k"), 0.1)
    end)

    it("false keeps no nil, wherever it comes from", function()
      local cache = perigee.new { neg_ttl = false }
      local calls = 0
      local function loader()
        calls = calls + 1
      end
      cache:get("loaded", loader)
      cache:get("loaded", loader)
      assert.are.equal(2, calls)
      cache:get_many({ "batched" }, { batch_loader = function() return {} end })
      cache:set("set", nil)
      for _, key in ipairs { "loaded", "batched", "set" } do
        assert.is_false(cache:contains(key), key)
      end
    end)

    it("false does not let a value outlive a nil that came after it", function()
      local cache = perigee.new { neg_ttl = false }
      cache:set("set", "old")
      cache:set("set", nil)
      assert.is_nil((cache:get("set")))
      cache:set("refreshed", "old")
      cache:refresh("refreshed", value(nil))
      assert.is_nil((cache:get("refreshed")))
    end)
  end)

  describe("ttl_jitter", function()
    local function lifetimes(jitter, write)
      local cache = perigee.new { default_ttl = 100, ttl_jitter = jitter, maxsize = math.huge }
      local least, most = math.huge, 0
      for i = 1, 2000 do
        write(cache, i)
        local left = cache:ttl(i)
        least, most = math.min(least, left), math.max(most, left)
      end
      return least, most
    end

    local writes = {
      set = function(cache, i) cache:set(i, i) end,
      ["set with a ttl"] = function(cache, i) cache:set(i, i, 100) end,
      load = function(cache, i) cache:get(i, value(i)) end,
    }

    for name, write in pairs(writes) do
      it("shortens each lifetime by a random part of up to the fraction: " .. name,
        tasks.virtual(function()
          local least, most = lifetimes(0.2, write)
          assert.is_true(most <= 100 and most > 98, tostring(most))
          assert.is_true(least >= 80 and least < 82, tostring(least))
        end))
    end

    it("of 0 shortens nothing", tasks.virtual(function()
      local least, most = lifetimes(0, writes.set)
      assert.are.equal(100, least)
      assert.are.equal(100, most)
    end))

    it("of 1 still leaves every lifetime above 0", tasks.virtual(function()
      local least, most = lifetimes(1, writes.set)
      assert.is_true(least >= 0 and least < 2)
      assert.is_true(most <= 100 and most > 98)
    end))

    it("does not shorten for ever", function()
      local cache = perigee.new { ttl_jitter = 0.5 }
      cache:set("k", 1)
      assert.are.equal(math.huge, cache:ttl("k"))
    end)
  end)

  describe("touch", function()
    it("gives a living entry a new lifetime", tasks.virtual(function()
      local cache = perigee.new()
      cache:set("k", 1, 1)
      tasks.pass(0.5)
      assert.is_true(cache:touch("k", 10))
      assert.are.near(10, cache:ttl("k"), 0.01)
      tasks.pass(9)
      assert.are.equal(1, (cache:get("k")))
      assert.is_true(cache:touch("k", math.huge))
      tasks.pass(100)
      assert.are.equal(1, (cache:get("k")))
      assert.is_true(cache:touch("k", 0.5))
      tasks.pass(1)
      assert.is_nil((cache:get("k")))
    end))

    it("is false for what is absent or expired", tasks.virtual(function()
      local cache = perigee.new()
      assert.is_false(cache:touch("absent", 10))
      cache:set("k", 1, 1)
      tasks.pass(2)
      assert.is_false(cache:touch("k", 10))
      assert.is_false(cache:contains("k"))
    end))

    it("is true for a cached nil", function()
      local cache = perigee.new()
      cache:set("k", nil)
      assert.is_true(cache:touch("k", 10))
      assert.are.near(10, cache:ttl("k"), 0.1)
    end)
  end)

  describe("ttl, peek", function()
    it("tell the seconds left", tasks.virtual(function()
      local cache = perigee.new()
      cache:set("k", "v", 10)
      cache:set("for ever", "w")
      tasks.pass(4)
      assert.are.near(6, cache:ttl("k"), 0.01)
      local v, left = cache:peek("k")
      assert.are.equal("v", v)
      assert.are.near(6, left, 0.01)
      assert.are.equal(math.huge, cache:ttl("for ever"))
      assert.are.same({ "w", math.huge }, { cache:peek("for ever") })
      tasks.pass(7)
      assert.is_nil(cache:ttl("k"))
      assert.are.equal(0, #{ cache:peek("k") })
      assert.is_nil(cache:ttl("absent"))
    end))

    it("and contains count nothing and promote nothing", function()
      local cache = perigee.new { maxsize = 2, policy = "lru" }
      cache:set("a", 1)
      cache:set("b", 2)
      cache:peek("a")
      cache:contains("a")
      cache:ttl("a")
      cache:peek("absent")
      cache:contains("absent")
      local metrics = cache:get_metrics()
      assert.are.equal(0, metrics.hits + metrics.misses)
      cache:set("c", 3)
      assert.is_false(cache:contains("a"))
      assert.is_true(cache:contains("b"))
    end)
  end)

  it("expirations are counted once for each entry", tasks.virtual(function()
    local cache = perigee.new { maxsize = math.huge }
    for i = 1, 500 do
      cache:set(i, i, i % 2 == 0 and 1 or math.huge)
    end
    tasks.pass(2)
    for i = 1, 500 do
      cache:get(i)
    end
    tasks.pass(2)
    assert.are.equal(250, cache:get_metrics().expirations)
    assert.are.equal(0, cache:get_metrics().evictions)
    assert.are.equal(250, cache:get_metrics().size)
  end))

  it("the size is exact at every moment", tasks.virtual(function()
    local cache = perigee.new { maxsize = math.huge }
    for i = 1, 1000 do
      cache:set(i, i, i / 100 - 0.005)
    end
    for second = 1, 10 do
      require("perigee.testing").advance(1)
      assert.are.equal(1000 - second * 100, cache:get_metrics().size)
    end
  end))
end)

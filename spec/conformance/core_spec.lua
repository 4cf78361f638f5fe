-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

describe("conformance: core", function()
  local cache

  before_each(function()
    cache = perigee.new()
  end)

  it("1. set then get returns the value, a second set overwrites it", function()
    cache:set("key", "one")
    assert.are.equal("one", (cache:get("key")))
    cache:set("key", "two")
    assert.are.equal("two", (cache:get("key")))
  end)

  it("2. get of an unknown key without a loader is nil", function()
    assert.is_nil((cache:get("unknown")))
  end)

  it("3. a miss calls the loader once and the next get is a hit without a call", function()
    local calls = 0
    local function loader(key)
      calls = calls + 1
      return "loaded " .. key
    end
    assert.are.equal("loaded key", (cache:get("key", loader)))
    assert.are.equal("loaded key", (cache:get("key", loader)))
    assert.are.equal(1, calls)
    assert.are.equal(1, cache:get_metrics().hits)
  end)

  it("4. delete removes, and deleting an absent key is no error", function()
    cache:set("key", 1)
    cache:delete("key")
    assert.is_nil((cache:get("key")))
    assert.has_no.errors(function()
      cache:delete("key")
    end)
  end)

  it("5. clear removes all keys", function()
    cache:set("a", 1)
    cache:set("b", 2)
    cache:clear()
    assert.is_nil((cache:get("a")))
    assert.is_nil((cache:get("b")))
  end)

  it("6. the default ttl expires, a longer one outlives it, math.huge never expires",
    tasks.virtual(function()
      local timed = perigee.new { default_ttl = 0.5 }
      timed:set("default", 1)
      timed:set("longer", 2, 1)
      timed:set("for ever", 3, math.huge)
      tasks.pass(0.7)
      assert.is_nil((timed:get("default")))
      assert.are.equal(2, (timed:get("longer")))
      tasks.pass(0.7)
      assert.is_nil((timed:get("longer")))
      tasks.pass(100000)
      assert.are.equal(3, (timed:get("for ever")))
    end))

  it("7. a cache of 100 entries sets, gets and overwrites", function()
    local sized = perigee.new { maxsize = 100 }
    sized:set("key", "one")
    assert.are.equal("one", (sized:get("key")))
    sized:set("key", "two")
    assert.are.equal("two", (sized:get("key")))
  end)

  it("8. a loader's value is cached after one call", tasks.virtual(function()
    local loader, count = tasks.slow(0.1, "value")
    assert.are.equal("value", (tasks.await(cache.get, cache, "key", loader)))
    assert.are.equal("value", (tasks.await(cache.get, cache, "key", loader)))
    assert.are.equal(1, count.calls)
  end))

  it("9. a miss without a loader is nil", function()
    local value, err, source = cache:get("absent")
    assert.is_nil(value)
    assert.is_nil(err)
    assert.are.equal("miss", source)
  end)

  it("10. a value is gone after delete", function()
    cache:set("key", "value")
    cache:delete("key")
    assert.is_nil((cache:get("key")))
    assert.is_false(cache:contains("key"))
  end)

  it("11. deleting a key that was never there does not raise", function()
    assert.is_true(cache:delete("never"))
  end)

  it("12. after clear both keys are gone and the size is 0", function()
    cache:set("a", 1)
    cache:set("b", 2)
    cache:clear()
    assert.is_nil((cache:get("a")))
    assert.is_nil((cache:get("b")))
    assert.are.equal(0, cache:get_metrics().size)
  end)
end)

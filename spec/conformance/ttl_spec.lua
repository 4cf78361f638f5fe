-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

describe("conformance: ttl", function()
  it("13. a key is nil after its ttl", tasks.virtual(function()
    local cache = perigee.new { default_ttl = 0.3 }
    cache:set("key", "value")
    assert.are.equal("value", (cache:get("key")))
    tasks.pass(0.4)
    assert.is_nil((cache:get("key")))
  end))

  it("13. a key is nil after its ttl (on the real loop)", tasks.real(function()
    local cache = perigee.new { default_ttl = 0.02 }
    cache:set("key", "value")
    assert.are.equal("value", (cache:get("key")))
    tasks.pass(0.04)
    assert.is_nil((cache:get("key")))
  end))

  it("14. a key with a short ttl expires while one with the default stays",
    tasks.virtual(function()
      local cache = perigee.new { default_ttl = 10 }
      cache:set("short", 1, 0.3)
      cache:set("long", 2, 10)
      cache:set("default", 3)
      tasks.pass(0.4)
      assert.is_nil((cache:get("short")))
      assert.are.equal(2, (cache:get("long")))
      assert.are.equal(3, (cache:get("default")))
    end))

  it("15. a ttl of math.huge beats the default ttl", tasks.virtual(function()
    local cache = perigee.new { default_ttl = 0.3 }
    cache:set("key", "value", math.huge)
    tasks.pass(0.4)
    assert.are.equal("value", (cache:get("key")))
  end))

  it("16. contains is false after expiry", tasks.virtual(function()
    local cache = perigee.new { default_ttl = 0.3 }
    cache:set("key", "value")
    assert.is_true(cache:contains("key"))
    tasks.pass(0.4)
    assert.is_false(cache:contains("key"))
  end))

  it("17. contains on two expired keys is false and the size becomes 0",
    tasks.virtual(function()
      local cache = perigee.new { default_ttl = 0.1 }
      cache:set("a", 1)
      cache:set("b", 2)
      tasks.pass(0.2)
      assert.is_false(cache:contains("a"))
      assert.is_false(cache:contains("b"))
      assert.are.equal(0, cache:get_metrics().size)
    end))

  it("18. fifty tasks that look for expired keys all see false", tasks.virtual(function()
    local cache = perigee.new { default_ttl = 0.1 }
    for i = 1, 10 do
      cache:set(i, i)
    end
    tasks.pass(0.2)
    local jobs = tasks.together(50, function(i)
      perigee.sleep(0.001 * (i % 5))
      return cache:contains(i % 10 + 1)
    end)
    for _, job in ipairs(jobs) do
      assert.is_true(job.ok)
      assert.is_false(job[1])
    end
  end))
end)

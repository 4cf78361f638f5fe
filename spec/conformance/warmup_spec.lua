-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

describe("conformance: warmup", function()
  it("41. two loaders run once each and their values are then served without a load",
    tasks.virtual(function()
      local cache = perigee.new()
      local loader, count = tasks.slow(0.05, function(key)
        return key .. "!"
      end)
      assert.is_true(tasks.await(cache.warmup, cache, { a = loader, b = loader }))
      assert.are.equal("a!", (cache:get("a", loader)))
      assert.are.equal("b!", (cache:get("b", loader)))
      assert.are.equal(2, count.calls)
    end))

  it("42. three keys are loaded and cached", tasks.virtual(function()
    local cache = perigee.new()
    local loaders = {}
    for i = 1, 3 do
      loaders["key" .. i] = function()
        return i
      end
    end
    assert.is_true(cache:warmup(loaders))
    for i = 1, 3 do
      assert.are.equal(i, (cache:get("key" .. i)))
    end
    assert.are.equal(3, cache:get_metrics().size)
  end))

  it("43. a value that is there is not overwritten", tasks.virtual(function()
    local cache, called = perigee.new(), false
    cache:set("key", "old")
    assert.is_true(cache:warmup { key = function()
      called = true
      return "new"
    end })
    assert.are.equal("old", (cache:get("key")))
    assert.is_false(called)
  end))
end)

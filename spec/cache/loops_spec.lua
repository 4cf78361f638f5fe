-- SPDX-License-Identifier: MIT
-- suites: dev hard
-- Outside any loop: inside one, perigee.run is a scope, and its end ends no load.
local perigee = require "perigee"
local testing = require "perigee.testing"
local tasks = require "spec.support.tasks"

describe("loads and the end of a run", function()
  it("a load that was cut off does not keep its key in the next loop", function()
    local cache = perigee.new()
    for round = 1, 3 do
      perigee.run(function()
        perigee.spawn(cache.get, cache, "k", (tasks.slow(1000, "never")))
        perigee.sleep(0.001)
      end)
      perigee.run(function()
        assert.are.same({ round, nil, "load" },
          { cache:get("k", function()
            perigee.sleep(0.001)
            return round
          end) })
      end)
      cache:delete("k")
    end
  end)

  it("a stale refresh that was cut off is begun again in the next loop", function()
    local cache = perigee.new { default_ttl = 0.01, stale_while_revalidate = 100 }
    cache:set("k", "old")
    perigee.run(function()
      perigee.sleep(0.03)
      assert.are.equal("stale", (select(3, cache:get("k", (tasks.slow(1000, "never"))))))
    end)
    perigee.run(function()
      local opts = { loader = (tasks.slow(0.001, "new")), ttl = 60 }
      assert.are.equal("stale", (select(3, cache:get("k", opts))))
      perigee.sleep(0.03)
      assert.are.equal("new", (cache:get("k")))
    end)
  end)
end)

describe("loops", function()
  it("one after the other see one cache, and its ttl goes on between them", function()
    local cache = perigee.new()
    perigee.run(function()
      cache:set("a", 1, 0.02)
      cache:set("b", 2)
      perigee.sleep(0.005)
    end)
    assert.are.equal(2, (cache:get("b")))
    perigee.run(function()
      perigee.sleep(0.03)
      assert.is_nil((cache:get("a")))
      assert.are.equal(2, (cache:get("b")))
    end)
  end)

  it("virtual ones and real ones may follow each other", function()
    local cache = perigee.new()
    for round = 1, 3 do
      testing.run(function()
        cache:set("virtual" .. round, 1, 100)
        testing.advance(50)
        assert.is_true(cache:contains("virtual" .. round))
        testing.advance(51)
        assert.is_false(cache:contains("virtual" .. round))
      end)
      perigee.run(function()
        cache:set("real" .. round, 1, 0.01)
        assert.is_true(cache:contains("real" .. round))
        perigee.sleep(0.03)
        assert.is_false(cache:contains("real" .. round))
      end)
      cache:set("plain" .. round, 1, 100)
      assert.is_true(cache:contains("plain" .. round))
    end
  end)

  it("nested in each other share the cache's loads", tasks.virtual(function()
    local cache = perigee.new()
    local loader, count = tasks.slow(0.1, "v")
    local outer = tasks.start(cache.get, cache, "k", loader)
    local inner = tasks.start(function()
      return perigee.run(function()
        return perigee.run(function()
          return cache:get("k", loader)
        end)
      end)
    end)
    tasks.finish { outer, inner }
    assert.are.same({ "v", nil, "wait" }, { inner[1], inner[2], inner[3] })
    assert.are.equal(1, count.calls)
  end))

  it("that end with an error leave the cache whole", function()
    local cache = perigee.new()
    for round = 1, 3 do
      local ok, err = pcall(perigee.run, function()
        perigee.spawn(cache.get, cache, "k", (tasks.slow(1000, 1)))
        perigee.spawn(cache.get, cache, "b", { batch_loader = tasks.slow(1000, {}) })
        perigee.sleep(0.001)
        error({ round })
      end)
      assert.is_false(ok)
      assert.are.same({ round }, err)
      assert.are.equal(round, (cache:get("k", function() return round end)))
      cache:clear()
    end
  end)
end)

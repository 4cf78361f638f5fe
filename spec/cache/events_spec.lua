-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"
local logged = require "spec.support.logged"

local function count(event)
  local seen = { n = 0 }
  perigee.on(event, function()
    seen.n = seen.n + 1
  end)
  return seen
end

describe("perigee.on", function()
  it("tells of each load, each that failed, each eviction and each invalidation",
    tasks.virtual(function()
      local load, load_error = count "load", count "load_error"
      local evict, invalidate = count "evict", count "invalidate"
      local cache = perigee.new { maxsize = 1 }
      cache:get("a", function() return 1 end)
      cache:get("a")
      assert.are.equal(1, load.n)
      assert.are.equal(0, load_error.n + evict.n + invalidate.n)
      cache:get("b", function() return 2 end)
      assert.are.equal(1, evict.n)
      pcall(cache.get, cache, "c", function() error("away") end)
      assert.are.equal(1, load_error.n)
      cache:get("d", function() return nil, "away" end)
      assert.are.equal(2, load_error.n)
      cache:invalidate_tags("t")
      assert.are.equal(1, invalidate.n)
    end))

  it("tells what is forgotten: a key, all, tags; of wrapped functions, too", function()
    local heard, cache = {}, perigee.new { name = "forgetful" }
    local f = perigee.lru { cache = cache } (function(x) return x end)
    f(7)
    local off = perigee.on("invalidate", function(info) heard[#heard + 1] = info end)
    cache:delete "k"
    cache:clear()
    cache:invalidate_tags("t", "u")
    f:invalidate_cache(7)
    f:clear_cache()
    off()
    assert.are.same({ { cache = "forgetful", key = "k" }, { cache = "forgetful", all = true },
      { cache = "forgetful", tags = { "t", "u" } }, { cache = "forgetful", key = 7 },
      { cache = "forgetful", all = true } }, heard)
    cache:close()
  end)

  it("tells every handler", function()
    local one, two = count "load", count "load"
    perigee.new():get("k", function() end)
    assert.are.equal(1, one.n)
    assert.are.equal(1, two.n)
  end)

  it("a handler that raises is logged, breaks nothing and keeps nobody from hearing", function()
    local broken = true
    perigee.on("load", function()
      if broken then
        error("broken handler")
      end
    end)
    local after = count "load"
    local lines = logged(function()
      assert.are.equal(1, (perigee.new():get("k", function() return 1 end)))
    end)
    broken = false
    assert.are.equal(1, after.n)
    assert.is_truthy(lines[1].text:find("broken handler", 1, true))
  end)

  it("a handler may use the cache", function()
    local cache, done = perigee.new(), false
    perigee.on("load", function()
      if not done then
        done = true
        cache:set("from handler", 1)
        cache:get("loaded by handler", function() return 2 end)
      end
    end)
    assert.are.equal("v", (cache:get("k", function() return "v" end)))
    assert.are.equal(1, (cache:get("from handler")))
    assert.are.equal(2, (cache:get("loaded by handler")))
    assert.are.equal("v", (cache:get("k")))
  end)

  it("a handler that takes itself away keeps nobody from hearing", function()
    local once, off = 0, nil
    off = perigee.on("load", function()
      once = once + 1
      off()
    end)
    local after = count "load"
    local cache = perigee.new()
    cache:get("a", function() return 1 end)
    cache:get("b", function() return 2 end)
    assert.are.equal(1, once)
    assert.are.equal(2, after.n)
  end)

  it("knows the events of tiers and agents, which nothing here raises", function()
    assert.has_no.errors(function()
      perigee.on("remote_error", function() end)
      perigee.on("loop", function() end)
    end)
  end)
end)

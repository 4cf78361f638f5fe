-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function by_value(_, value)
  return value
end

local function total(cache)
  local sum, count = 0, 0
  for _, value in cache:entries() do
    sum, count = sum + value, count + 1
  end
  return sum, count
end

describe("maxweight", function()
  it("bounds the sum of the weights", function()
    local cache = perigee.new { maxsize = 100, maxweight = 10, weigh = by_value, policy = "lru" }
    cache:set("a", 4)
    cache:set("b", 4)
    cache:set("c", 4)
    assert.is_false(cache:contains("a"))
    assert.is_true(cache:contains("b"))
    assert.is_true(cache:contains("c"))
  end)

  it("is a bound beside maxsize", function()
    local cache = perigee.new { maxsize = 2, maxweight = 1000, weigh = by_value }
    for i = 1, 5 do
      cache:set(i, 1)
    end
    assert.are.equal(2, cache:get_metrics().size)
  end)

  it("hands weigh the key and the value", function()
    local seen
    local cache = perigee.new { maxweight = 10, weigh = function(...)
      seen = { select("#", ...), ... }
      return 1
    end }
    cache:set("k", "v")
    assert.are.same({ 2, "k", "v" }, seen)
  end)

  it("counts a loaded value too", function()
    local cache = perigee.new { maxweight = 10, weigh = by_value, policy = "lru" }
    cache:get("a", function() return 6 end)
    cache:get("b", function() return 6 end)
    assert.is_false(cache:contains("a"))
    assert.is_true(cache:contains("b"))
  end)

  it("weighs a replaced value anew", function()
    local cache = perigee.new { maxweight = 10, weigh = by_value, policy = "lru" }
    cache:set("a", 2)
    cache:set("b", 2)
    cache:set("a", 9)
    assert.is_true(cache:contains("a"))
    assert.is_false(cache:contains("b"))
    cache:set("a", 1)
    cache:set("b", 9)
    assert.is_true(cache:contains("a"))
  end)

  it("does not store what is heavier than the bound, nor keeps the value before it", function()
    local cache = perigee.new { maxweight = 10, weigh = by_value }
    cache:set("a", 5)
    cache:set("other", 5)
    assert.is_true(cache:set("a", 11))
    assert.is_false(cache:contains("a"))
    assert.is_true(cache:contains("other"))
    assert.are.equal(50, (cache:get("heavy", function() return 50 end)))
    assert.is_false(cache:contains("heavy"))
  end)

  it("weighs a number anew that was incremented", function()
    local cache = perigee.new { maxweight = 10, weigh = by_value, policy = "lru" }
    cache:set("other", 5)
    cache:set("n", 1)
    assert.are.equal(9, cache:incr("n", 8))
    assert.is_true((total(cache)) <= 10)
    assert.are.equal(9, (cache:get("n")))
  end)

  it("lets a number go that has become heavier than the bound", function()
    local gone = {}
    local cache = perigee.new { maxweight = 10, weigh = by_value, policy = "lru",
      on_evict = function(key, value, reason) gone[#gone + 1] = { key, value, reason } end }
    cache:set("other", 5)
    cache:set("n", 1)
    assert.are.equal(21, cache:incr("n", 20))
    assert.are.same({ { "n", 21, "size" } }, gone)
    assert.are.same({ 5, 1 }, { total(cache) })
    assert.are.equal(3, cache:incr("n", 3))
  end)

  it("begins a number anew that weighing it has made go", function()
    local cache
    cache = perigee.new { maxweight = 100, weigh = function(_, value)
      if value == 2 then cache:delete "n" end
      return 1
    end }
    cache:set("n", 1)
    assert.are.equal(1, cache:incr("n", 1))
  end)

  it("makes a load fail that brings what cannot be weighed", function()
    local cache = perigee.new { maxweight = 10, weigh = function() return "heavy" end }
    local ok, err = pcall(cache.get, cache, "k", function() return "v" end)
    assert.is_false(ok)
    assert.matches("weigh.*number >= 0.*heavy", err)
    assert.is_false(cache:contains "k")
    assert.are.equal(1, cache:get_metrics().load_errors)
  end)

  it("is given with the bound, or not at all", function()
    for _, opts in ipairs { { maxweight = 1 }, { weigh = by_value } } do
      local ok, err = pcall(perigee.new, opts)
      assert.is_false(ok)
      assert.matches("maxweight.*weigh.*together", err)
    end
  end)

  it("gives weight back when entries leave", tasks.virtual(function()
    local cache = perigee.new { maxweight = 10, weigh = by_value }
    cache:set("deleted", 9)
    cache:delete("deleted")
    cache:set("cleared", 9)
    cache:clear()
    cache:set("tagged", 9, { tags = { "t" } })
    cache:invalidate_tags("t")
    cache:set("expired", 9, 1)
    tasks.pass(2)
    cache:set("stays", 9)
    assert.is_true(cache:contains("stays"))
    assert.are.equal(0, cache:get_metrics().evictions)
  end))

  it("lets the expired go before the living", tasks.virtual(function()
    local cache = perigee.new { maxweight = 100, weigh = by_value }
    for i = 1, 5 do
      cache:set("live" .. i, 10)
      cache:set("short" .. i, 10, 0.1)
    end
    tasks.pass(1)
    for i = 1, 5 do
      cache:set("new" .. i, 10)
    end
    assert.are.same({ 100, 10 }, { total(cache) })
  end))

  for _, policy in ipairs { "lru", "fifo", "sieve", "s3fifo", "wtinylfu", "auto" } do
    it("holds whatever happens (" .. policy .. ")", tasks.virtual(function()
      math.randomseed(3)
      local cache = perigee.new { maxsize = 1000, maxweight = 100, weigh = by_value,
        policy = policy }
      for i = 1, 5000 do
        local weight = math.random(0, 30)
        cache:set(math.random(50), weight, math.random(3) == 1 and math.random() or nil)
        if i % 7 == 0 then
          cache:delete(math.random(50))
        elseif i % 50 == 0 then
          tasks.pass(0.1)
        end
        assert.is_true((total(cache)) <= 100)
      end
    end))
  end
end)

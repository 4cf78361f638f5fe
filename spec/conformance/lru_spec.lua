-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function load_all(cache, keys)
  local loader, count = tasks.slow(0.01, function(key)
    return "value " .. key
  end)
  local jobs = tasks.together(#keys, function(i)
    return cache:get(keys[i], loader)
  end)
  for i, job in ipairs(jobs) do
    assert.is_true(job.ok)
    assert.are.equal("value " .. keys[i], job[1])
  end
  return count
end

local function numbered(n)
  local keys = {}
  for i = 1, n do
    keys[i] = "key" .. i
  end
  return keys
end

local function shuffled(keys, seed)
  math.randomseed(seed)
  for i = #keys, 2, -1 do
    local j = math.random(i)
    keys[i], keys[j] = keys[j], keys[i]
  end
  return keys
end

describe("conformance: lru and maxsize", function()
  it("19. the least recently used key is evicted", function()
    local cache = perigee.new { maxsize = 3, policy = "lru" }
    cache:set("a", 1)
    cache:set("b", 2)
    cache:set("c", 3)
    cache:get("a")
    cache:set("d", 4)
    assert.is_false(cache:contains("b"))
    assert.is_true(cache:contains("a"))
    assert.is_true(cache:contains("c"))
    assert.is_true(cache:contains("d"))
  end)

  it("20. without a bound a thousand entries stay", function()
    local cache = perigee.new { maxsize = math.huge }
    for i = 1, 1000 do
      cache:set(i, i * 2)
    end
    for i = 1, 1000 do
      assert.are.equal(i * 2, (cache:get(i)))
    end
    assert.are.equal(1000, cache:get_metrics().size)
  end)

  it("21. a cache of size 0 stores nothing", function()
    local cache = perigee.new { maxsize = 0 }
    cache:set("key", "value")
    assert.is_nil((cache:get("key")))
  end)

  it("22. the size of a cache of size 0 stays 0 after ten sets", function()
    local cache = perigee.new { maxsize = 0 }
    for i = 1, 10 do
      cache:set(i, i)
    end
    assert.are.equal(0, cache:get_metrics().size)
  end)

  it("23. contains does not promote a key", function()
    local cache = perigee.new { maxsize = 3, policy = "lru" }
    cache:set("a", 1)
    cache:set("b", 2)
    cache:set("c", 3)
    assert.is_true(cache:contains("a"))
    cache:set("d", 4)
    assert.is_false(cache:contains("a"))
    assert.is_true(cache:contains("b"))
  end)

  it("24. a hundred loads at once into 94 places leave 94 entries", tasks.virtual(function()
    local cache = perigee.new { maxsize = 94, policy = "lru" }
    local keys = numbered(100)
    load_all(cache, keys)
    assert.are.equal(94, cache:get_metrics().size)
    assert.are.equal(100, cache:get_metrics().misses)
    load_all(cache, keys)
    local metrics = cache:get_metrics()
    assert.is_true(metrics.hits >= 89)
    assert.are.equal(94, metrics.size)
  end))

  it("25. under pressure at least 45 of 50 places answer a shuffled second round",
    tasks.virtual(function()
      local cache = perigee.new { maxsize = 50, policy = "lru" }
      local keys = numbered(100)
      load_all(cache, keys)
      local before = cache:get_metrics()
      load_all(cache, shuffled(keys, 7))
      local after = cache:get_metrics()
      assert.is_true(after.hits - before.hits >= 45)
      assert.is_true(after.misses - before.misses <= 55)
    end))
end)

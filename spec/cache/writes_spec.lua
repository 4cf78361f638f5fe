-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function content(cache)
  local map = {}
  for key, value in cache:entries() do
    map[key] = value
  end
  return map
end

describe("cache:set", function()
  it("returns true", function()
    assert.is_true(perigee.new():set("k", 1))
    assert.is_true(perigee.new():set("k", 1, 5))
    assert.is_true(perigee.new():set("k", nil))
  end)

  it("takes ttl, tags and write_remote", function()
    local cache = perigee.new()
    assert.is_true(cache:set("k", 1, { ttl = 5, tags = { "t" }, write_remote = false }))
    assert.are.near(5, cache:ttl("k"), 0.1)
    cache:invalidate_tags("t")
    assert.is_false(cache:contains("k"))
  end)

  it("leaves the options as they were", function()
    local opts = { ttl = 5, tags = { "t", { "u", "v" } } }
    perigee.new():set("k", 1, opts)
    assert.are.same({ ttl = 5, tags = { "t", { "u", "v" } } }, opts)
  end)

  it("counts neither a hit nor a miss nor a load", function()
    local cache = perigee.new()
    cache:set("k", 1)
    cache:set("k", 2)
    local metrics = cache:get_metrics()
    assert.are.equal(0, metrics.hits + metrics.misses + metrics.loads)
  end)
end)

describe("cache:add", function()
  it("sets only what is absent", function()
    local cache = perigee.new()
    assert.is_true(cache:add("k", 1))
    assert.is_false(cache:add("k", 2))
    assert.are.equal(1, (cache:get("k")))
    cache:delete("k")
    assert.is_true(cache:add("k", 3, 5))
    assert.are.near(5, cache:ttl("k"), 0.1)
  end)

  it("takes a ttl and tags, and leaves those of what is there", function()
    local cache = perigee.new()
    assert.is_true(cache:add("k", 1, { ttl = 5, tags = { "t" } }))
    assert.is_false(cache:add("k", 2, { ttl = 50, tags = { "u" } }))
    assert.are.near(5, cache:ttl("k"), 0.1)
    cache:invalidate_tags("u")
    assert.is_true(cache:contains("k"))
    cache:invalidate_tags("t")
    assert.is_false(cache:contains("k"))
  end)

  it("sets what has expired and what was cleared", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("k", 1, 1)
    tasks.pass(2)
    assert.is_true(cache:add("k", 2))
    cache:clear()
    assert.is_true(cache:add("k", 3))
    assert.are.equal(3, (cache:get("k")))
  end))

  it("that was refused does not cost a running load its result", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("k", "old")
    local job = tasks.start(cache.refresh, cache, "k", (tasks.slow(0.1, "new")))
    tasks.pass(0.05)
    assert.is_false(cache:add("k", "added"))
    tasks.finish(job)
    assert.are.equal("new", (cache:get("k")))
  end))
end)

describe("cache:incr", function()
  it("adds to what is there and returns the sum", function()
    local cache = perigee.new()
    cache:set("n", 5)
    assert.are.equal(7, cache:incr("n", 2))
    assert.are.equal(6.5, cache:incr("n", -0.5))
    assert.are.equal(6.5, (cache:get("n")))
  end)

  it("begins with the initial value, 0 when none is given", function()
    local cache = perigee.new()
    assert.are.equal(1, cache:incr("a", 1))
    assert.are.equal(11, cache:incr("b", 1, 10))
    assert.are.equal(12, cache:incr("b", 1, 10))
  end)

  it("counts a rate within a lifetime that further calls do not lengthen",
    tasks.virtual(function()
      local cache = perigee.new()
      for i = 1, 9 do
        assert.are.equal(i, cache:incr("rate", 1, 0, 1))
        tasks.pass(0.1)
      end
      assert.are.near(0.1, cache:ttl("rate"), 0.01)
      tasks.pass(0.2)
      assert.are.equal(1, cache:incr("rate", 1, 0, 1))
      assert.are.near(1, cache:ttl("rate"), 0.01)
    end))

  it("keeps the tags of what is there", function()
    local cache = perigee.new()
    cache:set("n", 5, { tags = { "t" } })
    cache:incr("n", 1)
    cache:invalidate_tags("t")
    assert.is_false(cache:contains("n"))
  end)
end)

describe("cache:set_many", function()
  it("sets every pair and returns true", function()
    local cache = perigee.new()
    assert.is_true(cache:set_many { a = 1, [2] = "two", [true] = false })
    assert.are.same({ a = 1, [2] = "two", [true] = false }, content(cache))
    assert.is_true(cache:set_many {})
  end)

  it("takes a ttl or options for all of them", function()
    local cache = perigee.new()
    cache:set_many({ a = 1, b = 2 }, 5)
    assert.are.near(5, cache:ttl("a"), 0.1)
    cache:set_many({ a = 1, b = 2 }, { ttl = 9, tags = { "t" }, write_remote = false })
    assert.are.near(9, cache:ttl("b"), 0.1)
    cache:invalidate_tags("t")
    assert.are.same({}, content(cache))
  end)
end)

describe("cache:delete, cache:clear", function()
  it("return true, also when nothing was there", function()
    local cache = perigee.new()
    assert.is_true(cache:delete("absent"))
    cache:set("k", 1)
    assert.is_true(cache:delete("k"))
    assert.is_true(cache:clear())
    assert.is_true(cache:clear())
  end)

  it("leave room at once", function()
    local cache = perigee.new { maxsize = 10 }
    for i = 1, 10 do
      cache:set(i, i)
    end
    cache:delete(3)
    cache:set("new", 1)
    assert.are.equal(10, cache:get_metrics().size)
    assert.are.equal(0, cache:get_metrics().evictions)
    cache:clear()
    for i = 1, 10 do
      cache:set("again" .. i, i)
    end
    for i = 1, 10 do
      assert.are.equal(i, (cache:get("again" .. i)))
    end
    assert.are.equal(10, cache:get_metrics().size)
    assert.are.equal(0, cache:get_metrics().evictions)
  end)

  it("clear is quick, whatever is in the cache, and lets go of it in time",
    tasks.virtual(function()
      local cache, values, least = nil, nil, math.huge
      for _ = 1, 3 do -- the processor may have been busy with something else
        cache = perigee.new { maxsize = math.huge }
        values = setmetatable({}, { __mode = "v" })
        for i = 1, 100000 do
          local value = {}
          cache:set(i, value)
          if i % 100 == 0 then
            values[i] = value
          end
        end
        local started = os.clock()
        cache:clear()
        least = math.min(least, os.clock() - started)
      end
      assert.is_true(least < 0.002)
      assert.are.equal(0, cache:get_metrics().size)
      assert.is_false(cache:contains(1))
      cache:set(1, "new")
      assert.are.same({ "new" }, content(cache))
      tasks.pass(10)
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(values))
      assert.are.equal("new", (cache:get(1)))
      assert.are.equal(1, cache:get_metrics().size)
    end))
end)

describe("cache:entries", function()
  it("gives key, value and seconds left of what is alive", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("a", 1)
    cache:set("b", 2, 10)
    cache:set("nil", nil)
    cache:set("expired", 3, 1)
    cache:set("dead", 4, { tags = { "t" } })
    cache:set("deleted", 5)
    cache:delete("deleted")
    cache:invalidate_tags("t")
    tasks.pass(2)
    local seen = {}
    for key, value, left in cache:entries() do
      assert.is_nil(seen[key])
      seen[key] = { value, left }
    end
    assert.are.near(8, seen.b[2], 0.01)
    seen.b[2] = "about 8"
    assert.are.same({ a = { 1, math.huge }, b = { 2, "about 8" }, ["nil"] = { nil, math.huge } },
      seen)
  end))

  it("gives every entry that stays, though the body deletes, sets and loads",
    tasks.virtual(function()
      local cache = perigee.new { maxsize = math.huge }
      for i = 1, 1000 do
        cache:set(i, i)
      end
      local seen = {}
      for key in cache:entries() do
        assert.is_nil(seen[key])
        seen[key] = true
        if type(key) == "number" then
          cache:delete(key)
          if key % 10 == 0 then
            cache:set("extra" .. key, 1)
            perigee.sleep(0)
          end
        end
      end
      for i = 1, 1000 do
        assert.is_true(seen[i])
      end
    end))

  it("counts and promotes nothing", function()
    local cache = perigee.new { maxsize = 2, policy = "lru" }
    cache:set("a", 1)
    cache:set("b", 2)
    for _ in cache:entries() do end
    cache:set("c", 3)
    assert.is_false(cache:contains("a"))
    assert.are.equal(0, cache:get_metrics().hits)
  end)

  it("of an empty cache ends at once", function()
    assert.are.same({}, content(perigee.new()))
    assert.are.same({}, content(perigee.new { maxsize = 0 }))
  end)
end)

describe("cache:resize", function()
  for _, policy in ipairs { "lru", "fifo", "sieve", "s3fifo" } do
    it("bounds the cache anew (" .. policy .. ")", function()
      local cache = perigee.new { maxsize = 100, policy = policy }
      for i = 1, 100 do
        cache:set(i, i)
      end
      cache:resize(10)
      assert.are.equal(10, cache:get_metrics().size)
      assert.are.equal(90, cache:get_metrics().evictions)
      for i = 101, 200 do
        cache:set(i, i)
        assert.are.equal(i, (cache:get(i)))
        assert.is_true(cache:get_metrics().size <= 10)
      end
      cache:resize(50)
      for i = 201, 300 do
        cache:set(i, i)
      end
      assert.are.equal(50, cache:get_metrics().size)
      cache:resize(math.huge)
      for i = 301, 1000 do
        cache:set(i, i)
      end
      assert.are.equal(750, cache:get_metrics().size)
      cache:resize(0)
      assert.are.equal(0, cache:get_metrics().size)
      cache:set("k", 1)
      assert.is_false(cache:contains("k"))
      cache:resize(1)
      cache:set("k", 1)
      assert.is_true(cache:contains("k"))
    end)
  end

  it("lets the least recently used go", function()
    local cache = perigee.new { maxsize = 4, policy = "lru" }
    for i = 1, 4 do
      cache:set(i, i)
    end
    cache:get(1)
    cache:resize(2)
    assert.are.same({ [1] = 1, [4] = 4 }, content(cache))
  end)
end)

describe("cache:close", function()
  it("lets go of what was in it", function()
    local cache = perigee.new()
    local weak = setmetatable({}, { __mode = "v" })
    local function fill()
      weak[1] = {}
      cache:set("k", weak[1])
    end
    fill()
    cache:close()
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
  end)

  it("during a load gives its callers the result", tasks.virtual(function()
    local cache = perigee.new()
    local jobs = tasks.start_many(2, function()
      return cache:get("k", (tasks.slow(0.1, "v")))
    end)
    tasks.pass(0.05)
    cache:close()
    tasks.finish(jobs)
    for _, job in ipairs(jobs) do
      assert.is_true(job.ok and job[1] == "v" or tostring(job[1]):find("closed") ~= nil)
    end
  end))
end)

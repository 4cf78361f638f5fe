-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"
local logged = require "spec.support.logged"

local function value(x)
  return function() return x end
end

local function three(...)
  return { (select(1, ...)), (select(2, ...)), (select(3, ...)) }
end

describe("stale_while_revalidate", function()
  local function stale_cache(more)
    local opts = { default_ttl = 1, stale_while_revalidate = 10 }
    for name, option in pairs(more or {}) do
      opts[name] = option
    end
    local cache = perigee.new(opts)
    cache:set("k", "old")
    tasks.pass(1.5)
    return cache
  end

  it("gives the old value at once and refreshes it with one load", tasks.virtual(function()
    local cache = stale_cache()
    local loader, count = tasks.slow(0.5, "new")
    for _ = 1, 5 do
      assert.are.same({ "old", nil, "stale" }, three(cache:get("k", loader)))
    end
    tasks.settle()
    assert.are.equal(1, count.calls)
    tasks.pass(0.6)
    assert.are.same({ "new", nil, "memory" }, three(cache:get("k", loader)))
    assert.are.equal(1, count.calls)
    assert.are.near(0.9, cache:ttl("k"), 0.02)
  end))

  it("works so on the real loop", tasks.real(function()
    local cache = perigee.new { default_ttl = 0.01, stale_while_revalidate = 10 }
    cache:set("k", "old")
    tasks.pass(0.03)
    local loader, count = tasks.slow(0.02, "new")
    assert.are.same({ "old", nil, "stale" }, three(cache:get("k", { loader = loader, ttl = 60 })))
    assert.are.same({ "old", nil, "stale" }, three(cache:get("k", { loader = loader, ttl = 60 })))
    while cache:peek "k" ~= "new" do tasks.pass(0.01) end
    assert.are.same({ "new", nil, "memory" }, three(cache:get("k", loader)))
    assert.are.equal(1, count.calls)
  end))

  it("counts a stale value as a hit and as a stale hit, not as a miss", tasks.virtual(function()
    local cache = stale_cache()
    cache:get("k", (tasks.slow(0.5, "new")))
    cache:get("k", (tasks.slow(0.5, "new")))
    local metrics = cache:get_metrics()
    assert.are.equal(2, metrics.hits)
    assert.are.equal(2, metrics.stale_hits)
    assert.are.equal(0, metrics.misses)
  end))

  it("makes a stale value absent to peek, contains, ttl, touch, entries and size",
    tasks.virtual(function()
      local cache = stale_cache()
      assert.are.equal(0, #{ cache:peek("k") })
      assert.is_false(cache:contains("k"))
      assert.is_nil(cache:ttl("k"))
      assert.is_false(cache:touch("k", 5))
      for key in cache:entries() do
        error("seen: " .. tostring(key))
      end
      assert.are.equal(0, cache:get_metrics().size)
      assert.is_true(cache:add("k", "added"))
      assert.are.equal("added", (cache:get("k")))
    end))

  it("keeps the old value when the refresh fails, until it is really old",
    tasks.virtual(function()
      local cache = stale_cache()
      local calls = 0
      local function loader()
        calls = calls + 1
        error("away")
      end
      logged(function()
        for _ = 1, 3 do
          assert.are.same({ "old", nil, "stale" }, three(cache:get("k", loader)))
          tasks.pass(1)
        end
        assert.are.equal(3, calls)
        tasks.pass(7)
      end)
      local ok, err = pcall(cache.get, cache, "k", loader)
      assert.is_false(ok)
      assert.is_truthy(err:find("away", 1, true))
    end))

  it("waits for a load once the time is over", tasks.virtual(function()
    local cache = stale_cache()
    tasks.pass(10)
    assert.are.same({ "new", nil, "load" }, three(cache:get("k", value("new"))))
  end))

  it("refreshes a stale nil too", tasks.virtual(function()
    local cache = perigee.new { default_ttl = 1, stale_while_revalidate = 10 }
    cache:set("k", nil)
    tasks.pass(2)
    assert.are.same({ nil, nil, "stale" }, three(cache:get("k", (tasks.slow(0.1, "new")))))
    tasks.pass(0.2)
    assert.are.equal("new", (cache:get("k")))
  end))

  for name, forget in pairs {
    delete = function(cache) cache:delete("k") end,
    clear = function(cache) cache:clear() end,
    invalidate_tags = function(cache) cache:invalidate_tags("t") end,
  } do
    it(name .. " forgets a stale value", tasks.virtual(function()
      local cache = perigee.new { default_ttl = 1, stale_while_revalidate = 10 }
      cache:set("k", "old", { tags = { "t" } })
      tasks.pass(2)
      forget(cache)
      assert.are.same({ "new", nil, "load" }, three(cache:get("k", value("new"))))
    end))

    it(name .. " discards a refresh that runs", tasks.virtual(function()
      local cache = perigee.new { default_ttl = 1, stale_while_revalidate = 10 }
      cache:set("k", "old", { tags = { "t" } })
      tasks.pass(2)
      cache:get("k", { loader = (tasks.slow(0.5, "read before")), tags = { "t" } })
      tasks.pass(0.1)
      forget(cache)
      tasks.pass(1)
      assert.is_false(cache:contains("k"))
    end))
  end

  it("a set discards a refresh that runs", tasks.virtual(function()
    local cache = stale_cache()
    cache:get("k", (tasks.slow(0.5, "read before")))
    tasks.pass(0.1)
    cache:set("k", "written", 60)
    tasks.pass(1)
    assert.are.equal("written", (cache:get("k")))
  end))

  it("serves and refreshes many keys with get_many", tasks.virtual(function()
    local cache = perigee.new { default_ttl = 1, stale_while_revalidate = 10 }
    cache:set_many { a = 1, b = 2 }
    tasks.pass(2)
    local asked = 0
    local function batch_loader(keys)
      asked = asked + #keys
      perigee.sleep(0.1)
      return { a = 10, b = 20 }
    end
    local values, errors, sources = cache:get_many({ "a", "b" }, { batch_loader = batch_loader })
    assert.are.same({ a = 1, b = 2 }, values)
    assert.is_nil(errors)
    assert.are.same({ a = "stale", b = "stale" }, sources)
    tasks.pass(0.3)
    assert.are.equal(10, (cache:get("a")))
    assert.are.equal(20, (cache:get("b")))
    assert.are.equal(2, asked)
  end))

  for _, policy in ipairs { "lru", "fifo", "sieve", "s3fifo" } do
    it("stale entries never push out live ones (" .. policy .. ")", tasks.virtual(function()
      local cache = perigee.new { maxsize = 10, policy = policy, stale_while_revalidate = 100 }
      for i = 1, 5 do
        cache:set("live" .. i, i)
      end
      for i = 1, 5 do
        cache:set("stale" .. i, i, 1)
      end
      tasks.pass(2)
      for i = 1, 5 do
        cache:set("new" .. i, i)
      end
      for i = 1, 5 do
        assert.is_true(cache:contains("live" .. i))
        assert.is_true(cache:contains("new" .. i))
      end
    end))
  end
end)

describe("stale_if_error", function()
  local function old_cache(more)
    local opts = { default_ttl = 1, stale_if_error = 10 }
    for name, option in pairs(more or {}) do
      opts[name] = option
    end
    local cache = perigee.new(opts)
    cache:set("k", "old")
    tasks.pass(1.5)
    return cache
  end

  it("serves the old value, without an err, when the load raises", tasks.virtual(function()
    local cache = old_cache()
    assert.are.same({ "old", nil, "stale" }, three(cache:get("k", function() error("away") end)))
    local metrics = cache:get_metrics()
    assert.are.equal(1, metrics.hits)
    assert.are.equal(1, metrics.stale_hits)
    assert.are.equal(1, metrics.load_errors)
  end))

  it("serves the old value when the load returns an err", tasks.virtual(function()
    local cache = old_cache()
    assert.are.same({ "old", nil, "stale" },
      three(cache:get("k", function() return nil, "away" end)))
  end))

  it("serves the old value when the load takes too long", tasks.virtual(function()
    local cache = old_cache { load_timeout = 0.5 }
    local job = tasks.start(cache.get, cache, "k", (tasks.slow(1000, "late")))
    tasks.pass(0.7)
    assert.is_true(job.done)
    assert.are.same({ "old", nil, "stale" }, { job[1], job[2], job[3] })
  end))

  it("serves the old value to all that waited", tasks.virtual(function()
    local cache = old_cache()
    local jobs = tasks.together(5, function()
      return cache:get("k", function()
        perigee.sleep(0.1)
        error("away")
      end)
    end)
    for _, job in ipairs(jobs) do
      assert.are.same({ "old", nil, "stale" }, { job[1], job[2], job[3] })
    end
    assert.are.equal(5, cache:get_metrics().stale_hits)
  end))

  it("waits for a load that works", tasks.virtual(function()
    local cache = old_cache()
    assert.are.same({ "new", nil, "load" }, three(cache:get("k", value("new"))))
  end))

  it("raises what the load raised once the time is over", tasks.virtual(function()
    local cache = old_cache()
    tasks.pass(10)
    local object = {}
    local ok, err = pcall(cache.get, cache, "k", function() error(object) end)
    assert.is_false(ok)
    assert.are.equal(object, err)
  end))

  it("does not bring back what was forgotten while the load ran", tasks.virtual(function()
    local cache = old_cache()
    local job = tasks.start(cache.get, cache, "k", function()
      perigee.sleep(0.1)
      error("away", 0)
    end)
    tasks.pass(0.05)
    cache:delete("k")
    tasks.finish(job)
    assert.is_false(job.ok)
    assert.are.equal("away", job[1])
  end))

  it("serves the old value of one key whose part of a batch failed", tasks.virtual(function()
    local cache = old_cache()
    local function batch_loader()
      return { fine = 1 }, { k = "away" }
    end
    local values, errors, sources = cache:get_many({ "k", "fine" }, { batch_loader = batch_loader })
    assert.are.same({ k = "old", fine = 1 }, values)
    assert.is_nil(errors)
    assert.are.equal("stale", sources.k)
  end))

  it("takes over where stale_while_revalidate ends", tasks.virtual(function()
    local cache = old_cache { stale_while_revalidate = 1, stale_if_error = 5 }
    local function failing() error("away") end
    logged(function()
      assert.are.same({ "old", nil, "stale" }, three(cache:get("k", failing)))
    end)
    tasks.pass(2)
    assert.are.same({ "old", nil, "stale" }, three(cache:get("k", failing)))
    assert.are.same({ "new", nil, "load" }, three(cache:get("k", value("new"))))
  end))
end)

describe("a time for stale values that does not end", function()
  for _, seconds in ipairs { math.huge, 1e300 } do
    it(("serves what is old instead of an error (%g)"):format(seconds), tasks.virtual(function()
      local cache = perigee.new {
        maxsize = 2, policy = "fifo", default_ttl = 1,
        stale_while_revalidate = 10, stale_if_error = seconds,
      }
      cache:set("k", "old")
      tasks.pass(1e9)
      local down = function() return nil, "down" end
      assert.are.same({ "old", nil, "stale" }, three(cache:get("k", down)))
      assert.is_false(cache:contains("k"))
      cache:set("live", 1, math.huge)
      cache:set("new", 2, math.huge) -- what is stale goes first
      assert.are.same({ nil, "down", "load" }, three(cache:get("k", down)))
      assert.is_true(cache:contains("live"))
    end))
  end

  it("refreshes an old value behind the caller, however old it is", tasks.virtual(function()
    local cache = perigee.new { default_ttl = 1, stale_while_revalidate = math.huge }
    cache:set("k", "old")
    tasks.pass(1e9)
    assert.are.same({ "old", nil, "stale" }, three(cache:get("k", value("new"))))
    tasks.settle()
    assert.are.same({ "new", nil, "memory" }, three(cache:get("k", value("newer"))))
  end))
end)

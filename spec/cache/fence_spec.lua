-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- What makes a running load of "k" (tagged "user:1") out of date, and what is there after it.
local invalidations = {
  delete = { function(cache) cache:delete("k") end },
  clear = { function(cache) cache:clear() end },
  set = { function(cache) cache:set("k", "written") end, "written" },
  ["set_many"] = { function(cache) cache:set_many { k = "written" } end, "written" },
  ["add"] = { function(cache) cache:add("k", "written") end, "written" },
  ["incr"] = { function(cache) cache:incr("k", 5, 0) end, 5 },
  ["invalidate_tags with the tag"] = { function(cache) cache:invalidate_tags("user:1") end },
  ["invalidate_tags with its parent"] = { function(cache) cache:invalidate_tags("user") end },
  ["invalidate_tags with a part below"] = { function(cache)
    cache:invalidate_tags("user:1:cart")
  end },
}

-- The ways a key can be loading.
local ways = {
  loader = function(cache, value)
    return cache:get("k", { loader = (tasks.slow(0.1, value)), tags = { "user:1" } })
  end,
  ["loader whose hints hold the tags"] = function(cache, value)
    return cache:get("k", function()
      perigee.sleep(0.1)
      return value, nil, { tags = { "user:1" } }
    end)
  end,
  ["batch loader"] = function(cache, value)
    return cache:get("k", { tags = { "user:1" }, batch_loader = function()
      perigee.sleep(0.1)
      return { k = value }
    end })
  end,
  get_many = function(cache, value)
    return cache:get_many({ "k" }, { tags = { "user:1" }, batch_loader = function()
      perigee.sleep(0.1)
      return { k = value }
    end }).k
  end,
  ["fresh get"] = function(cache, value)
    return cache:get("k", { loader = (tasks.slow(0.1, value)), tags = { "user:1" },
      use_cache = false })
  end,
  warmup = function(cache, value)
    cache:warmup { k = function()
      perigee.sleep(0.1)
      return value, nil, { tags = { "user:1" } }
    end }
    return value
  end,
}

describe("while a load runs:", function()
  for name, invalidation in pairs(invalidations) do
    for way, get in pairs(ways) do
      it(("%s wins over a %s"):format(name, way), tasks.virtual(function()
        local cache = perigee.new()
        local job = tasks.start(get, cache, "old")
        tasks.pass(0.05)
        invalidation[1](cache)
        tasks.finish(job)
        assert.is_true(job.ok, tostring(job[1]))
        assert.are.equal("old", job[1])
        assert.are.equal(invalidation[2], (cache:get("k")))
        assert.are.equal(invalidation[2] ~= nil, cache:contains("k"))
      end))
    end
  end

  for name, invalidation in pairs(invalidations) do
    if invalidation[2] == nil then
      it("a caller that comes after " .. name .. " does not get the old load",
        tasks.virtual(function()
          for way, get in pairs(ways) do
            if way ~= "warmup" then
              local cache = perigee.new()
              local old = tasks.start(get, cache, "old")
              tasks.pass(0.05)
              invalidation[1](cache)
              local new = tasks.start(get, cache, "new")
              local joined = tasks.start(get, cache, "newer")
              tasks.finish { old, new, joined }
              assert.are.equal("old", old[1], way)
              assert.are.equal("new", new[1], way)
              local last = way == "fresh get" and "newer" or "new"
              assert.are.equal(last, joined[1], way)
              assert.are.equal(last, (cache:get("k")), way)
            end
          end
        end))
    end
  end

  it("the old load's end does not put the newer load out of reach", tasks.virtual(function()
    local cache = perigee.new()
    local old = tasks.start(cache.get, cache, "k", (tasks.slow(0.1, "old")))
    tasks.pass(0.05)
    cache:delete("k")
    local newer, count = tasks.slow(0.1, "new")
    local new = tasks.start(cache.get, cache, "k", newer)
    tasks.pass(0.07)
    assert.is_true(old.done)
    assert.is_false(new.done)
    local joined = tasks.start(cache.get, cache, "k", newer)
    tasks.finish { new, joined }
    assert.are.equal("new", joined[1])
    assert.are.equal(1, count.calls)
    assert.are.equal("new", (cache:get("k")))
  end))

  it("waiters who joined before the invalidation may have the old value",
    tasks.virtual(function()
      local cache = perigee.new()
      local loader = tasks.slow(0.1, "old")
      local jobs = tasks.start_many(3, function() return cache:get("k", loader) end)
      tasks.pass(0.05)
      cache:delete("k")
      tasks.finish(jobs)
      for _, job in ipairs(jobs) do
        assert.are.equal("old", job[1])
      end
    end))

  it("an unrelated delete, set or tag does not cost the result", tasks.virtual(function()
    local cache = perigee.new()
    local job = tasks.start(cache.get, cache, "k",
      { loader = (tasks.slow(0.1, "v")), tags = { "user:1" } })
    tasks.pass(0.05)
    cache:delete("l")
    cache:set("kk", 1)
    if os.getenv("PERIGEE_PRESET") ~= "hard" then -- it remembers next to no written tags
      cache:invalidate_tags("user:2", "user:10", "use", "cart", { "user:1" })
    end
    tasks.finish(job)
    assert.are.equal("v", (cache:get("k")))
  end))

  it("a clear of another cache does not cost the result", tasks.virtual(function()
    local cache, other = perigee.new(), perigee.new()
    local job = tasks.start(cache.get, cache, "k",
      { loader = (tasks.slow(0.1, "v")), tags = { "user:1" } })
    tasks.pass(0.05)
    other:clear()
    other:invalidate_tags("user:1")
    other:delete("k")
    tasks.finish(job)
    assert.are.equal("v", (cache:get("k")))
  end))

  it("touch and peek do not cost the result", tasks.virtual(function()
    local cache = perigee.new()
    local job = tasks.start(cache.get, cache, "k", (tasks.slow(0.1, "v")))
    tasks.pass(0.05)
    cache:touch("k", 5)
    cache:peek("k")
    tasks.finish(job)
    assert.are.equal("v", (cache:get("k")))
  end))

  it("a delete of one key of a batch costs only that key", tasks.virtual(function()
    local cache = perigee.new()
    local job = tasks.start(cache.get_many, cache, { "a", "b" }, { batch_loader = function()
      perigee.sleep(0.1)
      return { a = 1, b = 2 }
    end })
    tasks.pass(0.05)
    cache:delete("a")
    tasks.finish(job)
    assert.are.same({ a = 1, b = 2 }, job[1])
    assert.is_false(cache:contains("a"))
    assert.are.equal(2, (cache:get("b")))
  end))

  it("a key of a batch that waits for company is fenced too", tasks.virtual(function()
    local cache, database = perigee.new { batch_window_ms = 100 }, "old"
    local function batch_loader()
      return { k = database }
    end
    local first = tasks.start(cache.get, cache, "k", { batch_loader = batch_loader })
    tasks.pass(0.05)
    database = "new"
    cache:delete("k")
    local second = tasks.start(cache.get, cache, "k", { batch_loader = batch_loader })
    tasks.finish { first, second }
    assert.are.equal("new", second[1])
    assert.are.equal("new", (cache:get("k", { batch_loader = batch_loader })))
  end))

  it("the value that a fence refused is handed to on_evict as rejected", tasks.virtual(function()
    local gone = {}
    local cache = perigee.new { on_evict = function(...) gone[#gone + 1] = { ... } end }
    local job = tasks.start(cache.get, cache, "k", (tasks.slow(0.1, "old")))
    tasks.pass(0.05)
    cache:delete("k")
    tasks.finish(job)
    assert.are.same({ { "k", "old", "rejected" } }, gone)
  end))

  it("a loader that deletes, sets or tags its own key loses against itself",
    tasks.virtual(function()
      for name, invalidation in pairs(invalidations) do
        local cache = perigee.new()
        local v = cache:get("k", { tags = { "user:1" }, loader = function()
          invalidation[1](cache)
          return "old"
        end })
        assert.are.equal("old", v, name)
        assert.are.equal(invalidation[2], (cache:get("k")), name)
      end
    end))

  it("a loader that calls clear leaves a cache that works", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("other", 1)
    local function loader()
      perigee.sleep(0.05)
      cache:clear()
      perigee.sleep(0.05)
      return "v"
    end
    local jobs = tasks.together(3, function() return cache:get("k", loader) end)
    for _, job in ipairs(jobs) do
      assert.are.equal("v", job[1])
    end
    assert.is_false(cache:contains("k"))
    assert.is_false(cache:contains("other"))
    assert.are.equal("w", (cache:get("k", function() return "w" end)))
    assert.are.equal("w", (cache:get("k")))
  end))
end)

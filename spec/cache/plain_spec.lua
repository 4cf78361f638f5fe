-- SPDX-License-Identifier: MIT
-- suites: dev hard
-- Everything here runs with no loop: each call blocks its caller.
local perigee = require "perigee"
local logged = require "spec.support.logged"

local function wait_until(seconds)
  local finish = perigee.now() + seconds
  repeat until perigee.now() >= finish
end

describe("in plain code", function()
  local cache

  before_each(function()
    cache = perigee.new()
  end)

  it("the runtime is none", function()
    assert.are.equal("none", perigee.runtime())
  end)

  it("a get with a loader loads in place", function()
    assert.are.same({ "v", nil, "load" }, { cache:get("k", function() return "v" end) })
    assert.are.same({ "v", nil, "memory" }, { cache:get("k", error) })
  end)

  it("a loader may sleep", function()
    local started = perigee.now()
    assert.are.equal("v", (cache:get("k", function()
      perigee.sleep(0.02)
      return "v"
    end)))
    assert.is_true(perigee.now() - started >= 0.015)
  end)

  it("a loader may load another key", function()
    assert.are.equal("b!a", (cache:get("a", function(key)
      return cache:get("b", function(other) return other .. "!" end) .. key
    end)))
  end)

  it("a loader that asks for its own key is told so", function()
    local function loader(key)
      return cache:get(key, loader)
    end
    local ok, err = pcall(cache.get, cache, "own key", loader)
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("own key", 1, true))
    assert.are.equal(1, (cache:get("own key", function() return 1 end)))
  end)

  it("what a loader raises or returns comes through", function()
    local object = {}
    local ok, err = pcall(cache.get, cache, "k", function() error(object) end)
    assert.is_false(ok)
    assert.are.equal(object, err)
    local value, why = cache:get("k", function() return nil, "away" end)
    assert.is_nil(value)
    assert.are.equal("away", why)
  end)

  it("a batch leaves at once", function()
    local slow = perigee.new { batch_window_ms = 60000 }
    assert.are.equal("K", (slow:get("k", { batch_loader = function(keys)
      return { [keys[1]] = keys[1]:upper() }
    end })))
    assert.are.same({ a = "A", b = "B" }, (slow:get_many({ "a", "b" }, {
      batch_loader = function(keys)
        return perigee.aligned { keys[1]:upper(), keys[2]:upper() }
      end })))
  end)

  it("a stale hit refreshes in place, and serves the old value if that fails", function()
    local stale = perigee.new { default_ttl = 0.02, stale_while_revalidate = 60 }
    stale:set("k", "old")
    wait_until(0.05)
    logged(function()
      assert.are.same({ "old", nil, "stale" }, { stale:get("k", function() error("away") end) })
      assert.are.same({ "old", nil, "stale" },
        { stale:get("k", function() return nil, "away" end) })
    end)
    local value = stale:get("k", function() return "new", nil, 60 end)
    assert.is_true(value == "old" or value == "new")
    assert.are.equal("new", (stale:get("k", function() return "newer" end)))
  end)

  it("a failing load serves the old value under stale_if_error", function()
    local stale = perigee.new { default_ttl = 0.02, stale_if_error = 60 }
    stale:set("k", "old")
    wait_until(0.05)
    assert.are.same({ "old", nil, "stale" }, { stale:get("k", function() error("away") end) })
  end)

  it("a ttl is seen, at most a clock's tick late", function()
    cache:set("k", 1, 0.5)
    assert.is_true(cache:contains("k"))
    wait_until(0.53)
    assert.is_false(cache:contains("k"))
    assert.are.equal(0, cache:get_metrics().size)
  end)

  it("a key that is set again after it expired is a new one to its policy", function()
    local small = perigee.new { maxsize = 2, policy = "fifo" }
    small:set("a", 1, 0.02)
    small:set("b", 2)
    wait_until(0.05)
    small:set("a", 3)
    small:set("c", 4)
    assert.is_true(small:contains("a"))
    assert.is_false(small:contains("b"))
  end)

  it("expired entries do not pile up in a cache without a bound", function()
    local unbounded = perigee.new { maxsize = math.huge, default_ttl = 0.01 }
    local values = setmetatable({}, { __mode = "v" })
    for i = 1, 1000 do
      values[i] = {}
      unbounded:set(i, values[i])
    end
    wait_until(0.1)
    for i = 1, 3000 do
      unbounded:set("more" .. i, i)
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(values))
  end)

  it("an invalidation inside a loader wins", function()
    assert.are.equal("old", (cache:get("k", function()
      cache:delete("k")
      return "old"
    end)))
    assert.is_false(cache:contains("k"))
  end)

  it("spawn, gather and task:wait run", function()
    local order = {}
    local task = perigee.spawn(function(...)
      order[#order + 1] = "started"
      return ...
    end, 1, nil, 3)
    assert.are.same({ "started" }, order)
    local results = { n = select("#", task:wait()), task:wait() }
    assert.are.same({ n = 3, 1, nil, 3 }, results)
    assert.are.same({ "a", "b" }, perigee.gather {
      function()
        perigee.sleep(0.01)
        return "a"
      end,
      function() return "b" end,
    })
  end)

  it("a gathered herd shares one load", function()
    local calls, fns = 0, {}
    for i = 1, 10 do
      fns[i] = function()
        return (cache:get("k", function()
          calls = calls + 1
          perigee.sleep(0.01)
          return "v"
        end))
      end
    end
    local results = perigee.gather(fns)
    assert.are.equal(10, #results)
    assert.are.equal("v", results[10])
    assert.are.equal(1, calls)
  end)

  it("warmup loads side by side", function()
    local running, most, loaders = 0, 0, {}
    for i = 1, 6 do
      loaders["k" .. i] = function()
        running = running + 1
        most = math.max(most, running)
        perigee.sleep(0.01)
        running = running - 1
        return i
      end
    end
    assert.is_true(cache:warmup(loaders, { concurrency = 3 }))
    assert.are.equal(3, most)
    assert.are.equal(6, cache:get_metrics().size)
    local ok, errors = cache:warmup { bad = function() return nil, "away" end }
    assert.is_nil(ok)
    assert.are.same({ bad = "away" }, errors)
  end)

  it("load_timeout fails a load that sleeps too long", function()
    local timed = perigee.new { load_timeout = 0.02 }
    local value, err = timed:get("k", function() perigee.sleep(0.5) end)
    assert.is_nil(value)
    assert.are.equal("timeout", err)
    assert.is_false(timed:contains("k"))
  end)

  it("metrics count the same", function()
    cache:get("k", function() return 1 end)
    cache:get("k")
    cache:get("absent")
    local metrics = cache:get_metrics()
    assert.are.equal(1, metrics.hits)
    assert.are.equal(2, metrics.misses)
    assert.are.equal(1, metrics.loads)
    assert.are.equal(1, metrics.size)
  end)

  it("loaders that yield to the user's own coroutines do not confuse each other", function()
    local function generator(key)
      return coroutine.wrap(function()
        coroutine.yield((cache:get(key, function()
          coroutine.yield("working")
          return key .. "!"
        end)))
      end)
    end
    for round = 1, 3 do
      local a, b = generator("a" .. round), generator("b" .. round)
      assert.are.equal("working", a())
      assert.are.equal("c", (cache:get("c" .. round, function() return "c" end)))
      assert.are.equal("working", b())
      assert.are.equal("miss", (select(3, cache:get("a" .. round))))
      assert.are.equal("a" .. round .. "!", a())
      assert.are.equal("b" .. round .. "!", b())
      assert.are.equal("d", (cache:refresh("a" .. round, function() return "d" end)))
    end
  end)

  it("the cache is the same inside a coroutine of the user's when nothing waits", function()
    local co = coroutine.wrap(function()
      coroutine.yield((cache:get("k", function() return "v" end)))
      return (cache:get("k"))
    end)
    assert.are.equal("v", co())
    assert.are.equal("v", co())
  end)
end)

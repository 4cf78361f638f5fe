-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"
local logged = require "spec.support.logged"

local function herd(n, seconds)
  local cache = perigee.new()
  local loader, count = tasks.slow(seconds, function()
    return { "one value" }
  end)
  local jobs = tasks.together(n, function()
    return cache:get("key", loader)
  end)
  for _, job in ipairs(jobs) do
    assert.is_true(job.ok)
    assert.is_table(job[1])
    assert.are.equal(jobs[1][1], job[1])
  end
  assert.are.equal(1, count.calls)
  return cache:get_metrics()
end

describe("conformance: single flight", function()
  it("26. ten callers of one missing key share one load", tasks.virtual(function()
    local metrics = herd(10, 0.1)
    assert.are.equal(10, metrics.misses)
    assert.are.equal(0, metrics.hits)
    assert.are.equal(1, metrics.size)
  end))

  it("26. ten callers of one missing key share one load (on the real loop)",
    tasks.real(function()
      assert.are.equal(10, herd(10, 0.02).misses)
    end))

  it("27. a hundred callers of one missing key share one load", tasks.virtual(function()
    local metrics = herd(100, 0.1)
    assert.are.equal(100, metrics.misses)
    assert.are.equal(1, metrics.size)
  end))

  it("28. five hundred callers of one missing key get equal values from one load",
    tasks.virtual(function()
      assert.are.equal(500, herd(500, 0.05).misses)
    end))

  it("29. fifty callers of one missing key call the loader once", tasks.virtual(function()
    assert.are.equal(1, herd(50, 0.1).loads)
  end))

  it("30. the error of the one load reaches all ten callers", tasks.virtual(function()
    local cache, calls = perigee.new(), 0
    local function loader()
      calls = calls + 1
      perigee.sleep(0.1)
      error({ code = "broken", message = "the database is away" })
    end
    local jobs = tasks.together(10, function()
      return cache:get("key", loader)
    end)
    for _, job in ipairs(jobs) do
      assert.is_false(job.ok)
      assert.are.equal("broken", job[1].code)
      assert.are.equal("the database is away", job[1].message)
      assert.are.equal(jobs[1][1], job[1])
    end
    assert.are.equal(1, calls)
  end))

  it("31. three keys that are asked for at once are loaded once each", tasks.virtual(function()
    local cache = perigee.new()
    local loader, count = tasks.slow(0.05, function(key)
      return key .. "!"
    end)
    local keys = { "a", "b", "c" }
    local jobs = tasks.together(30, function(i)
      return cache:get(keys[i % 3 + 1], loader)
    end)
    for i, job in ipairs(jobs) do
      assert.are.equal(keys[i % 3 + 1] .. "!", job[1])
    end
    table.sort(count.keys)
    assert.are.same(keys, count.keys)
  end))

  it("32. what a loader raises reaches the caller", tasks.virtual(function()
    local cache = perigee.new()
    local object = setmetatable({}, { __tostring = function() return "a value error" end })
    local ok, err = pcall(cache.get, cache, "key", function()
      error(object)
    end)
    assert.is_false(ok)
    assert.are.equal(object, err)
  end))

  it("33. the cache works after a loader failed", tasks.virtual(function()
    local cache = perigee.new()
    assert.has.errors(function()
      cache:get("key", function()
        error("broken")
      end)
    end)
    assert.are.equal("fine", (cache:get("key", function() return "fine" end)))
    assert.are.equal("fine", (cache:get("key")))
  end))

  it("34. a load that fails when nobody waits for it any more makes no noise",
    tasks.virtual(function()
      local cache = perigee.new()
      local lines = logged(function()
        local job = tasks.start(function()
          return cache:get("key", function()
            perigee.sleep(0.1)
            error("nobody hears this")
          end)
        end)
        job.task:cancel()
        tasks.pass(0.2)
        assert.is_true(job.done)
        collectgarbage()
        collectgarbage()
      end)
      assert.are.same({}, lines)
    end))
end)

-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function expect(cache, wanted)
  local metrics = cache:get_metrics()
  for name, value in pairs(wanted) do
    assert.are.equal(value, metrics[name], name)
  end
end

describe("conformance: metrics", function()
  it("44. a miss and a hit are counted, and the size is 0 after clear", function()
    local cache = perigee.new()
    local function loader() return 1 end
    cache:get("key", loader)
    cache:get("key", loader)
    expect(cache, { hits = 1, misses = 1, size = 1, hit_rate = 0.5 })
    cache:clear()
    expect(cache, { size = 0 })
  end)

  it("45. one hit and two misses are a hit rate of one third", function()
    local cache = perigee.new()
    local function loader() return 1 end
    cache:get("a", loader)
    cache:get("b", loader)
    cache:get("a", loader)
    expect(cache, { hits = 1, misses = 2, size = 2 })
    assert.are.near(1 / 3, cache:get_metrics().hit_rate, 1e-9)
  end)

  it("46. hits and misses are 0 after clear", function()
    local cache = perigee.new()
    cache:set("key", 1)
    cache:get("key")
    cache:get("absent")
    expect(cache, { hits = 1, misses = 1 })
    cache:clear()
    expect(cache, { hits = 0, misses = 0 })
  end)

  it("47. an idle cache counts nothing and has a hit rate of 0", function()
    expect(perigee.new(), {
      hits = 0, misses = 0, size = 0, hit_rate = 0, loads = 0, load_errors = 0,
      load_seconds = 0, coalesced = 0, stale_hits = 0, evictions = 0, expirations = 0,
      batches = 0, batched_keys = 0,
    })
  end)

  it("48. clear puts counters and size back together", function()
    local cache = perigee.new { maxsize = 5 }
    for i = 1, 10 do
      cache:get(i, function() return i end)
      cache:get(i)
    end
    expect(cache, { hits = 10, misses = 10, size = 5, loads = 10, evictions = 5 })
    cache:clear()
    expect(cache, { hits = 0, misses = 0, size = 0, loads = 0, evictions = 0, hit_rate = 0 })
    cache:set("key", 1)
    cache:get("key")
    expect(cache, { hits = 1, misses = 0, size = 1, hit_rate = 1 })
  end)

  it("49. a thousand tasks that set and get one key are exactly a thousand hits",
    tasks.virtual(function()
      local cache = perigee.new()
      tasks.together(1000, function(i)
        cache:set("key", i)
        perigee.sleep(0.001 * (i % 3))
        assert(cache:get("key"))
      end)
      expect(cache, { hits = 1000, misses = 0 })
    end))

  it("50. five hundred unknown keys are exactly five hundred misses", tasks.virtual(function()
    local cache = perigee.new()
    tasks.together(500, function(i)
      perigee.sleep(0.001 * (i % 3))
      return cache:get("unknown" .. i)
    end)
    expect(cache, { hits = 0, misses = 500 })
  end))
end)

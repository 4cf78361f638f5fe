-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local prometheus = require "spec.support.prometheus"

local function with_caches(names, body)
  local caches = {}
  for i, name in ipairs(names) do
    caches[i] = perigee.new { name = name }
    for hit = 1, i do
      caches[i]:get("k", function() return hit end)
    end
  end
  local ok, err = pcall(body, prometheus.read(perigee.prometheus()), caches)
  for _, cache in ipairs(caches) do
    pcall(function() cache:close() end)
  end
  if not ok then
    error(err, 0)
  end
end

-- The families that have a sample of a cache of this name, and the label that names it.
local function samples_of(families, name)
  local found = {}
  for family_name, family in pairs(families) do
    for _, sample in ipairs(family.samples) do
      for _, value in pairs(sample.labels) do
        if value == name then
          found[family_name] = sample
        end
      end
    end
  end
  return found
end

-- The value of the metric whose name ends in `word`: of several the shortest name.
local function find(samples, word)
  local best
  for name in pairs(samples) do
    if name:sub(-#word) == word and (not best or #name < #best) then
      best = name
    end
  end
  return best and samples[best].value
end

describe("perigee.prometheus", function()
  it("is well-formed text", function()
    assert.is_table(prometheus.read(perigee.prometheus()))
  end)

  it("names every metric perigee_…, with help and type, counters ending in _total", function()
    with_caches({ "spec p one" }, function(families)
      local any = false
      for name, family in pairs(families) do
        any = true
        assert.are.equal("perigee_", name:sub(1, 8))
        assert.is_truthy(family.help and family.help ~= "", name)
        assert.is_truthy(family.type, name)
        assert.are.equal(family.type == "counter", name:sub(-6) == "_total", name)
      end
      assert.is_true(any)
    end)
  end)

  it("holds each cache's counters under its name", function()
    with_caches({ "spec p one", "spec p two", "spec p three" }, function(families)
      for i, name in ipairs { "spec p one", "spec p two", "spec p three" } do
        local samples = samples_of(families, name)
        assert.are.equal(i - 1, find(samples, "hits_total"))
        assert.are.equal(1, find(samples, "misses_total"))
        assert.are.equal(1, find(samples, "loads_total"))
        assert.are.equal(1, find(samples, "_size") or find(samples, "_entries"))
      end
    end)
  end)

  it("escapes what is special in a name", function()
    local name = 'we"ird\\na\nme{x="y"}, é'
    with_caches({ name }, function(families)
      assert.are.equal(1, find(samples_of(families, name), "misses_total"))
    end)
  end)

  it("is right for large counts", function()
    with_caches({ "spec p large" }, function(_, caches)
      for _ = 1, 12345678 do
        caches[1]:get("k")
      end
      local families = prometheus.read(perigee.prometheus())
      assert.are.equal(12345678, find(samples_of(families, "spec p large"), "hits_total"))
    end)
  end)

  it("leaves out what was closed", function()
    with_caches({ "spec p closed" }, function(_, caches)
      caches[1]:close()
      assert.are.same({}, samples_of(prometheus.read(perigee.prometheus()), "spec p closed"))
    end)
  end)
end)

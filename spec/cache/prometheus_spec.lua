-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local prometheus = require "spec.support.prometheus"
local web = require "spec.support.web"

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

  it("writes a name that is not UTF-8 in bytes that are", function()
    local names = { ["a\255b"] = "a\\xffb", ["\128"] = "\\x80", ["é\195"] = "é\\xc3",
      ["\192\128"] = "\\xc0\\x80", ["\237\160\128"] = "\\xed\\xa0\\x80", ["\0"] = "\\x00",
      ["\244\144\128\128"] = "\\xf4\\x90\\x80\\x80", ["\224\128\128x"] = "\\xe0\\x80\\x80x" }
    for name, label in pairs(names) do
      with_caches({ name }, function(families)
        assert.are.equal(1, find(samples_of(families, label), "misses_total"))
      end)
    end
  end)

  it("leaves a name as it is that is UTF-8", function()
    for _, name in ipairs { "é", "ਪੰਜਾਬ", "日本", "\239\191\189", "𐍈 x", "\244\143\191\191" } do
      with_caches({ name }, function(families)
        assert.are.equal(1, find(samples_of(families, name), "misses_total"))
      end)
    end
  end)

  it("sums caches that would have one label", function()
    with_caches({ "a\255", "a\\xff" }, function(families)
      assert.are.equal(2, find(samples_of(families, "a\\xff"), "misses_total"))
    end)
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

describe("the text of very many caches", function()
  local MANY = 1000
  local caches, families = {}, nil

  setup(function()
    collectgarbage() -- those without a name would be one of the 200
    collectgarbage()
    for i = 1, MANY do
      local cache = perigee.new { name = ("spec p many %04d"):format(i) }
      cache:get("k", function() return 1 end)
      caches[i] = cache
    end
    families = prometheus.read(perigee.prometheus())
  end)

  teardown(function()
    for _, cache in ipairs(caches) do cache:close() end
  end)

  local function value(name, label)
    return prometheus.value(families, name, { cache = label })
  end

  it("has series of their own for 200 of them, by name", function()
    for _, name in ipairs { "perigee_misses_total", "perigee_load_duration_seconds_count" } do
      local family = name:gsub("_count$", "")
      local own = 0
      for _, sample in ipairs(families[family].samples) do
        if sample.name == name then own = own + 1 end
      end
      assert.are.equal(201, own)
    end
    assert.are.equal(1, value("perigee_misses_total", "spec p many 0001"))
    assert.is_nil(value("perigee_misses_total", "spec p many 1000"))
  end)

  it("sums the rest under one label, so that nothing is lost", function()
    local sums = { misses = 0, size = 0, loads = 0 }
    for _, sample in ipairs(families["perigee_misses_total"].samples) do
      sums.misses = sums.misses + sample.value
    end
    for _, sample in ipairs(families["perigee_entries"].samples) do
      sums.size = sums.size + sample.value
    end
    for _, one in pairs(prometheus.histograms(families, "perigee_load_duration_seconds")) do
      sums.loads = sums.loads + one.count
    end
    assert.are.same({ misses = MANY, size = MANY, loads = MANY }, sums)
    assert.is_true(value("perigee_misses_total", "(other)") >= MANY - 200)
  end)
end)

describe("perigee.serve_metrics", function()
  it("is a handler of perigee.http.listen", function()
    with_caches({ "spec p served" }, function()
      local response = perigee.serve_metrics()
      assert.are.equal("text/plain; version=0.0.4; charset=utf-8",
        response.headers["Content-Type"])
      assert.are.equal(perigee.prometheus(), response.body)
    end)
  end)

  it("answers a scrape", web.serve({ handler = perigee.serve_metrics }, function(server)
    local cache = perigee.new { name = "spec p scraped" }
    cache:get("k", function() return 1 end)
    local response = web.get(server.port, "/metrics")
    cache:close()
    assert.are.equal(200, response.status)
    assert.are.equal("text/plain; version=0.0.4; charset=utf-8", response.headers["content-type"])
    local families = prometheus.read(response.body)
    assert.are.equal(1, prometheus.value(families, "perigee_loads_total",
      { cache = "spec p scraped" }))
  end))
end)

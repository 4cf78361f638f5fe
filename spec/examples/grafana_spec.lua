-- SPDX-License-Identifier: MIT
-- suites: dev
-- The dashboard for Grafana and the configuration of Prometheus: they fit the metrics that there
-- are, and a real Prometheus understands both.
local cjson = require "cjson"
local files = require "spec.support.files"
local histogram = require "perigee.metrics.histogram"
local perigee = require "perigee"
local prometheus = require "spec.support.prometheus"
local prometheus_server = require "spec.support.prometheus_server"
local promtool = require "spec.support.promtool"

local dashboard = cjson.decode(files.read "examples/grafana/perigee.json")

-- The panels that show something.
local function panels()
  local list = {}
  for _, panel in ipairs(dashboard.panels) do
    if panel.type ~= "row" then list[#list + 1] = panel end
  end
  return list
end

-- With what Grafana puts in the place of its variables.
local function substituted(expression)
  local values = { __rate_interval = "5m", job = "perigee", instance = ".*", cache = ".*" }
  return (expression:gsub("%$([%w_]+)", function(name)
    return assert(values[name], "no variable $" .. name)
  end))
end

-- Every query: `{ title =, expression = }`.
local function queries()
  local list = {}
  for _, panel in ipairs(panels()) do
    for _, target in ipairs(panel.targets) do
      list[#list + 1] = { title = panel.title, expression = substituted(target.expr) }
    end
  end
  return list
end

-- A cache with all tiers that work outside nginx, after one load.
local function with_cache(body)
  local path = os.tmpname()
  local backend = { get = function() return false end, set = function() end,
    delete = function() end, clear = function() end, close = function() end }
  local cache = perigee.new { name = "dashboard", remote_cache = backend,
    backup = perigee.disk(path) }
  local ok, err = pcall(body, cache)
  cache:close()
  for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(path .. suffix) end
  if not ok then error(err, 0) end
end

-- The names of samples in the text of such a process.
local function names_of_samples()
  local names = {}
  with_cache(function(cache)
    cache:get("k", function() return 1 end)
    local families = prometheus.read(perigee.prometheus())
    for name, family in pairs(families) do
      names[name] = family.type ~= "histogram" or nil
      for _, sample in ipairs(family.samples) do names[sample.name] = true end
    end
  end)
  return names
end

describe("the dashboard for Grafana", function()
  it("has a title, a schema of today, and variables for all that it filters by", function()
    assert.equal("Perigee", dashboard.title)
    assert.is_true(dashboard.schemaVersion >= 36)
    local names = {}
    for _, variable in ipairs(dashboard.templating.list) do names[variable.name] = variable.type end
    assert.same({ datasource = "datasource", job = "query", instance = "query", cache = "query" },
      names)
  end)

  it("gives each panel a number, each query a letter, and all the chosen data source", function()
    local ids = {}
    for _, panel in ipairs(dashboard.panels) do
      assert.is_nil(ids[panel.id], panel.title)
      ids[panel.id] = true
      local letters = {}
      for _, target in ipairs(panel.targets or {}) do
        assert.is_nil(letters[target.refId], panel.title)
        letters[target.refId] = true
        assert.equal("${datasource}", target.datasource.uid)
      end
    end
    for _, panel in ipairs(panels()) do
      assert.is_true(#panel.targets > 0, panel.title)
      assert.equal("${datasource}", panel.datasource.uid)
    end
  end)

  it("lays its panels side by side: none overlaps another, or is beside the page", function()
    local owner = {}
    for _, panel in ipairs(dashboard.panels) do
      local at = panel.gridPos
      assert.is_true(at.x >= 0 and at.w > 0 and at.h > 0 and at.x + at.w <= 24, panel.title)
      for x = at.x, at.x + at.w - 1 do
        for y = at.y, at.y + at.h - 1 do
          local cell = y * 24 + x
          assert.is_nil(owner[cell], ("%s lies on %s"):format(panel.title, owner[cell]))
          owner[cell] = panel.title
        end
      end
    end
  end)

  it("shows only metrics that there are", function()
    local names, asked = names_of_samples(), {}
    local variables = cjson.encode(dashboard.templating)
    for name in variables:gmatch "perigee_[%w_]+" do asked[name] = "the variables" end
    for _, query in ipairs(queries()) do
      for name in query.expression:gmatch "perigee_[%w_]+" do asked[name] = query.title end
    end
    for name, where in pairs(asked) do
      assert.is_true(names[name], ("%s: there is no metric %s"):format(where, name))
    end
  end)

  it("takes rates of counters and histograms only", function()
    local families = prometheus.read(perigee.prometheus())
    for _, query in ipairs(queries()) do
      for call, name in query.expression:gmatch "(%l+)%((perigee_[%w_]+)" do
        local family = families[name] or families[(name:gsub("_%l+$", ""))]
        assert.equal(family.type ~= "gauge", call == "rate" or call == "increase", query.title)
      end
    end
  end)

  it("asks what Prometheus can parse", function()
    if promtool.missing() then return pending(promtool.missing()) end
    local rules = { "groups:", "- name: dashboard", "  rules:" }
    for i, query in ipairs(queries()) do
      rules[#rules + 1] = ("  - record: dashboard:query:%d"):format(i)
      rules[#rules + 1] = "    expr: " .. cjson.encode(query.expression):gsub("\\/", "/")
    end
    local output, status = promtool.check_rules(table.concat(rules, "\n") .. "\n")
    assert.equal(0, status, output)
    assert.matches(("%d rules found"):format(#queries()), output, 1, true)
  end)
end)

describe("the configuration of Prometheus", function()
  it("is one", function()
    if promtool.missing() then return pending(promtool.missing()) end
    local output, status = promtool.check_config(files.read "examples/grafana/prometheus.yml")
    assert.equal(0, status, output)
  end)
end)

describe("Prometheus", function()
  local missing = promtool.missing "prometheus"
  if missing then return pending(missing) end

  it("scrapes perigee.serve_metrics, and answers every query of the dashboard", function()
    perigee.run(with_cache, function(cache)
      local http = assert(perigee.http.listen { port = 0, handler = perigee.serve_metrics })
      local odd = perigee.new { name = "odd\0\r\n\"\\\255é" }
      local server = prometheus_server.start(http.port)
      local ok, err = pcall(function()
        assert.equal(1, server:wait_for "up{job='perigee'} == 1"[1].value)
        for i = 1, 4 do
          cache:get(i, function()
            perigee.sleep(0.06)
            return i
          end)
        end
        odd:get("k", function() return 1 end)
        server:wait_for "rate(perigee_load_duration_seconds_count{cache='dashboard'}[1m]) > 0"
        local found = server:wait_for "perigee_loads_total{cache!='dashboard'} == 1"
        assert.equal("odd\\x00\r\n\"\\\\xffé", found[1].labels.cache)
        local p50 = server:query("histogram_quantile(0.5, "
          .. "perigee_load_duration_seconds_bucket{cache='dashboard'})")[1].value
        local own = histogram.quantile(cache.load_durations, 0.5)
        assert.is_true(own > 0.05 and math.abs(own - p50) < 1e-9, p50)
        for _, query in ipairs(queries()) do server:query(query.expression) end
      end)
      server:stop()
      http:stop(0)
      odd:close()
      if not ok then error(err, 0) end
    end)
  end)
end)

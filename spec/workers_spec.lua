-- SPDX-License-Identifier: MIT
-- suites: dev
-- The numbers of all workers of one nginx, as text and for people.
local buffer = require "string.buffer"
local nginx = require "spec.support.nginx"
local prometheus = require "spec.support.prometheus"
local socket = require "socket"

local SETTLE_S = 1.5 -- each worker tells its counters once a second

-- The hits and the loads that worker 0 sums when worker 1 has told these bytes.
local SEE = [[
  local bytes = ...
  local told, counters, durations
  repeat
    ngx.shared.shared:set("\0perigee\0m1", bytes)
    counters, durations = require("perigee.metrics").summed()
    told = ngx.shared.shared:get "\0perigee\0m1"
  until told == bytes -- else it has told its own meanwhile
  local loads = require("perigee.metrics.histogram").count(durations.both.load)
  return { counters.both.hits, loads }
]]

local function start()
  return nginx.start { workers = 2, http = [[
      lua_shared_dict shared 1m;
      init_by_lua_block {
        perigee = require "perigee"
        cache = perigee.new { name = "both", shared = "shared" }
        weird = perigee.new { name = "weird\"\n\\name" }
      }
    ]], locations = [[
      location /metrics { content_by_lua_block { perigee.serve_metrics() } }
      location /status { content_by_lua_block { perigee.status() } }
    ]] }
end

-- Three misses and two hits in each worker.
local function use(server)
  for worker = 0, 1 do
    server:lua_in(worker, [[
      local worker = ...
      for i = 1, 3 do cache:get(worker .. ":" .. i, function() return i end) end
      for i = 1, 2 do cache:get(worker .. ":" .. i) end
    ]], worker)
  end
end

local function value_of(families, name, cache)
  for _, sample in ipairs(families[name].samples) do
    if sample.labels.cache == cache then return sample.value end
  end
end

-- Waits until a check passes: what the workers have told each other.
local function eventually(check)
  local ends = socket.gettime() + 60
  repeat
    local ok = pcall(check)
    if ok then return end
    socket.sleep(0.1)
  until socket.gettime() > ends
  check()
end

describe("the counters of workers", function()
  local server
  before_each(function() server = start() end)
  after_each(nginx.clean)

  it("are summed in prometheus' text, whichever worker is asked", function()
    use(server)
    eventually(function()
      for _ = 1, 4 do
        local families = prometheus.read((server:get "/metrics"))
        assert.equal(4, value_of(families, "perigee_hits_total", "both"))
        assert.equal(6, value_of(families, "perigee_misses_total", "both"))
        assert.equal(6, value_of(families, "perigee_shared_writes_total", "both"))
      end
    end)
    assert.same({}, server:errors())
  end)

  it("are served as what they are", function()
    local _, status, headers = server:get "/metrics"
    assert.equal(200, status)
    assert.equal("text/plain; version=0.0.4; charset=utf-8", headers["content-type"])
    assert.equal("no-store", headers["cache-control"])
  end)

  it("are returned where nothing can be sent", function()
    local kind, type_of = server:lua [[
      local response
      assert(ngx.timer.at(0, function() response = perigee.serve_metrics() end))
      while not response do ngx.sleep(0.001) end
      return type(response.body), response.headers["Content-Type"]
    ]]
    assert.equal("string", kind)
    assert.equal("text/plain; version=0.0.4; charset=utf-8", type_of)
  end)

  it("are each worker's own in perigee.metrics", function()
    use(server)
    socket.sleep(SETTLE_S)
    for worker = 0, 1 do
      local hits = server:lua_in(worker, "return perigee.metrics().both.hits")
      assert.equal(2, hits)
    end
  end)

  it("are told by workers that have never waited nor loaded anything", function()
    server:lua_in(0, "cache:set('k', 1)")
    server:lua_in(1, "cache:get 'k'")
    eventually(function()
      for worker = 0, 1 do
        local text = server:lua_in(worker, "return perigee.prometheus()")
        local families = prometheus.read(text)
        assert.equal(1, value_of(families, "perigee_shared_writes_total", "both"))
        assert.equal(1, value_of(families, "perigee_shared_hits_total", "both"))
      end
    end)
  end)

  it("of a worker that has died are forgotten", function()
    use(server)
    eventually(function()
      local families = prometheus.read((server:get "/metrics"))
      assert.equal(4, value_of(families, "perigee_hits_total", "both"))
    end)
    server:kill_worker(server:lua_in(1, "return ngx.worker.pid()"))
    eventually(function()
      for _ = 1, 4 do -- whichever worker answers
        local families = prometheus.read((server:get "/metrics"))
        assert.equal(2, value_of(families, "perigee_hits_total", "both"))
      end
    end)
  end)

  it("do not come from bytes that no worker has written", function()
    use(server)
    local hits = server:lua_in(0, [[
      for _, bytes in ipairs { "", "x", ("\200"):rep(100), "\68\1\2" } do
        ngx.shared.shared:set("\0perigee\0m1", bytes)
        perigee.prometheus()
      end
      return perigee.metrics().both.hits
    ]])
    assert.equal(2, hits)
  end)

  it("are histograms, too", function()
    use(server)
    for worker = 0, 1 do
      server:lua_in(worker, [[
        weird:get("k", function()
          ngx.sleep(0.06)
          return 1
        end)
      ]])
    end
    eventually(function()
      for _ = 1, 4 do
        local families = prometheus.read((server:get "/metrics"))
        local loads = prometheus.histograms(families, "perigee_load_duration_seconds")
        assert.equal(6, loads.both.count)
        local weird = loads["weird\"\n\\name"]
        assert.equal(2, weird.count)
        assert.equal(0.025, weird.bounds[6])
        assert.equal(0, weird.counts[6])
        assert.is_true(weird.sum >= 0.1)
        assert.equal(weird.sum, value_of(families, "perigee_load_seconds_total",
          "weird\"\n\\name"))
      end
    end)
    assert.same({}, server:errors())
  end)

  it("count without histograms that another version has told", function()
    local list = {}
    for i = 1, 16 do list[i] = i end
    local function seen(durations, buckets)
      return server:lua_in(0, SEE, buffer.encode {
        caches = { both = { hits = 100 } }, buckets = buckets or 1, durations = durations })
    end
    local good = { both = { load = list } }
    assert.same({ 100, 135 }, seen(good))
    assert.same({ 100, 0 }, seen(good, 2))
    for _, wrong in ipairs { 1, "x", { both = 1 }, { both = { load = 1 } }, { good },
      { both = { load = { 1, 2 } } }, { both = { list } } } do
      assert.same({ 100, 0 }, seen(wrong))
    end
  end)

  it("are a table for people, without keys or values", function()
    use(server)
    eventually(function()
      local body, status, headers = server:get "/status"
      assert.equal(200, status)
      assert.matches("^text/plain", headers["content-type"])
      assert.matches("in nginx, 2 workers", body, 1, true)
      assert.matches("\nboth +6 ", body)
      assert.matches("weird\"?\\name", body, 1, true)
      assert.is_nil(body:find("0:1", 1, true))
    end)
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev
-- Counters of all workers of one nginx, as text and for people.
local nginx = require "spec.support.nginx"
local prometheus = require "spec.support.prometheus"
local socket = require "socket"

local SETTLE_S = 1.5 -- each worker tells its counters once a second
local FORGET_S = 6.5 -- and they are kept for five

local function start()
  return nginx.start { workers = 2, http = [[
      lua_shared_dict shared 1m;
      init_by_lua_block {
        perigee = require "perigee"
        cache = perigee.new { name = "both", shared = "shared" }
        weird = perigee.new { name = "weird\"\n\\name" }
      }
    ]], locations = [[
      location /metrics { content_by_lua_block { ngx.print(perigee.prometheus()) } }
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

describe("the counters of workers", function()
  local server
  before_each(function() server = start() end)
  after_each(nginx.clean)

  it("are summed in prometheus' text, whichever worker is asked", function()
    use(server)
    socket.sleep(SETTLE_S)
    for _ = 1, 4 do
      local families = prometheus.read((server:get "/metrics"))
      assert.equal(4, value_of(families, "perigee_hits_total", "both"))
      assert.equal(6, value_of(families, "perigee_misses_total", "both"))
      assert.equal(6, value_of(families, "perigee_shared_writes_total", "both"))
    end
    assert.same({}, server:errors())
  end)

  it("are each worker's own in perigee.metrics", function()
    use(server)
    socket.sleep(SETTLE_S)
    for worker = 0, 1 do
      local hits = server:lua_in(worker, "return perigee.metrics().both.hits")
      assert.equal(2, hits)
    end
  end)

  it("of a worker that has died are forgotten", function()
    use(server)
    socket.sleep(SETTLE_S)
    server:kill_worker(server:lua_in(1, "return ngx.worker.pid()"))
    socket.sleep(FORGET_S)
    for _ = 1, 4 do -- whichever worker answers
      local families = prometheus.read((server:get "/metrics"))
      assert.equal(2, value_of(families, "perigee_hits_total", "both"))
    end
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

  it("are a table for people, without keys or values", function()
    use(server)
    socket.sleep(SETTLE_S)
    local body, status, headers = server:get "/status"
    assert.equal(200, status)
    assert.matches("^text/plain", headers["content-type"])
    assert.matches("in nginx, 2 workers", body, 1, true)
    assert.matches("\nboth +6 ", body)
    assert.matches("weird\"?\\name", body, 1, true)
    assert.is_nil(body:find("0:1", 1, true))
  end)
end)

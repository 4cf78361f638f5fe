-- SPDX-License-Identifier: MIT
-- suites: dev host
-- What Prometheus' own tool says about our metrics.
local nginx = require "spec.support.nginx"
local perigee = require "perigee"
local prometheus = require "spec.support.prometheus"
local promtool = require "spec.support.promtool"
local redis = require "spec.support.redis"
local socket = require "socket"
local tasks = require "spec.support.tasks"

local ODD = { "plain", 'quo"te', "back\\slash", "new\nline", "cr\rlf\n", "tab\t", "{a=\"b\"}", "é",
  "日本", "bad\255byte", "nul\0", " ", "#", "a,b", "le", "(other)", ("long"):rep(300), "end\\" }

local missing = promtool.missing()

local function assert_clean(text)
  local output, status = promtool.check_metrics(text)
  assert.equal("", output)
  assert.equal(0, status)
end

describe("promtool", function()
  if missing then return pending(missing) end

  local caches

  local function new(opts)
    caches[#caches + 1] = perigee.new(opts)
    return caches[#caches]
  end

  before_each(function() caches = {} end)
  after_each(function()
    for _, cache in ipairs(caches) do cache:close() end
    redis.close_caches()
  end)
  teardown(function()
    redis.clean()
    nginx.clean()
  end)

  it("complains of what is wrong", function()
    local output, status = promtool.check_metrics("# TYPE a_total gauge\na_total 1\n")
    assert.not_equal(0, status)
    assert.matches("a_total", output)
  end)

  it("has no complaint when there are no caches", function()
    assert_clean(perigee.prometheus())
  end)

  it("has no complaint of caches that did nothing", function()
    new {}
    new { name = "idle" }
    assert_clean(perigee.prometheus())
  end)

  it("has no complaint of any name", tasks.virtual(function()
    new {}
    for _, name in ipairs(ODD) do
      local cache = new { name = name }
      cache:get("k", function()
        perigee.sleep(0.3)
        return 1
      end)
      cache:get "k"
    end
    local text = perigee.prometheus()
    assert_clean(text)
    local loads = prometheus.histograms(prometheus.read(text), "perigee_load_duration_seconds")
    assert.equal(1, loads['quo"te'].count)
    assert.equal(1, loads["new\nline"].count)
    assert.equal(1, loads["bad\\xffbyte"].count)
  end))

  it("has no complaint of very many caches", function()
    for i = 1, 300 do new { name = "many " .. i } end
    assert_clean(perigee.prometheus())
  end)

  it("has no complaint of a cache with a backup and a backend of yours", tasks.virtual(function()
    local path = os.tmpname()
    local backend = { set = function() end, delete = function() end, clear = function() end,
      close = function() end }
    function backend.get()
      perigee.sleep(0.01)
      return false
    end
    local cache = new { name = "tiers", remote_cache = backend, backup = perigee.disk(path) }
    cache:get("k", function() return 1 end)
    assert_clean(perigee.prometheus())
    cache:save_to_backup()
    assert_clean(perigee.prometheus())
    for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(path .. suffix) end
  end))

  it("has no complaint of caches on Redis", tasks.real(function()
    local server = redis.start()
    for i = 1, 2 do
      local cache = server:cache { name = "redis " .. i }
      for k = 1, 20 do cache:get(k, function() return k end) end
    end
    local text = perigee.prometheus()
    assert_clean(text)
    local reads = prometheus.histograms(prometheus.read(text), "perigee_remote_duration_seconds")
    assert.equal(20, reads["redis 1"].count)
  end))

  it("has no complaint of the workers of nginx", function()
    if nginx.missing() then return pending("this machine cannot: " .. nginx.missing()) end
    local server = nginx.start { workers = 2, http = [[
        lua_shared_dict shared 1m;
        init_by_lua_block {
          perigee = require "perigee"
          both = perigee.new { name = "both", shared = "shared" }
          odd = perigee.new { name = "quo\"te\n\\" }
        }
      ]], locations = [[
        location /metrics { content_by_lua_block { perigee.serve_metrics() } }
      ]] }
    assert_clean((server:get "/metrics"))
    for worker = 0, 1 do
      server:lua_in(worker, [[
        local worker = ...
        for i = 1, 3 do both:get(worker .. ":" .. i, function() return i end) end
        odd:get("k", function() ngx.sleep(0.002) return 1 end)
      ]], worker)
    end
    socket.sleep(1.5) -- each tells its numbers once a second
    assert_clean((server:get "/metrics"))
    assert.same({}, server:errors())
  end)
end)

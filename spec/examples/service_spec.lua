-- SPDX-License-Identifier: MIT
-- suites: dev host
-- The example of a service, run as its reader would: two processes of the host, and wrk in front.
local cjson = require "cjson"
local files = require "spec.support.files"
local host = require "spec.support.host"
local lfs = require "lfs"
local perigee = require "perigee"
local processes = require "spec.support.processes"
local socket = require "socket"

local KILL, TERM = 9, 15
local WRK_S = 2

local function missing()
  if not pcall(require, "DBI") then return "this machine cannot: no lua-dbi-sqlite3" end
  local _, status = files.run "command -v wrk"
  if status ~= 0 then return "this machine cannot: no wrk" end
end

if missing() then
  describe("the example service", function() pending(missing()) end)
  return
end

-- Processes ---------------------------------------------------------------------------------------

local folder, running

local function eventually(what, condition)
  local ends = perigee.now() + 60
  while not condition() do
    if perigee.now() > ends then error("waited in vain for " .. what, 2) end
    perigee.sleep(0.005)
  end
end

local function content_of(path)
  return lfs.attributes(path) and files.read(path) or ""
end

-- Starts a script of the example, on a free port or this one: `pid`, `url`, and its output's file.
local function start(name, options, port)
  local self = { log = ("%s/%d.log"):format(folder, #running), name = name }
  local command = "%s examples/09-service/%s.lua --port %d %s >%s 2>&1 & echo $!"
  local pipe = assert(io.popen(command:format(host.path(), name, port or 0, options, self.log)))
  self.pid = pipe:read "*n"
  pipe:close()
  running[#running + 1] = self
  eventually("the start of " .. name, function()
    self.url = content_of(self.log):match "listens at (http://%S+)"
    return self.url
  end)
  return self
end

local function port_of(self) return tonumber(self.url:match "%d+$") end

local function stop(self, signal)
  processes.signal(self.pid, signal)
  eventually("the end of " .. self.name, function() return not processes.is_running(self.pid) end)
end

-- Runs `body(service, database)` with both.
local function with_both(options, body)
  return function()
    perigee.run(function()
      local database = start("database", ("--file %s/products.db --delay %g"):format(folder,
        options.delay or 0))
      local service = start("service", ("--database %s --ttl %g"):format(database.url,
        options.ttl or 60))
      body(service, database)
    end)
  end
end

-- Requests ----------------------------------------------------------------------------------------

local function ask(self, path, more)
  local spec = { url = self.url .. path, timeout = 60 }
  for name, value in pairs(more or {}) do spec[name] = value end
  return assert(perigee.http.request(spec))
end

local function get(self, path) return ask(self, path) end

local function put(service, id, price)
  local body = cjson.encode { name = "Tea", price = price }
  return ask(service, "/products/" .. id, { method = "PUT", body = body })
end

local function queries_of(database) return tonumber(get(database, "/queries").body) end

local function metric(service, name)
  local text = get(service, "/metrics").body
  return tonumber(text:match("\nperigee_" .. name .. '{cache="products"} (%d+)'))
end

-- What wrk checks of each answer, and says at the end.
local SCRIPT = [[
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init() answers, wrong = 0, 0 end
function response(status, _, body)
  answers = answers + 1
  if status ~= 200 or not body:find(PATTERN) then wrong = wrong + 1 end
end
function done(summary)
  local answers, wrong, errors = 0, 0, summary.errors
  for _, thread in ipairs(threads) do
    answers, wrong = answers + thread:get "answers", wrong + thread:get "wrong"
  end
  print(("answers %d wrong %d errors %d"):format(answers, wrong, errors.connect + errors.read
    + errors.write + errors.status + errors.timeout))
end
]]

-- 200 connections ask for as long as they can: how many answers came, and in how many seconds.
local function drive(service, path, pattern)
  local script = folder .. "/check.lua"
  files.write(script, (SCRIPT:gsub("PATTERN", ("%q"):format(pattern))))
  local began = perigee.now()
  local done = assert(perigee.exec { "wrk", "-t1", "-c200", ("-d%ds"):format(WRK_S), "--timeout",
    "10s", "-s", script, service.url .. path, timeout = 60 })
  local answers, wrong, errors = done.stdout:match "answers (%d+) wrong (%d+) errors (%d+)"
  assert.same({ "0", "0" }, { wrong, errors }, done.stdout .. done.stderr)
  return tonumber(answers), perigee.now() - began
end

-- The specs ---------------------------------------------------------------------------------------

describe("the example service", function()
  before_each(function()
    folder, running = os.tmpname(), {}
    os.remove(folder)
    assert(lfs.mkdir(folder))
  end)

  after_each(function()
    for _, self in ipairs(running) do
      if processes.is_running(self.pid) then processes.signal(self.pid, KILL) end
    end
    files.run("rm -rf " .. folder)
  end)

  it("answers with products, one or many, and says where they came from",
    with_both({}, function(service, database)
      for _, source in ipairs { "load", "memory" } do
        local response = get(service, "/products/7")
        assert.same({ 200, source, "application/json" }, { response.status,
          response.headers["x-cache"], response.headers["content-type"] })
        assert.same({ id = 7, name = "Product 7", price = 70 }, cjson.decode(response.body))
      end
      local many = get(service, "/products?ids=7,8,5000")
      assert.equal("load", many.headers["x-cache"])
      assert.same({ { id = 7, name = "Product 7", price = 70 },
        { id = 8, name = "Product 8", price = 80 } }, cjson.decode(many.body))
      assert.equal("memory", get(service, "/products?ids=7,8,5000").headers["x-cache"])
      assert.equal(2, queries_of(database))
      assert.equal("ok\n", get(service, "/healthz").body)
    end))

  it("refuses what makes no sense, and asks the database for none of it",
    with_both({}, function(service, database)
      local ids = ("1,"):rep(101)
      for _, path in ipairs { "/products/x", "/products/1x", "/products/-1", "/products/1e3",
        "/products/12345678901234567890", "/products", "/products?ids=", "/products?ids=1;2",
        "/products?ids=1%00", "/products?ids=" .. ids } do
        assert.equal(400, get(service, path).status, path)
      end
      assert.equal(404, get(service, "/").status)
      assert.equal(405, ask(service, "/products/1", { method = "DELETE" }).status)
      assert.equal(405, ask(service, "/products", { method = "PUT", body = "{}" }).status)
      assert.equal(400, ask(service, "/products/1", { method = "PUT", body = "{" }).status)
      assert.equal(413, ask(service, "/products/1", { method = "PUT",
        body = ("x"):rep(70000) }).status)
      assert.equal(0, queries_of(database))
    end))

  it("keeps that there is no such product, until there is one",
    with_both({}, function(service, database)
      assert.equal(404, get(service, "/products/5000").status)
      assert.equal(404, get(service, "/products/5000").status)
      assert.equal(1, queries_of(database))
      assert.equal(200, put(service, 5000, 3.5).status)
      assert.equal(3.5, cjson.decode(get(service, "/products/5000").body).price)
    end))

  it("makes one query of a hundred ids, and of requests that come together",
    with_both({ delay = 0.05 }, function(service, database)
      local ids = {}
      for i = 1, 100 do ids[i] = i end
      local response = get(service, "/products?ids=" .. table.concat(ids, ","))
      assert.equal(100, #cjson.decode(response.body))
      assert.equal(1, queries_of(database))
      local jobs = {}
      for i = 1, 20 do
        jobs[i] = function() return get(service, "/products?ids=1,2,500,501").status end
      end
      for _, status in ipairs(perigee.gather(jobs)) do assert.equal(200, status) end
      assert.equal(2, queries_of(database))
    end))

  it("asks the database once each time a hot product expires, whoever is asking",
    with_both({ ttl = 0.2 }, function(service, database)
      local answers, seconds = drive(service, "/products/7", '"id":7[,}]')
      local queries = queries_of(database)
      assert.is_true(answers > 200)
      assert.is_true(queries >= 2 and queries <= math.ceil(seconds / 0.2) + 1, queries)
      assert.equal(queries, metric(service, "loads_total"))
    end))

  it("does so when the database is slow: the others wait for that one query",
    with_both({ ttl = 0.2, delay = 0.1 }, function(service, database)
      local _, seconds = drive(service, "/products/7", '"id":7[,}]')
      local queries = queries_of(database)
      assert.is_true(queries >= 2 and queries <= math.ceil(seconds / 0.3) + 1, queries)
      assert.equal(queries, metric(service, "loads_total"))
      assert.is_true(metric(service, "coalesced_total") >= 100)
    end))

  it("shows nobody an old product after a write was answered, under load, too",
    with_both({ ttl = 0.05, delay = 0.01 }, function(service)
      local confirmed, reads, is_over = 0, 0, false
      local function read()
        while not is_over do
          local least = confirmed
          local price = cjson.decode(get(service, "/products/7").body).price
          assert(price >= least, ("price %d, %d had been written"):format(price, least))
          reads = reads + 1
        end
      end
      local function write()
        for price = 1001, 1030 do
          assert.equal(200, put(service, 7, price).status)
          confirmed = price
          perigee.sleep(0.02)
        end
        is_over = true
      end
      local load = perigee.spawn(drive, service, "/products/7", '"id":7[,}]')
      perigee.gather { write, read, read, read, read, read, read, read, read }
      load:wait()
      assert.is_true(reads >= 30)
    end))

  it("answers with what it has while the database is down, and with a 502 where it has nothing",
    with_both({ ttl = 0.1 }, function(service, database)
      get(service, "/products/7")
      get(service, "/products?ids=1,2")
      stop(database, KILL)
      perigee.sleep(0.15)
      drive(service, "/products/7", '"id":7[,}]')
      local response = get(service, "/products/7")
      assert.same({ 200, "stale" }, { response.status, response.headers["x-cache"] })
      local many = get(service, "/products?ids=1,2")
      assert.same({ 200, "stale" }, { many.status, many.headers["x-cache"] })
      assert.equal(502, get(service, "/products/8").status)
      assert.equal(502, get(service, "/products?ids=1,8").status)
      assert.equal(502, put(service, 9, 1).status)
      start("database", ("--file %s/products.db"):format(folder), port_of(database))
      assert.equal("load", get(service, "/products/7").headers["x-cache"])
      assert.equal(200, get(service, "/products/8").status)
    end))

  it("answers what runs when it is told to stop, and takes no more",
    with_both({ delay = 0.3 }, function(service)
      local jobs = {}
      for i = 1, 20 do jobs[i] = perigee.spawn(get, service, "/products/" .. i) end
      eventually("all requests", function() return metric(service, "misses_total") == 20 end)
      processes.signal(service.pid, TERM)
      for i = 1, 20 do
        local response = jobs[i]:wait()
        assert.equal(200, response.status, response.body)
        assert.equal(i, cjson.decode(response.body).id)
      end
      eventually("its end", function() return not processes.is_running(service.pid) end)
      assert.is_nil(socket.connect("127.0.0.1", port_of(service)))
      assert.equal(1, select(2, content_of(service.log):gsub("\n", "\n")))
    end))
end)

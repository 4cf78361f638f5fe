-- SPDX-License-Identifier: MIT
-- suites: dev
-- Inside nginx, light threads that are ended in the middle of a load, while their request lives on:
-- nobody waits for what they were loading.
local nginx = require "spec.support.nginx"
local socket = require "socket"

if nginx.missing() then
  describe("requests whose light threads are ended", function() pending(nginx.missing()) end)
  return
end

-- What each worker has: caches, a load that does not end, and a request that tells what it gets.
local RIG = [[
local perigee = require "perigee"

local _M = { perigee = perigee, flight = require "perigee.load.flight", begun = {} }

_M.cache = perigee.new { name = "cache" }
_M.shared = perigee.new { name = "shared", shared = "perigee" }
_M.limited = perigee.new { name = "limited", load_timeout = 0.2 }
_M.batches = perigee.new { name = "batches", batch_window_ms = 200 }

function _M.now()
  ngx.update_time()
  return ngx.now()
end

local function sleep() ngx.sleep(60) return "late" end

-- Begins a load in a light thread of this request, and goes on when others wait for it.
function _M.begin()
  _M.begun[ngx.var.arg_key] = true
  ngx.thread.spawn(function() _M[ngx.var.arg_kind]:get(ngx.var.arg_key, sleep) end)
  ngx.sleep(0.3)
end

function _M.wait_for(key)
  repeat ngx.sleep(0.002) until _M.begun[key]
end

function _M.answer()
  local value, err, source = _M[ngx.var.arg_kind]:get(ngx.var.arg_key, function() return "own" end)
  ngx.print(("%s %s %s"):format(value, err, source))
end

-- A load that is ended while it waits for another one.
function _M.load_nested(inner)
  _M.begun.nested = true
  return _M.limited:get("outer", function() return inner:get("inner", sleep) end)
end

return _M
]]

local HTTP = [[
lua_shared_dict perigee 10m;
lua_check_client_abort on;
init_by_lua_block { require "perigee" }
]]

local LOCATIONS = [[
location = /answer { content_by_lua_block { require("rig").answer() } }
location = /access {
  access_by_lua_block { require("rig").begin() ngx.exit(ngx.OK) }
  content_by_lua_block { require("rig").answer() }
}
location = /failed {
  error_page 502 =200 /answer?kind=$arg_kind&key=$arg_key;
  content_by_lua_block { require("rig").begin() ngx.exit(502) }
}
location = /exec {
  content_by_lua_block { require("rig").begin() ngx.exec("/answer", ngx.var.args) }
}
location = /inner { content_by_lua_block { require("rig").begin() ngx.exit(200) } }
location = /subrequest {
  content_by_lua_block {
    ngx.location.capture("/inner", { args = ngx.var.args })
    require("rig").answer()
  }
}
location = /slow {
  content_by_lua_block {
    require("rig").begin()
    ngx.print(("x"):rep(20e6))
    ngx.exit(200)
  }
}
]]

local server

local function run_in(worker, chunk, ...)
  return server:lua_in(worker, "local rig = require 'rig' " .. chunk, ...)
end

local function begin_in(worker, chunk, ...)
  return server:begin_lua(worker, "local rig = require 'rig' " .. chunk, ...)
end

local function start(workers)
  server = nginx.start { workers = workers, http = HTTP, locations = LOCATIONS,
    files = { ["rig.lua"] = RIG } }
  for worker = 0, workers - 1 do run_in(worker, "return true") end
end

local function finish()
  local errors = server:errors()
  nginx.clean()
  assert.same({}, errors)
end

-- Who waits looks every second whether the request lives that loads; a lease lasts for 5 s.
local SOON_S = 4.8

-- Waits for answers, which come soon and are a value of one of those who asked.
local function check_answers(requests, began)
  for _, request in ipairs(requests) do
    local body = request:finish()
    assert.matches("^own nil %l+$", body or "no answer")
    assert.is_true(socket.gettime() - began < SOON_S)
  end
end

local WAYS = {
  { "by ngx.exit in the access phase", "/access" },
  { "by ngx.exit with an error page", "/failed" },
  { "by ngx.exec", "/exec" },
  { "by ngx.exit in a subrequest", "/subrequest" },
}

for kind, workers in pairs { cache = 1, shared = 2 } do
  describe("a load whose light thread is ended, its request goes on (" .. kind .. "),", function()
    setup(function() start(workers) end)
    teardown(finish)

    for i, way in ipairs(WAYS) do
      it(way[1] .. ", is in nobody's way", function()
        local query = ("?kind=%s&key=k%d"):format(kind, i)
        local began = socket.gettime()
        local requests = { server:begin { path = way[2] .. query, worker = 0 } }
        run_in(0, "rig.wait_for(...)", "k" .. i)
        for worker = 0, workers - 1 do
          table.insert(requests, server:begin { path = "/answer" .. query, worker = worker })
        end
        check_answers(requests, began)
      end)
    end

    it("while a slow client is sent the answer, is in nobody's way", function()
      local query = ("?kind=%s&key=slow"):format(kind)
      local began, requests = socket.gettime(), {}
      local slow = server:begin { path = "/slow" .. query, worker = 0 }
      run_in(0, "rig.wait_for 'slow'")
      for worker = 0, workers - 1 do
        table.insert(requests, server:begin { path = "/answer" .. query, worker = worker })
      end
      check_answers(requests, began)
      slow:abort()
    end)

    it("while a slow client is sent the answer, is not waited for by who comes later", function()
      local query = ("?kind=%s&key=later"):format(kind)
      local slow = server:begin { path = "/slow" .. query, worker = 0 }
      socket.sleep(0.8)
      for worker = workers - 1, 0, -1 do
        check_answers({ server:begin { path = "/answer" .. query, worker = worker } },
          socket.gettime())
      end
      slow:abort()
    end)

    it("is not waited for by the next request, nor by a request of another worker", function()
      local query = ("?kind=%s&key=next"):format(kind)
      for worker = workers - 1, 0, -1 do
        local request = server:begin { path = "/inner" .. query .. worker, worker = 0 }
        assert.equal("", (request:finish()))
        check_answers({ server:begin { path = "/answer" .. query .. worker, worker = worker } },
          socket.gettime())
      end
    end)
  end)
end

describe("a load within one that took too long", function()
  before_each(function() start(2) end)
  after_each(finish)

  local NESTED = [[
    local inner, began = rig[...], rig.now()
    local value, err = rig.load_nested(inner)
    local again, failure, source = inner:get("inner", function() return "own" end)
    return { value, err or false, again, failure or false, source }, rig.now() - began
  ]]

  for _, kind in ipairs { "cache", "shared" } do
    it("can be loaded anew by the same request: " .. kind, function()
      local answer, seconds = run_in(0, NESTED, kind)
      assert.same({ nil, "timeout", "own", false, "load" }, answer)
      assert.is_true(seconds < SOON_S)
    end)
  end

  -- A request that lives on long after its load.
  local LIVE_ON = "rig.load_nested(rig[...]) ngx.sleep(30)"
  local GET = "return (rig[...]:get('inner', function() return 'own' end))"

  it("can be loaded anew by another worker, while the request lives on", function()
    local request = begin_in(0, LIVE_ON, "shared")
    run_in(0, "rig.wait_for 'nested' ngx.sleep(0.4)")
    local began = socket.gettime()
    assert.equal("own", (run_in(1, GET, "shared")))
    assert.is_true(socket.gettime() - began < SOON_S)
    request:abort()
  end)

  for kind, worker in pairs { cache = 0, shared = 1 } do
    it("wakes who waits for it in another request: " .. kind, function()
      local request = begin_in(0, LIVE_ON, kind)
      run_in(0, "rig.wait_for 'nested'")
      local began = socket.gettime()
      assert.equal("own", (run_in(worker, GET, kind)))
      assert.is_true(socket.gettime() - began < SOON_S)
      request:abort()
    end)
  end
end)

describe("a batch whose request ends before the batch leaves", function()
  before_each(function() start(1) end)
  after_each(finish)

  -- Each request has a batch loader of its own.
  local LOAD = [[
    local key, ending = ...
    ngx.thread.spawn(function()
      rig.batches:get(key, { batch_loader = function() return { [key] = 1 } end })
    end)
    if ending == "exit" then ngx.exit(204) end
    ngx.sleep(60)
  ]]

  local function check_nothing_open()
    assert.same({ 0, false }, { run_in(0, [[
      local deadline, open = rig.now() + 60, nil
      repeat
        ngx.sleep(0.05)
        open = 0
        for _ in pairs(rig.batches.open) do open = open + 1 end
      until open == 0 and not rig.flight.any() or rig.now() > deadline
      return open, rig.flight.any()
    ]]) })
  end

  it("by ngx.exit leaves nothing behind", function()
    for i = 1, 20 do begin_in(0, LOAD, "k" .. i, "exit"):finish() end
    check_nothing_open()
  end)

  it("by a client who leaves leaves nothing behind", function()
    local requests = {}
    for i = 1, 20 do requests[i] = begin_in(0, LOAD, "k" .. i, "leave") end
    socket.sleep(0.05)
    for i = 1, 20 do requests[i]:abort() end
    check_nothing_open()
  end)
end)

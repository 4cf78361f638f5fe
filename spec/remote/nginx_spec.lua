-- SPDX-License-Identifier: MIT
-- suites: dev
-- Caches in nginx' workers, and in a process with a loop of its own, over one Redis server.
local fleet = require "spec.support.fleet"
local nginx = require "spec.support.nginx"
local peer = require "spec.support.peer"
local redis = require "spec.support.redis"
local socket = require "socket"

local eventually = redis.eventually

-- What the workers have.
local APP = [==[
local perigee = require "perigee"
local _M = { lines = {} }

require("perigee.log").sink = function(_, text) table.insert(_M.lines, text) end

function _M.open(opts, redis)
  if _M.cache and not _M.cache.closed then _M.cache:close() end
  opts.remote_cache = perigee.redis(redis)
  _M.cache = perigee.new(opts)
end

function _M.call(method, ...) return _M.cache[method](_M.cache, ...) end

return _M
]==]

local CALL = "return require('app').call(...)"

local server, web

-- A caller's view of the cache in one worker, or in the process with a loop.
local function at(worker)
  return function(method, ...) return web:lua_in(worker, CALL, method, ...) end
end

local function there(other)
  return function(method, ...) return other:call(method, ...) end
end

-- Starts nginx with a cache in each worker.
local function start(workers, opts, redis_opts, more)
  local settings = { workers = workers, files = { ["app.lua"] = APP } }
  for name, value in pairs(more or {}) do settings[name] = value end
  web = nginx.start(settings)
  local all = { name = "c", maxsize = 1000 }
  for name, value in pairs(opts or {}) do all[name] = value end
  for i = 0, workers - 1 do
    web:lua_in(i, "require('app').open(...)", all, server:opts(redis_opts))
  end
end

local function other_process(opts)
  local all = { name = "c", maxsize = 1000 }
  for name, value in pairs(opts or {}) do all[name] = value end
  return peer.start("task"):open(all, server:opts())
end

local function gets(cache, key, wanted)
  return eventually(function() return (cache("get", key)) == wanted end)
end

-- What nginx says itself of a server that has gone.
local function is_expected(line)
  return line:find "connect%(%) to unix:" or line:find "send%(%) failed"
end

local function unexpected_errors()
  local list = {}
  for _, line in ipairs(web:errors()) do
    if not is_expected(line) then list[#list + 1] = line end
  end
  return list
end

local missing = nginx.missing()
local it = missing and function(name) pending(name .. " (" .. missing .. ")") end or it

describe("a cache in nginx", function()
  before_each(function() server = redis.start() end)
  after_each(function()
    local errors = web and unexpected_errors() or {}
    peer.clean()
    fleet.clean()
    nginx.clean()
    redis.clean()
    web = nil
    assert.same({}, errors)
  end)

  -- Each change that one side makes is seen by the other, which has the old value in memory.
  local function sees_changes(writer, reader)
    writer("set", "k", "one")
    assert.is_true(gets(reader, "k", "one"))
    assert.is_true(eventually(function() -- the notice may come after the value
      return select(3, reader("get", "k")) == "memory"
    end))
    writer("set", "k", "two")
    assert.is_true(gets(reader, "k", "two"))
    assert.is_true((writer("delete", "k")))
    assert.is_true(gets(reader, "k", nil))
    writer("set_many", { a = 1, b = 2, c = 3 }, { tags = { "user:1" } })
    assert.is_true(gets(reader, "a", 1) and gets(reader, "c", 3))
    assert.is_true((writer("invalidate_tags", "user")))
    assert.is_true(gets(reader, "a", nil) and gets(reader, "c", nil))
    writer("set", "d", 4)
    assert.is_true(gets(reader, "d", 4))
    assert.is_true((writer("clear")))
    assert.is_true(gets(reader, "d", nil))
  end

  it("and one in a process with a loop see each other's changes", function()
    start(1)
    local other = there(other_process())
    sees_changes(at(0), other)
    sees_changes(other, at(0))
    sees_changes(at(0), other)
  end)

  it("and one in another worker see each other's changes", function()
    start(2)
    sees_changes(at(0), at(1))
    sees_changes(at(1), at(0))
  end)

  it("that was made before the workers were is one in each of them", function()
    web = nginx.start { workers = 2, files = { ["app.lua"] = APP },
      http = ([[init_by_lua_block {
        local app = require "app"
        app.open({ name = "c", maxsize = 1000 }, { unix = "%s" })
        app.call("set", "early", "bird")
      }]]):format(server.unix) }
    assert.equal("bird", (at(0)("get", "early")))
    sees_changes(at(0), at(1))
    sees_changes(at(1), at(0))
    local WHO = "return require('app').cache.remote.share:writer()"
    assert.are_not.equal(web:lua_in(0, WHO), (web:lua_in(1, WHO)))
  end)

  it("keeps what it wrote itself", function()
    start(1)
    local cache = at(0)
    for i = 1, 50 do cache("set", "k" .. i, i) end
    assert.is_true(eventually(function() return cache("get_metrics").remote_writes == 50 end))
    web:lua "ngx.sleep(0.05)"
    for i = 1, 50 do
      local value, _, source = cache("get", "k" .. i)
      assert.same({ i, "memory" }, { value, source })
    end
    assert.equal(0, cache("get_metrics").remote_notices)
  end)

  it("loads what nobody has, and reads what others have", function()
    start(1)
    local GET = "return require('app').cache:get('k', function() return 'loaded' end)"
    local value, _, source = web:lua(GET)
    assert.same({ "loaded", "load" }, { value, source })
    local other = there(other_process())
    assert.is_true(gets(other, "k", "loaded"))
    other("set", "j", { deep = { 1, 2 } })
    assert.is_true(eventually(function()
      value, _, source = at(0)("get", "j")
      return value ~= nil
    end))
    assert.same({ { deep = { 1, 2 } }, "remote" }, { value, source })
  end)

  it("reads many keys in one trip, and has the rest loaded", function()
    start(1, { default_ttl = 60 })
    local GET_MANY = [==[
      local cache, keys = require("app").cache, {}
      for i = 1, 3000 do keys[i] = "k" .. i end
      local asked = 0
      local values, _, sources = cache:get_many(keys, { batch_loader = function(list)
        asked = asked + #list
        local loaded = {}
        for _, key in ipairs(list) do loaded[key] = "value of " .. key end
        return loaded
      end })
      local counts = {}
      for i = 1, 3000 do
        assert(values[keys[i]] == "value of " .. keys[i])
        counts[sources[keys[i]]] = (counts[sources[keys[i]]] or 0) + 1
      end
      return asked, counts
    ]==]
    assert.equal(3000, (web:lua(GET_MANY)))
    assert.is_true(eventually(function() return at(0)("get_metrics").remote_writes == 3000 end))
    web:lua_in(0, "require('app').open(...)", { name = "c", maxsize = 10000 }, server:opts())
    local asked, counts = web:lua(GET_MANY)
    assert.same({ 0, { remote = 3000 } }, { asked, counts })
  end)

  it("has one load among its workers and other processes, with single_load", function()
    start(2, { single_load = 10 })
    local other = other_process { single_load = 10 }
    local GET = [[
      local cache, unix = require("app").cache, ...
      return cache:get("k", function()
        local other = require("perigee.client.redis_ngx").new({ unix = unix, host = "x", port = 1,
          db = 0, connect_timeout = 5, timeout = 5, coherence = false }, "nothing")
        local number = other:ask({ { "INCR", "loads" } })[1]
        ngx.sleep(0.3)
        return "value " .. number
      end)
    ]]
    local asked = {}
    for i = 1, 10 do asked[i] = web:begin_lua(i % 2, GET, server.unix) end
    local there_too = other:send([[
      local unix = ...
      return (cache:get("k", function()
        local redis_ev = require "perigee.client.redis_ev"
        local client = redis_ev.new({ unix = unix, connect_timeout = 5, timeout = 5 }, "nothing")
        local number = client:ask({ { "INCR", "loads" } })[1]
        perigee.sleep(0.3)
        return "value " .. number
      end))
    ]], server.unix)
    for i = 1, 10 do assert.equal("value 1", (asked[i]:values())) end
    assert.equal("value 1", (other:result(there_too)))
    assert.equal("1", server:cli("GET", "loads"))
  end)

  it("outlives a server that is killed, and forgets what may be old", function()
    start(2, nil, { timeout = 0.5 })
    local one, two = at(0), at(1)
    one("set", "k", "old")
    assert.is_true(gets(two, "k", "old"))
    server:kill()
    local GET = "return require('app').cache:get(..., function() return 'loaded' end)"
    for i = 0, 1 do
      assert.is_true(eventually(function() return web:lua_in(i, GET, "k") == "loaded" end))
    end
    one("set", "j", "written while it was away")
    assert.equal("written while it was away", (one("get", "j")))
    local done, why = one("delete", "k")
    assert.is_true(done)
    assert.is_string(why)
    server:start()
    assert.is_true(eventually(function()
      return web:lua_in(0, "return require('app').cache.remote.share.client.state") == "open"
        and web:lua_in(1, "return require('app').cache.remote.share.client.state") == "open"
    end, 15))
    one("set", "k", "new")
    assert.is_true(gets(two, "k", "new"))
    sees_changes(two, one)
    assert.equal(1, web:lua_in(1, "return #require('app').lines"))
  end)

  it("waits for a silent server once, and not at all while it is down", function()
    start(1, nil, { timeout = 0.25, connect_timeout = 0.5 })
    at(0)("set", "k", "v")
    assert.is_true(eventually(function() return at(0)("get_metrics").remote_writes == 1 end))
    server:pause()
    local longest, wrong = web:lua [[
      local cache, longest, wrong = require("app").cache, 0, 0
      local clock = require("spec.support.beats").start()
      for i = 1, 200 do
        local began = clock:seconds()
        if cache:get("n" .. i, function() return i end) ~= i then wrong = wrong + 1 end
        longest = math.max(longest, clock:seconds() - began)
        ngx.sleep(0.005)
      end
      clock:stop()
      return longest, wrong
    ]]
    server:resume()
    assert.is_true(longest < 1.5, longest .. " s")
    assert.equal(0, wrong)
    assert.is_true(eventually(function()
      at(0)("set", "used?", 1)
      return (at(0)("get_metrics")).remote_writes > 1
    end, 15))
  end)

  it("deletes in a phase that cannot wait what others have, and misses there in silence", function()
    start(1, nil, nil, { locations = [[
      location = /log {
        content_by_lua_block { ngx.print "x" }
        log_by_lua_block {
          local app = require "app"
          app.deleted = { app.call("delete", "k") }
          app.got = { app.cache:get("j", function() return "loaded" end) }
        }
      }
    ]] })
    local other = there(other_process())
    other("set", "k", "old")
    assert.is_true(gets(at(0), "k", "old"))
    web:get "/log"
    assert.is_true(gets(other, "k", nil))
    local deleted, got = web:lua "local app = require 'app' return app.deleted, app.got"
    assert.is_true(deleted[1])
    assert.matches("in the phase log", deleted[2])
    assert.equal("loaded", got[1])
    assert.equal(0, web:lua "return #require('app').lines")
  end)

  it("is used still, and remembers no longer than a second, in a worker that is about to end",
    function()
      start(1)
      local other = there(other_process())
      other("set", "k", "old")
      assert.is_true(gets(at(0), "k", "old"))
      local last = web:begin_lua(0, [[
        local cache, seen = require("app").cache, {}
        while not ngx.worker.exiting() do ngx.sleep(0.05) end
        ngx.sleep(1.5)
        ngx.update_time()
        local began = ngx.now()
        for i = 1, 600 do
          local value, _, source = cache:get "k"
          seen[i] = value .. " from " .. source
          if i >= 30 and value == "new" then break end
          ngx.sleep(0.1)
        end
        cache:set("j", "last words")
        ngx.update_time()
        return seen, ngx.now() - began, select(2, cache:delete "k")
      ]])
      web:reload()
      socket.sleep(2)
      other("set", "k", "new")
      local seen, seconds, why = last:values()
      assert.matches("^new", seen[#seen])
      local fresh, from_memory = 0, 0
      for _, text in ipairs(seen) do
        if text:find "from remote" then fresh = fresh + 1 end
        if text == "old from memory" then from_memory = from_memory + 1 end
      end
      assert.is_true(from_memory > 0)
      assert.is_true(fresh > 1 and fresh <= seconds + 4, fresh .. " in " .. seconds .. " s")
      assert.is_nil(why)
      assert.is_true(gets(other, "k", nil) and gets(other, "j", "last words"))
    end)

  it("has written what it was told to before its worker ends", function()
    start(1)
    web:lua [[
      local cache = require("app").cache
      cache:set("first", 1)
      for i = 1, 500 do cache:set("k" .. i, i) end
    ]]
    web:reload()
    local other = there(other_process())
    assert.is_true(gets(other, "k1", 1) and gets(other, "k500", 500))
  end)
end)

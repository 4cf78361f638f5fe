-- SPDX-License-Identifier: MIT
-- suites: dev
-- Inside nginx, what goes wrong for others does not go wrong here: failing loaders under many
-- callers, clients who leave, writes during loads, values that cannot travel.
local nginx = require "spec.support.nginx"
local socket = require "socket"

if nginx.missing() then
  describe("a cache under pressure inside nginx", function() pending(nginx.missing()) end)
  return
end

-- What each worker has: caches, and loaders that tell what they did.
local RIG = [[
local perigee = require "perigee"

local _M = { perigee = perigee, loads = 0, ended = 0 }

_M.cache = perigee.new { name = "cache", maxsize = 10000 }
_M.shared = perigee.new { name = "shared", shared = "perigee", maxsize = 10000 }

function _M.now()
  ngx.update_time()
  return ngx.now()
end

-- A loader that takes a while, and ends in any way.
function _M.loader(seconds, finish)
  return function()
    _M.loads = _M.loads + 1
    ngx.sleep(seconds)
    _M.ended = _M.now()
    return finish()
  end
end

function _M.take_loads()
  local loads = _M.loads
  _M.loads = 0
  return loads
end

-- A request: what the caller gets, and how long after the end of the load.
function _M.answer(kind, key, seconds, finish)
  local ok, value, err = pcall(_M[kind].get, _M[kind], key, _M.loader(seconds, finish))
  ngx.print(("%s %s %s %.3f"):format(ok, value, err, _M.now() - _M.ended))
end

return _M
]]

local HTTP = [[
lua_shared_dict perigee 10m;
lua_check_client_abort on;
init_by_lua_block { require "perigee" }
]]

local function location(path, body)
  return ("location %s { content_by_lua_block { local rig = require 'rig' %s } }\n")
    :format(path, body)
end

local LOCATIONS = location("/raising", [[
  rig.answer(ngx.var.arg_kind, "raising", 0.2, function() error("boom", 0) end)
]]) .. location("/failing", [[
  rig.answer(ngx.var.arg_kind, "failing", 0.2, function() return nil, "broken" end)
]]) .. location("/fine", [[
  rig.answer(ngx.var.arg_kind, ngx.var.arg_key, 0.3, function() return "fine" end)
]]) .. location("/endless", [[
  rig.answer(ngx.var.arg_kind, ngx.var.arg_key, 30, function() return "late" end)
]]) .. [[
location /late {
  content_by_lua_block { ngx.print "fine" }
  header_filter_by_lua_block {
    local rig = require "rig"
    ngx.header.seen = tostring(select(2, rig.cache:get("contended", rig.loader(0.1))))
  }
  log_by_lua_block {
    local rig = require "rig"
    rig.logged = { pcall(rig.cache.get, rig.cache, "contended", rig.loader(0.1)) }
  }
}
]]

-- Whoever is not woken looks every second by himself.
local LATE_S = 0.9

-- Less than a lease lasts.
local SOON_S = 4.5

local server

local function start(workers)
  server = nginx.start { workers = workers or 1, http = HTTP, locations = LOCATIONS,
    files = { ["rig.lua"] = RIG } }
end

local function run(chunk, ...) return server:lua("local rig = require 'rig' " .. chunk, ...) end

local function run_in(worker, chunk, ...)
  return server:lua_in(worker, "local rig = require 'rig' " .. chunk, ...)
end

local function begin(chunk, ...)
  return server:begin_lua(nil, "local rig = require 'rig' " .. chunk, ...)
end

local function loads() return run "return rig.take_loads()" end

-- Waits until a load runs that `loads` has not counted.
local function until_loads() run "repeat ngx.sleep(0.002) until rig.loads > 0" end

-- All answers are alike but for their last word, which is a time: the longest.
local function check_alike(answers, expected)
  local longest = 0
  for _, answer in ipairs(answers) do
    local text, late = answer.body:match "^(.*) (%S+)$"
    assert.equal(expected, text)
    longest = math.max(longest, tonumber(late))
  end
  return longest
end

describe("under pressure inside nginx", function()
  after_each(function()
    local errors = server:errors()
    nginx.clean()
    assert.same({}, errors)
  end)

  for _, kind in ipairs { "cache", "shared" } do
    it("a loader that raises is called once for a hundred callers: " .. kind, function()
      start()
      local late = check_alike(server:together(100, "/raising?kind=" .. kind), "false boom nil")
      assert.equal(1, loads())
      assert.is_true(late < LATE_S)
    end)

    it("a loader that fails is called once for a hundred callers: " .. kind, function()
      start()
      local late = check_alike(server:together(100, "/failing?kind=" .. kind), "true nil broken")
      assert.equal(1, loads())
      assert.is_true(late < LATE_S)
    end)

    it("who waits is woken by the end of the load: " .. kind, function()
      start()
      local path = "/fine?key=k&kind=" .. kind
      assert.is_true(check_alike(server:together(100, path), "true fine nil") < LATE_S)
      assert.equal(1, loads())
    end)

    it("one takes over from a client who left, and nobody waits for long: " .. kind, function()
      start()
      local query = "?key=left&kind=" .. kind
      local leader = server:begin { path = "/endless" .. query }
      until_loads()
      local waiting = {}
      for i = 1, 10 do waiting[i] = server:begin { path = "/fine" .. query } end
      socket.sleep(0.05)
      assert.equal(1, loads())
      leader:abort()
      local began = socket.gettime()
      for i = 1, 10 do assert.matches("^true fine nil", (waiting[i]:finish())) end
      assert.is_true(socket.gettime() - began < SOON_S)
      assert.equal(1, loads())
    end)

    it("a client who left is in nobody's way who comes later: " .. kind, function()
      start()
      local leaving = server:begin { path = "/endless?key=left&kind=" .. kind }
      until_loads()
      leaving:abort()
      socket.sleep(0.05)
      loads()
      local began = socket.gettime()
      check_alike(server:together(20, "/fine?key=left&kind=" .. kind), "true fine nil")
      assert.is_true(socket.gettime() - began < SOON_S)
      assert.equal(1, loads())
    end)

    it("a write during a load wins: " .. kind, function()
      start()
      local LOAD = [[return (rig[...]:get("w", rig.loader(0.5, function() return "old" end)))]]
      local NEW = [[return (rig[...]:get("w", function() return "new" end))]]
      for _, act in ipairs { "delete('w')", "set('w', 'new')", "clear()" } do
        local loading = begin(LOAD, kind)
        until_loads()
        run("rig[...]:" .. act, kind)
        assert.equal("new", run(NEW, kind))
        assert.equal("old", (loading:values()))
        assert.equal("new", run(NEW, kind))
        run("rig[...]:clear()", kind)
        loads()
      end
    end)

    it("get_many drops no key, however the batches are split: " .. kind, function()
      start()
      assert.same({}, run([[
        local wrong = {}
        local function check(n, size, opts, values, errors)
          for i = 1, n do
            if values["k" .. i] ~= "v" .. i or errors then
              wrong[#wrong + 1] = ("%d keys by %d: key %d, %s"):format(n, size, i, tostring(opts))
            end
          end
        end
        for _, n in ipairs { 1, 2, 5, 10, 11, 12, 37, 100 } do
          for _, size in ipairs { 1, 2, 3, 5, 10, 100 } do
            local cache = rig.perigee.new { name = "many", max_batch_size = size,
              shared = ... == "shared" and "perigee" or nil }
            local keys = {}
            for i = 1, n do keys[i] = "k" .. i end
            check(n, size, "batches", cache:get_many(keys, function(list)
              ngx.sleep(0.0005)
              local map = {}
              for _, key in ipairs(list) do map[key] = "v" .. key:sub(2) end
              return map
            end))
            cache:clear()
            check(n, size, "one by one", cache:get_many(keys, { loader = function(key)
              ngx.sleep(0.0005)
              return "v" .. key:sub(2)
            end }))
            cache:clear()
            cache:close()
          end
        end
        return wrong
      ]], kind))
    end)

    it("a load that waits for itself says so at once, also across requests: " .. kind, function()
      start()
      local err, seconds = run([[
        local cache, began = rig[...], rig.now()
        local _, err = pcall(cache.get, cache, "self", function()
          return cache:get("self", function() return 1 end)
        end)
        return err, rig.now() - began
      ]], kind)
      assert.matches("perigee: deadlock", err, 1, true)
      assert.is_true(seconds < LATE_S)
      local CROSS = [[
        local cache, own, other = rig[...], select(2, ...)
        local _, err = pcall(cache.get, cache, own, function()
          ngx.sleep(0.1)
          return (cache:get(other, function() return "alone" end))
        end)
        return err
      ]]
      local first, second = begin(CROSS, kind, "a", "b"), begin(CROSS, kind, "b", "a")
      local texts = tostring(first:values()) .. tostring(second:values())
      assert.matches("deadlock", texts, 1, true)
    end)
  end

  it("caches whose names and keys run together do not meet, in no worker", function()
    start(2)
    local MAKE = [[
      rig.a = rig.perigee.new { name = "user", shared = "perigee" }
      rig.b = rig.perigee.new { name = "users", shared = "perigee" }
      rig.c = rig.perigee.new { name = "user\0", shared = "perigee" }
    ]]
    run_in(0, MAKE .. "rig.a:set('s:1', 'a') rig.b:set(':1', 'b') rig.c:set('1', 'c')")
    run_in(1, MAKE)
    local ALL = [[
      local a, b, c = rig.a, rig.b, rig.c
      return (a:get "s:1"), (b:get ":1"), (c:get "1"), (a:get "\0s:1")
    ]]
    assert.same({ "a", "b", "c" }, { run_in(1, ALL) })
    run_in(1, "rig.a:clear()")
    assert.same({ nil, "b", "c" }, { run_in(0, ALL) })
    assert.same({ nil, "b", "c" }, { run_in(1, ALL) })
  end)

  it("a value that cannot travel is no error, and holds up nobody", function()
    start(2)
    for _, value in ipairs { "print", "coroutine.create(function() end)", "io.stdout", "ngx.null",
        "{ f = print }", "require('ffi').new('int[2]')" } do
      local LOAD = ([[
        local value = %s
        local began, loaded = rig.now(), false
        local got, err, source = rig.shared:get("odd", function() loaded = true return value end)
        return type(got), err, rig.now() - began, rawequal(got, value) or not loaded
      ]]):format(value)
      local kind, err, seconds, same = run_in(0, LOAD)
      assert.is_nil(err)
      assert.is_true(kind ~= "nil" and same and seconds < LATE_S)
      local other, failure, lasted = run_in(1, LOAD)
      assert.equal(kind, other)
      assert.is_nil(failure)
      assert.is_true(lasted < LATE_S)
      run_in(0, "rig.shared:delete('odd')")
    end
  end)

  it("numbers come to another worker as they are", function()
    start(2)
    assert.is_true(run_in(0, [[
      local list = { 0.1, 1 / 3, 2 ^ 53 - 1, -(2 ^ 53 - 1), 1e308, 5e-324, math.huge, -math.huge,
        123456789.123456789, 0, 0 / 0 }
      for i = 1, #list do rig.shared:set(i, list[i]) end
      rig.shared:set("list", list)
      return true
    ]]))
    assert.is_true(run_in(1, [[
      local list = rig.shared:get("list")
      for i = 1, #list - 1 do
        local got = rig.shared:get(i)
        if type(got) ~= "number" or got ~= list[i] then return i end
      end
      local odd = rig.shared:get(#list)
      return #list == 11 and odd ~= odd
    ]]))
  end)

  it("a worker that missed more changes than are kept forgets all, and is never stale", function()
    start(2)
    run_in(0, "rig.shared:set('k', 'old')")
    assert.equal("old", (run_in(1, "return rig.shared:get('k')")))
    run_in(0, "rig.shared:set('k', 'new') for i = 1, 5000 do rig.shared:set('x' .. i % 7, i) end")
    local value, seconds = run_in(1, [[
      local began = rig.now()
      local value = rig.shared:get("k")
      return value, rig.now() - began
    ]])
    assert.equal("new", value)
    assert.is_true(seconds < LATE_S)
    assert.equal(4997, (run_in(1, "return rig.shared:get('x6')")))
  end)

  it("a contended miss in header_filter and log does not raise", function()
    start()
    local loading = begin [[
      return (rig.cache:get("contended", rig.loader(2, function() return "v" end)))
    ]]
    until_loads()
    local body, status, headers = server:get "/late"
    assert.same({ "fine", 200 }, { body, status })
    assert.matches("cannot wait here", headers.seen, 1, true)
    local ok, value, err = unpack(run "return rig.logged", 1, 3)
    assert.is_true(ok)
    assert.is_nil(value)
    assert.matches("cannot wait here", err, 1, true)
    assert.equal("v", (loading:values()))
    assert.equal("v", (run "return rig.cache:get('contended', rig.loader(0.1))"))
  end)
end)

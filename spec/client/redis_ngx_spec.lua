-- SPDX-License-Identifier: MIT
-- suites: dev
-- The Redis client inside nginx.
local fake_redis = require "spec.support.fake_redis"
local files = require "spec.support.files"
local nginx = require "spec.support.nginx"
local redis = require "spec.support.redis"
local socket = require "socket"

-- What the workers have: a client of the server under test, and what it was told.
local RIG = [==[
local redis_ngx = require "perigee.client.redis_ngx"

local _M = {}

function _M.new(opts, watches)
  local all = { host = "127.0.0.1", port = 6379, db = 0, connect_timeout = 5, timeout = 5,
    coherence = true }
  for name, value in pairs(opts) do all[name] = value end
  local client = redis_ngx.new(all, watches or "p:")
  local heard = { notices = {}, lost = {}, opened = 0, failed = 0 }
  client.on_notice = function(key) table.insert(heard.notices, key or "all") end
  client.on_lost = function(why) table.insert(heard.lost, why) end
  client.on_open = function(has_failed)
    heard.opened = heard.opened + 1
    if has_failed then heard.failed = heard.failed + 1 end
  end
  _M.client, _M.heard = client, heard
  return client
end

-- A reply as it can travel.
function _M.told(reply)
  if reply == redis_ngx.NULL then return "NULL" end
  if type(reply) ~= "table" then return reply end
  local list = {}
  for key, value in pairs(reply) do list[key] = _M.told(value) end
  return list
end

function _M.ask(commands)
  local called, replies, why = pcall(_M.client.ask, _M.client, commands)
  if not called then return nil, "raised: " .. tostring(replies) end
  return _M.told(replies), why
end

return _M
]==]

local ask = "return require('rig').ask(...)"

local Worker = {}
Worker.__index = Worker

local workers = {}

local function worker_of(settings)
  settings.files = { ["rig.lua"] = RIG }
  local self = setmetatable({ nginx = nginx.start(settings) }, Worker)
  workers[#workers + 1] = self
  return self
end

-- nginx with a client in each worker. `opts` are the client's, `more` nginx'.
local function start(server, opts, more)
  local all = { unix = server.unix }
  for name, value in pairs(opts or {}) do all[name] = value end
  local settings = {}
  for name, value in pairs(more or {}) do settings[name] = value end
  local self = worker_of(settings)
  for i = 0, (settings.workers or 1) - 1 do
    self.nginx:lua_in(i, "require('rig').new(...)", all)
  end
  return self
end

function Worker:lua(...) return self.nginx:lua(...) end

-- Replies to commands; nil and why.
function Worker:ask(...) return self.nginx:lua(ask, { ... }) end

function Worker:say(...)
  local replies, why = self:ask { ... }
  return replies and replies[1], why
end

function Worker:heard()
  return self.nginx:lua [[
    local rig = require "rig"
    local heard = rig.heard
    heard.state, heard.err, heard.ahead_ms = rig.client.state, rig.client.err, rig.client.ahead_ms
    return heard
  ]]
end

function Worker:hears(condition)
  return redis.eventually(function() return condition(self:heard()) end)
end

-- Has so many light threads ask so often; returns how many got their own replies.
function Worker:at_once(threads, rounds)
  return self.nginx:lua([[
    local threads, rounds = ...
    local client, right = require("rig").client, 0
    local function work(i)
      for round = 1, rounds do
        local text = i .. "," .. round
        local replies = client:ask { { "ECHO", text }, { "INCR", "n" }, { "ECHO", text } }
        if replies and replies[1] == text and replies[3] == text then right = right + 1 end
      end
    end
    local running = {}
    for i = 1, threads do running[i] = ngx.thread.spawn(work, i) end
    for i = 1, threads do ngx.thread.wait(running[i]) end
    return right
  ]], threads, rounds)
end

local function stat(server, name)
  return tonumber(server:cli("INFO"):match(name .. ":(%d+)"))
end

-- Connections at the server, without the one that asks for their number.
local function connections(server)
  return stat(server, "connected_clients") - 1
end

-- What nginx says itself of a server that has gone.
local function is_expected(line)
  return line:find "connect%(%) to unix:" or line:find "send%(%) failed"
end

local function clean()
  local errors = {}
  for _, worker in ipairs(workers) do
    for _, line in ipairs(worker.nginx:errors()) do
      if not is_expected(line) then errors[#errors + 1] = line end
    end
  end
  workers = {}
  nginx.clean()
  redis.clean()
  fake_redis.clean()
  assert.same({}, errors)
end

local missing = nginx.missing()
local it = missing and function(name) pending(name .. " (" .. missing .. ")") end or it

describe("a Redis client inside nginx", function()
  after_each(clean)

  it("connects when it is first asked, and gives replies of every kind", function()
    local server = redis.start()
    local worker = start(server)
    assert.same({ "idle", 0 }, { worker:heard().state, connections(server) })
    local replies = worker:ask({ "SET", "k", "a\0b" }, { "GET", "k" }, { "GET", "none" },
      { "INCRBY", "n", "-7" }, { "LPUSH", "k", "x" }, { "MGET", "k", "none" }, { "ECHO", "" },
      { "EVAL", "return {1, {'two', {}, false}}", "0" },
      { "MULTI" }, { "LPUSH", "k", "x" }, { "INCR", "n" }, { "EXEC" })
    assert.matches("^WRONGTYPE ", replies[5].err)
    assert.matches("^WRONGTYPE ", replies[12][1].err)
    replies[5], replies[12][1] = "error", "error"
    assert.same({ "OK", "a\0b", "NULL", -7, "error", { "a\0b", "NULL" }, "",
      { 1, { "two", {}, "NULL" } }, "OK", "QUEUED", "QUEUED", { "error", -6 } }, replies)
    local heard = worker:heard()
    assert.same({ "open", 1, 0, {} }, { heard.state, heard.opened, heard.failed, heard.lost })
    assert.equal(2, connections(server))
  end)

  it("uses its connections again", function()
    local server = redis.start()
    local worker = start(server, { coherence = false })
    assert.equal("x", worker:say("ECHO", "x"))
    local before = stat(server, "total_connections_received")
    for i = 1, 50 do assert.equal(tostring(i), worker:say("ECHO", tostring(i))) end
    assert.equal(before + 1, stat(server, "total_connections_received"))
    worker:at_once(20, 5)
    before = stat(server, "total_connections_received")
    worker:at_once(20, 5)
    assert.equal(before + 1, stat(server, "total_connections_received"))
  end)

  it("gives each light thread its own replies", function()
    local worker = start(redis.start())
    assert.equal(500, worker:at_once(100, 5))
  end)

  it("asks for more keys than a function has arguments", function()
    local worker = start(redis.start())
    assert.same({ 20001, "first", "NULL", "last", "OK" }, { worker:lua [[
      local rig = require "rig"
      local command = { "MGET" }
      for i = 1, 20001 do command[i + 1] = "k" .. i end
      rig.client:ask { { "MSET", "k1", "first", "k20001", "last" } }
      local replies = assert(rig.client:ask { command, { "SET", "after", "x" } })
      return #replies[1], replies[1][1], rig.told(replies[1][4001]), replies[1][20001], replies[2]
    ]] })
  end)

  it("says in one breath what was taken and what was begun", function()
    local worker = start(redis.start())
    assert.same({ "a\0b", "OK", 3, "a\0b", "nothing", "nothing", "OK" }, { worker:lua [[
      local client = require("rig").client
      assert(client:open())
      local request = assert(client:send { { "SET", "k", "a\0b" }, { "PING" } })
      local command = assert(client:begin(3, request))
      client.argument(command, "MGET", 4)
      client.joined(command, "k", 1, "", 0)
      client.argument(command, "none", 4)
      local number = client.submit(command)
      local reply = assert(client:reply(command, number, 2))
      client.release(command, number)
      local text, length = client.text(reply, 0)
      return client.string(reply, 0), client:receive(request)[1], length,
        require("ffi").string(text, length), client.text(reply, 1) or "nothing",
        client.string(reply, 1) or "nothing", client:receive(client:send { { "SET", "k", "" } })[1]
    ]] })
  end)

  it("tells of a reply that is not what was asked for", function()
    local worker = start(redis.start())
    assert.same({ "else", "WRONGTYPE", "else" }, { worker:lua [[
      local client = require("rig").client
      client:ask { { "LPUSH", "list", "x" } }
      local function refusal(least, ...)
        local command = client:begin(select("#", ...))
        for i = 1, select("#", ...) do client.argument(command, (select(i, ...))) end
        local reply, why = client:reply(command, client.submit(command), least)
        return not reply and (why:match "else" or why:match "^%u+")
      end
      return refusal(1, "ECHO", "x"), refusal(1, "GET", "list"), refusal(2, "MGET", "k")
    ]] })
  end)

  it("may be made before the workers are", function()
    local server = redis.start()
    local init = ("init_by_lua_block { local rig = require 'rig' rig.new({ unix = '%s' }) "
      .. "rig.early = { rig.ask { { 'PING' } } } }"):format(server.unix)
    local worker = worker_of { workers = 2, http = init }
    local pids = {}
    for i = 0, 1 do
      assert.same({ { "PONG" } }, { worker.nginx:lua_in(i, ask, { { "PING" } }) })
      local pid, why, failed = worker.nginx:lua_in(i, [[
        local rig = require "rig"
        return rig.client.process(), rig.early[2], rig.heard.failed
      ]])
      assert.matches("in the phase init", why)
      assert.equal(1, failed) -- somebody did without it
      pids[pid] = true
    end
    assert.equal(4, connections(server))
    local first = next(pids)
    assert.is_number(next(pids, first))
  end)

  it("leaves nothing behind when it is closed", function()
    local server = redis.start()
    local worker = start(server)
    assert.equal("PONG", worker:say "PING")
    assert.same({ "nil", "closed" }, { worker:lua [[
      local client = require("rig").client
      client:close()
      local ok, why = client:open()
      return tostring(ok), why
    ]] })
    assert.is_true(redis.eventually(function() return connections(server) == 0 end))
    local heard = worker:heard()
    assert.same({ "closed", {} }, { heard.state, heard.lost })
  end)

  it("lets a worker end, and the next one begin", function()
    local server = redis.start()
    local worker = start(server)
    assert.equal("PONG", worker:say "PING")
    worker.nginx:reload()
    worker:lua("require('rig').new(...)", { unix = server.unix })
    assert.equal("PONG", worker:say "PING")
    assert.is_true(redis.eventually(function() return connections(server) == 2 end))
  end)
end)

describe("who asks", function()
  after_each(clean)

  it("may be a user, with a password, in a database", function()
    local server = redis.start { "--requirepass", "secret",
      "--user", "bob", "on", ">builder", "~*", "&*", "+@all" }
    local worker = start(server, { password = "secret" })
    assert.equal("default", worker:say("ACL", "WHOAMI"))
    worker:lua("require('rig').new(...)",
      { unix = server.unix, username = "bob", password = "builder", db = 3 })
    for _ = 1, 3 do
      assert.same({ "bob", "OK" }, (worker:ask({ "ACL", "WHOAMI" }, { "SET", "k", "three" })))
    end
    assert.equal("three", server:cli("-a", "secret", "-n", "3", "GET", "k"))
    worker:lua("require('rig').new(...)", { unix = server.unix, password = "secret" })
    assert.equal("NULL", worker:say("GET", "k"))
  end)

  it("is told that the password or the database is wrong, and may be right later", function()
    local server = redis.start { "--requirepass", "old" }
    local worker = start(server, { password = "new" })
    assert.matches("^WRONGPASS", select(2, worker:say "PING"))
    assert.matches("^WRONGPASS", select(2, worker:say "PING"))
    server:cli("-a", "old", "CONFIG", "SET", "requirepass", "new")
    assert.is_true(worker:hears(function(heard) return heard.opened >= 1 end))
    assert.equal("PONG", worker:say "PING")
    worker:lua("require('rig').new(...)", { unix = server.unix })
    assert.matches("^NOAUTH", select(2, worker:say "PING"))
    worker:lua("require('rig').new(...)", { unix = server.unix, password = "new", db = 99 })
    assert.matches("DB index", select(2, worker:say "PING"))
  end)

  it("finds a server by port and by localhost, and is told what a name needs", function()
    local server = redis.start { port = true }
    local worker = start(server)
    for _, host in ipairs { "127.0.0.1", "localhost" } do
      worker:lua("require('rig').new(...)", { host = host, port = server.port })
      assert.equal("PONG", worker:say "PING")
    end
    worker:lua("require('rig').new(...)", { host = "redis.example", port = server.port })
    local _, why = worker:say "PING"
    assert.matches("redis.example", why, 1, true)
    assert.matches("resolver", why)
  end)

  it("finds a server by an IPv6 address", function()
    if not io.open "/proc/net/if_inet6" then return end -- the machine has none
    local server = redis.start { port = true, "--bind", "::1" }
    local worker = start(server, { unix = false, host = "::1", port = server.port })
    assert.equal("PONG", worker:say "PING")
  end)

  it("is told which packages have lua-resty-redis when there is none", function()
    local worker = start(redis.start())
    local err = worker:lua [[
      for _, name in ipairs { "resty.redis", "nginx.redis" } do
        package.loaded[name] = nil
        package.preload[name] = function() error "not here" end
      end
      package.loaded["perigee.client.redis_ngx_wire"] = nil
      return select(2, pcall(require, "perigee.client.redis_ngx_wire"))
    ]]
    assert.matches("lua%-resty%-redis", err)
    assert.matches("lua%-nginx%-redis", err)
  end)
end)

-- Asks in a phase, and puts what comes of it where others find it.
local PHASES = [[
  init_by_lua_block { require("rig").seen = {} }
  init_worker_by_lua_block {
    local rig = require "rig"
    function rig.note()
      local replies, why = rig.ask { { "PING" } }
      rig.seen[ngx.get_phase()] = replies and replies[1] or why
    end
    rig.new { unix = "$unix" }
    rig.note()
    ngx.timer.at(0, rig.note)
  }
]]

local PLACES = [[
  location = /phases {
    set_by_lua_block $unused { require("rig").note() return "" }
    rewrite_by_lua_block { require("rig").note() }
    access_by_lua_block { require("rig").note() }
    content_by_lua_block { require("rig").note() ngx.print "x" }
    header_filter_by_lua_block { require("rig").note() }
    body_filter_by_lua_block { require("rig").note() }
    log_by_lua_block { require("rig").note() }
  }
]]

describe("a phase", function()
  after_each(clean)

  it("that may not wait gets nothing and is told why, the others get replies", function()
    local server = redis.start()
    local worker = worker_of { http = PHASES:gsub("%$unix", server.unix), locations = PLACES }
    assert.equal("x", (worker.nginx:get "/phases"))
    local seen
    assert.is_true(redis.eventually(function()
      seen = worker:lua "return require('rig').seen"
      return seen.log and seen.timer
    end))
    for _, phase in ipairs { "rewrite", "access", "content", "timer" } do
      assert.equal("PONG", seen[phase])
      seen[phase] = nil
    end
    for phase, why in pairs(seen) do assert.matches("in the phase " .. phase, why) end
    for _, phase in ipairs { "init_worker", "set", "header_filter", "body_filter", "log" } do
      assert.is_string(seen[phase])
    end
  end)
end)

describe("a Redis server, as nginx sees it,", function()
  after_each(clean)

  it("that is not there is looked for until it is", function()
    local server = redis.start()
    server:stop()
    local worker = start(server)
    assert.matches("no such file", select(2, worker:say "PING"):lower())
    assert.matches("no such file", select(2, worker:say "PING"):lower())
    assert.equal(0, worker:heard().opened)
    server:start()
    assert.is_true(worker:hears(function(heard) return heard.opened >= 1 end))
    assert.equal("PONG", worker:say "PING")
    assert.same({ {}, 1 }, { worker:heard().lost, worker:heard().failed })
  end)

  it("that is killed is missed at once, and found again", function()
    local server = redis.start()
    for _, coherence in ipairs { true, false } do
      local worker = start(server, { coherence = coherence })
      assert.equal("PONG", worker:say "PING")
      server:kill()
      assert.is_true(worker:hears(function(heard) return #heard.lost == 1 end))
      assert.is_string(select(2, worker:say "PING"))
      server:start()
      assert.is_true(worker:hears(function(heard) return heard.opened >= 2 end))
      assert.equal("PONG", worker:say "PING")
      assert.same({ 1, 1 }, { #worker:heard().lost, worker:heard().failed })
    end
  end)

  it("that hangs costs each one timeout, and then nobody waits for it", function()
    local server = redis.start()
    for _, coherence in ipairs { true, false } do
      local worker = start(server, { coherence = coherence, timeout = 1.5, connect_timeout = 0.5 })
      worker:at_once(20, 1)
      server:pause()
      local began = socket.gettime()
      assert.equal(0, worker:at_once(20, 1))
      assert.is_true(socket.gettime() - began < 12) -- not 20 timeouts
      assert.equal(1, #worker:heard().lost)
      began = socket.gettime()
      assert.equal(0, worker:at_once(100, 10))
      assert.is_true(socket.gettime() - began < 12) -- nor 1,000
      server:resume()
      assert.is_true(worker:hears(function(heard) return heard.opened >= 2 end))
      assert.equal("PONG", worker:say "PING")
    end
  end)

  it("that hangs is noticed when nobody asks, too", function()
    local server = redis.start()
    for _, coherence in ipairs { true, false } do
      local worker = start(server, { coherence = coherence, timeout = 0.5, connect_timeout = 0.5 })
      assert.equal("PONG", worker:say "PING")
      server:pause()
      assert.is_true(worker:hears(function(heard) return #heard.lost == 1 end))
      server:resume()
      assert.is_true(worker:hears(function(heard) return heard.opened >= 2 end))
    end
  end)

  it("is not blamed for a worker that is blocked", function()
    local worker = start(redis.start(), { timeout = 0.3 })
    assert.equal("PONG", worker:say "PING")
    for _ = 1, 3 do
      worker:lua [[
        local function block()
          ngx.update_time()
          local ends = ngx.now() + 0.8
          while ngx.now() < ends do ngx.update_time() end
        end
        local client = require("rig").client
        local asking = ngx.thread.spawn(client.ask, client, { { "PING" } })
        block()
        ngx.thread.wait(asking)
      ]]
    end
    assert.same({}, worker:heard().lost)
    assert.equal("PONG", worker:say "PING")
  end)

  it("does nothing late that a worker has given up", function()
    local fake = fake_redis.start [[
      local said = io.open(folder .. "/said", "w")
      local number = 0
      while true do
        local c = accept()
        number = number + 1
        local id = number
        c:serve(function(command)
          said:write(id, " ", table.concat(command, " "), "\n")
          said:flush()
          if command[1] == "CLIENT" and command[2] == "ID" then return ":" .. 70 + id .. "\r\n" end
          if command[1] == "TIME" then return bulk(1, 1) end
          return command[1] == "HANG" and "" or "+OK\r\n"
        end)
      end
    ]]
    local worker = start(fake, { coherence = false, timeout = 0.5 })
    assert.equal("OK", worker:say "FIRST")
    assert.same({ nil, "timeout" }, { worker:say "HANG" })
    assert.is_true(worker:hears(function(heard) return heard.opened >= 2 end))
    assert.equal("OK", worker:say "LAST")
    local said = files.read(fake.folder .. "/said")
    assert.matches("1 HANG\n2 CLIENT ID\n2 CLIENT KILL ID 71\n2 TIME\n2 LAST\n", said, 1, true)
  end)

  it("keeps what a reply was that took long, but came", function()
    local fake = fake_redis.start [[
      while true do
        local c = accept()
        c:serve(function(command)
          if command[2] == "ID" then return ":1\r\n" end
          if command[1] == "TIME" then return bulk(1, 1) end
          c:say "$20\r\n"
          for _ = 1, 20 do
            c:say "x"
            sleep(0.05)
          end
          return "\r\n"
        end)
      end
    ]]
    local worker = start(fake, { coherence = false, timeout = 0.5 })
    assert.equal(("x"):rep(20), worker:say "SLOW")
    assert.same({}, worker:heard().lost)
  end)

  it("does not answer one request with what another one asked", function()
    local server = redis.start()
    local worker = start(server, { timeout = 2 }, { http = "lua_check_client_abort on;",
      locations = [[
        location = /ask {
          lua_check_client_abort on;
          content_by_lua_block { require("rig").ask { { "BLPOP", "list", "1" } } }
        }
      ]] })
    assert.equal("PONG", worker:say "PING")
    worker.nginx:abort("/ask", 0.2)
    server:cli("LPUSH", "list", "for nobody")
    for i = 1, 20 do assert.equal(tostring(i), worker:say("ECHO", tostring(i))) end
    assert.same({}, worker:heard().lost)
  end)

  it("that has too many clients says so, and keeps those that it has", function()
    local server = redis.start()
    local worker = start(server)
    assert.equal("PONG", worker:say "PING")
    server:cli("CONFIG", "SET", "maxclients", "3")
    local before = worker:heard().opened
    assert.is_true(worker:at_once(50, 1) < 50)
    assert.same({ before, {} }, { worker:heard().opened, worker:heard().lost })
    assert.equal("PONG", worker:say "PING")
  end)

  it("may be something else", function()
    local function each(action)
      return "while true do local c = accept() c:hear() " .. action .. " end"
    end
    for script, pattern in pairs {
      [each [[c:say "HTTP/1.1 400 Bad Request\r\n\r\n" c:close()]]] = "prefix",
      [each [[c:say(("*1\r\n"):rep(1000)) c:close()]]] = ".",
      [each [[c:say "*1000000000\r\n" c:close()]]] = ".",
      [each [[c:say "$x\r\n" c:close()]]] = ".",
      [each [[c:say "+hello\r\n"]]] = "Protocol error",
      [each [[c:close()]]] = "closed",
      [each ""] = "timeout",
      [each [[c:say "*3\r\n:1\r\n"]]] = "timeout",
    } do
      local fake = fake_redis.start(script)
      for _, coherence in ipairs { true, false } do
        local worker = start(fake, { coherence = coherence, connect_timeout = 0.3 })
        assert.matches(pattern, select(2, worker:say "PING"))
        assert.is_nil((worker:say "PING"))
        assert.equal(0, worker:heard().opened)
      end
      clean()
    end
  end)

  it("may have another time", function()
    local fake = fake_redis.start [[
      local ahead = 1000
      while true do
        local c = accept()
        c:serve(function(command)
          if command[2] == "ID" then return ":1\r\n" end
          if command[1] == "JUMP" then ahead = -1000 end
          local now = wall() + ahead
          return bulk(("%d"):format(now), ("%d"):format(now % 1 * 1e6))
        end)
      end
    ]]
    local worker = start(fake, { coherence = false })
    worker:say "PING"
    assert.is_true(math.abs(worker:heard().ahead_ms - 1e6) < 500)
    worker:say "JUMP"
    assert.is_true(worker:hears(function(heard) return math.abs(heard.ahead_ms + 1e6) < 500 end))
  end)
end)

describe("what others change", function()
  after_each(clean)

  it("is heard: the keys that are watched, and no others", function()
    local server = redis.start()
    local worker = start(server)
    assert.equal("PONG", worker:say "PING")
    server:cli("MSET", "p:a", "1", "q:a", "1", "p:b", "1")
    server:cli("-n", "3", "SET", "p:c", "1")
    assert.is_true(worker:hears(function(heard) return #heard.notices == 3 end))
    local notices = worker:heard().notices
    table.sort(notices)
    assert.same({ "p:a", "p:b", "p:c" }, notices)
    server:cli "FLUSHALL"
    assert.is_true(worker:hears(function(heard) return heard.notices[4] == "all" end))
  end)

  it("is heard whatever the worker itself does, and however much it is", function()
    local server = redis.start()
    local worker = start(server, nil, { workers = 2 })
    for i = 0, 1 do worker.nginx:lua_in(i, ask, { { "PING" } }) end
    local LOAD = [[
      local client, count, name = require("rig").client, ...
      for i = 1, count do
        assert(client:ask { { "SET", "p:" .. name .. i, "1" }, { "DEL", "p:" .. name .. i } })
      end
    ]]
    local first = worker.nginx:begin_lua(0, LOAD, 2000, "x")
    local second = worker.nginx:begin_lua(1, LOAD, 2000, "y")
    first:values()
    second:values()
    for i = 0, 1 do
      assert.is_true(redis.eventually(function()
        return worker.nginx:lua_in(i, [[
          local seen, count = {}, 0
          for _, key in ipairs(require("rig").heard.notices) do
            if not seen[key] then seen[key], count = true, count + 1 end
          end
          return count
        ]]) == 4000
      end))
    end
  end)

  it("is heard again when the server was away, or had ended the connection", function()
    local server = redis.start()
    local worker = start(server)
    assert.equal("PONG", worker:say "PING")
    server:restart()
    assert.is_true(worker:hears(function(heard) return heard.opened >= 2 end))
    server:cli("CLIENT", "KILL", "TYPE", "pubsub")
    assert.is_true(worker:hears(function(heard) return heard.opened >= 3 end))
    assert.same({ 2, {} }, { #worker:heard().lost, worker:heard().notices })
    server:cli("SET", "p:a", "1")
    assert.is_true(worker:hears(function(heard) return heard.notices[1] == "p:a" end))
  end)

  it("is not waited for without coherence", function()
    local server = redis.start()
    local worker = start(server, { coherence = false })
    assert.equal("PONG", worker:say "PING")
    assert.equal(1, connections(server))
    server:cli("SET", "p:a", "1")
    assert.same({}, worker:heard().notices)
  end)

  it("that cannot be heard makes the server one that does not answer", function()
    local server = redis.start { "--user", "deaf", "on", "nopass", "~*", "&*", "+@all",
      "-client|tracking" }
    local worker = start(server, { username = "deaf", password = "x" })
    assert.matches("^NOPERM", select(2, worker:say "PING"))
    worker:lua("require('rig').new(...)",
      { unix = server.unix, username = "deaf", password = "x", coherence = false })
    assert.equal("PONG", worker:say "PING")
  end)

  it("and raises where it is told of, costs the connection and not the worker", function()
    local server = redis.start()
    local worker = start(server)
    assert.equal("PONG", worker:say "PING")
    worker:lua "require('rig').client.on_notice = function() error 'who is told' end"
    server:cli("SET", "p:a", "1")
    assert.is_true(worker:hears(function(heard) return #heard.lost == 1 end))
    assert.matches("who is told", worker:heard().lost[1])
    assert.is_true(worker:hears(function(heard) return heard.opened >= 2 end))
  end)
end)

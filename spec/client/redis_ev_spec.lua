-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan
-- The Redis client in tasks. In plain code: redis_plain_spec.lua.
local fake_redis = require "spec.support.fake_redis"
local ffi = require "ffi"
local perigee = require "perigee"
local redis = require "spec.support.redis"
local redis_ev = require "perigee.client.redis_ev"
local testing = require "perigee.testing"
local C = require("perigee.lib").rt

local NULL = redis_ev.NULL
local eventually = redis.eventually

local clients = {}

-- A client that is closed after the test; `heard` says what it was told.
local function new(server, more, watches)
  local opts = { unix = server.unix, timeout = 5, connect_timeout = 5 }
  for name, value in pairs(more or {}) do opts[name] = value end
  local client = redis_ev.new(opts, watches or "p:")
  local heard = { notices = {}, lost = {}, opened = 0 }
  client.on_notice = function(key) table.insert(heard.notices, key or "all") end
  client.on_lost = function(why) table.insert(heard.lost, why) end
  client.on_open = function() heard.opened = heard.opened + 1 end
  table.insert(clients, client)
  return client, heard
end

local function listening(server, more)
  local opts = { coherence = true }
  for name, value in pairs(more or {}) do opts[name] = value end
  return new(server, opts)
end

local function ask(client, ...)
  local replies, why = client:ask { { ... } }
  if not replies then return nil, why end
  return replies[1]
end

-- The connections that the server has, but for the one that asks.
local function connections(server)
  local _, count = server:cli("CLIENT", "LIST"):gsub("id=", "")
  return count - 1
end

-- Has somebody else change a key, and waits until the client hears of it. On a busy machine a ping
-- may go unanswered for a second: then a notice is lost with its connection, and that is told.
local function hears(server, heard)
  local opened
  repeat
    opened = heard.opened
    server:cli("SET", "p:a", "1")
    if not eventually(function() return #heard.notices > 0 or heard.opened > opened end) then
      return false
    end
  until #heard.notices > 0
  return true
end

local function inside(body)
  return function() perigee.run(body) end
end

local function clean()
  for _, client in ipairs(clients) do client:close() end
  clients = {}
  redis.clean()
  fake_redis.clean()
end

describe("the client", function()
  after_each(clean)

  it("sends what is asked meanwhile behind what is half sent", inside(function()
    local server = redis.start()
    local client, large = new(server, { timeout = 20 }), {}
    for i = 1, 2 ^ 20 do large[i] = ("%08x........"):format(i) end
    large = table.concat(large) -- 16 MB
    assert.equal("OK", ask(client, "SET", "small", "0"))
    local sent = perigee.spawn(function() return ask(client, "SET", "large", large) end)
    local answers = {}
    for i = 1, 300 do
      answers[i] = perigee.spawn(function() return ask(client, "INCR", "small") end)
      perigee.sleep(0)
    end
    assert.equal("OK", sent:wait())
    for i = 1, 300 do assert.equal(i, tonumber(answers[i]:wait())) end
    assert.is_true(ask(client, "GET", "large") == large)
  end))

  it("connects when it is first asked, and gives replies of every kind", inside(function()
    local server = redis.start()
    local client, heard = new(server)
    assert.same({ 0, 0 }, { heard.opened, connections(server) })
    local replies = assert(client:ask {
      { "SET", "k", "a\0b" }, { "GET", "k" }, { "GET", "none" }, { "INCRBY", "n", "-7" },
      { "LPUSH", "k", "x" }, { "MGET", "k", "none" }, { "ECHO", "" },
      { "EVAL", "return {1, {'two', {}, false}}", "0" },
    })
    assert.matches("^WRONGTYPE ", replies[5].err)
    replies[5] = "error"
    assert.same({ "OK", "a\0b", NULL, -7, "error", { "a\0b", NULL }, "",
      { 1, { "two", {}, NULL } } }, replies)
    assert.equal(NULL, replies[3])
    assert.same({ 1, 1 }, { heard.opened, connections(server) })
    assert.same({}, heard.lost)
  end))

  it("serves many tasks at once, each with its own replies", inside(function()
    local client, heard = new(redis.start())
    local jobs = {}
    for i = 1, 300 do
      jobs[i] = function()
        local all = {}
        for round = 1, 5 do
          local text = i .. "," .. round
          local replies = assert(client:ask { { "ECHO", text }, { "INCR", "n" }, { "ECHO", text } })
          assert.same({ text, text }, { replies[1], replies[3] })
          all[round] = replies[2]
        end
        return all
      end
    end
    local seen = {}
    for _, numbers in ipairs(perigee.gather(jobs)) do
      for _, number in ipairs(numbers) do seen[number] = true end
    end
    assert.equal(1500, #seen)
    assert.equal(1, heard.opened)
  end))

  it("forgets who is cancelled, and serves the others", inside(function()
    local server = redis.start()
    local client = new(server)
    assert(client:open())
    server:pause()
    local task = perigee.spawn(ask, client, "ECHO", "cancelled")
    local other = perigee.spawn(ask, client, "ECHO", "other")
    perigee.sleep(0.01)
    task:cancel()
    assert.same({ false, "cancelled" }, { pcall(task.wait, task) })
    server:resume()
    assert.equal("other", other:wait())
    assert.equal("next", ask(client, "ECHO", "next"))
  end))

  it("uses the number of a database", inside(function()
    local server = redis.start()
    assert.equal("OK", ask(new(server, { db = 3 }), "SET", "k", "three"))
    assert.equal("three", server:cli("-n", "3", "GET", "k"))
    assert.equal("", server:cli("GET", "k"))
    local client, why = new(server, { db = 99 }):open()
    assert.is_nil(client)
    assert.matches("DB index", why)
  end))

  it("finds a server by port, by name, and by an IPv6 address", inside(function()
    local server = redis.start { port = true }
    for _, host in ipairs { "127.0.0.1", "localhost" } do
      local opts = { unix = false, host = host, port = server.port }
      assert.equal("x", ask(new(server, opts), "ECHO", "x"))
      opts.coherence = true
      assert.equal("x", ask(new(server, opts), "ECHO", "x"))
    end
    assert.equal("x", ask(new(server, { unix = false, port = server.port }), "ECHO", "x"))
    server:stop()
    if not io.open "/proc/net/if_inet6" then return end -- the machine has none
    server = redis.start { port = true, "--bind", "::1" }
    assert.equal("x", ask(new(server, { unix = false, host = "::1", port = server.port }), "ECHO",
      "x"))
  end))

  it("says that a name is nobody's", inside(function()
    local opts = { unix = false, host = "no-such-host.invalid", port = 1, connect_timeout = 2 }
    local ok, why = new({}, opts):open()
    assert.is_nil(ok)
    assert.is_string(why)
  end))

  it("gives up what is on its way when it is told to, and comes back", inside(function()
    local client, heard = listening(redis.start())
    assert(client:open())
    client:give_up "for a reason"
    assert.same({ "for a reason" }, heard.lost)
    assert.same({ nil, "for a reason" }, { client:open() })
    client:give_up "again"
    assert.is_true(eventually(function() return heard.opened >= 2 end))
    assert.equal("x", ask(client, "ECHO", "x"))
    assert.same({ "for a reason" }, heard.lost)
  end))
end)

describe("a password", function()
  after_each(function()
    collectgarbage "restart"
    clean()
  end)

  it("is that of the server, or of a user", inside(function()
    local server = redis.start { "--requirepass", "secret",
      "--user", "bob", "on", ">builder", "~*", "&*", "+@all" }
    for _, who in ipairs { { password = "secret" }, { username = "bob", password = "builder" } } do
      local client = listening(server, who)
      assert.equal("x", ask(client, "ECHO", "x"))
      assert.equal(who.username or "default", ask(client, "ACL", "WHOAMI"))
    end
    assert.matches("^NOAUTH", select(2, new(server):open()))
  end))

  it("that is wrong is told, keeps no connection, and may be right later", inside(function()
    local server = redis.start { "--requirepass", "old" }
    collectgarbage "stop" -- it would find what is left open
    for _, coherence in ipairs { true, false } do
      local client, heard = new(server, { coherence = coherence, password = "new" })
      local ok, why = client:open()
      assert.is_nil(ok)
      assert.matches("^WRONGPASS", why)
      assert.matches("^WRONGPASS", select(2, ask(client, "ECHO", "x")))
      perigee.sleep(0.3)
      assert.matches("^WRONGPASS", select(2, ask(client, "ECHO", "x")))
      assert.is_true(eventually(function()
        local _, count = server:cli("-a", "old", "CLIENT", "LIST"):gsub("id=", "")
        return count == 1
      end))
      server:cli("-a", "old", "CONFIG", "SET", "requirepass", "new")
      assert.is_true(eventually(function() return heard.opened == 1 end))
      assert.equal("x", ask(client, "ECHO", "x"))
      assert.same({}, heard.lost)
      client:close()
      server:cli("-a", "new", "CONFIG", "SET", "requirepass", "old")
    end
  end))

  it("that a server does not want is told, but not what it was", inside(function()
    local client = new(redis.start(), { password = "open sesame", username = "ali" })
    local _, why = client:open()
    assert.matches("^WRONGPASS", why)
    assert.is_nil(why:find "sesame")
    assert.matches("^ERR AUTH", select(2, new(redis.start(), { password = "x" }):open()))
  end))
end)

describe("a server", function()
  after_each(clean)

  it("that is not there is looked for until it is", inside(function()
    local server = redis.start()
    server:stop()
    local client, heard = listening(server)
    assert.matches("No such file", select(2, client:open()))
    assert.matches("No such file", select(2, ask(client, "ECHO", "x")))
    perigee.sleep(0.5)
    assert.equal(0, heard.opened)
    server:start()
    assert.is_true(eventually(function() return heard.opened == 1 end))
    assert.equal("x", ask(client, "ECHO", "x"))
    assert.same({}, heard.lost)
  end))

  it("that is killed is missed at once, and found again", inside(function()
    local server = redis.start()
    for _, coherence in ipairs { true, false } do
      local client, heard = new(server, { coherence = coherence })
      assert(client:open())
      server:kill()
      assert.is_true(eventually(function() return #heard.lost == 1 end))
      local ok, why = ask(client, "ECHO", "x")
      assert.is_nil(ok)
      assert.is_string(why)
      server:start()
      assert.is_true(eventually(function() return ask(client, "ECHO", "x") == "x" end))
      assert.equal(heard.opened - 1, #heard.lost, table.concat(heard.lost, "; "))
      client:close()
    end
  end))

  it("that is killed wakes everybody who waits for it, with nothing", inside(function()
    local server = redis.start()
    local client, heard = listening(server)
    assert(client:open())
    server:pause()
    local jobs, answers = {}, 0
    for i = 1, 100 do
      jobs[i] = perigee.spawn(function()
        local reply, why = ask(client, "ECHO", "x")
        if not reply and type(why) == "string" then answers = answers + 1 end
      end)
    end
    perigee.sleep(0.02)
    assert.equal(0, answers)
    server:kill()
    for _, job in ipairs(jobs) do job:wait() end
    assert.equal(100, answers)
    assert.is_true(eventually(function() return #heard.lost == 1 end))
  end))

  local function asked_in_vain(client, count)
    local jobs, missing = {}, 0
    for i = 1, count do
      jobs[i] = function()
        local reply, why = ask(client, "ECHO", "x")
        assert.is_string(why)
        if not reply then missing = missing + 1 end
      end
    end
    perigee.gather(jobs)
    return missing
  end

  it("that hangs costs each one timeout, and then nobody waits for it", inside(function()
    local server = redis.start()
    for _, coherence in ipairs { true, false } do
      local client, heard = new(server, { coherence = coherence, timeout = 1 })
      assert(client:open())
      server:pause()
      local started = perigee.now()
      assert.equal(50, asked_in_vain(client, 50))
      assert.is_true(perigee.now() - started < 30) -- not 50 timeouts
      assert.equal(1, #heard.lost)
      started = perigee.now()
      for _ = 1, 100 do
        local reply, why = ask(client, "ECHO", "x")
        assert.is_nil(reply)
        assert.is_string(why)
      end
      assert.is_true(perigee.now() - started < 60) -- nor 100
      perigee.sleep(1.5)
      assert.equal(1, heard.opened)
      server:resume()
      assert.is_true(eventually(function() return heard.opened >= 2 end))
      assert.is_true(eventually(function() return ask(client, "ECHO", "x") == "x" end))
      client:close()
    end
  end))

  it("that begins anew is not told to end who has the number now that we had", inside(function()
    local server = redis.start()
    for _ = 1, 60 do server:cli "PING" end
    local client, heard = listening(server)
    assert(client:open())
    local old = client.id
    server:restart()
    local id
    repeat id = tonumber(server:cli("CLIENT", "ID")) until id >= old - 1
    assert.equal(old - 1, id) -- the next one is that of our ears
    assert.is_true(eventually(function() return heard.opened == 2 end))
    perigee.sleep(0.2)
    assert.equal("x", ask(client, "ECHO", "x"))
    assert.same({ 2, 1 }, { heard.opened, #heard.lost })
  end))

  it("that hangs is noticed when nobody asks, too", inside(function()
    local server = redis.start()
    for _, coherence in ipairs { true, false } do
      local client, heard = new(server, { coherence = coherence })
      assert(client:open())
      server:pause()
      assert.is_true(eventually(function() return #heard.lost == 1 end))
      assert.matches("ping", heard.lost[1])
      server:resume()
      assert.is_true(eventually(function() return heard.opened >= 2 end))
      client:close()
    end
  end))

  it("is not blamed for a machine that stands still", inside(function()
    local server = redis.start()
    local client, heard = listening(server)
    assert(client:open())
    local function is_answered(connection, number)
      return C.perigee_redis_check(connection, number) == C.PERIGEE_REQUEST_ANSWERED
    end
    for _ = 1, 2 do
      assert.is_true(eventually(function()
        local pings = client.pings
        return pings and is_answered(client.data, pings.data)
          and is_answered(client.ears, pings.ears)
      end))
      server:pause()
      local before = client.pings
      assert.is_true(eventually(function() return client.pings ~= before end))
      perigee.sleep(0.01) -- it leaves
      ffi.C.usleep(1200000)
      server:resume()
      perigee.sleep(0)
      assert.same({}, heard.lost)
      assert.equal("x", ask(client, "ECHO", "x"))
    end
  end))

  it("is not blamed for tasks that block the loop", inside(function()
    local client, heard = listening(redis.start(), { timeout = 0.3 })
    assert(client:open())
    for _ = 1, 3 do
      local asking = perigee.spawn(ask, client, "ECHO", "x")
      ffi.C.usleep(1200000)
      perigee.sleep(0)
      asking:wait() -- in time or not
    end
    perigee.sleep(0.1)
    assert.same({}, heard.lost)
    assert.equal("x", ask(client, "ECHO", "x"))
  end))

  it("that has too many clients says so", inside(function()
    local server = redis.start { "--maxclients", "1" }
    local first = new(server)
    assert(first:open())
    local ok, why = new(server):open()
    assert.is_nil(ok)
    assert.matches("max number of clients", why)
  end))
end)

describe("what is no Redis server", function()
  after_each(clean)

  local function refuses(script, pattern, more)
    local fake = fake_redis.start(script)
    for _, coherence in ipairs { true, false } do
      local opts = { coherence = coherence }
      for name, value in pairs(more or {}) do opts[name] = value end
      local client, heard = new(fake, opts)
      local ok, why = client:open()
      assert.is_nil(ok)
      assert.matches(pattern, why)
      assert.is_nil((ask(client, "ECHO", "x")))
      assert.equal(0, heard.opened)
      client:close()
    end
  end

  local function each(action)
    return "while true do local c = accept() c:hear() " .. action .. " end"
  end

  it("is told by its garbage", inside(function()
    refuses(each [[c:say "HTTP/1.1 400 Bad Request\r\n\r\n" c:close()]], "Protocol error")
    refuses(each [[c:say(("*1\r\n"):rep(1000))]], "nested")
    refuses(each [[c:say "*1000000000\r\n"]], ".")
    refuses(each [[c:close()]], ".")
  end))

  it("is told by its silence", inside(function()
    local short = { connect_timeout = 0.2 }
    refuses(each "", "timeout", short)
    refuses(each [[c:say "$9999999999\r\nx"]], "timeout", short)
    refuses(each [[c:say "*3\r\n:1\r\n"]], "timeout", short)
  end))

  it("is told by answers that fit no question", inside(function()
    refuses([[
      while true do
        accept():serve(function() return "-ERR I am something else\r\n" end)
      end
    ]], "something else")
    local fake = fake_redis.start [[while true do accept():say "+hello\r\n+hello\r\n" end]]
    assert.is_nil((listening(fake, { connect_timeout = 0.2 }):open()))
  end))

  it("may be at the port", inside(function()
    local fake = fake_redis.start(each [[c:say "220 mail.example ESMTP\r\n"]], "port")
    local ok, why = new({}, { host = "127.0.0.1", port = fake.port }):open()
    assert.is_nil(ok)
    assert.matches("Protocol error", why)
  end))

  it("may begin well, and say anything later", inside(function()
    local fake = fake_redis.start [[
      while true do
        local c = accept()
        c:serve(function(command)
          if command[1] == "TIME" then return ":1\r\n" end
          return command[1] == "ECHO" and "nonsense\r\n" or "+OK\r\n"
        end)
        c:close()
      end
    ]]
    local client, heard = new(fake)
    assert.equal("OK", ask(client, "SET", "k", "v"))
    perigee.sleep(1.2) -- it is asked for the time again
    assert.equal("OK", ask(client, "SET", "k", "v"))
    assert.matches("Protocol error", select(2, ask(client, "ECHO", "x")))
    assert.equal(1, #heard.lost)
    assert.is_true(eventually(function() return heard.opened >= 2 end))
    assert.equal("OK", ask(client, "SET", "k", "v"))
  end))
end)

-- Serves TIME, so many seconds ahead, and what else is said in the script.
local function clockwork(ahead, answers)
  return ([[
    local ahead, c = %s, nil
    while true do
      c = accept()
      c:serve(function(command)
        if command[1] == "TIME" then
          local now = wall() + ahead
          return bulk(("%%d"):format(now), ("%%d"):format(now %% 1 * 1e6))
        end
        %s
        return "$4\r\nelse\r\n"
      end)
      c:close()
    end
  ]]):format(ahead, answers or "")
end

describe("a timeout", function()
  after_each(clean)

  it("of one reply is not the end of a connection on which something moves", inside(function()
    local fake = fake_redis.start(clockwork("0", [[
      if command[1] == "SLOW" then
        c:say "$20\r\n"
        for _ = 1, 20 do
          c:say "x"
          sleep(0.05)
        end
        return "\r\n"
      end
    ]]))
    local client, heard = new(fake, { timeout = 0.5 })
    assert(client:open())
    assert.same({ nil, "timeout" }, { ask(client, "SLOW") })
    assert.is_true(eventually(function() return ask(client, "FAST") == "else" end))
    assert.same({}, heard.lost)
    assert.equal(1, heard.opened)
  end))
end)

describe("the server's clock", function()
  after_each(clean)

  it("is compared with ours", inside(function()
    local client = new(redis.start())
    assert(client:open())
    assert.is_true(math.abs(client.ahead_ms) < 60000)
    for _, ahead in ipairs { 7200, -7200 } do
      client = new(fake_redis.start(clockwork(ahead)))
      assert(client:open())
      assert.is_true(math.abs(client.ahead_ms - ahead * 1000) < 60000)
    end
  end))

  it("is compared again, every second", inside(function()
    local client = new(fake_redis.start(clockwork("0", [[ahead = 3600]])))
    assert(client:open())
    assert.is_true(math.abs(client.ahead_ms) < 60000)
    assert.equal("else", ask(client, "MOVE"))
    assert.is_true(eventually(function()
      return math.abs(client.ahead_ms - 3600000) < 60000
    end, 20))
  end))
end)

describe("a notice", function()
  after_each(clean)

  it("tells of keys that others changed, not of ours, nor of those unwatched", inside(function()
    local server = redis.start()
    local client, heard = listening(server)
    local other, other_heard = listening(server)
    assert(client:open() and other:open())
    server:cli("SET", "p:a", "1")
    server:cli("SET", "q:a", "1")
    assert.is_true(eventually(function() return #heard.notices == 1 end))
    assert.equal("OK", ask(client, "SET", "p:mine", "1"))
    assert.equal(2, ask(client, "DEL", "p:mine", "p:a"))
    assert.equal("OK", ask(other, "SET", "p:\0b", "1"))
    server:cli("SET", "p:last", "1")
    assert.is_true(eventually(function()
      return heard.notices[#heard.notices] == "p:last"
        and other_heard.notices[#other_heard.notices] == "p:last"
    end))
    assert.same({ "p:a", "p:\0b", "p:last" }, heard.notices)
    table.sort(other_heard.notices)
    assert.same({ "p:a", "p:a", "p:last", "p:mine", "p:mine" }, other_heard.notices)
  end))

  it("comes for each of many", inside(function()
    local server = redis.start()
    local client, heard = listening(server)
    assert(client:open())
    server:cli("EVAL", "for i = 1, 5000 do redis.call('SET', 'p:' .. i, 1) end", "0")
    assert.is_true(eventually(function() return #heard.notices >= 5000 end))
    local seen = {}
    for _, key in ipairs(heard.notices) do seen[tonumber(key:match "%d+")] = true end
    assert.equal(5000, #seen)
  end))

  it("of everything names no key", inside(function()
    local server = redis.start()
    local client, heard = listening(server)
    assert(client:open())
    for _, command in ipairs { "FLUSHALL", "FLUSHDB" } do
      server:cli(command)
      assert.is_true(eventually(function() return heard.notices[1] == "all" end), command)
      perigee.sleep(0.05)
      heard.notices = {}
    end
  end))

  it("comes again after a failure", inside(function()
    local server = redis.start()
    local client, heard = listening(server)
    assert(client:open())
    server:restart()
    assert.is_true(eventually(function() return heard.opened >= 2 end))
    assert.is_true(hears(server, heard))
  end))

  it("comes to none who did not want to hear", inside(function()
    local server = redis.start()
    local client, heard = new(server)
    assert(client:open())
    server:cli("SET", "p:a", "1")
    perigee.sleep(0.1)
    assert.equal("1", ask(client, "GET", "p:a"))
    assert.same({}, heard.notices)
  end))

  it("cannot be lost with the connection that hears it", inside(function()
    local server = redis.start()
    local client, heard = listening(server)
    assert(client:open())
    server:cli("CLIENT", "KILL", "TYPE", "pubsub")
    assert.is_true(eventually(function() return heard.opened >= 2 end))
    assert.is_true(#heard.lost >= 1)
    assert.is_true(hears(server, heard))
  end))
end)

describe("a client that is closed", function()
  after_each(clean)

  it("leaves the server, and says so when it is asked", inside(function()
    local server = redis.start()
    local client, heard = listening(server)
    assert(client:open())
    assert.equal(2, connections(server))
    client:close()
    assert.is_true(eventually(function() return connections(server) == 0 end))
    assert.same({ nil, "closed" }, { client:open() })
    assert.same({ nil, "closed" }, { ask(client, "PING") })
    client:look()
    client:peek()
    client:close()
    perigee.sleep(0.3)
    assert.same({ 0, 1 }, { connections(server), heard.opened })
    assert.same({}, heard.lost)
  end))

  it("lets go of who waits for it", inside(function()
    local server = redis.start()
    local client = listening(server)
    assert(client:open())
    server:pause()
    local jobs = {}
    for i = 1, 20 do jobs[i] = perigee.spawn(ask, client, "ECHO", "x") end
    perigee.sleep(0.02)
    client:close()
    for i = 1, 20 do assert.same({ nil, "closed" }, { jobs[i]:wait() }) end
    server:resume()
  end))

  it("while it connects does not open after that", inside(function()
    local server = redis.start()
    server:pause()
    local client, heard = listening(server)
    local opening = perigee.spawn(client.open, client)
    perigee.sleep(0.02)
    client:close()
    server:resume()
    assert.same({ nil, "closed" }, { opening:wait() })
    perigee.sleep(0.1)
    assert.equal(0, heard.opened)
    assert.is_true(eventually(function() return connections(server) == 0 end))
  end))
end)

describe("loops", function()
  after_each(clean)

  it("that follow each other share the connection", function()
    local server = redis.start()
    local client, heard = listening(server)
    for i = 1, 5 do
      perigee.run(function() assert.equal(i, ask(client, "INCR", "n")) end)
    end
    assert.equal(1, heard.opened)
    assert.same({}, heard.lost)
  end)

  it("may end while it connects, or while somebody waits", function()
    local server = redis.start()
    local client, heard = listening(server)
    server:pause()
    perigee.run(function()
      perigee.spawn(client.open, client)
      perigee.sleep(0.01)
    end)
    server:resume()
    perigee.run(function()
      assert.is_true(eventually(function() return ask(client, "ECHO", "x") == "x" end))
    end)
    server:pause()
    perigee.run(function()
      for _ = 1, 5 do perigee.spawn(ask, client, "ECHO", "never") end
      perigee.sleep(0.01)
    end)
    server:resume()
    perigee.run(function() assert.equal("y", ask(client, "ECHO", "y")) end)
    assert.equal(1, heard.opened)
  end)

  it("of another kind have connections of their own", function()
    local server = redis.start()
    local client, heard = listening(server)
    perigee.run(function() assert.equal("real", ask(client, "ECHO", "real")) end)
    testing.run(function() assert.equal("virtual", ask(client, "ECHO", "virtual")) end)
    perigee.run(function() assert.equal("real", ask(client, "ECHO", "real")) end)
    assert.same({ "another loop", "another loop" }, heard.lost)
    assert.equal(3, heard.opened)
    assert.is_true(eventually(function() return connections(server) == 2 end))
  end)
end)

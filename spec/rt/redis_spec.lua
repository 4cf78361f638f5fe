-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan
-- One connection to Redis by itself, on a loop of its own; all invariants are checked at each step.
local fake_redis = require "spec.support.fake_redis"
local ffi = require "ffi"
local processes = require "spec.support.processes"
local redis = require "spec.support.redis"
local C = require("perigee.lib").rt

local CONNECTING, OPEN = C.PERIGEE_REDIS_CONNECTING, C.PERIGEE_REDIS_OPEN
local FAILED = C.PERIGEE_REDIS_FAILED
local WAITING, ANSWERED = C.PERIGEE_REQUEST_WAITING, C.PERIGEE_REQUEST_ANSWERED
local LOST = C.PERIGEE_REQUEST_FAILED
local NIL = { nothing = true } -- what a reply without a value is here

local loop, tickets

local function check(broken)
  assert.is_true(broken == nil, broken ~= nil and ffi.string(broken) or nil)
end

local function hold() return C.perigee_tickets_hold(tickets) end

-- The tickets that were fired, each as often as it was.
local function fired()
  local counts = {}
  repeat
    local n = C.perigee_tickets_pull(tickets, 2 ^ 31)
    for i = 0, n - 1 do
      local ticket = C.perigee_tickets_chunk(tickets)[i].ticket
      counts[ticket] = (counts[ticket] or 0) + 1
    end
  until n == 0
  return counts
end

local function to_lua(reply)
  if reply.kind == C.PERIGEE_REPLY_NUMBER then return reply.number end
  if reply.kind == C.PERIGEE_REPLY_NIL then return NIL end
  if reply.kind ~= C.PERIGEE_REPLY_LIST then
    local text = ffi.string(reply.text, reply.length)
    if reply.kind == C.PERIGEE_REPLY_ERROR then return { err = text } end
    if reply.kind == C.PERIGEE_REPLY_STATUS then return { status = text } end
    return text
  end
  local list = {}
  for i = 1, reply.length do list[i] = to_lua(reply.elements[i - 1]) end
  return list
end

-- A connection, each step of which is checked.
local Connection = {}
Connection.__index = Connection

local function connect(address, port, bytes_max)
  local handle = C.perigee_redis_connect(loop, address, port or 0, bytes_max or 1e9)
  assert.is_true(handle ~= nil)
  local self = setmetatable({ handle = ffi.gc(handle, C.perigee_redis_free) }, Connection)
  return self:verify()
end

function Connection:verify()
  check(C.perigee_redis_verify(self.handle))
  if loop then check(C.perigee_loop_verify(loop)) end
  return self
end

function Connection:call(name, ...)
  local result = C["perigee_redis_" .. name](self.handle, ...)
  self:verify()
  return result
end

function Connection:state() return self:call "state" end
function Connection:error() return ffi.string(self:call "error") end
function Connection:check(number) return self:call("check", number) end
function Connection:release(number) self:call("release", number) end

function Connection:free()
  C.perigee_redis_free(ffi.gc(self.handle, nil))
  self.handle = nil
end

-- Asks, and leaves it at that: the request's number.
function Connection:send(ticket, ...)
  local n = select("#", ...)
  C.perigee_redis_begin(self.handle, n)
  for i = 1, n do
    local argument = tostring((select(i, ...)))
    C.perigee_redis_argument(self.handle, argument, #argument)
  end
  return self:call("submit", ticket)
end

-- Turns the loop until something is so.
function Connection:turn_until(condition)
  for _ = 1, 6000 do
    if condition() then return self end
    C.perigee_loop_poll(loop, 0.01, math.huge)
    self:verify()
  end
  error("it did not happen; the state is " .. self:state() .. ": " .. self:error())
end

function Connection:opened()
  self:turn_until(function() return self:state() ~= CONNECTING end)
  assert.equal(OPEN, self:state(), self:error())
  return self
end

function Connection:failed(pattern)
  self:turn_until(function() return self:state() == FAILED end)
  assert.matches(pattern, self:error())
  return self
end

-- The reply to a request; it is released.
function Connection:reply(number)
  self:turn_until(function() return self:check(number) ~= WAITING end)
  assert.equal(ANSWERED, self:check(number), self:error())
  local reply = to_lua(self:call("reply", number))
  self:release(number)
  return reply
end

function Connection:ask(...) return self:reply(self:send(0, ...)) end

-- The messages that are there.
function Connection:messages()
  local list = {}
  while true do
    local message = self:call "message"
    if message == nil then return list end
    list[#list + 1] = to_lua(message)
  end
end

local function new_loop()
  loop = ffi.gc(C.perigee_loop_new(), C.perigee_loop_free)
  tickets = C.perigee_loop_tickets(loop)
end

local function free_loop()
  if loop then C.perigee_loop_free(ffi.gc(loop, nil)) end
  loop = nil
end

describe("a connection", function()
  before_each(new_loop)
  after_each(function()
    free_loop()
    redis.clean()
    fake_redis.clean()
  end)

  it("opens at a unix socket, and fires the ticket of who awaits it, once", function()
    local server, ticket = redis.start(), hold()
    local connection = connect(server.unix)
    assert.equal(CONNECTING, connection:state())
    connection:call("await", ticket)
    assert.equal(1, C.perigee_loop_pending(loop))
    connection:opened()
    assert.same({ [ticket] = 1 }, fired())
    assert.equal(0, C.perigee_loop_pending(loop))
    local second = hold()
    connection:call("await", second)
    assert.same({ [second] = 1 }, fired())
    assert.same({ status = "PONG" }, connection:ask "PING")
  end)

  it("opens at a loopback port, of IPv4 and of IPv6", function()
    local server = redis.start { port = true }
    assert.same({ status = "PONG" }, connect("127.0.0.1", server.port):opened():ask "PING")
    server:stop()
    if not io.open "/proc/net/if_inet6" then return end -- the machine has none
    server = redis.start { port = true, "--bind", "::1" }
    assert.same({ status = "PONG" }, connect("::1", server.port):opened():ask "PING")
    connect("127.0.0.1", server.port):failed "^Connection refused$"
  end)

  it("that is refused has failed, and says why", function()
    local server = redis.start()
    server:stop()
    local refused = connect("127.0.0.1", 1)
    local ticket = hold()
    refused:call("await", ticket)
    refused:failed "^Connection refused$"
    assert.same({ [ticket] = 1 }, fired())
    assert.equal(0, refused:send(0, "PING"))
    connect("::1", 1):failed "."
    connect(server.unix .. ".none"):failed "^No such file"
    connect("/"):failed "^Connection refused$"
    assert.equal(0, C.perigee_loop_pending(loop))
  end)

  it("needs a numeric address, or a path that fits", function()
    local none = { "localhost", "127.0.0", "127.0.0.1.1", "::g", "", "127.0.0.1:6379" }
    for _, address in ipairs(none) do
      connect(address, 6379):failed "^Invalid argument$"
    end
    connect(("x"):rep(108)):failed "^Invalid argument$"
    connect("/" .. ("x"):rep(5000)):failed "^Invalid argument$"
    connect("/" .. ("x"):rep(106)):failed "^No such file"
    connect "":failed "."
  end)

  it("that has failed fires who awaits it at once", function()
    local connection, ticket = connect("nowhere", 1), hold()
    connection:call("await", ticket)
    assert.same({ [ticket] = 1 }, fired())
    connection:call "flush"
    connection:call "listen"
    assert.same({}, connection:messages())
  end)

  it("leaves no descriptor behind, however it ends", function()
    local server = redis.start()
    connect(server.unix):opened():free()
    collectgarbage() -- what earlier specs left open
    collectgarbage()
    local before = processes.descriptors()
    for _ = 1, 10 do
      connect(server.unix):opened():free()
      connect(server.unix):free()
      connect(server.unix):opened():call("close", "enough")
      connect(server.unix .. ".none"):free()
      connect(("x"):rep(200)):free()
    end
    assert.equal(before, processes.descriptors())
  end)

  it("that is closed has failed for the reason given; what was there can be read", function()
    local connection = connect(redis.start().unix):opened()
    local first = connection:send(0, "ECHO", "kept")
    connection:turn_until(function() return connection:check(first) == ANSWERED end)
    local ticket = hold()
    local second = connection:send(ticket, "ECHO", "lost")
    connection:call("close", "enough")
    assert.same({ [ticket] = 1 }, fired())
    assert.equal(FAILED, connection:state())
    assert.equal("enough", connection:error())
    assert.equal(LOST, connection:check(second))
    assert.equal("kept", connection:reply(first))
    connection:call("close", "again")
    assert.equal("enough", connection:error())
    assert.equal(0, C.perigee_loop_pending(loop))
  end)

  it("that is freed fires who waits", function()
    local server, one, two = redis.start(), hold(), hold()
    local connection = connect(server.unix)
    connection:call("await", one)
    connection:send(two, "PING")
    connection:free()
    assert.same({ [one] = 1, [two] = 1 }, fired())
    assert.equal(0, C.perigee_loop_pending(loop))
    check(C.perigee_loop_verify(loop))
  end)

  it("outlives its loop, as one that has failed", function()
    local connections = {}
    local server = redis.start()
    for i = 1, 4 do
      connections[i] = connect(server.unix)
      if i > 1 then connections[i]:opened() end
      if i > 2 then connections[i]:send(hold(), "SET", "k", ("x"):rep(1e7)) end
      if i > 3 then C.perigee_loop_poll(loop, 0, math.huge) end
    end
    free_loop()
    for _, connection in ipairs(connections) do
      assert.equal(FAILED, connection:state())
      assert.equal("the loop is closed", connection:error())
      assert.equal(0, connection:send(0, "PING"))
      assert.not_equal(WAITING, connection:check(1))
      connection:call("await", 1)
      connection:call("retarget", 1, 1)
      connection:call "flush"
      assert.equal(0, connection:call "silence")
      connection:free()
    end
  end)
end)

describe("a reply", function()
  local connection

  setup(function()
    new_loop()
    connection = connect(redis.start().unix):opened()
  end)
  teardown(function()
    connection:free()
    free_loop()
    redis.clean()
  end)

  it("is a text, a status, a number, nothing, an error or a list", function()
    assert.same({ status = "OK" }, connection:ask("SET", "text", "v"))
    assert.equal("v", connection:ask("GET", "text"))
    assert.equal(NIL, connection:ask("GET", "none"))
    assert.equal(7, connection:ask("INCRBY", "n", "7"))
    assert.equal(-5, connection:ask("INCRBY", "n", "-12"))
    assert.equal(2 ^ 53, connection:ask("INCRBY", "large", ("%d"):format(2 ^ 53)))
    assert.matches("^WRONGTYPE ", connection:ask("LPUSH", "text", "x").err)
    assert.matches("^ERR unknown command", connection:ask("NO SUCH").err)
    assert.same({ "v", NIL }, connection:ask("MGET", "text", "none"))
    assert.same({}, connection:ask("LRANGE", "none", 0, 9))
    local nested = "return {1, {'two', {false, {}}}, redis.status_reply('s'), "
      .. "redis.error_reply('ERR e')}"
    assert.same({ 1, { "two", { NIL, {} } }, { status = "s" }, { err = "ERR e" } },
      connection:ask("EVAL", nested, 0))
    assert.equal(NIL, connection:ask("BLPOP", "none", "0.001"))
  end)

  it("is any bytes, none, and millions of them", function()
    for _, text in ipairs { "", "\0", "\r\n", "$5\r\n\255\0", ("x\0\r\n"):rep(4e6) } do
      assert.same({ status = "OK" }, connection:ask("SET", "bytes", text))
      assert.is_true(text == connection:ask("GET", "bytes"))
    end
    assert.equal("", connection:ask("ECHO", ""))
  end)
end)

describe("a request", function()
  local server, connection

  before_each(function()
    new_loop()
    server = redis.start()
    connection = connect(server.unix):opened()
  end)
  after_each(function()
    free_loop()
    redis.clean()
  end)

  it("has the next number, and its reply comes in its order", function()
    local first = connection:send(0, "INCR", "n")
    assert.is_true(first > 0)
    for i = 1, 4999 do assert.equal(first + i, connection:send(0, "INCR", "n")) end
    assert.equal(5000, connection:call "waiting")
    for i = 4999, 0, -1 do assert.equal(i + 1, connection:reply(first + i)) end
    assert.equal(0, connection:call "waiting")
    assert.equal(first + 5000, connection:send(0, "INCR", "n"))
  end)

  it("may be made before the connection is open", function()
    local early = connect(server.unix)
    local number = early:send(0, "ECHO", "early")
    assert.equal(WAITING, early:check(number))
    assert.equal("early", early:reply(number))
  end)

  it("fires its ticket once, when its reply is there; with 0, nobody's", function()
    local one, two = hold(), hold()
    local first, second = connection:send(one, "ECHO", 1), connection:send(0, "ECHO", 2)
    local third = connection:send(two, "ECHO", 3)
    assert.same({}, fired())
    assert.equal(1, C.perigee_loop_pending(loop))
    connection:turn_until(function() return connection:check(third) == ANSWERED end)
    assert.same({ [one] = 1, [two] = 1 }, fired())
    assert.equal(0, C.perigee_loop_pending(loop))
    for i, number in ipairs { first, second, third } do
      assert.equal(tostring(i), connection:reply(number))
    end
    connection:ask "PING"
    assert.same({}, fired())
  end)

  it("fires the ticket that it was given last, and at once when it waits no more", function()
    local one, two, three, four = hold(), hold(), hold(), hold()
    local number = connection:send(one, "PING")
    connection:call("retarget", number, two)
    assert.same({}, fired())
    connection:turn_until(function() return connection:check(number) == ANSWERED end)
    assert.same({ [two] = 1 }, fired())
    connection:call("retarget", number, three)
    assert.same({ [three] = 1 }, fired())
    connection:call("retarget", number + 1, four)
    assert.same({ [four] = 1 }, fired())
  end)

  it("that is released has no reply, and disturbs no other's", function()
    local numbers, ticket = {}, hold()
    for i = 1, 300 do numbers[i] = connection:send(i % 2 == 0 and ticket or 0, "ECHO", i) end
    for i = 2, 300, 2 do connection:release(numbers[i]) end
    assert.equal(LOST, connection:check(numbers[2]))
    for i = 1, 299, 2 do
      assert.equal(tostring(i), connection:reply(numbers[i]))
      assert.equal(LOST, connection:check(numbers[i]))
      assert.is_true(connection:call("reply", numbers[i]) == nil)
      connection:release(numbers[i])
    end
    assert.same({}, fired())
    assert.equal("still", connection:ask("ECHO", "still"))
  end)

  it("keeps its reply while hundreds of later ones come and go", function()
    local kept = connection:send(0, "ECHO", "kept")
    for i = 1, 500 do assert.equal(tostring(i), connection:ask("ECHO", i)) end
    assert.equal("kept", connection:reply(kept))
  end)

  it("is not known by any other number", function()
    local number, ticket = connection:send(0, "PING"), hold()
    local none = { 0, -1, number - 1, number + 1, 2 ^ 53, 2 ^ 63, 1 / 0, -1 / 0, 0 / 0 }
    for _, wrong in ipairs(none) do
      assert.equal(LOST, connection:check(wrong))
      assert.is_true(connection:call("reply", wrong) == nil)
      connection:release(wrong)
    end
    connection:call("retarget", 0, ticket)
    assert.same({ [ticket] = 1 }, fired())
    assert.is_true(connection:call("reply", number) == nil) -- it waits
    assert.same({ status = "PONG" }, connection:reply(number))
  end)

  it("is refused while too many bytes wait, and accepted when they have left", function()
    local narrow = connect(server.unix, 0, 10000):opened()
    local last = 0
    local number = narrow:send(0, "ECHO", ("x"):rep(1000))
    while number > 0 do
      last, number = number, narrow:send(0, "ECHO", ("x"):rep(1000))
    end
    assert.is_true(last >= 9 and last <= 11)
    assert.equal(last, narrow:call "waiting")
    assert.equal(("x"):rep(1000), narrow:reply(last))
    assert.equal("small", narrow:ask("ECHO", "small"))
  end)

  it("is refused when a million of them wait", function()
    server:pause()
    local crowded = connect(server.unix)
    local handle = crowded.handle
    for _ = 1, 1000000 do
      C.perigee_redis_begin(handle, 1)
      C.perigee_redis_argument(handle, "PING", 4)
      if C.perigee_redis_submit(handle, 0) == 0 then error "too early" end
    end
    assert.equal(0, crowded:send(0, "PING"))
    assert.equal(1000000, crowded:call "waiting")
    server:resume()
    assert.same({ status = "PONG" }, crowded:reply(1000000))
    crowded:free()
  end)

  it("may be larger than what the system takes at once, both ways, between small ones", function()
    local large = ("0123456789"):rep(2e6)
    local before, set = connection:send(0, "ECHO", "before"), connection:send(0, "SET", "k", large)
    local get, after = connection:send(0, "GET", "k"), connection:send(0, "ECHO", "after")
    assert.equal("after", connection:reply(after))
    assert.is_true(large == connection:reply(get))
    assert.same({ status = "OK" }, connection:reply(set))
    assert.equal("before", connection:reply(before))
  end)

  it("leaves and comes back without a loop that turns, by flush", function()
    local number = connection:send(0, "ECHO", "flushed")
    for _ = 1, 12000 do
      connection:call "flush"
      if connection:check(number) == ANSWERED then break end
      ffi.C.usleep(5000)
    end
    assert.equal("flushed", connection:reply(number))
  end)

  it("fires its ticket when the server is killed; what was answered stays", function()
    local ticket, numbers = hold(), {}
    local answered = connection:send(0, "ECHO", "answered")
    connection:turn_until(function() return connection:check(answered) == ANSWERED end)
    server:pause()
    local other = hold()
    for i = 1, 100 do numbers[i] = connection:send(i == 7 and ticket or 0, "ECHO", i) end
    connection:call("retarget", numbers[100], other)
    connection:release(numbers[50])
    C.perigee_loop_poll(loop, 0, math.huge)
    server:kill()
    connection:failed "."
    assert.same({ [ticket] = 1, [other] = 1 }, fired())
    assert.equal(0, C.perigee_loop_pending(loop))
    for i = 1, 100 do
      assert.equal(LOST, connection:check(numbers[i]))
      connection:release(numbers[i])
    end
    assert.equal("answered", connection:reply(answered))
    assert.equal(0, connection:send(0, "PING"))
  end)
end)

describe("silence", function()
  before_each(new_loop)
  after_each(function()
    free_loop()
    redis.clean()
    fake_redis.clean()
  end)

  local function sleep(connection, seconds)
    local ends = C.perigee_loop_now() + seconds
    connection:turn_until(function() return C.perigee_loop_now() >= ends end)
  end

  it("begins when the other side is asked, and ends with its answer", function()
    local server = redis.start()
    local connection = connect(server.unix):opened()
    sleep(connection, 0.1)
    assert.equal(0, connection:call "silence")
    server:pause()
    local number = connection:send(0, "PING")
    ffi.C.usleep(100000)
    assert.equal(0, connection:call "silence") -- the command is still here
    sleep(connection, 0.1)
    local silence = connection:call "silence"
    assert.is_true(silence >= 0.08)
    connection:send(0, "PING") -- one more proves nothing
    sleep(connection, 0.1)
    assert.is_true(connection:call "silence" >= silence + 0.08)
    server:resume()
    connection:reply(number + 1)
    assert.equal(0, connection:call "silence")
  end)

  -- The longest one in three seconds: the machine may be busy for a part of them.
  local function longest(connection)
    local ends, most = C.perigee_loop_now() + 3, 0
    while C.perigee_loop_now() < ends do
      C.perigee_loop_poll(loop, 0.005, math.huge)
      most = math.max(most, connection:call "silence")
    end
    return most
  end

  it("is broken by every byte that comes", function()
    local fake = fake_redis.start [[
      local c = accept()
      c:hear()
      c:say "$180\r\n"
      for _ = 1, 180 do
        c:say "x"
        sleep(0.02)
      end
      sleep(60)
    ]]
    local connection = connect(fake.unix):opened()
    connection:send(0, "GET", "k")
    assert.is_true(longest(connection) < 2.7)
    connection:turn_until(function() return connection:call "silence" > 0.5 end)
  end)

  it("is broken by who takes in what had to wait", function()
    local fake = fake_redis.start [[
      local c = accept()
      for _ = 1, 180 do
        c:hear()
        sleep(0.02)
      end
      sleep(60)
    ]]
    local connection = connect(fake.unix):opened()
    connection:send(0, "GET", "k")
    C.perigee_loop_poll(loop, 0, math.huge)
    connection:send(0, "SET", "k", ("x"):rep(2e7))
    assert.is_true(longest(connection) < 2.7)
    connection:turn_until(function() return connection:call "silence" > 0.5 end)
  end)
end)

describe("messages", function()
  before_each(new_loop)
  after_each(function()
    free_loop()
    redis.clean()
    fake_redis.clean()
  end)

  it("are kept until they are taken, apart from replies", function()
    local server = redis.start()
    local ears, mouth = connect(server.unix):opened(), connect(server.unix):opened()
    ears:call "listen"
    assert.same({ "subscribe", "news", 1 }, ears:ask("SUBSCRIBE", "news"))
    assert.same({}, ears:messages())
    for i = 1, 300 do mouth:send(0, "PUBLISH", "news", i) end
    assert.equal(1, mouth:ask("PUBLISH", "news", ""))
    assert.same({ "pong", "" }, ears:ask "PING")
    local taken = {}
    ears:turn_until(function()
      for _, message in ipairs(ears:messages()) do taken[#taken + 1] = message end
      return #taken == 301
    end)
    for i = 1, 300 do assert.same({ "message", "news", tostring(i) }, taken[i]) end
    assert.same({ "message", "news", "" }, taken[301])
    assert.equal(0, C.perigee_loop_pending(loop))
  end)

  it("end a connection that does not listen", function()
    local server = redis.start()
    local deaf = connect(server.unix):opened()
    deaf:ask("SUBSCRIBE", "news")
    server:cli("PUBLISH", "news", "x")
    deaf:failed "nobody had asked"
  end)

  it("of a connection that has failed can still be taken", function()
    local server = redis.start()
    local ears = connect(server.unix):opened()
    ears:call "listen"
    ears:ask("SUBSCRIBE", "news")
    server:cli("PUBLISH", "news", "last words")
    server:cli "PING" -- it has left by now
    server:kill()
    ears:failed "."
    assert.same({ { "message", "news", "last words" } }, ears:messages())
    ears:free()
  end)

  local FLOOD = [[
    local c = accept()
    local line = bulk("message", "news", "x")
    c:hear()
    c:say(line:rep(%d) .. "+PONG\r\n")
    for _ = 1, 30 do
      c:hear()
      c:say(line:rep(10000) .. "+PONG\r\n")
    end
    sleep(60)
  ]]

  it("that nobody takes end the connection", function()
    local ears = connect(fake_redis.start(FLOOD:format(100001)).unix):opened()
    ears:call "listen"
    ears:send(0, "PING")
    ears:failed "too many messages"
    ears:free()
  end)

  it("may be behind for ever, as long as they are taken", function()
    local ears = connect(fake_redis.start(FLOOD:format(50000)).unix):opened()
    ears:call "listen"
    ears:ask "PING"
    for _ = 1, 30 do
      ears:ask "PING"
      for _ = 1, 10000 do assert(C.perigee_redis_message(ears.handle) ~= nil) end
    end
    assert.equal(OPEN, ears:state())
  end)
end)

describe("a server that misbehaves:", function()
  before_each(new_loop)
  after_each(function()
    free_loop()
    fake_redis.clean()
  end)

  -- A connection that has sent one command, to a server that then does what the script says.
  local function ask(script)
    local fake = fake_redis.start("local c = accept()\nc:hear()\n" .. script .. "\nsleep(60)")
    local connection = connect(fake.unix):opened()
    local ticket = hold()
    return connection, connection:send(ticket, "PING"), ticket
  end

  local function ends(script, pattern)
    local connection, number, ticket = ask(script)
    connection:failed(pattern)
    assert.same({ [ticket] = 1 }, fired())
    assert.equal(LOST, connection:check(number))
    assert.equal(0, C.perigee_loop_pending(loop))
    connection:free()
  end

  it("garbage ends the connection", function()
    ends([[c:say "HTTP/1.1 400 Bad Request\r\n\r\n"]], "Protocol error")
    ends([[c:say "\0\0\0\0"]], "Protocol error")
    ends([[c:say "$x\r\n"]], "Bad")
    ends([[c:say "*1\r\n!"]], "Protocol error")
    ends([[c:say "$-2\r\n"]], ".")
    ends([[c:say "*-2\r\n"]], ".")
  end)

  it("an end ends it, at once and within a reply", function()
    ends([[c:close()]], "closed")
    ends([[c:say "$10\r\nhalf" c:close()]], "closed")
    ends([[c:say "*3\r\n$1\r\na\r\n*2\r\n:1\r\n" c:close()]], "closed")
    local fake = fake_redis.start "accept():close() sleep(60)"
    connect(fake.unix):failed "closed"
  end)

  it("half a reply is none, for as long as it takes", function()
    local halves = { [[*2\r\n$5\r\nab]], [[$9999999999\r\nabc]], ":12", [[*1\r\n*1\r\n]] }
    for _, half in ipairs(halves) do
      local connection, number, ticket = ask(('c:say "%s"'):format(half))
      connection:turn_until(function() return connection:call "silence" > 0.05 end)
      assert.equal(WAITING, connection:check(number))
      assert.same({}, fired())
      connection:free()
      assert.same({ [ticket] = 1 }, fired())
    end
  end)

  it("a list that is too long is not believed", function()
    ends([[c:say "*1000000000\r\n"]], ".")
    ends([[c:say "*2000000\r\n"]], ".")
    ends([[c:say "*99999999999999999999\r\n"]], ".")
    ends([[c:say "*2\r\n$1\r\na\r\n*1000000000\r\n"]], ".")
  end)

  it("lists in lists are read up to a depth", function()
    ends([[c:say(("*1\r\n"):rep(100000))]], "nested")
    local connection, number = ask [[c:say(("*1\r\n"):rep(6) .. ":5\r\n")]]
    assert.same({ { { { { { 5 } } } } } }, connection:reply(number))
  end)

  it("a reply that nobody asked for ends it; the one before it counts", function()
    local connection, number = ask [[c:say "+OK\r\n+OK\r\n"]]
    connection:failed "nobody had asked"
    assert.same({ status = "OK" }, connection:reply(number))
    local fake = fake_redis.start [[
      accept():say "-ERR max number of clients reached\r\n"
      sleep(60)
    ]]
    connect(fake.unix):failed "ERR max number of clients reached"
  end)

  it("a reply may come byte by byte", function()
    local text = "*4\r\n$3\r\na\r\n\r\n:-12\r\n$-1\r\n*2\r\n+s\r\n-e\r\n"
    local connection, number = ask(([[
      for byte in (%q):gmatch "." do
        c:say(byte)
        sleep(0.001)
      end
    ]]):format(text):gsub("\r", "\\r"):gsub("\\\n", "\\n"))
    assert.same({ "a\r\n", -12, NIL, { { status = "s" }, { err = "e" } } },
      connection:reply(number))
  end)
end)

describe("memory that runs out", function()
  local server

  before_each(function()
    new_loop()
    server = redis.start()
  end)
  after_each(function()
    C.perigee_rt_fail_at(0)
    free_loop()
    redis.clean()
  end)

  it("makes no connection", function()
    for n = 1, 2 do
      C.perigee_rt_fail_at(n)
      assert.is_true(C.perigee_redis_connect(loop, server.unix, 0, 1e6) == nil)
      check(C.perigee_loop_verify(loop))
    end
    C.perigee_rt_fail_at(0)
    assert.equal("x", connect(server.unix):opened():ask("ECHO", "x"))
  end)

  it("refuses a request, and no other", function()
    local connection, refused, accepted = connect(server.unix):opened(), 0, {}
    for i = 1, 1000 do
      C.perigee_rt_fail_at(i % 3 == 0 and 1 or 2)
      local text = ("%d "):format(i):rep(i)
      local number = connection:send(0, "ECHO", text)
      if number == 0 then refused = refused + 1 else accepted[number] = text end
    end
    C.perigee_rt_fail_at(0)
    assert.is_true(refused > 3)
    for number, text in pairs(accepted) do assert.equal(text, connection:reply(number)) end
  end)

  it("ends a connection whose reply it hits", function()
    for n = 1, 4 do
      local connection, ticket = connect(server.unix):opened(), hold()
      local number = connection:send(ticket, "EVAL", "return {1, {'a', false}, 'b'}", 0)
      C.perigee_rt_fail_at(n)
      connection:failed "memory"
      C.perigee_rt_fail_at(0)
      assert.equal(LOST, connection:check(number))
      assert.same({ [ticket] = 1 }, fired())
    end
  end)

  it("ends a connection whose message it hits", function()
    for n = 1, 5 do
      local ears = connect(server.unix):opened()
      ears:call "listen"
      ears:ask("SUBSCRIBE", "news")
      C.perigee_rt_fail_at(n)
      server:cli("PUBLISH", "news", "x")
      ears:failed "."
      C.perigee_rt_fail_at(0)
      assert.same({}, ears:messages())
    end
  end)
end)

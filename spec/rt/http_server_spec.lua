-- SPDX-License-Identifier: MIT
-- The C half of HTTP servers, without a scheduler: who goes first, stale numbers, and memory that
-- is out.
local ffi = require "ffi"
local processes = require "spec.support.processes"
local socket = require "socket"
local C = require("perigee.lib").rt

local REQUEST = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok"

local function listen(loop)
  local options = ffi.new("perigee_http_options", { host = "127.0.0.1", port = 0,
    connections_max = 10, header_bytes_max = 4096, body_bytes_max = 4096, idle_timeout_s = 5 })
  return C.perigee_http_listen(loop, options)
end

local function connect(server, text)
  local client = assert(socket.connect("127.0.0.1", C.perigee_http_port(server)))
  client:settimeout(0)
  if text then client:send(text) end
  return client
end

local function check(server)
  local broken = C.perigee_http_verify(server)
  assert.is_true(broken == nil, broken ~= nil and ffi.string(broken) or nil)
end

-- Polls until a request can be taken; nil: there is none.
local function take(loop, server, polls)
  local request = ffi.new "perigee_http_request"
  for _ = 1, polls or 12000 do
    C.perigee_loop_poll(loop, 0.005, math.huge)
    if C.perigee_http_take(server, request) == 1 then return request end
  end
end

local function receive(loop, client)
  local bytes = ""
  for _ = 1, 12000 do
    C.perigee_loop_poll(loop, 0.005, math.huge)
    local more, why, part = client:receive(65536)
    bytes = bytes .. (more or part)
    if why == "closed" or bytes:find "\r\n\r\n.+" then break end
  end
  return bytes
end

describe("a server in C", function()
  local loop, server

  before_each(function()
    loop = C.perigee_loop_new()
    server = listen(loop)
    assert.equal("", ffi.string(C.perigee_http_error(server)))
  end)

  after_each(function()
    if server then C.perigee_http_free(server) end
    if loop then C.perigee_loop_free(loop) end
    loop, server = nil, nil
  end)

  it("lends a request, and takes one answer for it", function()
    local client = connect(server, REQUEST)
    local request = take(loop, server)
    assert.same({ "POST", "/p", "HTTP/1.1", "127.0.0.1", "ok", 2 },
      { ffi.string(request.method), ffi.string(request.target), ffi.string(request.version),
        ffi.string(request.peer), ffi.string(request.body, request.body_bytes),
        request.fields_count })
    local x = request.exchange
    assert.equal(1, C.perigee_http_exchanges(server))
    assert.equal(-1, C.perigee_http_send(server, x))
    assert.equal(0, C.perigee_http_begin(server, x, 200, "answer", 6))
    assert.equal(-1, C.perigee_http_field_of(server, x, "A", "b\r\nC: d"))
    assert.equal(0, C.perigee_http_field_of(server, x, "A", "b"))
    assert.equal(0, C.perigee_http_send(server, x))
    assert.equal(-1, C.perigee_http_send(server, x))
    assert.equal(-1, C.perigee_http_begin(server, x, 200, "again", 5))
    check(server)
    assert.matches("^HTTP/1.1 200 OK\r\n.*A: b\r\n.*\r\n\r\nanswer$", receive(loop, client))
    assert.equal(0, C.perigee_http_exchanges(server))
    check(server)
    client:close()
  end)

  it("fails for numbers that are of no exchange", function()
    for _, number in ipairs { 0, -1, 1, 2 ^ 20, 2 ^ 53, 1 / 0, 0 / 0, 3.5 } do
      assert.equal(-1, C.perigee_http_begin(server, number, 200, "x", 1))
      assert.equal(-1, C.perigee_http_field_of(server, number, "a", "b"))
      assert.equal(-1, C.perigee_http_send(server, number))
      assert.equal(-1, C.perigee_http_write(server, number, "x", 1))
      C.perigee_http_end(server, number, 0)
      C.perigee_http_room(server, number, 0)
    end
  end)

  it("tells once of a client that has left, and its number is stale then", function()
    local client = connect(server, REQUEST)
    local x = take(loop, server).exchange
    C.perigee_loop_poll(loop, 0, math.huge)
    client:close()
    local gone = take(loop, server)
    assert.same({ x, 1 }, { gone.exchange, gone.is_gone })
    assert.equal(-1, C.perigee_http_begin(server, x, 200, "x", 1))
    assert.is_nil(take(loop, server, 5))
    check(server)
    assert.equal(0, C.perigee_http_exchanges(server))
  end)

  it("never tells of a client that left before its request was taken", function()
    local client = connect(server, REQUEST)
    for _ = 1, 20 do C.perigee_loop_poll(loop, 0.002, math.huge) end
    C.perigee_http_quiesce(server)
    client:close()
    for _ = 1, 5 do C.perigee_loop_poll(loop, 0.002, math.huge) end
    check(server)
  end)

  it("may be freed, or its loop, while requests wait and streams run", function()
    for _, loop_first in ipairs { true, false } do
      local before = processes.descriptors()
      local own_loop = C.perigee_loop_new()
      local own = listen(own_loop)
      local clients = {}
      for i = 1, 4 do
        clients[i] = connect(own, i < 4 and REQUEST or "POST / HTTP/1.1\r\n")
        if i == 2 then
          local x = take(own_loop, own).exchange
          C.perigee_http_begin(own, x, 200, nil, 0)
          C.perigee_http_send(own, x)
          C.perigee_http_write(own, x, "bytes", 5)
        end
        for _ = 1, 5 do C.perigee_loop_poll(own_loop, 0.002, math.huge) end
      end
      check(own)
      if loop_first then
        C.perigee_loop_free(own_loop)
        check(own)
        C.perigee_http_free(own)
      else
        C.perigee_http_free(own)
        C.perigee_loop_free(own_loop)
      end
      for i = 1, 4 do clients[i]:close() end
      assert.equal(before, processes.descriptors())
    end
  end)

  it("keeps its loop alive while it listens", function()
    assert.equal(1, C.perigee_loop_pending(loop))
    C.perigee_http_free(server)
    server = nil
    assert.equal(0, C.perigee_loop_pending(loop))
  end)

  it("survives that memory is out, wherever that happens", function()
    for n = 1, 12 do
      local client = connect(server)
      C.perigee_rt_fail_at(n)
      client:send(REQUEST)
      local request = take(loop, server, 10)
      if request and request.is_gone == 0 then
        local x = request.exchange
        C.perigee_http_begin(server, x, 200, nil, 0)
        C.perigee_http_send(server, x)
        C.perigee_http_write(server, x, ("x"):rep(100), 100)
        C.perigee_http_end(server, x, 0)
      end
      for _ = 1, 5 do C.perigee_loop_poll(loop, 0.002, math.huge) end
      check(server)
      C.perigee_rt_fail_at(0)
      client:close()
      for _ = 1, 5 do C.perigee_loop_poll(loop, 0.002, math.huge) end
    end
    local made
    for n = 1, 20 do
      C.perigee_rt_fail_at(n)
      made = listen(loop)
      C.perigee_rt_fail_at(0)
      if made ~= nil then C.perigee_http_free(made) end
    end
    take(loop, server, 3)
    check(server)
  end)
end)

-- SPDX-License-Identifier: MIT
-- The transfers of http_client.h, on a loop that the spec turns by hand, against responses that it
-- writes byte by byte.
local ffi = require "ffi"
local lfs = require "lfs"
local processes = require "spec.support.processes"
local socket = require "socket"
local orders = require "perigee.http.client.order"
local transfers = require "perigee.http.client.transfer"
local C = require("perigee.lib").rt

local loop, listener, url, connections

local function verify()
  for _, name in ipairs { "perigee_http_client_verify", "perigee_loop_verify" } do
    local broken = C[name](loop)
    assert.is_true(broken == nil, broken ~= nil and ffi.string(broken) or nil)
  end
end

local function turn()
  C.perigee_loop_poll(loop, 0.005, math.huge)
  verify()
end

local function begin(more)
  local spec = { url = url }
  for name, value in pairs(more or {}) do spec[name] = value end
  local is_stream = spec.stream
  spec.stream = nil
  local asked = orders.check("spec", spec, is_stream, 1)
  local order, kept = orders.new(asked)
  assert.is_table(kept)
  return C.perigee_http_client_begin(loop, order)
end

local function look(id)
  local view = ffi.new "perigee_http_client_view"
  return C.perigee_http_client_look(loop, id, view) == 0 and view or nil
end

-- Takes the connection that the client makes.
local function accept()
  local connection
  for _ = 1, 12000 do
    turn()
    connection = listener:accept()
    if connection then break end
  end
  connection:settimeout(0)
  table.insert(connections, connection)
  return connection
end

-- Reads a request, up to its blank line.
local function request(connection)
  local text = ""
  for _ = 1, 12000 do
    turn()
    local _, _, part = connection:receive "*a"
    text = text .. (part or "")
    if text:find "\r\n\r\n" then return text end
  end
  error("no request came: " .. text)
end

local function turn_until(condition)
  for _ = 1, 12000 do
    if condition() then return end
    turn()
  end
  error "it did not happen"
end

local function answered(id, text, more)
  local connection = accept()
  request(connection)
  local sent = 0
  turn_until(function()
    if look(id).ended == 1 then return true end
    local last, _, partial = connection:send(text, sent + 1)
    sent = last or partial
    if sent == #text and not (more and more.stays) then connection:close() end
    return sent == #text and more and more.stays
  end)
  return look(id)
end

local function text_of(view) return ffi.string(view.body, view.body_bytes) end
local function error_of(view) return ffi.string(view.error) end

describe("http_client", function()
  before_each(function()
    loop = C.perigee_loop_new()
    connections = {}
    listener = assert(socket.bind("127.0.0.1", 0))
    listener:settimeout(0)
    local _, port = listener:getsockname()
    url = ("http://127.0.0.1:%d/"):format(port)
  end)

  after_each(function()
    for _, connection in ipairs(connections) do connection:close() end
    listener:close()
    if loop then C.perigee_loop_free(loop) end
    loop = nil
  end)

  it("collects a response, and fires its ticket at the end", function()
    local tickets = C.perigee_loop_tickets(loop)
    local id, ticket = begin(), C.perigee_tickets_hold(tickets)
    assert.is_true(id > 0)
    assert.equal(0, C.perigee_http_client_await(loop, id, ticket))
    assert.same({ 1, 1 }, { C.perigee_http_client_running(loop), C.perigee_loop_pending(loop) })
    local view = answered(id, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert.same({ 200, "hello", C.PERIGEE_HTTP_FINE }, { view.status, text_of(view), view.failure })
    assert.equal(1, C.perigee_tickets_ready(tickets))
    assert.same({ 0, 0 }, { C.perigee_http_client_running(loop), C.perigee_loop_pending(loop) })
    C.perigee_http_client_drop(loop, id)
    assert.is_nil(look(id))
    C.perigee_http_client_drop(loop, id)
    C.perigee_http_client_taken(loop, id)
    assert.equal(-1, C.perigee_http_client_await(loop, id, ticket))
    verify()
  end)

  it("tells the final head, and no other", function()
    local id = begin()
    local view = answered(id, "HTTP/1.1 100 Continue\r\nX-Wrong: 1\r\n\r\n"
      .. "HTTP/1.1 103 Early Hints\r\nX-Wrong: 2\r\n\r\n"
      .. "HTTP/1.1 201 Created\r\nX-Right: a\r\nx-right:b \r\nX-Folded: one\r\n two\r\nEmpty:\r\n"
      .. "Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n"
      .. "3\r\nabc\r\n0\r\nX-Late: 3\r\n\r\n")
    assert.same({ 201, "abc" }, { view.status, text_of(view) })
    local headers = transfers.headers(view)
    assert.same({ ["x-right"] = "a, b", ["x-folded"] = headers["x-folded"], empty = "",
      ["transfer-encoding"] = "chunked", trailer = "X-Late" }, headers)
    assert.matches("^one%s+two$", headers["x-folded"])
  end)

  it("fails for what is no HTTP", function()
    for _, text in ipairs { "", "hello\r\n", "HTTP/1.1 200 OK\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" } do
      local id = begin()
      local view = answered(id, text)
      assert.is_true(view.failure ~= C.PERIGEE_HTTP_FINE, text)
      assert.is_true(#error_of(view) > 0)
      C.perigee_http_client_drop(loop, id)
    end
  end)

  it("takes a redirect to nowhere as it is", function()
    for _, location in ipairs { "", "Location:\r\n", "Location:  \r\n" } do
      local id = begin { redirects = 2 }
      local view = answered(id, "HTTP/1.1 302 Found\r\n" .. location
        .. "Content-Length: 2\r\n\r\nok")
      assert.same({ C.PERIGEE_HTTP_FINE, 302, 1 }, { view.failure, view.status, view.has_head })
      assert.matches("^HTTP/1.1 302", ffi.string(view.head, view.head_bytes))
      C.perigee_http_client_drop(loop, id)
    end
  end)

  it("bounds the head, however it grows, and what may follow the body", function()
    local line = "X-Long: " .. ("h"):rep(1000) .. "\r\n"
    for _, head in ipairs { "HTTP/1.1 200 OK\r\n" .. line:rep(600),
      ("HTTP/1.1 103 Early Hints\r\n" .. line:rep(100) .. "\r\n"):rep(6),
      "HTTP/1.1 200 OK\r\nX: " .. ("h"):rep(1000000),
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" .. line:rep(600),
    } do
      local id = begin()
      local view = answered(id, head)
      assert.equal(C.PERIGEE_HTTP_HEAD_TOO_LARGE, view.failure)
      C.perigee_http_client_drop(loop, id)
    end
  end)

  it("stops reading a stream that nobody takes from, and goes on", function()
    local id = begin { stream = true }
    local length = 4 * 1024 * 1024
    local text = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(length)
      .. ("x"):rep(length)
    local connection, sent, got = accept(), 0, 0
    request(connection)
    local function send()
      local last, _, partial = connection:send(text, sent + 1)
      sent = last or partial
    end
    turn_until(function()
      send()
      return look(id).body_bytes > 0 and C.perigee_loop_pending(loop) == 0
    end)
    for _ = 1, 5 do
      send()
      turn()
    end
    assert.is_true(look(id).body_bytes <= 200000)
    local most = 0
    turn_until(function()
      if sent < #text then send() end
      for _ = 1, 100 do
        local view = look(id)
        if view.body_bytes == 0 then break end
        most, got = math.max(most, view.body_bytes), got + view.body_bytes
        C.perigee_http_client_taken(loop, id)
      end
      return look(id).ended == 1 and look(id).body_bytes == 0
    end)
    assert.equal(length, got)
    assert.is_true(most <= 200000)
    C.perigee_http_client_drop(loop, id)
  end)

  it("breaks off at once what is freed, whatever it is doing", function()
    C.perigee_http_client_drop(loop, begin())
    turn()
    local before = processes.descriptors()
    for _, text in ipairs { "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\nsome" } do
      local id = begin()
      answered(id, text, { stays = true })
      C.perigee_http_client_drop(loop, id)
      assert.same({ 0, 0 }, { C.perigee_http_client_running(loop), C.perigee_loop_pending(loop) })
      verify()
      local connection = table.remove(connections)
      connection:settimeout(1)
      assert.equal("closed", select(2, connection:receive()))
      connection:close()
    end
    assert.is_true(processes.descriptors() <= before)
  end)

  it("wakes who waits for what is freed", function()
    local tickets = C.perigee_loop_tickets(loop)
    local id = begin()
    C.perigee_http_client_await(loop, id, C.perigee_tickets_hold(tickets))
    C.perigee_http_client_drop(loop, id)
    assert.equal(1, C.perigee_tickets_ready(tickets))
  end)

  it("goes with its loop", function()
    local before = processes.descriptors()
    for _ = 1, 3 do begin() end
    begin { url = "http://no-such-host.invalid/" }
    accept()
    local id = begin { stream = true }
    turn()
    C.perigee_http_client_drop(loop, id)
    C.perigee_loop_free(loop)
    loop = nil
    for _, connection in ipairs(connections) do connection:close() end
    for _ = 1, 6000 do -- the thread that looks a name up ends when it pleases
      if processes.descriptors() < before then break end
      socket.sleep(0.01)
    end
    assert.is_true(processes.descriptors() < before)
  end)

  it("keeps its connections from the programs that are started", function()
    answered(begin(), "HTTP/1.1 200 OK\r\n", { stays = true })
    local pipe = io.popen "readlink /proc/self/fd/* | grep -c socket:"
    local inherited = tonumber(pipe:read "*l")
    pipe:close()
    local own = 0
    for fd in lfs.dir "/proc/self/fd" do
      local target = fd:find "^%d+$" and lfs.symlinkattributes("/proc/self/fd/" .. fd, "target")
      if target and target:find "socket:" then own = own + 1 end
    end
    -- Of the spec itself: the listener and the connection that it took.
    assert.is_true(inherited <= own - 1, inherited .. " of " .. own)
  end)

  it("reads urls, and refuses what is none", function()
    assert.equal(-22, begin { url = "http://host:port/" })
    assert.equal(-22, begin { url = "http://[::1/" })
    local id = begin { url = "http://[::1]:1/" }
    turn_until(function() return look(id).ended == 1 end)
    assert.equal(C.PERIGEE_HTTP_FAILED, look(id).failure)
    verify()
  end)

  it("fails in order when memory is out", function()
    for n = 1, 12 do
      C.perigee_rt_fail_at(n)
      local id = begin()
      if id < 0 then
        assert.equal(-12, id)
      else
        local text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
        local connection
        for _ = 1, 12000 do
          turn()
          connection = connection or listener:accept()
          if connection then connection:send(text) end
          if connection or look(id).ended == 1 then break end
        end
        for _ = 1, 40 do turn() end
        if connection then connection:close() end
        turn_until(function() return look(id).ended == 1 end)
        C.perigee_http_client_drop(loop, id)
      end
      C.perigee_rt_fail_at(0)
      verify()
    end
  end)
end)

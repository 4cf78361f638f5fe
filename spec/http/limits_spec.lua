-- SPDX-License-Identifier: MIT
-- What a server refuses, and how long it waits.
local perigee = require "perigee"
local processes = require "spec.support.processes"
local web = require "spec.support.web"

local serve, get, ask, eventually = web.serve, web.get, web.ask, web.eventually

-- The status of the answer to these bytes; nil: the connection was closed without one.
local function status_of(server, bytes)
  local client = web.connect(server.port):send(bytes)
  local response = client:response()
  client:close()
  return response.status
end

local function size_of_body(request)
  return tostring(request.body and #request.body or 0)
end

describe("a body", function()
  it("may be so large, and is a 413 beyond", serve({
    max_body_bytes = 1000, handler = size_of_body },
    function(server)
      assert.equal("1000", ask(server.port, "POST", "/", nil, ("x"):rep(1000)).body)
      assert.equal(413, ask(server.port, "POST", "/", nil, ("x"):rep(1001)).status)
      assert.equal(413, ask(server.port, "POST", "/", nil, ("x"):rep(500000)).status)
      assert.equal(413, status_of(server,
        "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n"))
      assert.equal(413, status_of(server,
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999999\r\n\r\n"))
      assert.equal(200, get(server.port, "/").status)
    end))

  it("in chunks has the same limit", serve({ max_body_bytes = 1000, handler = size_of_body },
    function(server)
      local head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
      local chunk = "1f4\r\n" .. ("x"):rep(500) .. "\r\n"
      assert.equal(200, status_of(server, head .. chunk:rep(2) .. "0\r\n\r\n"))
      assert.equal(413, status_of(server, head .. chunk:rep(3) .. "0\r\n\r\n"))
    end))

  it("in chunks is refused at once when the size of a chunk has no end", serve({
    idle_timeout = 60, handler = size_of_body },
    function(server)
      local client = web.connect(server.port)
      client:send "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;"
      local sent = 0
      eventually("the server to close", function()
        client:take()
        if not client.closed then client.tcp:send(("x"):rep(512)) end
        sent = sent + 512
        return client.closed
      end)
      assert.matches("^HTTP/1.1 400 ", client.bytes)
      assert.is_true(sent < 1e6, sent)
      client:close()
      local other = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;"
        .. ("x"):rep(200000)
      assert.equal(400, status_of(server, other))
    end))

  it("in chunks may come slowly, and say more of each chunk", serve({
    handler = function(request) return request.body end },
    function(server)
      local client = web.connect(server.port)
      client:send "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
      local extension = ";a=" .. ("x"):rep(1000)
      for _ = 1, 40 do
        client:send("1" .. extension .. "\r\ny\r\n")
        perigee.sleep(0.002)
      end
      client:send(("1\r\nz\r\n"):rep(5000) .. "0\r\n\r\n")
      assert.equal(("y"):rep(40) .. ("z"):rep(5000), client:response().body)
      client:close()
    end))

  it("without an end is cut off", serve({ max_body_bytes = 1000, handler = size_of_body },
    function(server)
      local client = web.connect(server.port)
      client:send "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
      local chunk = "8000\r\n" .. ("x"):rep(32768) .. "\r\n"
      local sent = 0
      eventually("the server to close", function()
        if not client.tcp:send(chunk) then client:take() end
        sent = sent + 1
        return client.closed or sent > 5000
      end)
      assert.is_true(client.closed)
      client:close()
    end))

  it("may be forbidden", serve({ max_body_bytes = 0, handler = size_of_body }, function(server)
    assert.equal(413, ask(server.port, "POST", "/", nil, "x").status)
    assert.equal(200, ask(server.port, "POST", "/", nil, "").status)
  end))
end)

describe("a header", function()
  it("may be so large, and is a 431 beyond", serve({
    max_header_bytes = 4096,
    handler = function(request) return tostring(#request.headers["x-a"]) end,
  }, function(server)
    assert.equal("3900", ask(server.port, "GET", "/", { ["X-A"] = ("x"):rep(3900) }).body)
    assert.equal(431, ask(server.port, "GET", "/", { ["X-A"] = ("x"):rep(4096) }).status)
    assert.equal(431, ask(server.port, "GET", "/", { ["X-A"] = ("x"):rep(20000) }).status)
    for _, text in ipairs {
      "GET / HTTP/1.1\r\nHost: h\r\n" .. ("A: b\r\n"):rep(20000) .. "\r\n",
      "GET / HTTP/1.1\r\nHost: h\r\nX-A: " .. ("x"):rep(200000) .. "\r\n\r\n",
      "GET /" .. ("x"):rep(200000) .. " HTTP/1.1\r\nHost: h\r\n\r\n",
    } do
      local status = status_of(server, text)
      assert.is_true(status == nil or status == 431 or status == 414 or status == 413, status)
    end
    assert.equal("1", ask(server.port, "GET", "/", { ["X-A"] = "x" }).body)
  end))
end)

describe("a request that breaks the rules", function()
  local called

  local function count()
    called = called + 1
    return "reached"
  end

  it("never reaches the handler", function()
    called = 0
    serve({ idle_timeout = 5, handler = count }, function(server)
      for name, bytes in pairs {
        ["no host"] = "GET / HTTP/1.1\r\n\r\n",
        ["two hosts"] = "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        ["two lengths"] =
          "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
        ["length and chunks"] = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
          .. "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ["a length that is none"] = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1x\r\n\r\nx",
        ["a negative length"] = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\nx",
        ["a signed length"] = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx",
        ["an unknown encoding"] =
          "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ["chunks in HTTP/1.0"] = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ["a space before the colon"] =
          "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 1\r\n\r\nx",
        ["a length in a line that goes on"] =
          "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n 2\r\n\r\nx",
        ["chunks in a line that goes on"] = "POST / HTTP/1.1\r\nHost: h\r\n"
          .. "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        ["a field in a line that goes on"] =
          "GET / HTTP/1.1\r\nHost: h\r\nX-Us: v\r\n er\r\n\r\n",
        ["a length that ends with a NUL"] =
          "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\0 2\r\n\r\nx",
        ["chunks that end with a NUL"] = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\0x\r\n"
          .. "Host: h\r\n\r\n0\r\n\r\n",
        ["a NUL in the first field"] = "GET / HTTP/1.1\r\nHost: h\0x\r\nX-A: b\r\n\r\n",
        ["a NUL in a name"] = "GET / HTTP/1.1\r\nHost: h\r\nX\0A: b\r\n\r\n",
        ["a NUL in the target"] = "GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n",
        ["a NUL in the method"] = "G\0ET / HTTP/1.1\r\nHost: h\r\n\r\n",
        ["a CR in a value"] = "GET / HTTP/1.1\r\nHost: h\r\nX-A: b\rX-B: c\r\n\r\n",
        ["a control character in a value"] = "GET / HTTP/1.1\r\nHost: h\r\nX-A: \27[2J\r\n\r\n",
        ["a control character in a name"] = "GET / HTTP/1.1\r\nHost: h\r\nX\1A: b\r\n\r\n",
        ["a name that is no word"] = "GET / HTTP/1.1\r\nHost: h\r\nX(A): b\r\n\r\n",
        ["no name"] = "GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n",
        ["a method that is no word"] = "G{} / HTTP/1.1\r\nHost: h\r\n\r\n",
        ["a target with a space"] = "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
        ["a target with a control character"] = "GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n",
        ["what a proxy is asked"] = "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
        ["a path with a NUL"] = "GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n",
        ["a field without a colon"] = "GET / HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n",
        ["a chunk without a length"] =
          "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx\r\n0\r\n\r\n",
        ["another protocol"] = "GET / SPDY/9\r\nHost: h\r\n\r\n",
        ["noise"] = ("\0\255\r\n"):rep(100) .. "\r\n\r\n",
        ["TLS"] = "\22\3\1\2\0\1\0\1\252\3\3\r\n\r\n",
      } do
        local status = status_of(server, bytes)
        local is_refused = status == nil or status >= 400 and status < 600
        assert.is_true(is_refused, name .. ": " .. tostring(status))
      end
      web.verify(server)
      assert.equal(0, called)
      assert.equal("reached", get(server.port, "/").body)
    end)()
  end)

  it("is refused also when its bytes come one by one, and after a good one", function()
    called = 0
    serve({ handler = count }, function(server)
      for _, bytes in ipairs {
        "GET / HTTP/1.1\r\nHost: h\r\nX-A: b\0c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX-Us: v\r\n er\r\n\r\n",
      } do
        local client = web.connect(server.port):send(web.request("GET", "/"))
        assert.equal("reached", client:response().body)
        for i = 1, #bytes do
          client:send(bytes:sub(i, i))
          if i % 8 == 0 then perigee.sleep(0.001) end
        end
        assert.equal(400, client:response().status)
        client:close()
      end
      assert.equal(2, called)
    end)()
  end)

  local function fine() return "x" end

  it("of any random bytes leaves the server whole", serve(fine, function(server)
    local pieces = { "GET ", "POST ", "/", " HTTP/1.1", "\r\n", "\r\n\r\n", "Host: h", "\0", "a:",
      "Content-Length: 3", "Transfer-Encoding: chunked", "5\r\nhello", "0\r\n", "%", "?", "\n",
      " " }
    math.randomseed(7)
    for _ = 1, 300 do
      local parts = {}
      for i = 1, math.random(12) do parts[i] = pieces[math.random(#pieces)] end
      local client = web.connect(server.port):send(table.concat(parts))
      if math.random(2) == 1 then perigee.sleep(0) end
      client:close()
    end
    perigee.sleep(0.05)
    web.verify(server)
    assert.equal(200, get(server.port, "/").status)
  end))
end)

describe("a client that leaves", function()
  -- Sends, and leaves before the server has read anything; the server is to close, too.
  local function leaves_no_descriptor(bytes, more)
    local opts = { idle_timeout = 60, handler = size_of_body }
    for name, value in pairs(more or {}) do opts[name] = value end
    serve(opts, function(server)
      local before = processes.descriptors()
      for _ = 1, 20 do web.connect(server.port):send(bytes):close() end
      eventually("the connections to be closed", function()
        return processes.descriptors() <= before
      end)
    end)()
  end

  it("in the middle of a request leaves nothing behind", function()
    leaves_no_descriptor ""
    leaves_no_descriptor "GET / HT"
    leaves_no_descriptor "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx"
    leaves_no_descriptor
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"
    leaves_no_descriptor("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"
      .. ("x"):rep(300000))
    leaves_no_descriptor(web.request("GET", "/"):rep(5) .. "GET / HT")
  end)

  it("while its request waits, or is streamed to it, leaves nothing behind", function()
    leaves_no_descriptor(web.request("GET", "/"), { handler = function() perigee.sleep(30) end })
    leaves_no_descriptor(web.request("GET", "/"), { handler = function()
      return { body = function(write)
        while write "x" do perigee.sleep(0.01) end
      end }
    end })
  end)

  it("in one direction only is answered, if that can be done at once", serve({
    handler = size_of_body },
    function(server)
      local client = web.connect(server.port)
      client:send(web.request("POST", "/", nil, ("x"):rep(900000)))
      client.tcp:shutdown "send"
      assert.equal("900000", client:response().body)
      assert.equal("", client:rest())
      client:close()
    end))
end)

describe("time", function()
  it("is up for a handler after its timeout: a 503, and its task is cancelled", function()
    local ended
    serve({ timeout = 0.1, handler = function(request)
      if request.path == "/fast" then return "fast" end
      ended = { pcall(perigee.sleep, 60) }
      error(ended[2], 0)
    end }, function(server)
      local slow = perigee.spawn(function() return get(server.port, "/slow").status end)
      perigee.sleep(0.02)
      assert.equal("fast", get(server.port, "/fast").body)
      local began = perigee.now()
      assert.equal(503, slow:wait())
      assert.is_true(perigee.now() - began < 30)
    end)()
    assert.same({ false, "cancelled" }, ended)
  end)

  it("is not up for a stream", serve({ timeout = 0.05, handler = function()
    return { body = function(write)
      for _ = 1, 4 do
        write "x"
        perigee.sleep(0.05)
      end
    end }
  end }, function(server)
    local response = get(server.port, "/")
    assert.same({ "xxxx", true }, { response.body, response.is_whole })
  end))

  it("is up for a request that does not arrive, however slowly it trickles", serve({
    idle_timeout = 0.3, handler = function() return "x" end,
  }, function(server)
    local silent, trickle = web.connect(server.port), web.connect(server.port)
    local body = web.connect(server.port)
    body:send "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx"
    local began = perigee.now()
    eventually("the end of all", function()
      pcall(trickle.tcp.send, trickle.tcp, "G")
      perigee.sleep(0.02)
      silent:take()
      trickle:take()
      body:take()
      return silent.closed and trickle.closed and body.closed
    end)
    assert.is_true(perigee.now() - began < 30)
    assert.equal("", silent.bytes)
    assert.matches("^HTTP/1.1 408 ", body.bytes)
    for _, client in ipairs { silent, trickle, body } do client:close() end
    assert.equal("x", get(server.port, "/").body)
  end))

  it("is up for who takes nothing in of an answer", function()
    local ended
    serve({ idle_timeout = 1, handler = function()
      return { body = function(write)
        ended = { pcall(function()
          repeat local ok = write(("x"):rep(100000)) until not ok
        end) }
      end }
    end }, function(server)
      local client = web.connect(server.port):send(web.request("GET", "/"))
      eventually("its task to end", function() return ended end)
      client:close()
    end)()
    assert.is_table(ended)
  end)

  it("between two requests is limited, and a handler's is not", serve({
    idle_timeout = 0.2, handler = function()
      perigee.sleep(0.5)
      return "x"
    end,
  }, function(server)
    local client = web.connect(server.port):send(web.request("GET", "/"))
    assert.equal("x", client:response().body)
    assert.equal("", client:rest())
    client:close()
  end))
end)

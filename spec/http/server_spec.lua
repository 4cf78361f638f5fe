-- SPDX-License-Identifier: MIT
-- Servers as their users see them, through real sockets. Limits and bad input: limits_spec.lua.
local logged = require "spec.support.logged"
local mistake = require "spec.support.mistake"
local perigee = require "perigee"
local web = require "spec.support.web"

local serve, get, ask, eventually = web.serve, web.get, web.ask, web.eventually

local function echo(request)
  return { headers = { ["X-Method"] = request.method }, body = request.body or "(none)" }
end

describe("a server", function()
  it("answers a text, or a table with status, headers and body", serve(function(request)
    if request.path == "/text" then return "hello" end
    return { status = 201, headers = { ["X-A"] = 1, ["Set-Cookie"] = { "a=1", "b=2" },
      ["Content-Type"] = "text/html" }, body = "<p>" }
  end, function(server)
    local text = get(server.port, "/text")
    assert.same({ 200, "hello", "text/plain; charset=utf-8" },
      { text.status, text.body, text.headers["content-type"] })
    local made = get(server.port, "/")
    assert.same({ 201, "<p>", "text/html", "1", "a=1|b=2" }, { made.status, made.body,
      made.headers["content-type"], made.headers["x-a"], made.headers["set-cookie"] })
  end))

  it("gives the handler the request", function()
    local seen
    serve(function(request)
      seen = request
      return ""
    end, function(server)
      local target = "/a%20b/%C3%A4?x=1&y=two+w%26&x=2&z"
      ask(server.port, "POST", target, { ["X-Thing"] = "v" }, "bytes\0")
      assert.same({ "POST", "/a b/ä", "x=1&y=two+w%26&x=2&z", "bytes\0", "127.0.0.1", "1.1" },
        { seen.method, seen.path, seen.raw_query, seen.body, seen.peer, seen.version })
      assert.same({ x = "2", y = "two w&", z = "" }, seen.query)
      assert.same({ "v", "here" }, { seen.headers["x-thing"], seen.headers.host })
      get(server.port, "http://elsewhere/p?q=1")
      assert.same({ "/p", { q = "1" } }, { seen.path, seen.query })
      assert.is_nil(seen.body)
    end)()
  end)

  it("joins the fields of one name", serve(function(request)
    return request.headers["x-a"] .. "|" .. request.headers.cookie
  end, function(server)
    local client = web.connect(server.port)
    client:send("GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\n"
      .. "Cookie: a=1\r\nCookie: b=2\r\n\r\n")
    assert.equal("1, 2|a=1; b=2", client:response().body)
    client:close()
  end))

  it("keeps a connection for the next request, also for one that was sent before its turn",
    serve(function(request)
      if request.path == "/slow" then perigee.sleep(0.05) end
      return request.path
    end, function(server)
      local client = web.connect(server.port)
      for i = 1, 5 do
        client:send(web.request("GET", "/" .. i))
        assert.equal("/" .. i, client:response().body)
      end
      local paths = { "/slow", "/b", "/c" }
      local function ask_for(path) return web.request("GET", path) end
      client:send(ask_for(paths[1]) .. ask_for(paths[2]) .. ask_for(paths[3]))
      for _, path in ipairs(paths) do assert.equal(path, client:response().body) end
      client:close()
    end))

  it("closes the connection when the client, or the handler, wants that", serve(function(request)
    return { headers = request.path == "/close" and { Connection = "close" } or nil, body = "x" }
  end, function(server)
    for _, text in ipairs { web.request("GET", "/", { Connection = "close" }),
      web.request("GET", "/close"), "GET / HTTP/1.0\r\n\r\n" } do
      local client = web.connect(server.port):send(text)
      assert.equal("x", client:response().body)
      assert.equal("", client:rest())
      client:close()
    end
  end))

  it("reads bodies of a known length, and in chunks", serve(echo, function(server)
    local body = ("0123456789"):rep(20000)
    assert.equal(body, ask(server.port, "PUT", "/", nil, body).body)
    local client = web.connect(server.port)
    client:send "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"
    perigee.sleep(0.01)
    client:send "lo\r\n1;x=y\r\n!\r\n0\r\n\r\n"
    assert.equal("hello!", client:response().body)
    client:close()
    assert.equal("(none)", ask(server.port, "POST", "/", nil, "").body)
  end))

  it("lets a client ask whether it should send its body", serve(echo, function(server)
    local client = web.connect(server.port)
    client:send "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    assert.matches("^HTTP/1.1 100", client:through "\r\n\r\n")
    assert.equal("ok", client:send("ok"):response().body)
    client:close()
  end))

  it("answers HEAD with the headers only, and calls no streaming function for it", function()
    local streamed = 0
    serve(function(request)
      if request.path == "/text" then return "12345" end
      return { body = function() streamed = streamed + 1 end }
    end, function(server)
      local client = web.connect(server.port)
      for _ = 1, 2 do
        local response = client:send(web.request("HEAD", "/text")):response(true)
        assert.same({ 200, "5" }, { response.status, response.headers["content-length"] })
      end
      assert.equal("12345", client:send(web.request("GET", "/text")):response().body)
      assert.equal(200, client:send(web.request("HEAD", "/stream")):response(true).status)
      assert.equal("", client:rest())
      client:close()
    end)()
    assert.equal(0, streamed)
  end)

  it("sends no body with 204, 205 and 304", serve(function(request)
    return { status = tonumber(request.path:sub(2)), body = "nobody may see this" }
  end, function(server)
    local client = web.connect(server.port)
    for _, status in ipairs { 204, 205, 304, 204 } do
      local response = client:send(web.request("GET", "/" .. status)):response()
      assert.same({ status, "" }, { response.status, response.body })
    end
    client:close()
  end))

  it("sets by itself how a body travels, whatever the handler copied from elsewhere",
    serve(function()
      return { headers = { ["Content-Length"] = "3", ["Transfer-Encoding"] = "chunked" },
        body = "hello" }
    end, function(server)
      local response = get(server.port, "/")
      assert.same({ "5", "hello" }, { response.headers["content-length"], response.body })
    end))

  local arrived = 0

  it("answers 200 requests side by side", serve(function(request)
    arrived = arrived + 1
    web.eventually("the other requests", function() return arrived == 200 end)
    return request.query.n
  end, function(server)
    local tasks = {}
    for i = 1, 200 do
      tasks[i] = perigee.spawn(function() return get(server.port, "/?n=" .. i).body end)
    end
    for i = 1, 200 do assert.equal(tostring(i), tasks[i]:wait()) end
  end))

  it("takes no more than so many connections, and the others when there is room", serve({
    max_connections = 2, handler = function() return "x" end,
  }, function(server)
    local clients = {}
    for i = 1, 4 do clients[i] = web.connect(server.port):send(web.request("GET", "/")) end
    for i = 1, 4 do
      assert.equal("x", clients[i]:response().body)
      clients[i]:close()
    end
  end))

  it("serves a load of a cache once to all who ask", function()
    local loads, cache = 0, perigee.new {}
    serve(function()
      return cache:get("k", function()
        loads = loads + 1
        perigee.sleep(0.05)
        return "value"
      end)
    end, function(server)
      local tasks = {}
      for i = 1, 20 do
        tasks[i] = perigee.spawn(function() return get(server.port, "/").body end)
      end
      for i = 1, 20 do assert.equal("value", tasks[i]:wait()) end
    end)()
    assert.equal(1, loads)
  end)
end)

describe("an error in a handler", function()
  it("is a 500 that tells nothing, and a traceback in the log", function()
    local lines = logged(serve(function()
      local function deep() error "the secret" end
      deep()
    end, function(server)
      local client = web.connect(server.port)
      for _ = 1, 2 do
        local response = client:send(web.request("GET", "/x")):response()
        assert.same({ 500, "Internal Server Error\n" }, { response.status, response.body })
      end
      client:close()
    end))
    assert.equal(2, #lines)
    assert.matches("GET /x failed: .*the secret\n.*traceback.*deep", lines[1].text)
  end)

  it("may be any value, after a wait, too", function()
    local lines = logged(serve(function()
      perigee.sleep(0.001)
      error { code = 7 }
    end, function(server)
      assert.equal(500, get(server.port, "/").status)
    end))
    assert.matches("error object is a table value", lines[1].text)
  end)

  it("is to return nothing, or what is no response", function()
    local bad = {
      ["nil"] = function() end,
      number = function() return 5 end,
      body = function() return { body = {} } end,
      status = function() return { status = 99 } end,
      field = function() return { stauts = 200 } end,
      line = function() return { headers = { a = "b\r\nSet-Cookie: c" }, body = "x" } end,
      name = function() return { headers = { ["a: b\r\nc"] = "d" }, body = "x" } end,
      nul = function() return { headers = { a = "b\0" }, body = "x" } end,
      list = function() return { headers = { a = { "b", "\n" } }, body = "x" } end,
      long = function() return { headers = { a = ("v"):rep(20000) }, body = "x" } end,
      many = function()
        local headers = {}
        for i = 1, 3000 do headers["a" .. i] = "v" end
        return { headers = headers, body = "x" }
      end,
    }
    local count = 0
    local lines = logged(serve(function(request) return bad[request.path:sub(2)]() end,
      function(server)
        for name in pairs(bad) do
          count = count + 1
          local response = get(server.port, "/" .. name)
          assert.same({ 500, nil }, { response.status, response.headers["set-cookie"] }, name)
        end
      end))
    assert.equal(count, #lines)
    for _, line in ipairs(lines) do assert.matches("must be", line.text, 1, true) end
  end)

  it("in the middle of a stream closes the connection before its end", function()
    local lines = logged(serve(function()
      return { body = function(write)
        write "half"
        perigee.sleep(0.02)
        error "broken"
      end }
    end, function(server)
      local response = get(server.port, "/")
      assert.same({ 200, "half", false }, { response.status, response.body, response.is_whole })
    end))
    assert.matches("broken", lines[1].text)
  end)
end)

describe("a streamed body", function()
  it("arrives as it is written", function()
    local go = false
    serve(function()
      return { body = function(write)
        assert(write "one")
        eventually("the client", function() return go end)
        assert(write "")
        assert(write "two")
      end }
    end, function(server)
      local client = web.connect(server.port):send(web.request("GET", "/"))
      assert.matches("one\r\n$", client:through "one\r\n")
      go = true
      assert.matches("^3\r\ntwo\r\n0\r\n", client:through "0\r\n\r\n")
      assert.equal("one" .. "two", client:send(web.request("GET", "/")):response().body)
      client:close()
    end)()
  end)

  it("goes to an old client, too, until the connection is closed", serve(function()
    return { body = function(write)
      for i = 1, 3 do write("line " .. i .. "\n") end
    end }
  end, function(server)
    local client = web.connect(server.port):send "GET / HTTP/1.0\r\n\r\n"
    assert.equal("line 1\nline 2\nline 3\n", client:response().body)
    client:close()
  end))

  it("waits for a slow client, and needs no memory for what it has not taken", function()
    local written, is_over = 0, false
    serve(function()
      return { body = function(write)
        for _ = 1, 4000 do
          assert(write(("x"):rep(10000)))
          written = written + 10000
        end
        is_over = true
      end }
    end, function(server)
      local client = web.connect(server.port)
      client:send(web.request("GET", "/"))
      local before
      repeat
        before = written
        perigee.sleep(0.2)
      until written == before and before > 0
      assert.is_false(is_over)
      assert.is_true(written < 2e7)
      local total = 0
      while total < 4e7 do
        eventually("more", function() return client:take() end)
        total, client.bytes = total + #client.bytes, ""
        assert.is_false(client.closed)
      end
      assert.is_true(is_over)
      client:close()
    end)()
  end)

  it("ends with an error for whoever writes after its end, or no text", function()
    local late, wrong
    serve(function()
      return { body = function(write)
        late = write
        wrong = select(2, pcall(write, 5))
        write "x"
      end }
    end, function(server)
      assert.equal("x", get(server.port, "/").body)
      assert.same({ nil, "the client has left" }, { late "y" })
      assert.matches("write: chunk must be a string", wrong, 1, true)
    end)()
    assert.same({ nil, "the client has left" }, { late "y" })
  end)

  it("may be events", serve(function()
    return perigee.http.events(function(send)
      assert(send "plain")
      assert(send { event = "tick", id = "7", data = "a\r\nb\nc" })
      assert.is_false(pcall(send, { event = "a\nb" }))
      assert.is_false(pcall(send, { evnt = "a" }))
      assert.is_false(pcall(send))
    end)
  end, function(server)
    local response = get(server.port, "/")
    assert.same({ "text/event-stream", "no-cache" },
      { response.headers["content-type"], response.headers["cache-control"] })
    assert.equal("data: plain\n\nevent: tick\nid: 7\ndata: a\ndata: b\ndata: c\n\n", response.body)
  end))
end)

describe("a client that leaves", function()
  it("cancels its task", function()
    local begun, ended
    local lines = logged(serve(function(request)
      if request.path == "/fine" then return "fine" end
      begun = true
      local ok, err = pcall(perigee.sleep, 60)
      ended = { ok, err }
      error(err, 0)
    end, function(server)
      local client = web.connect(server.port):send(web.request("GET", "/"))
      eventually("its task to begin", function() return begun end)
      assert.is_nil(ended)
      client:close()
      eventually("its task to end", function() return ended end)
      assert.equal("fine", get(server.port, "/fine").body)
    end))
    assert.same({ false, "cancelled" }, ended)
    assert.same({}, lines)
  end)

  it("is noticed though its next request waits already", function()
    local begun, ended
    serve(function()
      begun = true
      ended = { pcall(perigee.sleep, 60) }
      return "x"
    end, function(server)
      local client = web.connect(server.port)
      client:send(web.request("GET", "/") .. web.request("GET", "/"))
      eventually("its task to begin", function() return begun end)
      client:close()
      eventually("its task to end", function() return ended end)
    end)()
    assert.same({ false, "cancelled" }, ended)
  end)

  it("cancels the task of an idle stream", function()
    local ended
    serve(function()
      return { body = function(write)
        write "x"
        ended = { pcall(perigee.sleep, 60) }
        error(ended[2], 0)
      end }
    end, function(server)
      local client = web.connect(server.port):send(web.request("GET", "/"))
      client:through "x\r\n"
      client:close()
      eventually("its task to end", function() return ended end)
    end)()
    assert.same({ false, "cancelled" }, ended)
  end)

  it("cancels a task that waits to write", function()
    local ended
    serve(function()
      return { body = function(write)
        ended = { pcall(function()
          repeat local ok = write(("x"):rep(100000)) until not ok
        end) }
      end }
    end, function(server)
      local client = web.connect(server.port):send(web.request("GET", "/"))
      perigee.sleep(0.1)
      client:close()
      eventually("its task to end", function() return ended end)
    end)()
    assert.is_table(ended)
  end)

  it("is no error of who stops because of it, as assert(write(chunk)) does", function()
    local written, begun, tried = 0, false, false
    local lines = logged(serve(function()
      return { body = function(write)
        begun = true
        perigee.shield(perigee.sleep, 0.5)
        local ok, why = write "x"
        tried = true
        if not ok then error(why) end
        written = written + 1
      end }
    end, function(server)
      local client = web.connect(server.port):send(web.request("GET", "/"))
      eventually("the stream to begin", function() return begun end)
      client:close()
      eventually("what is written in vain", function() return tried end)
      perigee.sleep(0)
    end))
    assert.equal(0, written)
    assert.same({}, lines)
  end)

  it("does not disturb the load of another", function()
    local cache = perigee.new {}
    serve(function()
      return cache:get("k", function()
        perigee.sleep(0.1)
        return "value"
      end)
    end, function(server)
      local first = web.connect(server.port):send(web.request("GET", "/"))
      perigee.sleep(0.02)
      local second = perigee.spawn(function() return get(server.port, "/").body end)
      perigee.sleep(0.02)
      first:close()
      assert.equal("value", second:wait())
    end)()
  end)
end)

describe("stopping", function()
  it("does not wait for ever for who is not to be cancelled, and who may answer HEAD too late",
    function()
      local begun, returned = false, false
      serve(function()
        begun = true
        perigee.shield(perigee.sleep, 0.8)
        returned = true
        return { body = function(write) write "x" end }
      end, function(server)
        local client = web.connect(server.port):send(web.request("HEAD", "/"))
        eventually("the handler to begin", function() return begun end)
        server:stop(0)
        assert.is_false(returned)
        eventually("the handler to return", function() return returned end)
        perigee.sleep(0)
        client:close()
      end)()
    end)

  it("lets what runs be answered, and closes what is idle", function()
    local server, answer, idle
    local begun = false
    perigee.run(function()
      server = assert(perigee.http.listen { port = 0, handler = function(request)
        if request.path == "/slow" then
          begun = true
          perigee.sleep(0.1)
        end
        return "done"
      end })
      idle = web.connect(server.port):send(web.request("GET", "/"))
      idle:response()
      answer = perigee.spawn(function() return get(server.port, "/slow") end)
      web.eventually("the slow request", function() return begun end)
      local began = perigee.now()
      assert.is_true(server:stop(60))
      assert.is_true(perigee.now() - began < 30)
      assert.same({ 200, "done", "close" },
        { answer:wait().status, answer:wait().body, answer:wait().headers.connection })
      assert.equal("", idle:rest())
      assert.is_nil((require("socket").connect("127.0.0.1", server.port)))
      assert.is_true(server:stop())
      assert.is_true(server:wait())
    end)
  end)

  it("cancels what outlives the grace, with a 503", function()
    perigee.run(function()
      local begun = false
      local server = assert(perigee.http.listen { port = 0, handler = function()
        begun = true
        perigee.sleep(60)
      end })
      local answer = perigee.spawn(function() return get(server.port, "/") end)
      web.eventually("the request", function() return begun end)
      local began = perigee.now()
      server:stop(0.1)
      assert.is_true(perigee.now() - began < 30)
      assert.equal(503, answer:wait().status)
    end)
  end)

  it("may be asked for by a handler, and ends a stream", function()
    local server, begun
    perigee.run(function()
      server = assert(perigee.http.listen { port = 0, handler = function(request)
        if request.path == "/stop" then
          perigee.spawn(function() server:stop(0.05) end)
          return "stopping"
        end
        return { body = function(write)
          begun = true
          while write "x" do perigee.sleep(0.01) end
        end }
      end })
      local stream = perigee.spawn(function() return get(server.port, "/") end)
      eventually("the stream to begin", function() return begun end)
      assert.equal("stopping", get(server.port, "/stop").body)
      server:wait()
      assert.is_false(stream:wait().is_whole)
    end)
  end)

  it("comes with the end of the run in which the server was made", function()
    local server, begun, ended
    perigee.run(function()
      perigee.run(function()
        server = assert(perigee.http.listen { port = 0, handler = function()
          begun = true
          ended = { pcall(perigee.sleep, 60) }
          error(ended[2], 0)
        end })
        web.connect(server.port):send(web.request("GET", "/"))
        eventually("its task to begin", function() return begun end)
      end)
      assert.same({ false, "cancelled" }, ended)
      assert.is_nil(server.c)
      assert.is_true(server:wait())
    end)
  end)

  it("frees the port at once", function()
    local port = 0
    for _ = 1, 3 do
      serve({ port = port, handler = function() return "x" end }, function(server)
        port = server.port
        assert.equal("x", get(port, "/").body)
      end)()
    end
  end)
end)

describe("perigee.http.listen", function()
  local function handler() return "" end

  it("says when the port is taken, or the address is none of ours", function()
    perigee.run(function()
      local server = assert(perigee.http.listen { port = 0, handler = handler })
      local other, why = perigee.http.listen { port = server.port, handler = handler }
      assert.is_nil(other)
      assert.matches("cannot listen at 127.0.0.1, port %d+: Address already in use", why)
      assert.matches("Cannot assign",
        select(2, perigee.http.listen { host = "192.0.2.1", port = 0, handler = handler }))
      assert.matches("Invalid argument",
        select(2, perigee.http.listen { host = "no.such.name", handler = handler }))
      server:stop()
    end)
  end)

  it("takes localhost, and addresses of IPv6", function()
    perigee.run(function()
      for _, host in ipairs { "localhost", "0.0.0.0", "::" } do
        local server, why = perigee.http.listen { host = host, port = 0, handler = handler }
        if host ~= "::" or server then
          assert(server, why)
          assert.equal(200, get(server.port, "/").status)
          server:stop()
        end
      end
    end)
  end)

  it("refuses mistakes", function()
    perigee.run(function()
      local function listens(more)
        return function()
          local opts = { port = 0, handler = handler }
          for name, value in pairs(more) do opts[name] = value end
          perigee.http.listen(opts)
        end
      end
      for name, value in pairs { port = 70000, host = "", handler = 5, timeout = 0,
        idle_timeout = -1, max_body_bytes = 0.5, max_header_bytes = 0, max_connections = "many",
        prot = 1 } do
        mistake(listens { [name] = value }, { "listen", name })
      end
      mistake(function() perigee.http.listen { port = 0 } end, { "listen", "handler" })
    end)
  end)

  it("takes a callable table as a handler", serve({
    handler = setmetatable({}, { __call = function(_, request) return request.path end }),
  }, function(server)
    assert.equal("/a", get(server.port, "/a").body)
  end))
end)

-- SPDX-License-Identifier: MIT
-- suites: dev
-- Requests against a real nginx: bodies, headers, limits, redirects, TLS, streams.
local ffi = require "ffi"
local lfs = require "lfs"
local http = require "perigee.http.client"
local mistake = require "spec.support.mistake"
local nginx = require "spec.support.nginx"
local perigee = require "perigee"
local ports = require "spec.support.ports"
local processes = require "spec.support.processes"
local scheduler = require "perigee.runtime.scheduler"
local script = require "spec.support.script"
local testing = require "perigee.testing"
local C = require("perigee.lib").rt

local LOCATIONS = [[
  location = /echo {
    content_by_lua_block {
      ngx.req.read_body()
      ngx.header["X-Method"] = ngx.req.get_method()
      ngx.header["X-Connection"] = ngx.var.connection
      ngx.header["X-Twice"] = { "one", "two" }
      ngx.header["Set-Cookie"] = { "a=1", "b=2" }
      ngx.header.content_type = "text/plain"
      ngx.print(ngx.req.raw_header(true), "\n", ngx.req.get_body_data() or "")
    }
  }
  location = /slow { content_by_lua_block { ngx.sleep(2) ngx.say "late" } }
  location = /bit {
    content_by_lua_block { ngx.sleep(0.1) ngx.print(ngx.var.arg_n) }
  }
  location = /never {
    content_by_lua_block { ngx.print "begun" ngx.flush(true) ngx.sleep(20) }
  }
  location = /large {
    content_by_lua_block {
      local piece = ("x"):rep(65536)
      for i = 1, tonumber(ngx.var.arg_n) do ngx.print(piece) end
    }
  }
  location = /large_known {
    content_by_lua_block {
      ngx.header.content_length = 1048576
      for i = 1, 16 do ngx.print(("x"):rep(65536)) end
    }
  }
  location = /counting {
    content_by_lua_block {
      local sent = ngx.shared.sent
      local piece = ("x"):rep(65536)
      for i = 1, 512 do
        ngx.print(piece)
        ngx.flush(true)
        sent:set("pieces", i)
      end
    }
  }
  location = /counted { content_by_lua_block { ngx.print(ngx.shared.sent:get "pieces" or 0) } }
  location = /zipped {
    gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;
    content_by_lua_block { ngx.header.content_type = "text/plain" ngx.print(("z"):rep(100000)) }
  }
  location = /broken {
    content_by_lua_block {
      ngx.header.content_length = 1000
      ngx.print "only this"
      ngx.flush(true)
      ngx.exit(444)
    }
  }
  location = /heads {
    content_by_lua_block {
      for i = 1, 60 do ngx.header["X-Large-" .. i] = ("h"):rep(6000) end
      ngx.print "x"
    }
  }
  location = /go {
    content_by_lua_block {
      ngx.header.location = ngx.var.arg_to
      ngx.status = tonumber(ngx.var.arg_code)
    }
  }
  location = /round { return 302 /round; }
  location = /out { return 302 file:///etc/passwd; }
  location = /teapot { content_by_lua_block { ngx.status = 418 ngx.print "short and stout" } }
  location = /nothing { return 204; }
]]

-- A dictionary, and a second server, for TLS.
local HTTP = [[
  lua_shared_dict sent 1m;
  client_header_buffer_size 64k;
  server {
    listen 127.0.0.1:%d ssl;
    ssl_certificate %s/cert.pem;
    ssl_certificate_key %s/key.pem;
    location / { content_by_lua_block { ngx.print "safe" } }
  }
]]

local server, base, tls_base, folder

local function make_certificate()
  folder = os.tmpname()
  os.remove(folder)
  assert(lfs.mkdir(folder))
  local command = ("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
    .. "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout %s/key.pem -out %s/cert.pem "
    .. ">/dev/null 2>&1"):format(folder, folder)
  assert(os.execute(command) == 0)
end

local function verify()
  local loop = require("perigee.runtime.libev").world.loop
  for _, name in ipairs { "perigee_http_client_verify", "perigee_loop_verify" } do
    local broken = C[name](loop)
    assert.is_true(broken == nil, broken ~= nil and ffi.string(broken) or nil)
  end
end

local function inside(body)
  return function()
    perigee.run(body)
    assert.equal(0, C.perigee_http_client_running(scheduler.world().loop))
    verify()
  end
end

local function get(path, more)
  local spec = { url = base .. path }
  for name, value in pairs(more or {}) do spec[name] = value end
  return http.request(spec)
end

describe("perigee.http.request", function()
  setup(function()
    make_certificate()
    local tls_port = ports.free()
    tls_base = ("https://localhost:%d"):format(tls_port)
    server = nginx.start { locations = LOCATIONS, http = HTTP:format(tls_port, folder, folder) }
    base = ("http://127.0.0.1:%d"):format(server.port)
  end)

  teardown(function()
    nginx.clean()
    os.execute("rm -rf " .. folder)
  end)

  it("returns status, headers and body", inside(function()
    local response = assert(get "/echo")
    assert.equal(200, response.status)
    assert.equal("GET", response.headers["x-method"])
    assert.equal("text/plain", response.headers["content-type"])
    assert.equal("one, two", response.headers["x-twice"])
    assert.equal("a=1, b=2", response.headers["set-cookie"])
    assert.same({ 418, "short and stout" }, { get("/teapot").status, get("/teapot").body })
    assert.same({ 204, "" }, { get("/nothing").status, get("/nothing").body })
    assert.equal(200, http.request(base .. "/echo").status)
  end))

  it("sends method, headers and body, and little else", inside(function()
    local body = ("\0\255\r\nä"):rep(20)
    for _, method in ipairs { "POST", "PUT", "PATCH", "DELETE", "GET" } do
      local response = assert(get("/echo", { method = method, body = body }))
      assert.equal(method, response.headers["x-method"])
      assert.equal(body, response.body:sub(-#body))
      assert.matches("Content%-Length: " .. #body, response.body)
      assert.is_nil(response.body:find "Content%-Type")
      assert.is_nil(response.body:find "Expect")
    end
    local response = get("/echo", { headers = { ["X-One"] = "1 ", ["x-two"] = { "a", "b" },
      ["X-Number"] = 7, ["X-Empty"] = "", Accept = "text/plain" } })
    for _, line in ipairs { "X-One: 1", "x-two: a", "x-two: b", "X-Number: 7", "X-Empty:",
      "Accept: text/plain" } do
      assert.matches(line .. "\r\n", response.body, 1, true)
    end
    assert.is_nil(response.body:find "Accept%-Encoding")
    assert.matches("Content-Length: 0", get("/echo", { method = "put" }).body, 1, true)
    local head = get("/large_known", { method = "HEAD", max_body = 10 })
    assert.same({ "1048576", "" }, { head.headers["content-length"], head.body })
  end))

  it("sends a large body without being asked to go on", inside(function()
    local body = ("b"):rep(3000000)
    assert.equal(body, get("/echo", { method = "POST", body = body }).body:sub(-#body))
  end))

  it("uses a connection again", inside(function()
    local first = get("/echo").headers["x-connection"]
    for _ = 1, 5 do assert.equal(first, get("/echo").headers["x-connection"]) end
  end))

  it("gives up when the time is up", inside(function()
    local before = C.perigee_loop_now()
    for _, path in ipairs { "/slow", "/never" } do
      assert.same({ nil, "timeout" }, { get(path, { timeout = 0.1 }) })
    end
    assert.is_true(C.perigee_loop_now() - before < 30)
  end))

  it("gives up connecting, and finding a host, in time", inside(function()
    local before = C.perigee_loop_now()
    -- A listener whose queue is full answers no more.
    local socket = require "socket"
    local listener = socket.tcp()
    listener:bind("127.0.0.1", 0)
    listener:listen(0)
    local _, port = listener:getsockname()
    local waiting = {}
    for i = 1, 4 do
      waiting[i] = socket.tcp()
      waiting[i]:settimeout(0)
      waiting[i]:connect("127.0.0.1", port)
    end
    local response, err = http.request { url = "http://127.0.0.1:" .. port, connect_timeout = 0.2 }
    assert.same({ nil, "timeout" }, { response, err })
    for _, one in ipairs(waiting) do one:close() end
    listener:close()
    assert.is_true(C.perigee_loop_now() - before < 30)
    assert.equal(1, C.perigee_http_client_resolves_aside())
  end))

  it("says why there was no response", inside(function()
    local response, err = http.request("http://127.0.0.1:" .. ports.free())
    assert.is_nil(response)
    assert.matches("perigee.http.request: .*[Cc]onnect", err)
    response, err = http.request "http://user:secret@no-such-host.invalid/"
    assert.is_nil(response)
    assert.matches("no-such-host.invalid", err, 1, true)
    assert.is_nil(err:find "secret")
    assert.matches("closed", select(2, get "/broken"))
  end))

  it("breaks off when the task is cancelled, and leaks no descriptor", inside(function()
    get "/echo"
    local before, started = processes.descriptors(), C.perigee_loop_now()
    for _, path in ipairs { "/slow", "/never" } do
      local tasks = {}
      for i = 1, 10 do tasks[i] = perigee.spawn(get, path) end
      perigee.sleep(0.1)
      assert.equal(10, C.perigee_http_client_running(scheduler.world().loop))
      for _, task in ipairs(tasks) do
        task:cancel()
        assert.same({ false, "cancelled" }, { pcall(task.wait, task) })
      end
      assert.equal(0, C.perigee_http_client_running(scheduler.world().loop))
    end
    assert.is_true(processes.descriptors() <= before)
    assert.is_true(C.perigee_loop_now() - started < 2)
  end))

  it("takes no larger body than it may", inside(function()
    assert.equal(1048576, #get("/large_known", { max_body = 1048576 }).body)
    assert.same({ nil, "body too large" }, { get("/large_known", { max_body = 1048575 }) })
    assert.same({ nil, "body too large" }, { get("/large?n=4", { max_body = 200000 }) })
    assert.equal(4 * 65536, #get("/large?n=4").body)
    assert.same({ nil, "body too large" }, { get "/large?n=300" })
    assert.equal("", get("/nothing", { max_body = 0 }).body)
    assert.same({ nil, "body too large" }, { get("/teapot", { max_body = 0 }) })
  end))

  it("takes no larger headers than it may", inside(function()
    assert.same({ nil, "headers too large" }, { get "/heads" })
  end))

  it("follows redirects only when told to", inside(function()
    local target = "/go?code=302&to=/teapot"
    local response = get(target)
    assert.same({ 302, "/teapot" }, { response.status, response.headers.location })
    response = get(target, { redirects = 1 })
    assert.same({ 418, "short and stout" }, { response.status, response.body })
    assert.is_nil(response.headers.location)
    assert.matches("redirects", select(2, get("/round", { redirects = 3 })))
    assert.is_nil((get("/out", { redirects = 3 })))
    assert.equal(302, get("/out").status)
  end))

  it("follows with the method that is due", inside(function()
    local function methods(method, code)
      return get(("/go?code=%d&to=/echo"):format(code), { method = method, body = "b",
        redirects = 2 }).headers["x-method"]
    end
    assert.same({ "GET", "GET", "GET", "POST" }, { methods("POST", 301), methods("POST", 302),
      methods("POST", 303), methods("POST", 307) })
    assert.same({ "PUT", "GET", "PUT" }, { methods("PUT", 302), methods("PUT", 303),
      methods("PUT", 308) })
  end))

  it("sends credentials to the first host only", inside(function()
    local headers = { Authorization = "Bearer secret", Cookie = "c=secret" }
    local spec = { redirects = 1, headers = headers }
    local same = get("/go?code=302&to=/echo", spec)
    assert.matches("Bearer secret", same.body, 1, true)
    local there = ("/go?code=302&to=http://localhost:%d/echo"):format(server.port)
    local other = get(there, spec)
    assert.equal(200, other.status)
    assert.is_nil(other.body:find "secret")
    local url = base:gsub("//", "//user:secret@") .. there
    assert.is_nil(http.request({ url = url, redirects = 1 }).body:find "Authorization")
    url = base:gsub("//", "//user:secret@") .. "/echo"
    assert.matches("Authorization: Basic", http.request(url).body, 1, true)
  end))

  it("believes only servers that are verified", inside(function()
    local response, err = http.request(tls_base)
    assert.is_nil(response)
    assert.matches("certificate", err)
    assert.equal("safe", http.request({ url = tls_base, insecure = true }).body)
    assert.is_nil((http.request(tls_base)))
    local ca_file = folder .. "/cert.pem"
    assert.equal("safe", http.request({ url = tls_base, ca_file = ca_file }).body)
    assert.equal("safe", http.request({ url = tls_base, ca_file = ca_file, insecure = false }).body)
    assert.is_nil((http.request(tls_base)))
    assert.is_nil((http.request { url = tls_base, ca_file = "/nowhere/ca.pem" }))
    local key = folder .. "/key.pem" -- it holds no certificate
    assert.is_nil((http.request { url = tls_base, ca_file = key }))
    local other = tls_base:gsub("localhost", "127.0.0.2")
    assert.is_nil((http.request { url = other, ca_file = ca_file }))
  end))

  it("asks for a compressed body, and expands it, if told to", inside(function()
    local plain = get "/zipped"
    assert.is_nil(plain.headers["content-encoding"])
    local zipped = get("/zipped", { compressed = true })
    assert.equal("gzip", zipped.headers["content-encoding"])
    assert.equal(plain.body, zipped.body)
    local bomb = { get("/zipped", { compressed = true, max_body = 50000 }) }
    assert.same({ nil, "body too large" }, bomb)
  end))

  it("has a hundred requests side by side", inside(function()
    local before, jobs = C.perigee_loop_now(), {}
    for i = 1, 100 do
      jobs[i] = function() return get("/bit?n=" .. i).body end
    end
    local results = perigee.gather(jobs)
    for i = 1, 100 do assert.equal(tostring(i), results[i]) end
    assert.is_true(C.perigee_loop_now() - before < 5)
  end))

  it("keeps no more idle connections than it may", inside(function()
    assert.is_true(processes.descriptors() < 3 * C.PERIGEE_HTTP_IDLE_MAX + 37)
  end))

  it("gives the body away as it comes", inside(function()
    local parts, bytes = 0, 0
    local response = get("/large?n=64", { on_data = function(chunk)
      parts, bytes = parts + 1, bytes + #chunk
      perigee.sleep(0)
    end })
    assert.equal(64 * 65536, bytes)
    assert.is_true(parts > 4)
    assert.same({ 200, nil }, { response.status, response.body })
    local thrown = {}
    local ok, err = pcall(get, "/large?n=64", { on_data = function() error(thrown, 0) end })
    assert.same({ false, true }, { ok, err == thrown })
    local heard = {}
    local function on_data(chunk) table.insert(heard, chunk) end
    assert.same({ nil, "timeout" }, { get("/never", { timeout = 0.1, on_data = on_data }) })
    assert.same({ "begun" }, heard)
  end))

  it("blocks plain code, and lets its tasks go on", function()
    local ticks = 0
    local ticker = perigee.spawn(function()
      while true do
        perigee.sleep(0.02)
        ticks = ticks + 1
      end
    end)
    assert.equal("late\n", get("/slow").body)
    assert.is_true(ticks >= 3)
    ticker:cancel()
    assert.same({ nil, "timeout" }, { get("/slow", { timeout = 0.05 }) })
    verify()
  end)

  it("works on the virtual clock", function()
    testing.run(function()
      assert.equal("2", get("/bit?n=2").body)
    end)
  end)

  it("is what a loader asks", inside(function()
    local cache = perigee.new { maxsize = 10 }
    local calls = 0
    local function load(n)
      calls = calls + 1
      local response, err = get("/bit?n=" .. n)
      return response and response.body, err
    end
    local jobs = {}
    for i = 1, 20 do
      jobs[i] = function() return (cache:get(5, load)) end
    end
    for _, value in ipairs(perigee.gather(jobs)) do assert.equal("5", value) end
    assert.equal(1, calls)
    local value, err = cache:get(6, function()
      return http.request("http://127.0.0.1:" .. ports.free())
    end)
    assert.is_nil(value)
    assert.is_string(err)
  end))

  it("raises mistakes, and shows no secrets in them", function()
    local function raises(spec, ...)
      local words = { ... }
      table.insert(words, 1, "request")
      mistake(function() http.request(spec) end, words)
    end
    raises(nil, "spec", "nil")
    raises({}, "url", "nil")
    raises({ url = "ftp://host/" }, "url", "ftp")
    raises({ url = "/path" }, "url")
    raises({ url = "http://host/\r\nX: y" }, "url")
    raises({ url = "http://host/a b" }, "url")
    raises({ url = "http://host:port/" }, "url")
    raises({ url = "http://h", method = "GET / HTTP/1.1\r\nX:" }, "method")
    raises({ url = "http://h", method = "CONNECT" }, "method")
    raises({ url = "http://h", headers = { ["X\r\nY"] = "1" } }, "headers")
    raises({ url = "http://h", headers = { ["X:"] = "1" } }, "headers")
    raises({ url = "http://h", headers = { X = { "1", "2\n" } } }, "headers", "X")
    raises({ url = "http://h", headers = { X = true } }, "headers", "X")
    raises({ url = "http://h", headers = { "X: 1" } }, "headers")
    raises({ url = "http://h", headers = { ["Content-Length"] = "5" } }, "headers")
    raises({ url = "http://h", headers = { ["transfer-encoding"] = "chunked" } }, "headers")
    raises({ url = "http://h", body = {} }, "body")
    raises({ url = "http://h", method = "HEAD", body = "" }, "body")
    raises({ url = "http://h", timeout = 0 }, "timeout")
    raises({ url = "http://h", redirects = -1 }, "redirects")
    raises({ url = "http://h", insecure = 1 }, "insecure")
    raises({ url = "http://h", ca_file = "" }, "ca_file")
    raises({ url = "http://h", verify = false }, "verify", "there is no option")
    for _, injected in ipairs { "secret\r\nX: 1", "secret\n", "secret\0" } do
      local headers = { Authorization = injected }
      local _, err = pcall(http.request, { url = "http://h", headers = headers })
      assert.matches('"Authorization"', err, 1, true)
      assert.is_nil(err:find "secret")
    end
    for _, url in ipairs { "ftp://user:secret@host", "http://user:secret@host:port" } do
      assert.is_nil(select(2, pcall(http.request, url)):find "secret")
    end
  end)

  it("may be asked when the Lua state closes with a request under way", function()
    local output, status = script(([[
      local http = require "perigee.http.client"
      local perigee = require "perigee"
      KEPT = perigee.spawn(http.request, "%s/never")
      RESPONSE = http.stream "%s/never"
      FORGOTTEN = http.stream "http://no-such-host.invalid"
      io.write((RESPONSE:read()))
    ]]):format(base, base))
    assert.same({ "begun", 0 }, { output, status })
  end)
end)

describe("perigee.http.stream", function()
  setup(function()
    server = nginx.start { locations = LOCATIONS, http = "lua_shared_dict sent 1m;" }
    base = ("http://127.0.0.1:%d"):format(server.port)
  end)

  teardown(nginx.clean)

  local function stream(path, more)
    local spec = { url = base .. path }
    for name, value in pairs(more or {}) do spec[name] = value end
    return http.stream(spec)
  end

  it("gives the head first, then the body bit by bit", inside(function()
    local response = assert(stream "/large?n=64")
    assert.equal(200, response.status)
    assert.equal("chunked", response.headers["transfer-encoding"])
    local bytes = 0
    for chunk in function() return response:read() end do
      assert.is_true(#chunk > 0)
      bytes = bytes + #chunk
    end
    assert.equal(64 * 65536, bytes)
    assert.equal(0, select("#", response:read()) - 2)
    response:close()
  end))

  it("holds the server back while nobody reads", inside(function()
    local response = assert(stream "/counting")
    local counted
    local function settled()
      local last = counted
      counted = tonumber(get("/counted").body)
      return counted == last
    end
    repeat perigee.sleep(0.2) until settled()
    assert.is_true(counted < 300, counted .. " pieces")
    local bytes = 0
    for chunk in function() return response:read() end do bytes = bytes + #chunk end
    assert.equal(512 * 65536, bytes)
    assert.equal("512", get("/counted").body)
  end))

  it("is over when it is closed, even for who reads", inside(function()
    local response = assert(stream "/never")
    assert.equal("begun", response:read())
    assert.same({ nil, "timeout" }, { response:read(0.05) })
    local task = perigee.spawn(response.read, response)
    perigee.sleep(0)
    assert.has_error(function() response:read() end)
    response:close()
    assert.same({ nil, "closed" }, { task:wait(1) })
    assert.same({ nil, "closed" }, { response:read() })
    response:close()
  end))

  it("breaks off when its reader is cancelled and it is closed", inside(function()
    local response = assert(stream "/never")
    local task = perigee.spawn(function()
      while response:read() do end
    end)
    perigee.sleep(0.05)
    task:cancel()
    assert.same({ false, "cancelled" }, { pcall(task.wait, task) })
    response:close()
    assert.equal(0, C.perigee_http_client_running(scheduler.world().loop))
  end))

  it("is broken off when it is forgotten", inside(function()
    stream "/never"
    stream "/counting"
    collectgarbage()
    collectgarbage()
    assert.equal(0, C.perigee_http_client_running(scheduler.world().loop))
  end))

  it("says why it ended early", inside(function()
    local response = assert(stream "/broken")
    assert.equal("only this", response:read())
    local chunk, err = response:read()
    assert.is_nil(chunk)
    assert.matches("closed", err)
    assert.same({ nil, err }, { response:read() })
    response = assert(stream("/large?n=4", { max_body = 100000 }))
    repeat chunk, err = response:read() until not chunk
    assert.equal("body too large", err)
    assert.same({ nil, "timeout" }, { stream("/slow", { timeout = 0.1 }) })
    assert.is_nil((http.stream("http://127.0.0.1:" .. ports.free())))
  end))

  it("waits for no response that nobody reads", function()
    local before = C.perigee_loop_pending(scheduler.world().loop)
    local response = assert(stream "/counting")
    perigee.sleep(0.3)
    assert.equal(before, C.perigee_loop_pending(scheduler.world().loop))
    response:close()
  end)

  it("raises mistakes", inside(function()
    mistake(function() http.stream { url = base, on_data = print } end, { "stream", "on_data" })
    local response = stream "/teapot"
    mistake(function() response:read "soon" end, { "read", "timeout" })
    response:close()
  end))
end)

describe("perigee.http inside nginx", function()
  it("says what to use", function()
    local inside_nginx = nginx.start {}
    local response, err =
      inside_nginx:lua [[return require("perigee.http.client").request("http://h")]]
    nginx.clean()
    assert.is_nil(response)
    assert.matches("cosocket", err)
  end)
end)

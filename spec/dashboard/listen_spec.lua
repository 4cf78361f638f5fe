-- SPDX-License-Identifier: MIT
-- suites: dev host
-- The dashboard at a port of its own, through real sockets.
local dashboard = require "perigee.dashboard"
local perigee = require "perigee"
local web = require "spec.support.web"

local function ask(server, target, headers, method, body)
  local lines = { ("%s %s HTTP/1.1"):format(method or "GET", target) }
  headers = headers or {}
  headers.Host = headers.Host or "127.0.0.1:" .. server.port
  if body then headers["Content-Length"] = #body end
  for name, value in pairs(headers) do lines[#lines + 1] = name .. ": " .. value end
  local client = web.connect(server.port)
  client:send(table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or ""))
  local answer = client:response(method == "HEAD")
  client:close()
  return answer
end

local function beside(opts, body)
  return function()
    perigee.run(function()
      opts.port = 0
      local server = assert(dashboard.listen(opts))
      local ok, err = pcall(body, server)
      server:stop(0)
      if not ok then error(err, 0) end
    end)
  end
end

describe("perigee.dashboard.listen", function()
  it("serves at loopback, and its url lets in", beside({}, function(server)
    local target = server.url:match("^http://127%.0%.0%.1:" .. server.port .. "(/%?token=%x+)$")
    assert.is_string(target)
    local answer = ask(server, target)
    assert.equal(303, answer.status)
    local cookie = answer.headers["set-cookie"]:match "^[^;]*"
    assert.matches("^perigee_" .. server.port .. "=%x+$", cookie)
    assert.equal(403, ask(server, "/entries?cache=x").status)
    assert.equal(404, ask(server, "/entries?cache=x", { Cookie = cookie }).status)
    local head = ask(server, "/", nil, "HEAD")
    assert.same({ 200, "text/html; charset=utf-8" }, { head.status, head.headers["content-type"] })
  end))

  it("knows its port, so that a Host with another one is none of its own", beside({},
    function(server)
      assert.equal(200, ask(server, "/", { Host = "localhost:" .. server.port }).status)
      assert.equal(403, ask(server, "/", { Host = "localhost" }).status)
      assert.equal(403, ask(server, "/", { Host = "127.0.0.1" }).status)
      assert.equal(403, ask(server, "/", { Host = "rebound.example:" .. server.port }).status)
    end))

  it("looks through a cache in pieces, while other tasks go on", beside({}, function(server)
    local cache = perigee.new { name = "in pieces", maxsize = 1e5 }
    for i = 1, 15000 do cache:set(i, i) end
    local turns, over = 0, false
    perigee.spawn(function()
      while not over do
        perigee.sleep(0)
        turns = turns + 1
      end
    end)
    local cookie = "perigee_" .. server.port .. "=" .. server.url:match "token=(%x+)"
    local client = web.connect(server.port)
    perigee.sleep(0.01)
    local before = turns
    client:send(("GET /entries?cache=in%%2520pieces&search=none HTTP/1.1\r\nHost: localhost:%d\r\n"
      .. "Cookie: %s\r\n\r\n"):format(server.port, cookie))
    local answer = client:response()
    over = true
    client:close()
    cache:close()
    assert.matches("No key contains that", answer.body, 1, true)
    assert.is_true(turns - before >= 15)
  end))

  it("has nothing of a cache that is closed while it is looked through", beside({},
    function(server)
      local cache = perigee.new { name = "closing", maxsize = 1e5 }
      for i = 1, 15000 do cache:set(i, i) end
      local cookie = "perigee_" .. server.port .. "=" .. server.url:match "token=(%x+)"
      local walk = cache.store.next
      cache.store.next = function(...)
        cache.store.next = nil
        perigee.spawn(cache.close, cache)
        return walk(...)
      end
      local target = "/entries?cache=closing&search=none"
      assert.equal(404, ask(server, target, { Cookie = cookie }).status)
      assert.is_true(cache.closed)
    end))

  it("takes forms of up to 64 KB", beside({}, function(server)
    local headers = { ["Content-Type"] = "application/x-www-form-urlencoded" }
    headers.Cookie = "perigee_" .. server.port .. "=" .. server.url:match "token=(%x+)"
    assert.equal(404, ask(server, "/delete", headers, "POST", "key=" .. ("0"):rep(60000)).status)
    assert.equal(413, ask(server, "/delete", headers, "POST", "key=" .. ("0"):rep(70000)).status)
  end))

  it("says that the port is taken", beside({}, function(server)
    local other, why = dashboard.listen { port = server.port }
    assert.is_nil(other)
    assert.matches("cannot listen at 127.0.0.1, port " .. server.port, why, 1, true)
  end))

  it("serves at a name of its own that is loopback, and at nothing else", function()
    perigee.run(function()
      local server = assert(dashboard.listen { host = "127.0.0.2", port = 0 })
      assert.matches("^http://127%.0%.0%.2:", server.url)
      server:stop(0)
      for _, host in ipairs { "0.0.0.0", "192.0.2.1", "::", "example.com", "unix:", "" } do
        assert.error_matches(function() dashboard.listen { host = host } end, 'perigee.dashboard'
          .. '.listen: option "host" must be a loopback address: 127.0.0.1, ::1 or localhost, got',
          1, true)
      end
      assert.has_error(function() dashboard.listen { port = 70000 } end)
      assert.has_error(function() dashboard.listen { allow = true } end)
    end)
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev
-- The dashboard inside a real nginx.
local nginx = require "spec.support.nginx"
local ports = require "spec.support.ports"
local socket = require "socket"
local visitor = require "spec.support.visitor"

if nginx.missing() then
  describe("the dashboard inside nginx", function() pending(nginx.missing()) end)
  return
end

local MOUNT = [[
  location /perigee/ { content_by_lua_block { require("perigee.dashboard").serve() } }
]]

local FORM = "application/x-www-form-urlencoded"

-- A browser: it asks a server with the right Host, and the cookie when it has one.
local Browser = {}
Browser.__index = Browser

local function browser(server)
  return setmetatable({ server = server, cookie = nil,
    host = "127.0.0.1:" .. server.port }, Browser)
end

function Browser:ask(request)
  request.headers = request.headers or {}
  request.headers.Host = self.host
  request.headers.Cookie = self.cookie
  if request.body then
    request.headers["Content-Type"], request.method = FORM, "POST"
    request.headers.Origin = "http://" .. self.host
  end
  return self.server:begin(request):finish()
end

function Browser:get(path, worker) return self:ask { path = path, worker = worker } end

function Browser:send(path, form, worker)
  local parts = {}
  for name, value in pairs(form) do parts[#parts + 1] = name .. "=" .. value:gsub("%%", "%%25") end
  return self:ask { path = path, body = table.concat(parts, "&"), worker = worker }
end

-- Asks without the token, and then with the link that is in the log.
function Browser:enter()
  self:get "/perigee/"
  local link = self.server:log():match "perigee: the dashboard: (http://[^%s,]+)"
  local _, status, headers = self:get(link:match "^http://[^/]*(.*)$")
  assert(status == 303, status)
  self.cookie = headers["set-cookie"]:match "^[^;]*"
  return link, headers
end

local MAKE = [[
  local cache = require("perigee").new(...)
  require("perigee.dashboard") -- anchored by a module, as in a real program
  package.loaded["made by the spec"] = cache
]]
local SET = [[ package.loaded["made by the spec"]:set(...) ]]
local PEEK = [[ return (package.loaded["made by the spec"]:peek(...)) ]]

describe("the dashboard inside nginx", function()
  after_each(nginx.clean)

  it("is mounted by one line, and lets in who has the link of the error log", function()
    local server = nginx.start { locations = MOUNT,
      http = "init_by_lua_block { require 'perigee' }" }
    server:lua(MAKE, { name = "mounted", maxsize = 10 })
    server:lua(SET, "secret key", "<b>")
    local me = browser(server)
    local html, status, headers = me:get "/perigee/"
    assert.equal(200, status)
    assert.matches("mounted", html, 1, true)
    assert.matches("error log", html, 1, true)
    assert.matches("default-src 'none'", headers["content-security-policy"], 1, true)
    assert.equal(403, select(2, me:get "/perigee/entries?cache=mounted"))
    local link
    link, headers = me:enter()
    assert.matches("^http://127.0.0.1:" .. server.port .. "/perigee/%?token=%x+$", link)
    assert.matches("; Path=/perigee/; HttpOnly; SameSite=Strict", headers["set-cookie"], 1, true)
    html = me:get "/perigee/entries?cache=mounted"
    assert.matches("secret key", html, 1, true)
    assert.matches("&lt;b&gt;", html, 1, true)
    local fields = visitor.forms_for(html, "delete")[1].fields
    status, headers = select(2, me:send("/perigee/delete", fields))
    assert.same({ 303, "entries?cache=mounted&done=deleted" }, { status, headers.location })
    assert.is_nil(server:lua(PEEK, "secret key"))
    local data = me:get "/perigee/data"
    assert.matches('"c1-size":"0"', data, 1, true)
    local _, times = server:log():gsub("the dashboard: http", "")
    assert.equal(1, times)
    assert.same({}, server:errors())
  end)

  it("refuses a Host that is not its own, and takes those that are named", function()
    local server = nginx.start { locations = MOUNT .. [[
      location /named/ { content_by_lua_block {
        require("perigee.dashboard").serve { hosts = { "caches.example" } } } } ]] }
    local me = browser(server)
    me.host = "caches.example:" .. server.port
    assert.equal(403, select(2, me:get "/perigee/"))
    assert.equal(200, select(2, me:get "/named/"))
    me.host = "caches.example" -- as a proxy at port 80 passes it on
    assert.equal(200, select(2, me:get "/named/"))
    me.host = "caches.example:1"
    assert.equal(403, select(2, me:get "/named/"))
  end)

  it("has its pages below a location without a slash, too", function()
    local server = nginx.start { locations = [[
      location /perigee { content_by_lua_block { require("perigee.dashboard").serve() } } ]] }
    local me = browser(server)
    local _, status, headers = me:get "/perigee"
    assert.same({ 303, "perigee/" }, { status, headers.location })
    assert.equal(200, select(2, me:get "/perigee/"))
    assert.equal(404, select(2, me:get "/perigee/no.thing"))
  end)

  it("goes by the address of the connection, not by what a header says", function()
    local server = nginx.start { locations = [[
      location /perigee/ {
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Real-IP;
        content_by_lua_block { require("perigee.dashboard").serve() }
      } ]] }
    local me = browser(server)
    local _, status = me:ask { path = "/perigee/", headers = { ["X-Real-IP"] = "192.0.2.1" } }
    assert.equal(200, status)
  end)

  it("refuses connections from elsewhere, unless they are allowed", function()
    local pipe = assert(io.popen "hostname -I")
    local address = pipe:read "*a":match "%d+%.%d+%.%d+%.%d+"
    pipe:close()
    if not address then return pending "this machine cannot: it has no address but loopback" end
    local port = ports.free()
    local server = nginx.start { http = ([[
      server {
        listen %s:%d;
        location /perigee/ { content_by_lua_block {
          require("perigee.dashboard").serve { hosts = { "127.0.0.1" } } } }
        location /open/ { content_by_lua_block {
          require("perigee.dashboard").serve { hosts = { "127.0.0.1" }, allow = { "%s" } } } }
      } ]]):format(address, port, address) }
    local function status_of(path)
      local connection = assert(socket.connect(address, port))
      connection:send(("GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Forwarded-For: 127.0.0.1\r\n"
        .. "X-Real-IP: 127.0.0.1\r\nConnection: close\r\n\r\n"):format(path, port))
      local answer = connection:receive "*a"
      connection:close()
      return answer:match "^HTTP/1.1 (%d+)", answer
    end
    local status, answer = status_of "/perigee/data"
    assert.equal("403", status)
    assert.matches("<code>" .. address .. "</code>", answer, 1, true)
    assert.equal("200", status_of "/open/data")
    assert.is_nil(server:log():find "token=%x+.*/perigee/")
  end)

  it("has one token in all workers that were forked after it", function()
    local server = nginx.start { workers = 2, locations = MOUNT,
      http = "init_by_lua_block { require 'perigee' require 'perigee.dashboard' }" }
    server:lua_in(0, MAKE, { name = "own", maxsize = 10 })
    server:lua_in(1, MAKE, { name = "own", maxsize = 10 })
    local me = browser(server)
    me:enter()
    for worker = 0, 1 do
      local html, status = me:get("/perigee/entries?cache=own", worker)
      assert.equal(200, status)
      assert.matches(("This is that of\nworker %d of 2"):format(worker), html, 1, true)
    end
  end)

  it("agrees on a token by the dictionary of a cache, which it logs once", function()
    local server = nginx.start { workers = 2, locations = MOUNT,
      http = "lua_shared_dict caches 1m; init_by_lua_block { require 'perigee' }" }
    for worker = 0, 1 do
      server:lua_in(worker, MAKE, { name = "shared", shared = "caches", maxsize = 10 })
    end
    local me = browser(server)
    me:get("/perigee/", 0)
    me:get("/perigee/", 1)
    me:enter()
    for worker = 0, 1 do
      assert.equal(200, select(2, me:get("/perigee/entries?cache=shared", worker)))
    end
    local _, times = server:log():gsub("the dashboard: http", "")
    assert.equal(1, times)
    server:lua_in(0, SET, "k", "v")
    local html = me:get("/perigee/entries?cache=shared", 0)
    local fields = visitor.forms_for(html, "delete")[1].fields
    assert.equal(303, select(2, me:send("/perigee/delete", fields, 1)))
    assert.is_nil(server:lua_in(0, [[
      return (package.loaded["made by the spec"]:get "k") ]]))
  end)

  it("shows no keys where workers cannot agree, and says what to do", function()
    local server = nginx.start { workers = 2, locations = MOUNT }
    local me = browser(server)
    local html, status = me:get("/perigee/", 0)
    assert.equal(200, status)
    assert.matches("cannot agree", html, 1, true)
    assert.matches("init_by_lua_block", html, 1, true)
    html, status = me:get "/perigee/entries?cache=x"
    assert.equal(403, status)
    assert.matches("init_by_lua_block", html, 1, true)
    assert.equal(403, select(2, me:get "/perigee/?token="))
    assert.is_nil(server:log():find("token=", 1, true))
  end)

  it("deletes nothing in another memory than the one that was looked at", function()
    local server = nginx.start { workers = 2, locations = MOUNT,
      http = "init_by_lua_block { require 'perigee' require 'perigee.dashboard' }" }
    for worker = 0, 1 do
      server:lua_in(worker, MAKE, { name = "own", maxsize = 10 })
      server:lua_in(worker, SET, "k", "v")
    end
    local me = browser(server)
    me:enter()
    local form = visitor.forms_for(me:get("/perigee/entries?cache=own", 0), "delete")[1]
    assert.equal(409, select(2, me:send("/perigee/delete", form.fields, 1)))
    assert.same({ "v", "v" }, { server:lua_in(0, PEEK, "k"), server:lua_in(1, PEEK, "k") })
    assert.equal(303, select(2, me:send("/perigee/delete", form.fields, 0)))
    assert.is_nil(server:lua_in(0, PEEK, "k"))
    assert.equal("v", server:lua_in(1, PEEK, "k"))
  end)

  it("takes a form that nginx has put into a file, and none that is too large", function()
    local server = nginx.start {
      locations = MOUNT:gsub("{", "{ client_body_in_file_only clean;", 1),
      http = "init_by_lua_block { require 'perigee' }" }
    server:lua(MAKE, { name = "filed", maxsize = 10 })
    server:lua(SET, "k", "v")
    local me = browser(server)
    me:enter()
    local form = visitor.forms_for(me:get "/perigee/entries?cache=filed", "delete")[1]
    form.fields.more = ("x"):rep(70000)
    assert.equal(404, select(2, me:send("/perigee/delete", form.fields)))
    assert.equal("v", server:lua(PEEK, "k"))
    form.fields.more = nil
    assert.equal(303, select(2, me:send("/perigee/delete", form.fields)))
    assert.is_nil(server:lua(PEEK, "k"))
    assert.same({}, server:errors())
  end)
end)

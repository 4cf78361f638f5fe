-- SPDX-License-Identifier: MIT
-- suites: dev host
-- Who may ask the dashboard for what. The pages themselves: page_spec.lua, entries_spec.lua.
local access = require "perigee.dashboard.access"
local dashboard = require "perigee.dashboard"
local perigee = require "perigee"
local token = require "perigee.dashboard.token"
local visitor = require "spec.support.visitor"

describe("the dashboard", function()
  local cache, me

  before_each(function()
    cache = perigee.new { name = "guarded", maxsize = 10 }
    cache:set("secret key", "secret value")
    me = visitor.new { port = 5001 }
  end)

  after_each(function() cache:close() end)

  local function status(...) return me:get(...).status end

  local function delete_form()
    return visitor.forms_for(me:get "/entries?cache=guarded".body, "delete")[1].fields
  end

  it("answers connections of this machine only", function()
    for _, peer in ipairs { "127.0.0.1", "127.8.9.10", "::1", "unix:", "::ffff:127.0.0.1" } do
      assert.equal(200, status("/", { peer = peer }), peer)
    end
    for _, peer in ipairs { "192.0.2.1", "::2", "127.0.0.1.example", "10.127.0.0.1", "", "::ffff:1",
      "::ffff:192.0.2.1" } do
      local refused = me:get("/data", { peer = peer })
      assert.equal(403, refused.status, peer)
      assert.matches("from this machine only", refused.body, 1, true)
      assert.matches("allow = ", refused.body, 1, true)
    end
  end)

  it("does not look at what a proxy says of the peer", function()
    assert.equal(403, status("/", { peer = "192.0.2.1", ["x-forwarded-for"] = "127.0.0.1" }))
    assert.equal(403, status("/", { peer = "192.0.2.1", ["x-real-ip"] = "127.0.0.1" }))
  end)

  it("answers other addresses if they are named", function()
    me = visitor.new { port = 5001, allow = { "192.0.2.1" } }
    assert.equal(200, status("/", { peer = "192.0.2.1" }))
    assert.equal(200, status("/", { peer = "::ffff:192.0.2.1" }))
    assert.equal(200, status "/")
    assert.equal(403, status("/", { peer = "192.0.2.11" }))
    me = visitor.new { port = 5001, allow = true }
    assert.equal(200, status("/", { peer = "192.0.2.11" }))
  end)

  it("answers to its own names only, so that no other site's name can be pointed at it", function()
    for _, host in ipairs { "127.0.0.1:5001", "localhost:5001", "LocalHost:5001", "[::1]:5001" } do
      assert.equal(200, status("/", { host = host }), host)
    end
    for _, host in ipairs { "evil.example:5001", "evil.example", "127.0.0.1", "127.0.0.1:5002",
      "127.0.0.1:", "127.0.0.1:5001:5001", "127.0.0.1.evil.example:5001", "127.0.0.1:5001@evil",
      "user@127.0.0.1:5001", "[::1]", "::1:5001", "[::1]x:5001", "2130706433:5001", "", " " } do
      local refused = me:get("/data", { host = host })
      assert.equal(403, refused.status, host)
      assert.matches("hosts = ", refused.body, 1, true)
    end
    assert.equal(403, status("/", { host = false }))
  end)

  it("answers to names that are configured", function()
    me = visitor.new { port = 5001, hosts = { "Cache.example", "tunnel.example:8443" } }
    assert.equal(200, status("/", { host = "cache.example:5001" }))
    assert.equal(200, status("/", { host = "tunnel.example:8443" }))
    assert.equal(403, status("/", { host = "cache.example:8443" }))
    assert.equal(403, status("/", { host = "tunnel.example:5001" }))
  end)

  it("says what is wrong with a host in a page that the host cannot write in", function()
    local body = me:get("/", { host = '<script>alert(1)</script>"' }).body
    assert.is_nil(body:find("<script>alert", 1, true))
    assert.matches("&lt;script&gt;alert", body, 1, true)
  end)

  it("shows numbers to whoever may ask, and keys and values to nobody without the token", function()
    me.cookie = false
    local page = me:get "/"
    assert.equal(200, page.status)
    assert.matches("guarded", page.body, 1, true)
    assert.is_nil(page.body:find("secret", 1, true))
    assert.matches("need the token", page.body, 1, true)
    assert.is_nil(me:get "/data".body:find("secret", 1, true))
    local refused = me:get "/entries?cache=guarded"
    assert.equal(403, refused.status)
    assert.is_nil(refused.body:find("secret", 1, true))
    assert.matches("was printed when the dashboard was started", refused.body, 1, true)
    assert.equal(403, status "/clear?cache=guarded")
  end)

  it("refuses every cookie but the right one", function()
    local right = me.token
    local last = right:sub(-1) == "0" and "1" or "0"
    for _, wrong in ipairs { "", "0", right:sub(1, -2), right .. "0", right:sub(1, -2) .. last,
      right:upper() .. "x", ("0"):rep(#right), right:gsub("%x", "\255") } do
      assert.equal(403, status("/entries?cache=guarded", { cookie = "perigee_5001=" .. wrong }))
    end
    assert.equal(403, status("/entries?cache=guarded", { cookie = "perigee_5002=" .. right }))
    assert.equal(403, status("/entries?cache=guarded", { cookie = right }))
    assert.equal(200, status("/entries?cache=guarded",
      { cookie = "a=b; perigee_5001=" .. ("0"):rep(#right) .. ";perigee_5001=" .. right }))
  end)

  it("exchanges the token of the link for a cookie, and takes it out of the address", function()
    me.cookie = false
    local answer = me:get("/?token=" .. me.token)
    assert.equal(303, answer.status)
    assert.equal("./", answer.headers.Location)
    assert.equal(("perigee_5001=%s; Path=/; HttpOnly; SameSite=Strict"):format(me.token),
      answer.headers["Set-Cookie"])
    local below = me:get("/caches/here/?token=" .. me.token)
    assert.matches("; Path=/caches/here/;", below.headers["Set-Cookie"], 1, true)
    local odd = me:get("/x; Domain=example/?token=" .. me.token)
    assert.matches("; Path=/; HttpOnly", odd.headers["Set-Cookie"], 1, true)
  end)

  it("gives no cookie for a wrong token", function()
    for _, wrong in ipairs { "", "x", ("0"):rep(#me.token), me.token .. "0" } do
      local answer = me:get("/?token=" .. wrong)
      assert.equal(403, answer.status)
      assert.is_nil(answer.headers["Set-Cookie"])
    end
    assert.equal(403, status("/?token=" .. me.token, { host = "evil.example:5001" }))
  end)

  it("changes nothing by GET, and nothing without the token", function()
    local fields = delete_form()
    for _, path in ipairs { "/delete", "/invalidate", "/scene" } do
      local answer = me:get(path .. "?cache=guarded&key=" .. fields.key)
      assert.equal(405, answer.status)
      assert.equal("POST", answer.headers.Allow)
    end
    assert.equal(200, status "/clear?cache=guarded", "it asks")
    assert.equal(405, me:ask("PUT", "/delete").status)
    assert.equal(405, me:send("/data", {}).status)
    assert.equal(403, me:send("/delete", fields, { cookie = false }).status)
    assert.equal(403, me:send("/clear", fields, { cookie = "perigee_5001=0" }).status)
    assert.equal("secret value", cache:peek "secret key")
    assert.equal(303, me:send("/delete", fields).status)
    assert.is_nil(cache:peek "secret key")
  end)

  it("changes nothing for a page of another origin, also one of this machine", function()
    local fields = delete_form()
    for _, headers in ipairs {
      { origin = "http://evil.example" }, { origin = "http://127.0.0.1:3000" }, { origin = "null" },
      { origin = "https://127.0.0.1:5001" }, { origin = "http://127.0.0.1:5001.evil.example" },
      { origin = "http://localhost:5001" }, { origin = "" },
      { ["sec-fetch-site"] = "same-site" }, { ["sec-fetch-site"] = "cross-site" },
      { origin = false, ["sec-fetch-site"] = "same-site" },
    } do
      assert.equal(403, me:send("/delete", fields, headers).status)
    end
    assert.equal("secret value", cache:peek "secret key")
    local plain = { origin = false, ["sec-fetch-site"] = false } -- no browser: curl, with a cookie
    assert.equal(303, me:send("/delete", fields, plain).status)
  end)

  it("takes forms only as browsers send them", function()
    local fields = delete_form()
    for _, kind in ipairs { false, "text/plain", "application/json", "multipart/form-data" } do
      assert.equal(400, me:send("/delete", fields, { ["content-type"] = kind }).status)
    end
    assert.is_true(cache:contains "secret key")
  end)

  it("survives forms that nobody but an attacker would send", function()
    local fields = delete_form()
    for _, key in ipairs { "", "0", "zz", "00", "0073" .. ("41"):rep(9000), "ff", "0000",
      "6e780073", "23390073" } do
      fields.key = key
      local answer = me:send("/delete", fields)
      assert.is_true(answer.status == 400 or answer.status == 303, key)
    end
    for _, form in ipairs { {}, { cache = "nobody" }, { cache = "guarded", number = "0" },
      { cache = "guarded", number = "x", worker = "y" }, { cache = "%" }, { cache = "\0" } } do
      local answer = me:send("/delete", form)
      assert.is_true(answer.status == 400 or answer.status == 404)
    end
    assert.equal(400, me:send("/invalidate", { cache = "guarded", tag = "" }).status)
    assert.equal(404, status "/nothing")
    assert.equal(404, status "/entries?cache=nobody")
    assert.equal(404, status "/entries")
    assert.equal(200, status "/entries?cache=guarded&after=999999999999999999999&search=%00%FF")
    assert.is_true(cache:contains "secret key")
  end)

  it("tells browsers to run nothing but its own script, and to embed it nowhere", function()
    local first, second = me:get "/", me:get "/"
    local policy = first.headers["Content-Security-Policy"]
    local nonce = policy:match "script%-src 'nonce%-(%x+)'"
    assert.equal(32, #nonce)
    assert.equal("default-src 'none'; script-src 'nonce-N'; style-src 'nonce-N'; img-src 'self'; "
      .. "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
      (policy:gsub(nonce, "N")))
    assert.are_not.equal(policy, second.headers["Content-Security-Policy"])
    local _, scripts = first.body:gsub('<script nonce="' .. nonce .. '">', "")
    local _, all_scripts = first.body:gsub("<script", "")
    assert.same({ 1, 1 }, { scripts, all_scripts })
    assert.is_nil(first.body:find " style=")
    assert.is_nil(first.body:find " on%l+=")
    for _, target in ipairs { "/", "/data", "/icon.svg", "/entries?cache=guarded", "/nothing" } do
      local headers = me:get(target).headers
      assert.same({ "nosniff", "DENY", "same-origin", "no-store", "same-origin" },
        { headers["X-Content-Type-Options"], headers["X-Frame-Options"],
          headers["Referrer-Policy"], headers["Cache-Control"],
          headers["Cross-Origin-Resource-Policy"] }, target)
      assert.matches("default-src 'none'", headers["Content-Security-Policy"], 1, true)
    end
  end)
end)

describe("the token", function()
  it("is long, random, and told from others by all its digits", function()
    local one, other = token.random(6), token.random(6)
    assert.matches("^" .. ("%x"):rep(48) .. "$", one)
    assert.are_not.equal(one, other)
    assert.is_true(token.is(one, one))
    assert.is_false(token.is(one, other))
    assert.is_false(token.is(one, nil))
    for i = 1, #one do
      local digit = one:sub(i, i) == "0" and "1" or "0"
      assert.is_false(token.is(one, one:sub(1, i - 1) .. digit .. one:sub(i + 1)))
    end
  end)

  it("makes a cookie that leaves the machine over TLS only, where there is TLS", function()
    local request = { mount = "/", is_secure = true, headers = { host = "localhost" } }
    assert.equal("perigee_80=x; Path=/; HttpOnly; SameSite=Strict; Secure",
      access.cookie(request, "x"))
    request.headers.origin = "https://localhost"
    assert.is_true(access.is_same_origin(request))
  end)
end)

describe("perigee.dashboard.handler", function()
  it("says what is wrong with its options", function()
    for option, value in pairs { hosts = "x", allow = false, port = "80", scenes = 1, other = 1 } do
      assert.has_error(function() dashboard.handler { [option] = value } end)
    end
    assert.error_matches(function() dashboard.handler { allow = "10.0.0.1" } end,
      'perigee.dashboard.handler: option "allow" must be a list of addresses, or true', 1, true)
    assert.error_matches(function() dashboard.serve() end, "inside nginx only", 1, true)
  end)
end)

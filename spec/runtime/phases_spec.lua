-- SPDX-License-Identifier: MIT
-- suites: dev
-- Everything that a cache does, in every phase of nginx: nothing raises because of the phase.
local buffer = require "string.buffer"
local files = require "spec.support.files"
local nginx = require "spec.support.nginx"
local ports = require "spec.support.ports"

if nginx.missing() then
  describe("a cache in the phases of nginx", function() pending(nginx.missing()) end)
  return
end

-- What the worker loads is not needed here but for its titles: outside nginx it cannot be loaded.
local function titles_of(name)
  local text, titles = files.read "spec/support/phases.lua", {}
  local list = text:match("\n_M%." .. name .. " = (%b{})")
  for title in list:gmatch 'of%("(.-)", function' do titles[#titles + 1] = title end
  return titles
end

local PROBES, CONTENDED = titles_of "PROBES", titles_of "CONTENDED"

-- As nginx calls them. Where nobody can load anything meanwhile, there is nothing to contend for.
local PHASES = {
  { name = "init", alone = true }, { name = "init_worker", alone = true },
  { name = "set" }, { name = "rewrite" }, { name = "access" }, { name = "content" },
  { name = "header_filter" }, { name = "body_filter" }, { name = "log" }, { name = "timer" },
  { name = "balancer" }, { name = "ssl_cert", tls = true },
  { name = "ssl_client_hello", tls = true },
}

local HTTP = [[
lua_shared_dict perigee 10m;
init_by_lua_block { require("spec.support.phases").run "init" }
init_worker_by_lua_block { require("spec.support.phases").run "init_worker" }
upstream somewhere {
  server 0.0.0.1;
  balancer_by_lua_block {
    require("spec.support.phases").run("balancer", true)
    require("ngx.balancer").set_current_peer("127.0.0.1", ngx.var.server_port)
  }
}
ssl_certificate tls.pem;
ssl_certificate_key tls.key;
server {
  listen 127.0.0.1:%d ssl;
  ssl_certificate_by_lua_block { require("spec.support.phases").run("ssl_cert", true) }
}
server {
  listen 127.0.0.1:%d ssl;
  ssl_client_hello_by_lua_block { require("spec.support.phases").run("ssl_client_hello", true) }
}
]]

local LOCATIONS = [[
location = /fine { return 200 "fine"; }
location = /set {
  set_by_lua_block $nothing { require("spec.support.phases").run("set", true) return "" }
  return 200 "fine";
}
location = /rewrite {
  rewrite_by_lua_block { require("spec.support.phases").run("rewrite", true) }
  content_by_lua_block { ngx.print "fine" }
}
location = /access {
  access_by_lua_block { require("spec.support.phases").run("access", true) }
  content_by_lua_block { ngx.print "fine" }
}
location = /content {
  content_by_lua_block { require("spec.support.phases").run("content", true) ngx.print "fine" }
}
location = /header_filter {
  content_by_lua_block { ngx.print "fine" }
  header_filter_by_lua_block { require("spec.support.phases").run("header_filter", true) }
}
location = /body_filter {
  content_by_lua_block { ngx.print "fine" }
  body_filter_by_lua_block { require("spec.support.phases").run("body_filter", true) }
}
location = /log {
  content_by_lua_block { ngx.print "fine" }
  log_by_lua_block { require("spec.support.phases").run("log", true) }
}
location = /timer {
  content_by_lua_block {
    local done = false
    ngx.timer.at(0, function()
      require("spec.support.phases").run("timer", true)
      done = true
    end)
    repeat ngx.sleep(0.01) until done
    ngx.print "fine"
  }
}
location = /balancer { proxy_pass http://somewhere/fine; }
]]

local TLS = [[
local tcp = ngx.socket.tcp()
assert(tcp:connect("127.0.0.1", ...))
assert(tcp:sslhandshake(nil, "localhost", false))
tcp:close()
return "fine"
]]

-- A certificate of nobody's, and its key.
local function certificate()
  local folder = os.tmpname()
  os.remove(folder)
  local output, status = files.run(("mkdir -m 700 %s && cd %s && openssl req -x509 -nodes "
    .. "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -keyout key -out certificate "
    .. "-subj /CN=localhost"):format(folder, folder))
  assert(status == 0, output)
  local texts = { ["tls.pem"] = files.read(folder .. "/certificate"),
    ["tls.key"] = files.read(folder .. "/key") }
  os.execute("rm -r " .. folder)
  return texts
end

-- What a probe is to come to.
local function expectation_of(title)
  local text = files.read "spec/support/phases.lua"
  local from = assert(select(2, text:find('of("' .. title .. '", function', 1, true)))
  local rest = text:sub(from):match "\n%s*end, ([^\n]*)%),\n"
  return loadstring("return " .. rest)()
end

local server, tls_ports

local function ask(call, ...)
  return server:lua("return require('spec.support.phases')[...](select(2, ...))", call, ...)
end

-- Goes through a phase once, while others load what it will ask for.
local function go(phase)
  if phase.alone then return end
  local holding = server:begin_lua(nil, "require('spec.support.phases').hold(...)", phase.name)
  ask("wait_until_held", phase.name)
  if phase.tls then
    assert.equal("fine", server:lua(TLS, tls_ports[phase.name]))
  else
    assert.equal("fine", (server:get("/" .. phase.name)))
  end
  holding:values()
end

local function check_later(phase, kind, title, outcome)
  assert.is_nil(outcome[1])
  assert.matches("phase " .. phase.name, outcome[2], 1, true)
  assert.equal("v", (ask("next_caller", phase.name, kind, title)))
end

local function check(phase, kind, title)
  local expected = expectation_of(title)
  if expected == "later" and ask("is_quiet", phase.name) then return end
  local outcome, may_wait = ask("outcome", phase.name, kind, title), ask("may_wait", phase.name)
  assert.is_truthy(outcome)
  if not outcome.ok then error(outcome[1], 0) end
  if type(expected) == "table" then
    assert.same(expected, { unpack(outcome, 1, math.max(1, #expected, outcome.n)) })
  elseif expected == "stale" then
    assert.equal("old", outcome[1])
    assert.is_nil(outcome[2])
    assert.equal("v", (ask("next_caller", phase.name, kind, title)))
  elseif expected == "value" or may_wait then
    assert.equal("v", outcome[1])
    assert.is_nil(outcome[2])
  else
    check_later(phase, kind, title, outcome)
  end
end

describe("a cache in the phases of nginx:", function()
  setup(function()
    tls_ports = { ssl_cert = ports.free(), ssl_client_hello = ports.free() }
    server = nginx.start { http = HTTP:format(tls_ports.ssl_cert, tls_ports.ssl_client_hello),
      locations = LOCATIONS, files = certificate() }
  end)
  teardown(nginx.clean)

  for _, phase in ipairs(PHASES) do
    describe(phase.name .. ":", function()
      setup(function() go(phase) end)

      it("is what the phase is called", function()
        local seen = server:lua("return require('spec.support.phases').seen[...].phase", phase.name)
        assert.equal(phase.name, seen)
      end)

      for _, kind in ipairs { "memory", "shared" } do
        for _, title in ipairs(PROBES) do
          it(kind .. ": " .. title, function() check(phase, kind, title) end)
        end
        for _, title in ipairs(phase.alone and {} or CONTENDED) do
          it(kind .. ": " .. title, function() check(phase, kind, title) end)
        end
      end

      it("sleep waits, or raises where and why", function()
        local slept, may_wait = server:lua([[
          local phases = require "spec.support.phases"
          return phases.seen[...].slept, phases.may_wait(...)
        ]], phase.name)
        assert.equal(may_wait or false, slept.ok)
        if not may_wait then
          assert.matches("perigee.sleep: cannot wait here", slept[1], 1, true)
          assert.matches("phase " .. phase.name, slept[1], 1, true)
        end
      end)

      it("spawn starts a task", function()
        local spawned
        for _ = 1, 1000 do
          spawned = server:lua([[
            local spawned = require("spec.support.phases").seen[...].spawned
            if not spawned then require("perigee").sleep(0.02) end
            return spawned
          ]], phase.name)
          if spawned then break end
        end
        assert.is_true(spawned)
      end)
    end)
  end

  it("nothing of it is an error in the log", function() assert.same({}, server:errors()) end)
end)

describe("a cache in the phase exit_worker", function()
  teardown(nginx.clean)

  it("answers and is written to", function()
    local one = nginx.start {
      http = [[
        lua_shared_dict perigee 1m;
        exit_worker_by_lua_block {
          local phases = require "spec.support.phases"
          phases.run "exit_worker"
          local file = io.open(ngx.config.prefix() .. "/seen", "w")
          file:write(require("string.buffer").encode(phases.seen))
          file:close()
        }
      ]],
    }
    assert.equal("exit_worker", one:lua [[
      require "spec.support.phases"
      return "exit_worker"
    ]])
    one:stop(3) -- QUIT
    local seen = buffer.decode(files.read(one.folder .. "/seen"))
    assert.equal("exit_worker", seen.exit_worker.phase)
    for key, outcome in pairs(seen) do
      if key ~= "exit_worker" and not outcome.ok then error(key .. ": " .. outcome[1], 0) end
      if key:find "/a hit$" then assert.equal(1, outcome[1]) end
      if key:find "/a miss$" then assert.equal("v", outcome[1]) end
    end
    assert.same({}, one:errors())
  end)
end)

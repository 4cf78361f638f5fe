-- SPDX-License-Identifier: MIT
-- suites: dev
-- The examples for OpenResty, each run by a real nginx in a copy of its folder, and the code of
-- docs/openresty.md.
local example_server = require "spec.support.example_server"
local files = require "spec.support.files"
local nginx = require "spec.support.nginx"
local socket = require "socket"

if nginx.missing() then
  describe("the examples for OpenResty", function() pending(nginx.missing()) end)
  return
end

local clean, eventually = example_server.clean, example_server.eventually

local function start(example, replaced)
  return example_server.start("08-openresty/" .. example, replaced)
end

local function count(answers, i, value)
  local n = 0
  for _, answer in ipairs(answers) do
    if answer[i] == value then n = n + 1 end
  end
  return n
end

-- The examples ------------------------------------------------------------------------------------

-- An API that does as its URL says, and counts. `/down` and `/up` are for the spec.
local API = [[
lua_shared_dict api 1m;
server {
  listen 127.0.0.1:8082;
  location = /down { content_by_lua_block { ngx.shared.api:set("down", true) ngx.say "down" } }
  location = /slept { content_by_lua_block { ngx.print(ngx.shared.api:get "slept") } }
  location = /up { content_by_lua_block { ngx.shared.api:delete "down" ngx.say "up" } }
  location / {
    content_by_lua_block {
      local api, argument = ngx.shared.api, ngx.req.get_uri_args()
      local asked = api:incr(ngx.var.request_uri, 1, 0)
      if argument.sleep then
        ngx.sleep(tonumber(argument.sleep))
        api:incr("slept", 1, 0)
      end
      if api:get "down" then return ngx.exit(503) end
      ngx.status = tonumber(argument.status) or 200
      ngx.header["Cache-Control"] = argument.control
      ngx.header["Surrogate-Key"] = argument.tags
      if argument.length then
        ngx.header.content_length = argument.length
        ngx.print(("x"):rep(argument.sent or argument.length))
        if argument.sent then return ngx.exit(444) end
        return
      end
      ngx.print("answer ")
      ngx.flush(true)
      ngx.print(asked)
    }
  }
}
]]

describe("the example 08-openresty/api-cache", function()
  after_each(clean)

  it("asks the API once for all clients of all workers", function()
    local server = start "api-cache"
    local answers = server:together(30, "/users/7")
    assert.equal(30, count(answers, 1, answers[1][1]))
    assert.equal(30, count(answers, 2, 200))
    assert.equal('{"id":7,', answers[1][1]:sub(1, 8))
    assert.is_true(count(answers, 3, "load") <= 2) -- one for each worker, of which one asks
    local _, status, source = server:get "/users/7"
    assert.equal(200, status)
    assert.is_true(source == "memory" or source == "shared")
    assert.same({}, server:errors())
  end)

  it("keeps what there is not, too", function()
    local server = start("api-cache", { ["stand-in.conf"] = API })
    for _ = 1, 5 do assert.equal(404, select(2, server:get "/x?status=404")) end
    server:get("/x?status=404", nil, nil, "8082")
    assert.matches("^answer 3", (server:get("/x?status=404", nil, nil, "8082")))
    assert.same({}, server:errors())
  end)

  it("forgets by URL and by tag, in all workers", function()
    local server = start("api-cache", { ["stand-in.conf"] = API })
    local function all(path, wanted)
      local answers = server:together(20, path)
      assert.equal(20, count(answers, 1, wanted))
    end
    all("/a?tags=user:1+list", "answer 1")
    all("/b?tags=user:1:cart", "answer 1")
    all("/c?tags=user:10", "answer 1")
    assert.equal("forgotten\n", (server:get "PURGE /purge?url=%2Fa%3Ftags%3Duser:1%2Blist"))
    all("/a?tags=user:1+list", "answer 2")
    all("/b?tags=user:1:cart", "answer 1")
    assert.equal("forgotten\n", (server:get "POST /purge?tag=user:1"))
    all("/a?tags=user:1+list", "answer 3")
    all("/b?tags=user:1:cart", "answer 2")
    all("/c?tags=user:10", "answer 1")
    assert.same({}, server:errors())
  end)

  it("lets nobody else forget, and nobody by GET", function()
    local server = start "api-cache"
    assert.equal(405, select(2, server:get "/purge?tag=a"))
    assert.equal(400, select(2, server:get "POST /purge"))
    assert.equal(403, select(2, server:get("POST /purge?tag=a", nil, "127.0.0.2")))
    assert.equal(403, select(2, server:get("/metrics", nil, "127.0.0.2")))
    assert.equal(403, select(2, server:get("/status", nil, "127.0.0.2")))
  end)

  it("gives the old answer, and a fresh one behind it", function()
    local server = start("api-cache", { ["stand-in.conf"] = API })
    local path = "/slow?sleep=2&control=max-age=1"
    assert.equal("answer 1", (server:get(path)))
    socket.sleep(1.2)
    local body, _, source = server:get(path)
    if source == "load" then -- the other worker has nothing old
      assert.equal("answer 2", body)
    else
      assert.same({ "answer 1", "stale" }, { body, source })
      assert.equal("1", (server:get("/slept", nil, nil, "8082"))) -- the next answer takes a while
    end
    assert.is_true(eventually(function() return server:get(path) == "answer 2" end))
    assert.same({}, server:errors())
  end)

  it("gives the old answer while the API is down", function()
    local server = start("api-cache", { ["stand-in.conf"] = API,
      ["stale_while_revalidate = 30"] = "stale_while_revalidate = 0.1",
      ["worker_processes 2"] = "worker_processes 1" })
    local path = "/x?control=max-age=1"
    assert.equal("answer 1", (server:get(path)))
    server:get("/down", nil, nil, "8082")
    socket.sleep(1.2)
    for _ = 1, 3 do
      assert.same({ "answer 1", 200, "stale" }, { server:get(path) })
    end
    assert.equal(502, select(2, server:get "/never"))
    server:get("/up", nil, nil, "8082")
    assert.matches("^answer %d$", (server:get(path)))
    assert.are_not.equal("answer 1", (server:get(path)))
    assert.equal("answer 2", (server:get "/never"))
  end)

  it("keeps nothing that was cut off, nor what is not for all", function()
    local server = start("api-cache", { ["stand-in.conf"] = API })
    assert.equal(502, select(2, server:get "/cut?length=100000&sent=50000"))
    assert.equal(100000, #server:get "/whole?length=100000")
    for i = 1, 3 do
      assert.equal("answer " .. i, (server:get "/private?control=private"))
      assert.equal("answer " .. i, (server:get "/moved?status=302"))
      assert.same({ "answer " .. i, 200, "bypass" },
        { server:get("/mine", { Cookie = "id=1" }) })
      assert.same({ "answer " .. i, 200, "bypass" }, { server:get "POST /order" })
    end
  end)

  it("loads for the others when the client leaves who asked first", function()
    local server = start("api-cache", { ["stand-in.conf"] = API })
    local first = server:send "/slow?sleep=0.3"
    socket.sleep(0.05)
    first:setoption("linger", { on = true, timeout = 0 })
    first:close()
    assert.equal("answer 1", (server:get "/slow?sleep=0.3"))
    assert.same({}, server:errors())
  end)

  it("counts", function()
    local server = start "api-cache"
    server:get "/users/1"
    assert.is_true(eventually(function()
      return (server:get "/metrics"):find('perigee_loads_total{cache="api"} 1\n', 1, true)
    end))
    assert.matches("\ncache +entries .*\napi +%d", (server:get "/status"))
  end)
end)

describe("the example 08-openresty/from-mlcache", function()
  after_each(clean)

  it("does what the lines did that it replaces", function()
    local server = start "from-mlcache"
    local function says(wanted, path) assert.equal(wanted .. "\n", (server:get(path))) end
    says("Barbara from load", "/user/7")
    assert.matches("^Barbara from %l+\n$", (server:get "/user/7"))
    says("Hello, Barbara!", "/greet/7")
    says("nobody", "/greet/99")
    says("unknown", "/peek/1")
    local list = server:get "/users?id=1&id=2&id=99"
    assert.is_truthy(list == "1 Ada\n2 Grace\n" or list == "2 Grace\n1 Ada\n")
    says("Ada", "/peek/1")
    says("nobody", "/peek/99")
    says("true", "/friends?a=1&b=2")
    says("true", "/rename/7?name=Liskov")
    for _ = 1, 20 do
      assert.matches("^Liskov from %l+\n$", (server:get "/user/7"))
      says("Hello, Liskov!", "/greet/7")
    end
    says("true", "/forget/7")
    for _ = 1, 10 do says("unknown", "/peek/7") end
    says("Ada", "/peek/1")
    says("true", "/forget_all")
    for _ = 1, 10 do says("unknown", "/peek/1") end
    assert.equal(403, select(2, server:get("/forget_all", nil, "127.0.0.2")))
  end)
end)

describe("the example 08-openresty/agent", function()
  after_each(clean)

  it("gives each id a session, and each request without one its own", function()
    local server = start "agent"
    for _ = 1, 10 do assert.equal("a book\n", (server:get "/cart/ada")) end
    assert.equal("a book, laptop\n", (server:get "POST /cart/ada?item=laptop"))
    for _ = 1, 5 do
      assert.equal("a book, laptop\n", (server:get("/cart/ada", { ["X-Session-Id"] = "A" })))
    end
    local body, status = server:get("/cart/ada", { ["X-Session-Id"] = "A" })
    assert.matches("get_cart was called 6 times", body, 1, true)
    assert.equal(429, status)
    assert.matches('^session "A": 6 calls', (server:get("/explain", { ["X-Session-Id"] = "A" })))
    assert.equal("a book, laptop\n", (server:get("/cart/ada", { ["X-Session-Id"] = "B" })))
    assert.equal("a book, laptop\n", (server:get("/cart/ada", { ["X-Session-Id"] = "" })))
    assert.equal(400, select(2, server:get("/cart/ada", { ["X-Session-Id"] = ("x"):rep(65) })))
    assert.same({}, server:errors())
  end)
end)

-- The documentation ---------------------------------------------------------------------------

local PAGE = "docs/openresty.md"

local MAIN = [[
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
pid nginx.pid;
events { }
http {
  access_log off;
  client_body_temp_path client_temp;
  proxy_temp_path proxy_temp;
  fastcgi_temp_path fastcgi_temp;
  uwsgi_temp_path uwsgi_temp;
  scgi_temp_path scgi_temp;
  %s
}
]]

local HERE = 'lua_package_path "$prefix/?.lua;;";\n'

-- What runs a block in a worker: it is a file of the folder.
local RUN = HERE .. [[
lua_shared_dict perigee 1m;
init_by_lua_block { require "perigee" }
server {
  listen 127.0.0.1:8080;
  location / {
    content_by_lua_block {
      local chunk = assert(loadfile(ngx.config.prefix() .. "block.lua"))
      local ok, err = xpcall(chunk, debug.traceback)
      ngx.say(ok and "ran" or err)
    }
  }
}
]]

local function blocks(language)
  local found = {}
  for block in files.read(PAGE):gmatch("\n```" .. language .. "\n(.-)```") do
    found[#found + 1] = block
  end
  return found
end

-- Starts nginx with these directives, and files beside them.
local function start_with(http, beside)
  local folder = example_server.new_folder()
  files.write(folder .. "/nginx.conf", MAIN:format(http))
  for name, text in pairs(beside) do files.write(folder .. "/" .. name, text) end
  return example_server.start_in(folder, folder)
end

describe("the code of " .. PAGE, function()
  local modules = {}

  setup(function()
    for _, block in ipairs(blocks "lua") do
      local name = block:match "^%-%- (%w+%.lua)\n"
      if name then modules[name] = block end
    end
  end)
  after_each(clean)

  it("has directives with which nginx starts", function()
    local list = blocks "nginx"
    assert.is_true(#list >= 3)
    for _, block in ipairs(list) do
      if not block:find "listen" then block = block .. "server { listen 127.0.0.1:8080; }" end
      if not block:find "lua_package_path" then block = HERE .. block end
      local server = start_with(block, modules)
      assert.same({}, server:errors())
      clean()
    end
  end)

  it("finds what was installed by hand, and nothing else", function()
    local site = example_server.new_folder()
    local function run(command, ...)
      local output, status = files.run(command:format(...))
      assert(status == 0, output)
    end
    local build = assert(os.getenv "PERIGEE_BUILD")
    run("cp -r lua/perigee.lua lua/perigee %s", site)
    run("cp -r %s/lua/perigee/. %s/perigee", build, site)
    run("cp %s/lib/perigee/core.so %s/lib/perigee/disk.so %s/perigee", build, build, site)
    local paths = blocks("nginx")[1]:gsub("/usr/local/openresty/site/lualib", site)
    local server = start_with(paths .. RUN:gsub("^[^\n]*\n", ""), { ["block.lua"] = [[
      local perigee = require "perigee"
      local path = debug.getinfo(perigee.new, "S").source
      assert(path:find("]] .. site .. [[", 1, true), path)
      perigee.new { name = "a", shared = "perigee",
        backup = perigee.disk(ngx.config.prefix() .. "kept.db") }
    ]] })
    assert.equal("ran\n", (server:get "/"))
    assert.same({}, server:errors())
  end)

  it("answers as it says", function()
    local server = start_with(HERE .. blocks "nginx"[2], modules)
    assert.equal("Ada\n", (server:get "/user?id=7"))
    assert.equal("nobody\n", (server:get "/user?id=8"))
    assert.same({ "Ada\n", 200, "memory" }, { server:get "/user?id=7" })
    assert.matches("users", (server:get "/status"))
    assert.same({}, server:errors())
  end)

  it("runs in a request", function()
    local list = blocks "lua"
    assert.is_true(#list >= 5)
    for _, block in ipairs(list) do
      local server = start_with(RUN, { ["block.lua"] = block })
      assert.equal("ran\n", (server:get "/"), block)
      clean()
    end
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev
-- The documentation is true: each block of code in README.md and docs/*.md is run or checked, by
-- its language.
--
--     lua      is run, as a program of its own; what it prints is what its `-->` say
--     sh       its commands, options of ./dev and files exist; what is cheap is run
--     nginx    nginx takes it as its configuration
--     python   compiles
--     json     is JSON
--     promql, yaml   name metrics that there are
--     text     drawings and output: no code
--
-- docs/openresty.md is for nginx' workers: spec/examples/openresty_spec.lua runs its code there.
local docs = require "spec.support.docs"
local files = require "spec.support.files"

local read, run = files.read, files.run

local INSIDE_NGINX = { ["docs/openresty.md"] = true }

local function has(program)
  local _, status = run("command -v " .. program)
  return status == 0
end

local function in_file(text, command)
  local path = os.tmpname()
  files.write(path, text)
  local output, status = run(command:format(path))
  os.remove(path)
  return output, status
end

local check = {}

-- Lua -----------------------------------------------------------------------------------------

local redis -- started when a block first wants it

local function redis_port()
  if not redis then
    redis = require("spec.support.redis").start { port = true }
  end
  redis:cli "flushall"
  return redis.port
end

local function printed_lines(output)
  local lines = {}
  for line in output:gmatch "[^\n]+" do
    lines[#lines + 1] = (line:gsub("\t", " "):gsub("^%s+", ""):gsub("%s+$", ""))
  end
  return lines
end

function check.lua(block)
  if INSIDE_NGINX[block.page] then return assert(loadstring(block.code)) end
  local wants_redis = block.code:find("perigee.redis", 1, true)
  if wants_redis and not has "redis-server" then
    return pending "this machine cannot: no redis-server"
  end
  local output, status, said = docs.run_lua(block.code, wants_redis and redis_port())
  assert.equal(0, status, output .. said)
  local expected = docs.expected(block.code)
  if #expected > 0 then assert.same(expected, printed_lines(output)) end
end

-- Shell ---------------------------------------------------------------------------------------

local COMMANDS = { ["./dev"] = true, cmake = true, luajit = true, luarocks = true, perigee = true,
  busted = true, eval = true, ["redis-cli"] = true, curl = true, sqlite3 = true, nginx = true,
  cd = true, git = true, export = true, dpkg = true, ["apt-get"] = true, make = true }

local function check_dev(words)
  local help = run "./dev help"
  assert.is_truthy(help:find("./dev " .. words[2], 1, true), "./dev " .. words[2])
  for i = 3, #words do
    local option = words[i]:match "^%-%-[%w-]+"
    assert.is_truthy(not option or help:find(option, 1, true), option)
  end
end

local function check_paths(words)
  for _, word in ipairs(words) do
    local path = word:match "^[\"']?([%w%.][%w%./_-]*/[%w%._-]+)[\"']?$"
    local is_ours = path and (run("ls"):find(path:match "^[^/]+", 1, true))
    if is_ours and not path:find "^%./?dev" and not path:find "^build/" then
      local _, status = run("test -e " .. path)
      assert.equal(0, status, path .. " is not there")
    end
  end
end

local function is_cheap(words)
  local is_ours = words[1] == "luajit" or words[1] == "perigee"
  return is_ours and (words[2] or ""):find "^examples/%d" ~= nil
end

local function check_command(command)
  local words = {}
  for word in command:gmatch "%S+" do words[#words + 1] = word end
  while words[1] and words[1]:find "^[%u_]+=" do table.remove(words, 1) end
  if not words[1] then return end
  assert.is_true(COMMANDS[words[1]] or false, command .. ": is that a command?")
  if words[1] == "./dev" then check_dev(words) end
  check_paths(words)
  if is_cheap(words) then
    local output, status = run("timeout 200 " .. command)
    assert.equal(0, status, output)
  end
end

function check.sh(block)
  local complaint, status = in_file(block.code, "bash -n %s")
  assert.equal(0, status, complaint)
  for line in block.code:gsub("\\\n%s*", ""):gmatch "[^\n]+" do
    local commands = line:gsub("%s+#.*$", ""):gsub("^#.*$", ""):gsub("^.*%$%((.-)%).*$", "%1")
    for command in (commands .. ";"):gsub("&&", ";"):gsub("|", ";"):gmatch "%s*(.-)%s*;" do
      if command ~= "" then check_command(command) end
    end
  end
end

-- nginx ---------------------------------------------------------------------------------------

local MAIN = [[
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
pid nginx.pid;
error_log stderr;
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

function check.nginx(block)
  if INSIDE_NGINX[block.page] then return end
  if not has "nginx" then return pending "this machine cannot: no nginx" end
  local code = block.code
  if not code:find("lua_package_path", 1, true) then code = 'lua_package_path ";;";\n' .. code end
  local folder = os.tmpname()
  os.remove(folder)
  run("mkdir -m 700 " .. folder)
  files.write(folder .. "/nginx.conf", MAIN:format(code))
  local output, status = run(("timeout 200 nginx -t -p %s/ -c nginx.conf"):format(folder))
  run("rm -rf " .. folder)
  assert.equal(0, status, output)
end

-- The others ----------------------------------------------------------------------------------

local PYTHON = [[python3 -c 'import ast, sys
compile(open(sys.argv[1]).read(), "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)' %s]]

function check.python(block)
  if not has "python3" then return pending "this machine cannot: no python3" end
  local complaint, status = in_file(block.code, PYTHON)
  assert.equal(0, status, complaint)
end

function check.json(block)
  assert.is_truthy(pcall(require("cjson").decode, block.code))
end

function check.promql(block)
  local sources = run "cat lua/perigee/*.lua lua/perigee/*/*.lua"
  for name in block.code:gmatch "perigee_[%w_]+" do
    local metric = name:gsub("_bucket$", ""):gsub("_count$", ""):gsub("_sum$", "")
    assert.is_truthy(sources:find(metric, 1, true), name .. " is not a metric")
  end
end

check.yaml = check.promql

function check.text(block)
  assert.is_nil(block.code:find("require \"perigee", 1, true), "code is not text")
end

describe("the code of", function()
  teardown(function() require("spec.support.redis").clean() end)

  for _, page in ipairs(docs.pages()) do
    for _, block in ipairs(docs.blocks(page)) do
      it(("%s, line %d, is right: %s"):format(page, block.line, block.language), function()
        local checks = check[block.language]
        assert.is_truthy(checks, "how is a block of " .. block.language .. " to be checked?")
        return checks(block)
      end)
    end
  end
end)

describe("the heads of modules", function()
  for _, path in ipairs { "perigee", "perigee/memo", "perigee/agent" } do
    it("show code that runs: " .. path, function()
      local lines = { "local function fetch_cart() end local add_item = fetch_cart;" }
      for line in read("lua/" .. path .. ".lua"):gmatch "%-%-     ([^\n]+)" do
        lines[#lines + 1] = line
      end
      assert.is_true(#lines >= 4)
      local output, status, said = docs.run_lua(table.concat(lines, "\n"))
      assert.equal(0, status, output .. said)
    end)
  end
end)

-- Text ----------------------------------------------------------------------------------------

local function anchor_is_there(page, anchor)
  return docs.anchors(page)[anchor] == true
end

describe("the documentation", function()
  it("has no link to a file or to a heading that is not there", function()
    for _, page in ipairs(docs.all_pages()) do
      local folder = page:match "^.*/" or ""
      for target in docs.prose(page):gmatch "%]%(([^)]+)%)" do
        if not target:find "^https?://" then
          local path, anchor = target:match "^([^#]*)#?(.*)$"
          local file = path == "" and page or folder .. path
          local _, status = run("test -e " .. file)
          assert.equal(0, status, page .. " links to " .. target)
          if anchor ~= "" then
            assert.is_true(anchor_is_there(file, anchor), page .. " links to " .. target)
          end
        end
      end
    end
  end)

  it("has lines that fit", function()
    for _, page in ipairs(docs.all_pages()) do
      for line in read(page):gmatch "[^\n]+" do
        local _, continuations = line:gsub("[\128-\191]", "")
        assert.is_true(#line - continuations <= 100, page .. ": " .. line)
      end
    end
  end)

  it("says of each block in which language it is", function()
    for _, page in ipairs(docs.all_pages()) do
      for _, block in ipairs(docs.blocks(page)) do
        assert.is_true(block.language ~= "", ("%s, line %d"):format(page, block.line))
      end
    end
  end)

  it("has an index of its pages", function()
    local index = read "docs/README.md"
    for _, page in ipairs(docs.pages "ls docs/*.md") do
      local name = page:match "([^/]+)$"
      assert.is_true(name == "README.md" or index:find("](" .. name .. ")", 1, true) ~= nil,
        name .. " is not in docs/README.md")
    end
  end)

  it("has the figures of docs/benchmarks.md, or nearly", function()
    local NS = { ns = 1, ["µs"] = 1e3, ms = 1e6 }
    local measured, checked = {}, 0
    local row = "| `([%w-]+)` | %*%*%w+%*%* | %*%*([%d,.]+)"
    for line, figure in read("docs/benchmarks.md"):gmatch(row) do
      measured[line] = tonumber((figure:gsub(",", "")))
    end
    for _, page in ipairs { "README.md", "docs/performance.md" } do
      for figure, unit, line in read(page):gmatch "| ([%d.]+) ([^%s|]+) | `([%w-]+)` |" do
        local ratio = tonumber(figure) * NS[unit] / assert.is_number(measured[line], line)
        assert.is_true(ratio > 1 / 1.5 and ratio < 1.5, page .. ": " .. line)
        checked = checked + 1
      end
    end
    assert.is_true(checked >= 15)
  end)
end)

describe("docs/architecture.md", function()
  it("says where to change what, and all of it is there", function()
    local chapter, count = read("docs/architecture.md"):match "\n## Where to change what\n(.*)$", 0
    local specs = run "find spec -name '*_spec.lua'"
    for row in chapter:gmatch "\n(|[^\n]+)" do
      local places, names = row:match "^|[^|]*|([^|]*)|([^|]*)|$"
      for path in places:gmatch "`([%w_/]+%.%a+)`" do
        local _, status = run(("test -e lua/perigee/%s || test -e csrc/%s"):format(path, path))
        assert.equal(0, status, path)
        count = count + 1
      end
      for name in names:gmatch "`([^`]+)`" do
        assert.is_truthy(specs:find(name, 1, true), "./dev test " .. name)
      end
    end
    assert.is_true(count >= 25)
  end)
end)

-- The API page --------------------------------------------------------------------------------

-- How the page calls the methods of an object, where it does not name the object.
local HOLDERS = { perigee = "perigee%.", cache = "cache:", wrapped = "f:", http = "http%.",
  agent = "agent%.", session = "session:", task = "task:", server = "server:",
  response = "[%w_]+:", guard = "guard%.", a_guard = "g:", testing = "testing%." }

describe("docs/api.md", function()
  local public = require "spec.support.public"

  it("has every public function", function()
    local page, count = read "docs/api.md", 0
    for class, functions in pairs(public.functions()) do
      for name in pairs(functions) do
        local holder = HOLDERS[class]
        local found = not holder and page:find("`" .. name .. "`", 1, true)
          or holder and page:find(holder .. name .. "%f[^%w_]")
        assert.is_truthy(found, class .. ": " .. name)
        count = count + 1
      end
    end
    assert.is_true(count >= 60)
  end)

  it("has every option", function()
    local page, count = read "docs/api.md", 0
    for call, names in pairs(public.options()) do
      for _, name in ipairs(names) do
        assert.is_truthy(page:find("%f[%w_]" .. name .. "%f[^%w_]"), call .. ": " .. name)
        count = count + 1
      end
    end
    assert.is_true(count >= 150)
  end)
end)

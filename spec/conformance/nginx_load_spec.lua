-- SPDX-License-Identifier: MIT
-- suites: dev
-- alone
-- Two workers under 200 connections, with loaders that fail, raise, hang and are aborted, writes
-- in between and a reload in the middle: every answer is right, nothing is left behind.
local files = require "spec.support.files"
local nginx = require "spec.support.nginx"
local socket = require "socket"

if nginx.missing() then
  describe("nginx under load", function() pending(nginx.missing()) end)
  return
end

local SECONDS, ABORTS = 4, 150

local INIT = [[
  lua_shared_dict shared 2m;
  lua_check_client_abort on;
  init_by_lua_block {
    perigee = require "perigee"
    cache = perigee.new { name = "load", shared = "shared", maxsize = 300, default_ttl = 0.5,
      load_timeout = 3, takeover = 0.1, stale_while_revalidate = 0.2 }
    function load_one(key)
      local n = tonumber(key)
      if n % 10 == 1 then return nil, "none" end
      if n % 10 == 2 then error("raised " .. key, 0) end
      ngx.sleep(n % 50 == 3 and 60 or 0.002 * (n % 7))
      return "v" .. key
    end
  }
]]

-- Says "key answer". What loads for long is answered by its error.
local LOCATIONS = [[
  location /get {
    content_by_lua_block {
      local key = ngx.var.arg_k
      local ok, value, err = pcall(cache.get, cache, key, load_one)
      ngx.print(key, " ", tostring(value), " ", tostring(err))
    }
  }
  location /write {
    content_by_lua_block {
      local key = ngx.var.arg_k
      if tonumber(key) % 2 == 0 then cache:delete(key) else cache:set(key, "v" .. key) end
      ngx.print(key, " v", key, " nil")
    }
  }
  location /connections { stub_status; }
]]

-- For wrk: keys at random; an answer of another key, or a wrong one, counts as one.
local SCRIPT = [[
wrong = 0 -- wrk reads globals only
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init() math.randomseed(os.time() + tonumber(tostring({}):match "0x(%x+)", 16) % 100000) end
function request()
  local path = math.random() < 0.05 and "/write" or "/get"
  return wrk.format("GET", path .. "?k=" .. math.random(1000))
end
local EXPECTED = { [1] = "^nil none$", [2] = "^raised %d+ nil$" }
function response(status, _, body)
  local key, rest = body:match "^(%d+) (.*)$"
  local expected = key and (key % 50 == 3 and "^nil timeout$" or EXPECTED[key % 10])
  local right = status == 200 and key and (rest == "v" .. key .. " nil"
    or expected and rest:match(expected))
  if not right then
    wrong = wrong + 1
    print("WRONG", status, body)
  end
end
function done(summary)
  local all = 0
  for _, thread in ipairs(threads) do all = all + thread:get "wrong" end
  local errors = summary.errors
  print("RESULT", summary.requests, all, errors.status, errors.connect + errors.read
    + errors.write, errors.timeout)
end
]]

local function resident(pid)
  return tonumber(files.read("/proc/" .. pid .. "/status"):match "VmRSS:%s+(%d+)")
end

describe("nginx under load", function()
  local server, script
  setup(function()
    script = os.tmpname()
    files.write(script, SCRIPT)
    server = nginx.start { workers = 2, http = INIT, locations = LOCATIONS }
  end)
  teardown(function()
    nginx.clean()
    os.remove(script)
  end)

  -- Starts wrk; calls `meanwhile`; returns what it has counted.
  local function drive(meanwhile)
    local pipe = io.popen(("wrk -t 1 -c 200 -d %d --timeout 60 -s %s http://127.0.0.1:%d/ 2>&1")
      :format(SECONDS, script, server.port))
    if meanwhile then meanwhile() end
    local text = pipe:read "*a"
    pipe:close()
    local requests, wrong, status, sockets, late = text:match(
      "RESULT\t(%d+)\t(%d+)\t(%d+)\t(%d+)\t(%d+)")
    assert.is_truthy(requests, text)
    return { requests = tonumber(requests), wrong = tonumber(wrong), status = tonumber(status),
      sockets = tonumber(sockets), late = tonumber(late), text = text }
  end

  local function abort_some()
    for i = 1, ABORTS do server:abort("/get?k=" .. 50 * i + 3, 0.01) end
  end

  local function wait_until_idle()
    local deadline = socket.gettime() + 60
    while true do
      local active = tonumber((server:get "/connections"):match "Active connections: (%d+)")
      if active <= 1 or socket.gettime() > deadline then return active end
      socket.sleep(0.1)
    end
  end

  it("answers rightly while clients leave", function()
    local seen = drive(abort_some)
    assert.equal(0, seen.wrong, seen.text)
    assert.equal(0, seen.status + seen.late + seen.sockets, seen.text)
    assert.is_true(seen.requests > 1000, seen.text)
    assert.equal(1, wait_until_idle())
    assert.same({}, server:errors())
  end)

  it("answers rightly across a reload", function()
    local seen = drive(function()
      socket.sleep(1)
      server:reload()
    end)
    assert.equal(0, seen.wrong, seen.text)
    assert.equal(0, seen.status + seen.late, seen.text)
    assert.equal(1, wait_until_idle())
    assert.same({}, server:errors())
  end)

  it("keeps its memory flat", function()
    drive(abort_some)
    wait_until_idle()
    local before = {}
    for _, pid in ipairs(server:workers()) do before[pid] = resident(pid) end
    for _ = 1, 2 do drive(abort_some) end
    wait_until_idle()
    for pid, kilobytes in pairs(before) do
      local grown = resident(pid) - kilobytes
      assert.is_true(grown < 4096, ("worker %d grew by %d KB"):format(pid, grown))
    end
    assert.same({}, server:errors())
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev
-- Inside nginx, when timers are short, and what waits for what: work behind the callers' backs goes
-- on, and tasks end for those who wait for them.
local nginx = require "spec.support.nginx"
local socket = require "socket"

if nginx.missing() then
  describe("timers inside nginx", function() pending(nginx.missing()) end)
  return
end

local RIG = [[
local perigee = require "perigee"

local _M = { perigee = perigee, turns = 0 }

_M.detached = perigee.new { name = "detached", detach = true }
_M.inner = perigee.new { name = "inner", detach = true }
_M.stale = perigee.new { name = "stale", default_ttl = 0.05, stale_while_revalidate = 100 }
_M.limited = perigee.new { name = "limited", load_timeout = 0.2 }

require("perigee.runtime").on_turn(function() _M.turns = _M.turns + 1 end)

function _M.now()
  ngx.update_time()
  return ngx.now()
end

-- Runs functions side by side, and waits for all.
function _M.side_by_side(n, fn)
  local threads = {}
  for i = 1, n do threads[i] = ngx.thread.spawn(fn, i) end
  for i = 1, n do ngx.thread.wait(threads[i]) end
end

return _M
]]

local server

local function start(opts)
  server = nginx.start { http = opts and opts.http, locations = opts and opts.locations,
    files = { ["rig.lua"] = RIG } }
end

local function run(chunk, ...) return server:lua("local rig = require 'rig' " .. chunk, ...) end

local function begin(chunk, ...)
  return server:begin_lua(nil, "local rig = require 'rig' " .. chunk, ...)
end

local function finish()
  local errors = server:errors()
  nginx.clean()
  assert.same({}, errors)
end

describe("when nginx drops timers, since too many run,", function()
  local DROPPED = "lua_max_running_timers are not enough"

  -- All timers that may run are busy for a while, and those due meanwhile are dropped.
  local OCCUPY = [[
    for _ = 1, 6 do ngx.timer.at(0, function() ngx.sleep(2.5) end) end
    ngx.sleep(0.05)
  ]]

  before_each(function()
    start { http = "lua_max_running_timers 4;" }
    assert.equal("v", (run "return (rig.detached:get('first', function() return 'v' end))"))
    run "rig.stale:set('k', 'old') ngx.sleep(0.2)"
    run(OCCUPY)
  end)

  -- nginx says that it drops them: that, and nothing else, is expected in the log.
  after_each(function()
    local others, dropped = {}, 0
    for _, line in ipairs(server:errors()) do
      if line:find("[alert]", 1, true) and line:find(DROPPED, 1, true) then
        dropped = dropped + 1
      else
        others[#others + 1] = line
      end
    end
    nginx.clean()
    assert.same({}, others)
    assert.is_true(dropped > 0)
  end)

  it("turns go on when there is room again", function()
    socket.sleep(3)
    assert.is_true(run [[
      local before, deadline = rig.turns, rig.now() + 60
      rig.perigee.sleep(0)
      repeat ngx.sleep(0.05) until rig.turns > before + 1 or rig.now() > deadline
      return rig.turns > before + 1
    ]])
  end)

  it("detached loads are not waited for longer than is said, and run later", function()
    local answer, seconds = run [[
      local began = rig.now()
      local _, err = rig.detached:get("k", { timeout = 0.3, loader = function() return 1 end })
      return err, rig.now() - began
    ]]
    assert.equal("timeout", answer)
    assert.is_true(seconds < 2.4) -- when there is room again
    socket.sleep(3)
    for i = 1, 3 do
      assert.equal(2, (run([[
        return (rig.detached:get("k" .. ..., { timeout = 60, loader = function() return 2 end }))
      ]], i)))
    end
  end)

  it("many detached loads, too, and refreshes behind old values", function()
    run [[
      rig.side_by_side(140, function(i)
        rig.detached:get("k" .. i, { timeout = 0.3, loader = function() return 1 end })
      end)
    ]]
    socket.sleep(3)
    assert.equal(3, (run [[
      return (rig.detached:get("other", { timeout = 60, loader = function() return 3 end }))
    ]]))
    assert.is_true(run [[
      local deadline, value = rig.now() + 60, nil
      repeat
        value = rig.stale:get("k", function() return "new" end)
        ngx.sleep(0.05)
      until value == "new" or rig.now() > deadline
      return value == "new"
    ]])
  end)
end)

describe("detached loads within detached loads", function()
  before_each(start)
  after_each(finish)

  it("all end, though there are more than timers that run them", function()
    assert.same({ 140, 0 }, { run [[
      local good, bad = 0, 0
      rig.side_by_side(140, function(i)
        local value = rig.detached:get("k" .. i, { timeout = 60, loader = function()
          return (rig.inner:get("k" .. i, function() ngx.sleep(0.05) return i end))
        end })
        if value == i then good = good + 1 else bad = bad + 1 end
      end)
      return good, bad
    ]] })
    assert.equal(5, (run [[
      return (rig.detached:get("later", { timeout = 60, loader = function() return 5 end }))
    ]]))
  end)
end)

describe("who waits inside nginx", function()
  before_each(start)
  after_each(finish)

  it("is not woken by what was to wake a cancelled task", function()
    assert.is_true(run [[
      local perigee = rig.perigee
      local other = perigee.spawn(function() perigee.sleep(0.3) end)
      local task = perigee.spawn(function()
        ngx.sleep(0.05)
        pcall(function() other:wait() end)
      end)
      task:cancel()
      ngx.sleep(0.1)
      local began = rig.now()
      perigee.sleep(1)
      return rig.now() - began > 0.9
    ]])
  end)

  it("for a task in vain leaves nothing behind", function()
    assert.equal(0, run [[
      local task = rig.perigee.spawn(function() ngx.sleep(1) end)
      for _ = 1, 200 do task:wait(0.001) end
      return #task.tickets
    ]])
  end)

  it("for loads that take too long is told so in time, as is his client", function()
    local began = socket.gettime()
    assert.same({ "timeout", "timeout", "timeout" }, run [[
      local function get()
        return (select(2, rig.limited:get("k", function() ngx.sleep(60) return 1 end)))
      end
      return rig.perigee.gather { get, get, get }
    ]])
    assert.is_true(socket.gettime() - began < 30)
  end)

  it("for a task of a request that has ended is told so", function()
    local request = begin [[
      rig.task = rig.perigee.spawn(function() ngx.sleep(60) end)
      ngx.sleep(0.5)
      ngx.exit(200)
    ]]
    run "repeat ngx.sleep(0.005) until rig.task"
    local WAIT = [[
      local began = rig.now()
      local ok, err = pcall(rig.task.wait, rig.task)
      return { ok, err }, rig.now() - began
    ]]
    for _ = 1, 2 do -- while it lives, and later
      local answer, seconds = run(WAIT)
      assert.same({ false, "the request of this task has ended" }, answer)
      assert.is_true(seconds < 30)
    end
    request:finish()
  end)
end)

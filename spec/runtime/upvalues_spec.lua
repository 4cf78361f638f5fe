-- SPDX-License-Identifier: MIT
-- suites: dev
-- A loader that runs in a timer of nginx has what it had captured, whatever becomes of the request
-- that it came from; and the caller's own functions stay his.
local nginx = require "spec.support.nginx"
local socket = require "socket"

if nginx.missing() then
  describe("what a loader has captured", function() pending(nginx.missing()) end)
  return
end

-- What each worker has. `wait` is what loaders of requests that end do until those have ended.
local RIG = [[
local perigee = require "perigee"

local _M = { perigee = perigee }

_M.detached = perigee.new { name = "detached", detach = true }
_M.stale = perigee.new { name = "stale", default_ttl = 0.05, stale_while_revalidate = 100 }

function _M.wait() ngx.sleep(0.5) end

-- In a light thread, which is ended with its request.
function _M.cut_off(fn)
  ngx.thread.spawn(fn)
  ngx.sleep(0.05)
  ngx.exit(204)
end

return _M
]]

local server

local function run(chunk, ...) return server:lua("local rig = require 'rig' " .. chunk, ...) end

-- A request that is cut off while its load goes on.
local function cut_off(chunk)
  server:begin_lua(nil, "local rig = require 'rig' " .. chunk):finish()
end

-- Requests that put other things where the one that was cut off had its variables.
local function run_others()
  local requests = {}
  for i = 1, 20 do
    requests[i] = server:begin_lua(nil, [[
      local a, b, c, d, e, f, g, h = "foreign", "foreign", "foreign", "foreign", "foreign",
        "foreign", "foreign", "foreign"
      ngx.thread.wait(ngx.thread.spawn(function()
        local i, j, k, l, m, n = "foreign", "foreign", "foreign", "foreign", "foreign", "foreign"
        ngx.sleep(0.1)
        return i, j, k, l, m, n
      end))
      return a, b, c, d, e, f, g, h
    ]])
  end
  for i = 1, 20 do requests[i]:finish() end
end

-- What a key of a cache has in the end.
local function value_of(cache, key, old)
  return run([[
    local cache, key, old = ...
    for _ = 1, 1000 do
      local value = rig[cache]:get(key)
      if value ~= nil and value ~= old then return value end
      ngx.sleep(0.05)
    end
  ]], cache, key, old)
end

describe("a loader that runs in a timer", function()
  setup(function() server = nginx.start { files = { ["rig.lua"] = RIG } } end)
  teardown(function()
    local errors = server:errors()
    nginx.clean()
    assert.same({}, errors)
  end)

  it("leaves the caller's functions as they are", function()
    assert.same({ 1, 2 }, { run [[
      local n = 0
      local function count() n = n + 1 end
      count()
      local seen = rig.detached:get("count", function()
        local _ = count
        return n
      end)
      count()
      return seen, n
    ]] })
  end)

  it("leaves a service as it is whose state is on a long-lived stack", function()
    assert.equal(6, run [[
      ngx.timer.at(0, function()
        local total = 0
        function rig.add(by) total = total + by end
        function rig.total() return total end
        ngx.sleep(2)
      end)
      ngx.sleep(0.05)
      rig.add(1)
      local add = rig.add
      rig.detached:get("service", function()
        local _ = add
        return 1
      end)
      rig.add(5)
      return rig.total()
    ]])
  end)

  it("shares what is nobody's stack", function()
    assert.equal(2, run [[
      local function counter()
        local n = 0
        return function() n = n + 1 return n end
      end
      local count = counter()
      rig.detached:get("shared", function() return count() end)
      return count()
    ]])
  end)

  it("has functions that go on to agree about their variables", function()
    assert.same({ 3, 3 }, run [[
      local n = 0
      local function add(by) n = n + by end
      local function read() return n end
      return (rig.detached:get("agree", function()
        add(1)
        add(2)
        return { read(), n }
      end))
    ]])
  end)

  it("has functions that call themselves, and each other", function()
    assert.equal("even", run [[
      local odd
      local function even(n) return n == 0 and "even" or odd(n - 1) end
      function odd(n) return n == 0 and "odd" or even(n - 1) end
      return (rig.detached:get("even", function() return even(10) end))
    ]])
  end)

  it("reads what it captured, when its request was cut off and others ran", function()
    cut_off [[
      local first, second, third = "1", "2", nil
      rig.cut_off(function()
        local inner = "3"
        rig.detached:get("captured", function()
          rig.wait()
          return first .. second .. inner .. tostring(third)
        end)
      end)
    ]]
    run_others()
    assert.equal("123nil", value_of("detached", "captured"))
  end)

  it("reads what functions captured that it has captured", function()
    cut_off [[
      rig.cut_off(function()
        local name, depth = "own", 3
        local function deeper(n)
          if n == 0 then return name end
          return deeper(n - 1) .. n
        end
        local function all() return deeper(depth) end
        rig.detached:get("functions", function() rig.wait() return all() end)
      end)
    ]]
    run_others()
    assert.equal("own123", value_of("detached", "functions"))
  end)

  it("reads what it captured, as the loader of a batch", function()
    cut_off [[
      rig.cut_off(function()
        local mark = "own "
        rig.detached:get_many({ "a", "b" }, function(keys)
          rig.wait()
          local map = {}
          for _, key in ipairs(keys) do map[key] = mark .. key end
          return map
        end)
      end)
    ]]
    run_others()
    assert.equal("own a", value_of("detached", "a"))
    assert.equal("own b", value_of("detached", "b"))
  end)

  it("reads what it captured, behind an old value", function()
    run "rig.stale:set('k', 'old') ngx.sleep(0.2)"
    cut_off [[
      rig.cut_off(function()
        local value = "own"
        local old, _, source = rig.stale:get("k", function() rig.wait() return value, nil, 60 end)
        assert(old == "old" and source == "stale")
      end)
    ]]
    run_others()
    socket.sleep(0.5)
    assert.equal("own", value_of("stale", "k", "old"))
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev
-- Two workers of nginx and a process with a loop share a cache, write, delete and invalidate at
-- random, and the server is killed in between: no reader may get a value older than what was
-- confirmed before it asked. See spec/support/drill.lua.
local drill = require "spec.support.drill"
local fleet = require "spec.support.fleet"
local nginx = require "spec.support.nginx"
local redis = require "spec.support.redis"

local IN_NGINX = [[
  local function gather(jobs)
    local running = {}
    for i, job in ipairs(jobs) do running[i] = ngx.thread.spawn(job) end
    for i = 1, #jobs do assert(ngx.thread.wait(running[i])) end
  end
  local a, b, me, seconds = ...
  return require("spec.support.drill").run(a, b, me, seconds,
    { client = "perigee.client.redis_ngx", sleep = ngx.sleep, gather = gather })
]]

local missing = nginx.missing()
local it = missing and function(name) pending(name .. " (" .. missing .. ")") end or it

describe("memories of nginx' workers and of other processes", function()
  after_each(function()
    fleet.clean()
    nginx.clean()
    redis.clean()
  end)

  it("never hold what a confirmed write has replaced, whatever the server goes through", function()
    local server, truth, seconds = redis.start(), redis.start(), 6
    local web = nginx.start { workers = 2, timeout = seconds + 90 }
    local process = fleet.start(drill.PROGRAM, server.unix, truth.unix, 3, seconds, "tasks")
    local drills = {}
    for i = 1, 2 do
      drills[i] = web:begin_lua(i - 1, IN_NGINX, server.unix, truth.unix, i, seconds)
    end
    redis.eventually(function() return false end, 1)
    server:restart()
    local output = fleet.output(process, seconds + 90)
    assert.matches("done\n$", output)
    assert.is_nil(output:find "STALE", output)
    local sums = {}
    for i = 1, 2 do
      local counts, stale = drills[i]:values()
      assert.same({}, stale)
      for name, count in pairs(counts) do sums[name] = (sums[name] or 0) + count end
    end
    for name, least in pairs { reads = 1000, writes = 200, memory = 50, remote = 50, loads = 50,
      refused = 1 } do
      assert.is_true(sums[name] >= least, ("only %d %s"):format(sums[name], name))
    end
    assert.is_true(sums.refused < sums.writes / 2)
  end)
end)

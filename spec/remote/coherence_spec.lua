-- SPDX-License-Identifier: MIT
-- suites: dev asan
-- Four processes share a cache, write, delete and invalidate at random, and the server is killed in
-- between: no reader may get a value older than what was confirmed before it asked. See
-- spec/support/drill.lua.
local drill = require "spec.support.drill"
local fleet = require "spec.support.fleet"
local redis = require "spec.support.redis"

describe("memories of several processes", function()
  teardown(function()
    fleet.clean()
    redis.clean()
  end)

  it("never hold what a confirmed write has replaced, whatever the server goes through", function()
    local server, truth, seconds = redis.start(), redis.start(), 6
    local processes = {}
    for i = 1, 4 do
      processes[i] = fleet.start(drill.PROGRAM, server.unix, truth.unix, i, seconds,
        i == 4 and "plain" or "tasks")
    end
    redis.eventually(function() return false end, 1)
    server:restart()
    local sums = {}
    for i = 1, 4 do
      local output = fleet.output(processes[i], seconds + 90)
      assert.matches("done\n$", output)
      assert.is_nil(output:find "STALE", output)
      for name, count in output:gmatch "(%w+)=(%d+)" do
        sums[name] = (sums[name] or 0) + tonumber(count)
      end
    end
    for name, least in pairs { reads = 1000, writes = 300, memory = 100, remote = 100, loads = 100,
      refused = 1 } do
      assert.is_true(sums[name] >= least, ("only %d %s"):format(sums[name], name))
    end
    assert.is_true(sums.refused < sums.writes / 2)
  end)
end)

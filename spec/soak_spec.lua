-- SPDX-License-Identifier: MIT
-- suites: dev asan
-- Four processes with caches on all levels for a while (PERIGEE_SOAK_SECONDS; 15, with
-- PERIGEE_LONG ten minutes), while the Redis that they share is killed, stopped, emptied, filled
-- and cut off, one of them is killed over and over, calls are cancelled, loaders fail and hang, and
-- wall clocks step. In the end no call has been lost, no read was stale, and memory is as it was.
local disk = require "spec.support.disk"
local files = require "spec.support.files"
local fleet = require "spec.support.fleet"
local perigee = require "perigee"
local random = require "spec.support.random"
local redis = require "spec.support.redis"

local SECONDS = tonumber(os.getenv "PERIGEE_SOAK_SECONDS")
  or os.getenv "PERIGEE_LONG" and 600 or 15
local PROCESSES, MORTAL = 4, 4 -- the last one is killed
local SANITIZED = os.getenv "PERIGEE_PRESET" == "asan" -- which holds back what was freed
local PROGRAM = files.read "spec/support/soak.lua"

local next_random = random.generator(os.time() % 2 ^ 31 + 1)

local FAULTS = {
  function(server) server:restart() end,
  function(server)
    server:kill()
    perigee.sleep(next_random(1500) / 1000)
    server:start()
  end,
  function(server)
    server:pause()
    perigee.sleep(next_random(1200) / 1000)
    server:resume()
  end,
  function(server) server:cli "flushall" end,
  function(server) server:cli("client", "kill", "type", "normal") end,
  function(server) server:cli("client", "kill", "type", "pubsub") end,
  function(server)
    server:cli("config", "set", "maxmemory", "1mb")
    perigee.sleep(next_random(500) / 1000)
    server:cli("config", "set", "maxmemory", "0")
  end,
}

describe("four processes in all kinds of trouble", function()
  local server, truth, processes, outputs, lives

  local function begin(i, seconds)
    return fleet.start(PROGRAM, server.unix, truth.unix, ("%s/%d.db"):format(disk.folder(), i), i,
      seconds)
  end

  local function soak()
    local ends = os.time() + SECONDS
    for i = 1, PROCESSES do processes[i] = begin(i, SECONDS) end
    while os.time() < ends - 2 do
      perigee.sleep(0.5 + next_random(2500) / 1000)
      FAULTS[next_random(#FAULTS) + 1](server)
      if next_random(2) == 0 then
        outputs[#outputs + 1] = fleet.printed(processes[MORTAL])
        fleet.finish(processes[MORTAL])
        processes[MORTAL] = begin(MORTAL, math.max(1, ends - os.time()))
        lives = lives + 1
      end
    end
    for i = 1, PROCESSES do outputs[#outputs + 1] = fleet.output(processes[i], 120) end
  end

  setup(function()
    processes, outputs, lives = {}, {}, 0
    server, truth = redis.start(), redis.start()
    soak()
  end)
  teardown(function()
    fleet.clean()
    redis.clean()
    disk.clean()
  end)

  -- Of those that came to their end.
  local function sum(name)
    local total = 0
    for _, output in ipairs(outputs) do
      total = total + (tonumber(output:match("COUNT " .. name .. " (%d+)")) or 0)
    end
    return total
  end

  it("come to their end", function()
    for i = #outputs - PROCESSES + 1, #outputs do assert.matches("done\n$", outputs[i]) end
    print(("%d s: %d calls, %d reads (%d memory, %d remote, %d load, %d wait), %d writes (%d "
      .. "refused), %d cancels, %d saves, %d clock steps, %d lives"):format(SECONDS, sum "begun",
      sum "reads", sum "memory", sum "remote", sum "load", sum "wait", sum "writes", sum "refused",
      sum "cancelled", sum "saves", sum "steps", lives))
    for name, least in pairs { reads = 100, memory = 20, load = 20, writes = 20, cancelled = 5 } do
      assert.is_true(sum(name) >= least * SECONDS / 15, ("only %d %s"):format(sum(name), name))
    end
  end)

  it("lose no call", function()
    for _, output in ipairs(outputs) do assert.is_nil(output:match "LOST[^\n]*") end
    assert.equal(0, sum "lost")
    assert.equal(sum "begun", sum "ended")
  end)

  it("read nothing older than they may", function()
    for _, output in ipairs(outputs) do assert.is_nil(output:match "STALE[^\n]*") end
    assert.equal(0, sum "stale")
  end)

  -- From the second rest on: the first one is before everything has its size.
  it("need no more memory in the end than early on", function()
    for i = 1, PROCESSES - 1 do
      local rests = {}
      for resident, heap in outputs[#outputs - PROCESSES + i]:gmatch "MEMORY %d+ (%d+) (%d+) %d+" do
        rests[#rests + 1] = { resident = tonumber(resident), heap = tonumber(heap) }
      end
      local early, last = rests[2], rests[#rests]
      print(("process %d: resident %d KiB early, %d at the end; Lua's heap %d, %d"):format(i,
        early.resident, last.resident, early.heap, last.heap))
      assert.is_true(last.heap < early.heap * 1.25 + 512, "Lua's heap has grown")
      assert.is_true(SANITIZED or last.resident < early.resident * 1.25 + 8192,
        "the process has grown")
    end
  end)
end)

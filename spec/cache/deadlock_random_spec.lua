-- SPDX-License-Identifier: MIT
-- Random nets of loads that need each other, in every way a loader can wait.
local perigee = require "perigee"
local logged = require "spec.support.logged"
local random = require "spec.support.random"
local tasks = require "spec.support.tasks"

local SEED = 77

-- The ways in which a load may ask for the keys it needs.
local ways = {
  function(net, needs)
    for _, key in ipairs(needs) do
      net:get(key)
    end
  end,
  function(net, needs)
    local fns = {}
    for i, key in ipairs(needs) do
      fns[i] = function() return net:get(key) end
    end
    perigee.gather(fns)
  end,
  function(net, needs)
    local started = {}
    for i, key in ipairs(needs) do
      started[i] = perigee.spawn(net.get, net, key)
    end
    for _, task in ipairs(started) do
      task:wait()
    end
  end,
  function(net, needs)
    for _, key in ipairs(needs) do
      assert(perigee.timeout(1000, net.get, net, key))
    end
  end,
  function(net, needs)
    perigee.run(function()
      for _, key in ipairs(needs) do
        net:get(key)
      end
    end)
  end,
  function(net, needs)
    for _, key in ipairs(needs) do
      perigee.wrap(function() net:get(key) end)()
    end
  end,
  function(net, needs)
    local _, errors = net.caches[1]:get_many(needs, { loader = net.loader })
    assert(not errors)
  end,
}

local function level_of(key)
  return math.floor((key - 1) / 10)
end

local function new_net(dice, size, need)
  local net = {
    needs = {}, caches = { perigee.new { maxsize = 1000 }, perigee.new() }, batch_loaders = {},
  }

  local function work(key)
    perigee.sleep(dice(4) * 0.001)
    local way = key % #ways + 1
    ways[way](net, net.needs[key])
    perigee.sleep(dice(3) * 0.001)
    return "value " .. key
  end

  function net.loader(key)
    return work(key)
  end

  -- A batch waits for all that its keys need: one batch loader for every ten keys.
  local function new_batch_loader()
    return function(keys)
      local map = {}
      for _, key in ipairs(keys) do
        map[key] = work(key)
      end
      return map
    end
  end

  function net:get(key)
    local cache = self.caches[key % 2 + 1]
    if key % 5 == 0 then
      local level = level_of(key)
      self.batch_loaders[level] = self.batch_loaders[level] or new_batch_loader()
      return cache:get(key, { batch_loader = self.batch_loaders[level] })
    end
    return cache:get(key, self.loader)
  end

  for key = 1, size do
    net.needs[key] = {}
    for i = 1, dice(4) do
      net.needs[key][i] = need(key)
    end
  end
  return net
end

local function ask_all(dice, net, size)
  local jobs = tasks.start_many(size, function()
    local key = dice(size) + 1
    perigee.sleep(dice(10) * 0.001)
    return net:get(key) == "value " .. key
  end)
  tasks.finish(jobs)
  return jobs
end

describe(("a random net of loads, seed %d,"):format(SEED), function()
  it("without a cycle is loaded, whatever waits for whatever", tasks.virtual(function()
    local dice = random.generator(SEED)
    for _ = 1, 60 do
      local size = 5 + dice(30)
      local net = new_net(dice, size, function(key)
        return key > 10 and dice(level_of(key) * 10) + 1 or nil
      end)
      for _, job in ipairs(ask_all(dice, net, size)) do
        assert.is_true(job.ok, tostring(job[1]))
        assert.is_true(job[1])
      end
    end
  end))

  it("with cycles in it leaves nobody waiting", tasks.virtual(function()
    local dice, told, answered = random.generator(SEED), 0, 0
    logged(function()
      for _ = 1, 150 do
        local size = 3 + dice(20)
        local net = new_net(dice, size, function() return dice(size) + 1 end)
        for _, job in ipairs(ask_all(dice, net, size)) do
          if job.ok then
            answered = answered + 1
          else
            assert.is_truthy(tostring(job[1]):find("deadlock", 1, true), tostring(job[1]))
            told = told + 1
          end
        end
      end
    end)
    assert.is_true(told > 100, tostring(told))
    assert.is_true(answered > 100, tostring(answered))
  end))

  it("with cycles, of which some members are cancelled, leaves nobody waiting",
    tasks.virtual(function()
      local dice = random.generator(SEED)
      logged(function()
        for _ = 1, 80 do
          local size = 3 + dice(20)
          local net = new_net(dice, size, function() return dice(size) + 1 end)
          local jobs = tasks.start_many(size, function(i) return net:get(i) end)
          tasks.pass(0.002)
          for i = 1, size, 3 do
            jobs[i].task:cancel()
          end
          tasks.finish(jobs)
          tasks.pass(0.1)
        end
      end)
    end))
end)

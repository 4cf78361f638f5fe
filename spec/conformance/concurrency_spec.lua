-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function all_ended_well(jobs)
  for _, job in ipairs(jobs) do
    assert.is_true(job.ok, tostring(job[1]))
  end
end

-- Spreads the tasks over a few milliseconds.
local function stagger(i)
  perigee.sleep(0.001 * (i * 7 % 11))
end

describe("conformance: concurrency", function()
  it("51. five hundred sets and five hundred gets of a hundred keys raise nothing",
    tasks.virtual(function()
      local cache = perigee.new { maxsize = 50 }
      all_ended_well(tasks.together(1000, function(i)
        stagger(i)
        local key = "key" .. i % 100
        if i % 2 == 0 then
          cache:set(key, i)
        else
          local value = cache:get(key)
          assert(value == nil or value % 100 == i % 100)
        end
      end))
    end))

  it("52. clears from ten tasks during five hundred gets raise nothing",
    tasks.virtual(function()
      local cache = perigee.new()
      local loader = tasks.slow(0.003, function(key) return key end)
      all_ended_well(tasks.together(510, function(i)
        stagger(i)
        if i % 51 == 0 then
          cache:clear()
        else
          assert(cache:get("key" .. i % 20, loader) == "key" .. i % 20)
        end
      end))
    end))

  it("53. a thousand mixed operations raise nothing and all end", tasks.virtual(function()
    local cache = perigee.new { maxsize = 40 }
    local loader = tasks.slow(0.002, function(key) return key end)
    local operations = {
      function(key) cache:set(key, key) end,
      function(key) cache:get(key) end,
      function(key) cache:delete(key) end,
      function() cache:get_metrics() end,
      function(key) assert(cache:get(key, loader) == key) end,
    }
    local jobs = tasks.together(1000, function(i)
      stagger(i)
      operations[i % 5 + 1]("key" .. i % 60)
    end)
    assert.are.equal(1000, #jobs)
    all_ended_well(jobs)
    assert.is_true(cache:get_metrics().size <= 40)
  end))

  it("54. a hundred readers and writers with clears among them raise nothing",
    tasks.virtual(function()
      local cache = perigee.new()
      all_ended_well(tasks.together(100, function(i)
        for round = 1, 10 do
          stagger(i + round)
          if i % 10 == 0 then
            cache:clear()
          elseif i % 2 == 0 then
            cache:set(round, i)
          else
            cache:get(round)
          end
        end
      end))
    end))

  it("55. fifty accesses during ten clears raise nothing", tasks.virtual(function()
    local cache = perigee.new()
    all_ended_well(tasks.together(60, function(i)
      if i % 6 == 0 then
        stagger(i)
        cache:clear()
        return
      end
      cache:set(i, i)
      stagger(i)
      local value = cache:get(i)
      assert(value == nil or value == i)
    end))
    cache:set("after", 1)
    assert.are.equal(1, (cache:get("after")))
  end))
end)

-- SPDX-License-Identifier: MIT
-- suites: dev hard
-- What would hang the whole run if it were broken, each in a process of its own.
local script = require "spec.support.script"

local prelude = [[
local perigee = require "perigee"
local cache = perigee.new()
local function slow(seconds, value)
  return function() perigee.sleep(seconds) return value end
end
]]

local function runs(code, wanted, deadline_s)
  local output, status = script(prelude .. code, deadline_s)
  assert.are.equal(0, status, output)
  assert.is_truthy(output:find(wanted, 1, true), output)
  return output
end

describe("a task that swallows its cancellation", function()
  for name, wait in pairs {
    ["perigee.sleep"] = "perigee.sleep(10)",
    ["a get that waits"] = "cache:get('k', slow(1000))",
    ["a get_many that waits"] = "cache:get_many({ 'k' }, { batch_loader = slow(1000) })",
    ["a batch"] = "cache:get('k', { batch_loader = slow(1000) })",
    ["a refresh"] = "cache:refresh('k', slow(1000))",
    ["a warmup"] = "cache:warmup { k = slow(1000) }",
    ["gather"] = "perigee.gather { function() perigee.sleep(10) end }",
    ["task:wait"] = "perigee.spawn(perigee.sleep, 10):wait()",
  } do
    it("for ever in " .. name .. " does not hold up the end of the run", function()
      runs(([[
        perigee.run(function()
          local task = perigee.spawn(function()
            while true do
              pcall(function() %s end)
            end
          end)
          perigee.sleep(0.01)
          task:cancel()
          perigee.sleep(0.01)
          print("main goes on")
        end)
        print("run has ended")
      ]]):format(wait), "main goes on\nrun has ended")
    end)
  end

  it("does not hold up perigee.timeout, gather or a scope for longer than the grace", function()
    runs([[
      local function stubborn()
        while true do
          pcall(perigee.sleep, 100)
        end
      end
      perigee.run(function()
        local started = perigee.now()
        print(perigee.timeout(0.01, stubborn))
        print(pcall(perigee.gather, { stubborn, function() error("fails", 0) end }))
        perigee.run(function() perigee.spawn(stubborn) end)
        print(perigee.now() - started < 30 and "in time" or "too late")
      end)
      print("run has ended")
    ]], "in time")
  end)
end)

describe("a loader that never ends", function()
  for name, forever in pairs {
    ["by sleeping"] = "while true do perigee.sleep(0.001) end",
    ["by sleeping for no time"] = "while true do perigee.sleep(0) end",
    ["by swallowing its cancellation"] = "while true do pcall(perigee.sleep, 1) end",
    ["in one long sleep"] = "perigee.sleep(math.huge)",
  } do
    it(name .. " hinders neither other tasks nor the end of the run", function()
      runs(([[
        local timed = perigee.new { load_timeout = 0.02 }
        perigee.run(function()
          local function forever() %s end
          perigee.spawn(function() cache:get("k", forever) end)
          print((select(2, timed:get("k", forever))))
          print(cache:get("other", slow(0.01, "fine")))
        end)
        print("run has ended")
        perigee.run(function()
          print("again", (cache:get("k", slow(0.001, "new"))))
        end)
      ]]):format(forever), "timeout\nfine\tnil\tload\nrun has ended\nagain\tnew")
    end)
  end

  it("by yielding for ever hinders neither other tasks nor the end of the run", function()
    runs([[
      local timed = perigee.new { load_timeout = 0.02 }
      perigee.run(function()
        local function forever() while true do coroutine.yield() end end
        local function told(cache)
          local ok, value, err = pcall(cache.get, cache, "k", forever)
          assert(not ok or value == nil and err ~= nil, "a value?")
        end
        perigee.spawn(told, cache)
        told(timed)
        print((cache:get("other", slow(0.01, "fine"))))
      end)
      print("run has ended")
    ]], "fine\nrun has ended")
  end)
end)

describe("an on_evict that never returns", function()
  for name, forever in pairs {
    ["by sleeping"] = "perigee.sleep(1000)",
    ["by swallowing its cancellation"] = "while true do pcall(perigee.sleep, 1) end",
  } do
    it(name .. " hinders neither the end of the run nor what is told after it", function()
      runs(([[
        local told, stuck = {}, true
        local cache = perigee.new { maxsize = 1, on_evict = function(key)
          told[#told + 1] = key
          if stuck then
            stuck = false
            %s
          end
        end }
        perigee.run(function()
          cache:set("a", 1)
          perigee.spawn(cache.set, cache, "b", 2)
          perigee.sleep(0.001)
          cache:set("c", 3)
          assert(cache:get("c") == 3)
        end)
        perigee.run(function()
          cache:set("d", 4)
          perigee.sleep(0)
        end)
        cache:set("e", 5)
        print(table.concat(told, " "))
      ]]):format(forever), "a b c d")
    end)
  end
end)

describe("cancelling", function()
  it("a task inside a load's loader does not cancel the load", function()
    runs([[
      perigee.run(function()
        local inner
        local function loader()
          inner = perigee.spawn(perigee.sleep, 1000)
          perigee.sleep(0.01)
          return "v"
        end
        local task = perigee.spawn(cache.get, cache, "k", loader)
        inner:cancel()
        print("value", (task:wait()))
      end)
    ]], "value\tv")
  end)

  it("a caller who then asks again, shielded, gets the value", function()
    runs([[
      perigee.run(function()
        local task = perigee.spawn(function()
          local ok, err = pcall(cache.get, cache, "k", slow(1, "v"))
          print(ok, err)
          print(pcall(cache.get, cache, "k", slow(0.02, "v")))
          print(perigee.shield(function() return (cache:get("k", slow(0.02, "v"))) end))
          print("memory", (cache:get("k")))
        end)
        perigee.sleep(0.001)
        task:cancel()
        pcall(task.wait, task)
      end)
    ]], "false\tcancelled\nfalse\tcancelled\nv\nmemory\tv")
  end)

  it("a caller who has not begun to wait makes its first wait raise", function()
    runs([[
      perigee.run(function()
        local task
        task = perigee.spawn(function()
          perigee.sleep(0)
          task:cancel()
          print(pcall(cache.get, cache, "k", slow(0.01, "v")))
        end)
        perigee.sleep(0.05)
        print("kept", (cache:get("k")))
      end)
    ]], "false\tcancelled\nkept\t")
  end)

  it("many callers of many keys at random strands nobody", function()
    runs([[
      math.randomseed(9)
      perigee.run(function()
        local tasks, ended = {}, 0
        for i = 1, 2000 do
          tasks[i] = perigee.spawn(function()
            local key = "k" .. i % 50
            local ok, value = pcall(cache.get, cache, key, {
              loader = i % 2 == 0 and slow(0.005, key) or nil,
              batch_loader = i % 2 == 1 and function(keys)
                perigee.sleep(0.005)
                local map = {}
                for _, k in ipairs(keys) do map[k] = k end
                return map
              end or nil,
            })
            assert(ok and value == key or not ok and value == "cancelled")
            ended = ended + 1
          end)
          if i % 3 == 0 then tasks[math.random(i)]:cancel() end
          if i % 100 == 0 then cache:clear() end
          if i % 7 == 0 then perigee.sleep(0.0005) end
        end
        for i = 1, 2000 do pcall(tasks[i].wait, tasks[i]) end
        print("ended", ended)
      end)
    ]], "ended\t2000")
  end)
end)

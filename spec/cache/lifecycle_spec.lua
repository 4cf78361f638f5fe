-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local testing = require "perigee.testing"
local tasks = require "spec.support.tasks"

local function collect()
  for _ = 1, 4 do
    collectgarbage()
  end
end

-- Freed memory is kept back for a while where its misuse is looked for.
local can_measure = os.getenv("PERIGEE_PRESET") ~= "asan"

local function resident_kb()
  if not can_measure then
    return 0
  end
  local file = assert(io.open("/proc/self/statm"))
  local _, pages = file:read("*n", "*n")
  file:close()
  return pages * 4
end

local function make_and_drop(n)
  for i = 1, n do
    local cache = perigee.new {
      maxsize = i % 3 == 0 and math.huge or 100, policy = i % 2 == 0 and "lru" or "s3fifo",
      batch_window_ms = 0,
      on_evict = i % 5 == 0 and function() end or nil,
    }
    for key = 1, 5 do
      cache:set("key" .. key, { i }, { ttl = key == 1 and 1000 or nil, tags = { "t:" .. key } })
    end
    cache:get("loaded", function() return 1 end)
    cache:get("batched", { batch_loader = function() return { batched = i } end })
    cache:invalidate_tags("t:2")
  end
end

describe("ten thousand caches created and dropped", function()
  it("leave nothing behind in plain code", function()
    make_and_drop(1000)
    collect()
    local lua_kb, native_kb = collectgarbage("count"), resident_kb()
    make_and_drop(10000)
    collect()
    assert.is_true(collectgarbage("count") - lua_kb < 500,
      "Lua memory grew by " .. collectgarbage("count") - lua_kb .. " KB")
    assert.is_true(resident_kb() - native_kb < 30000,
      "resident memory grew by " .. resident_kb() - native_kb .. " KB")
  end)

  it("leave nothing behind inside a loop", function()
    testing.run(function()
      make_and_drop(500)
      collect()
      local before = collectgarbage("count")
      make_and_drop(2000)
      collect()
      assert.is_true(collectgarbage("count") - before < 500)
    end)
  end)

  it("are known to the collector by their native size", function()
    collect()
    local native_kb = resident_kb()
    for i = 1, 2000 do
      local cache = perigee.new { maxsize = 10000 }
      for key = 1, 10000, 100 do
        cache:set(key, i)
      end
    end
    assert.is_true(resident_kb() - native_kb < 400000,
      "resident memory grew by " .. resident_kb() - native_kb .. " KB")
  end)
end)

describe("one cache over its life", function()
  it("does not grow under constant churn", function()
    local cache = perigee.new { maxsize = 1000 }
    local function churn(from, n)
      for i = from, from + n do
        cache:set("key " .. i, { i }, i % 2 == 0 and 1000 or nil)
        if i % 3 == 0 then
          cache:delete("key " .. i - 50)
        elseif i % 1001 == 0 then
          cache:clear()
        end
      end
    end
    churn(0, 50000)
    collect()
    local lua_kb, native_bytes = collectgarbage("count"), cache:get_metrics().bytes
    churn(1000000, 300000)
    collect()
    assert.is_true(collectgarbage("count") - lua_kb < 500)
    assert.equal(native_bytes, cache:get_metrics().bytes)
  end)

  it("does not grow under loads that fail, are cancelled or are fenced", tasks.virtual(function()
    local cache = perigee.new { maxsize = 100 }
    local function round(n)
      for i = 1, n do
        local jobs = tasks.start_many(3, function(j)
          return cache:get("key " .. i % 7, function()
            perigee.sleep(0.001 * j)
            if i % 3 == 0 then
              error("away")
            end
            return i
          end)
        end)
        jobs[i % 3 + 1].task:cancel()
        cache:delete("key " .. i % 7)
        perigee.sleep(0)
        if i % 50 == 0 then
          tasks.pass(0.01)
        end
      end
      tasks.pass(0.1)
    end
    round(500)
    collect()
    local before = collectgarbage("count")
    round(3000)
    collect()
    assert.is_true(collectgarbage("count") - before < 300)
  end))

  it("grows back after a clear without holding what was there", function()
    local cache = perigee.new { maxsize = math.huge }
    collect()
    local empty = collectgarbage("count")
    for i = 1, 100000 do
      cache:set(i, {})
    end
    collect()
    local full = collectgarbage("count")
    cache:clear()
    perigee.run(function()
      for _ = 1, 3000 do
        perigee.sleep(0)
      end
    end)
    collect()
    assert.is_true(collectgarbage("count") - empty < (full - empty) / 2)
    for i = 1, 1000 do
      cache:set(i, i)
    end
    assert.are.equal(1000, cache:get_metrics().size)
  end)
end)

describe("virtual time", function()
  it("of many small steps adds up", tasks.virtual(function()
    local cache = perigee.new()
    cache:set("k", 1, 1)
    cache:set("l", 1, 1.003)
    local started = perigee.now()
    for _ = 1, 1001 do
      testing.advance(0.001)
    end
    assert.are.near(1.001, perigee.now() - started, 1e-6)
    assert.is_false(cache:contains("k"))
    assert.is_true(cache:contains("l"))
  end))

  it("wakes sleepers in the order of their times", tasks.virtual(function()
    local order = {}
    for _, seconds in ipairs { 0.3, 0.1, 0.2, 10, 5 } do
      perigee.spawn(function()
        perigee.sleep(seconds)
        order[#order + 1] = seconds
      end)
    end
    testing.advance(20)
    tasks.settle()
    assert.are.same({ 0.1, 0.2, 0.3, 5, 10 }, order)
  end))
end)

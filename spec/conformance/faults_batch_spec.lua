-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- A batch loader that takes `seconds`, doubles numbers and remembers what it was asked for.
local function doubling(seconds)
  local asked = {}
  return function(keys)
    local list = {}
    for i, key in ipairs(keys) do
      list[i] = key
    end
    asked[#asked + 1] = list
    perigee.sleep(seconds)
    local map = {}
    for _, key in ipairs(keys) do
      map[key] = key * 2
    end
    return map
  end, asked
end

describe("conformance: faults of batches, warmup and re-entry that must not be here", function()
  it("F16 a key is never twice in a batch", tasks.virtual(function()
    local cache = perigee.new()
    local batch_loader, asked = doubling(0.05)
    local jobs = tasks.together(9, function(i)
      return cache:get(i % 3, { batch_loader = batch_loader })
    end)
    for i, job in ipairs(jobs) do
      assert.are.equal(i % 3 * 2, job[1])
    end
    assert.are.equal(1, #asked)
    assert.are.equal(3, #asked[1])
  end))

  it("F16 a key that a batch is loading already is joined, not loaded again",
    tasks.virtual(function()
      local cache = perigee.new()
      local batch_loader, asked = doubling(0.1)
      local first = tasks.start(cache.get, cache, 1, { batch_loader = batch_loader })
      tasks.pass(0.05)
      local second = tasks.start(cache.get, cache, 1, { batch_loader = batch_loader })
      tasks.finish { first, second }
      assert.are.same({ { 1 } }, asked)
      assert.are.equal(2, second[1])
      assert.are.equal("wait", second[3])
    end))

  it("F16 batches of one cache run side by side", tasks.virtual(function()
    local cache = perigee.new { max_batch_size = 2 }
    local running, most = 0, 0
    local function batch_loader(keys)
      running = running + 1
      most = math.max(most, running)
      perigee.sleep(0.1)
      running = running - 1
      return { [keys[1]] = true, [keys[2]] = true }
    end
    local jobs = tasks.together(8, function(i)
      return cache:get(i, { batch_loader = batch_loader })
    end)
    for _, job in ipairs(jobs) do
      assert.is_true(job[1])
    end
    assert.are.equal(4, most)
  end))

  it("F16 a batch that left because it was full does not shorten the next one's window",
    tasks.virtual(function()
      local cache = perigee.new { max_batch_size = 2, batch_window_ms = 100 }
      local batch_loader, asked = doubling(0)
      local function ask(key)
        return tasks.start(cache.get, cache, key, { batch_loader = batch_loader })
      end
      local jobs = { ask(1) }
      tasks.pass(0.08)
      jobs[2] = ask(2)
      tasks.pass(0.01)
      jobs[3] = ask(3)
      tasks.pass(0.06)
      assert.are.equal(1, #asked)
      jobs[4] = ask(4)
      tasks.finish(jobs)
      assert.are.same({ { 1, 2 }, { 3, 4 } }, asked)
    end))

  it("F16 the error of one key fails only that key", tasks.virtual(function()
    local cache = perigee.new()
    local function batch_loader()
      perigee.sleep(0.01)
      return { good = 1 }, { bad = "no such row" }
    end
    local keys = { "good", "bad" }
    local jobs = tasks.together(2, function(i)
      return cache:get(keys[i], { batch_loader = batch_loader })
    end)
    assert.are.equal(1, jobs[1][1])
    assert.is_nil(jobs[1][2])
    assert.is_nil(jobs[2][1])
    assert.are.equal("no such row", jobs[2][2])
    assert.is_true(cache:contains("good"))
    assert.is_false(cache:contains("bad"))
  end))

  it("F24 warmup runs side by side, within its bound, and one failure stops nothing",
    tasks.virtual(function()
      local cache = perigee.new()
      local running, most, loaders = 0, 0, {}
      for i = 1, 20 do
        loaders[i] = function(key)
          running = running + 1
          most = math.max(most, running)
          perigee.sleep(0.1)
          running = running - 1
          if key == 7 then
            error("seven is broken", 0)
          end
          return key
        end
      end
      local job = tasks.start(cache.warmup, cache, loaders, { concurrency = 4 })
      tasks.finish(job)
      assert.is_true(job.ok)
      assert.is_nil(job[1])
      assert.are.same({ [7] = "seven is broken" }, job[2])
      assert.are.equal(4, most)
      assert.are.equal(19, cache:get_metrics().size)
    end))

  it("F24 a warmup loader that hangs is bounded by load_timeout", tasks.virtual(function()
    local cache = perigee.new { load_timeout = 0.5 }
    local job = tasks.start(cache.warmup, cache, {
      hangs = function() perigee.sleep(1000) end,
      works = function() return 1 end,
    })
    tasks.pass(0.7)
    assert.is_true(job.done)
    assert.are.same({ hangs = "timeout" }, job[2])
    assert.are.equal(1, (cache:get("works")))
  end))

  it("F25 a loader that asks for its own key is told so", tasks.virtual(function()
    local cache = perigee.new()
    local function loader(key)
      return cache:get(key, loader)
    end
    local ok, err = pcall(cache.get, cache, "own key", loader)
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("own key", 1, true))
  end))

  it("F25 a loader that hangs fails for its callers after load_timeout and frees its key",
    tasks.virtual(function()
      local cache = perigee.new { load_timeout = 0.5 }
      local job = tasks.start(cache.get, cache, "key", (tasks.slow(1000, "late")))
      tasks.pass(0.6)
      assert.is_true(job.done)
      assert.is_true(job.ok)
      assert.is_nil(job[1])
      assert.are.equal("timeout", job[2])
      assert.are.equal("now", (cache:get("key", function() return "now" end)))
    end))
end)

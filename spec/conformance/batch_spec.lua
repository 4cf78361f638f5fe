-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- A batch loader that takes 0.05 s and answers with a list in the order of the keys.
local function list_loader()
  local sizes = {}
  return function(keys)
    sizes[#sizes + 1] = #keys
    perigee.sleep(0.05)
    local list = {}
    for i, key in ipairs(keys) do
      list[i] = "value " .. key
    end
    return perigee.aligned(list)
  end, sizes
end

local function ask(cache, n, batch_loader)
  local jobs = tasks.together(n, function(i)
    return cache:get(i, { batch_loader = batch_loader })
  end)
  for i, job in ipairs(jobs) do
    assert.is_true(job.ok)
    assert.are.equal("value " .. i, job[1])
  end
end

describe("conformance: batch", function()
  it("35. three keys asked for at once are one call of the batch loader",
    tasks.virtual(function()
      local batch_loader, sizes = list_loader()
      ask(perigee.new(), 3, batch_loader)
      assert.are.same({ 3 }, sizes)
    end))

  it("36. five keys within the window are one call", tasks.virtual(function()
    local batch_loader, sizes = list_loader()
    ask(perigee.new { batch_window_ms = 10 }, 5, batch_loader)
    assert.are.same({ 5 }, sizes)
  end))

  it("36. five keys within the window are one call (on the real loop)", tasks.real(function()
    local batch_loader, sizes = list_loader()
    ask(perigee.new { batch_window_ms = 10 }, 5, batch_loader)
    assert.are.same({ 5 }, sizes)
  end))

  it("37. seven keys with batches of at most three are calls of 3, 3 and 1",
    tasks.virtual(function()
      local batch_loader, sizes = list_loader()
      ask(perigee.new { max_batch_size = 3 }, 7, batch_loader)
      assert.are.same({ 3, 3, 1 }, sizes)
    end))

  it("38. a batch loader may return a map by key", tasks.virtual(function()
    local cache = perigee.new()
    local jobs = tasks.together(3, function(i)
      return cache:get("key" .. i, { batch_loader = function(keys)
        local map = {}
        for _, key in ipairs(keys) do
          map[key] = key:upper()
        end
        return map
      end })
    end)
    for i, job in ipairs(jobs) do
      assert.are.equal("KEY" .. i, job[1])
    end
  end))

  it("39. what a batch loader raises reaches all three callers", tasks.virtual(function()
    local cache, object = perigee.new(), { "broken" }
    local function batch_loader()
      perigee.sleep(0.05)
      error(object)
    end
    local jobs = tasks.together(3, function(i)
      return cache:get(i, { batch_loader = batch_loader })
    end)
    for _, job in ipairs(jobs) do
      assert.is_false(job.ok)
      assert.are.equal(object, job[1])
    end
  end))

  it("40. a hundred keys in batches of at most fifty are right with far fewer calls",
    tasks.virtual(function()
      local batch_loader, sizes = list_loader()
      ask(perigee.new { max_batch_size = 50 }, 100, batch_loader)
      assert.is_true(#sizes < 100)
      assert.are.same({ 50, 50 }, sizes)
    end))
end)

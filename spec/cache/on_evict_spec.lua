-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"
local logged = require "spec.support.logged"

local function recorded(opts)
  local gone = {}
  opts = opts or {}
  opts.on_evict = function(...)
    gone[#gone + 1] = { n = select("#", ...), ... }
  end
  return perigee.new(opts), gone
end

local function is(gone, ...)
  assert.are.equal(select("#", ...), #gone)
  for i, wanted in ipairs { ... } do
    assert.are.same({ n = 3, wanted[1], wanted[2], wanted[3] }, gone[i])
  end
end

describe("on_evict is told of", function()
  it("an entry that made room: size", function()
    local cache, gone = recorded { maxsize = 2, policy = "lru" }
    cache:set("a", 1)
    cache:set("b", 2)
    cache:set("c", 3)
    is(gone, { "a", 1, "size" })
  end)

  it("entries that a smaller bound pushed out: size", function()
    local cache, gone = recorded { maxsize = 3, policy = "lru" }
    cache:set_many { a = 1, b = 2, c = 3 }
    cache:resize(1)
    assert.are.equal(2, #gone)
    assert.are.equal("size", gone[1][3])
  end)

  it("an entry that expired, without anybody asking for it: expired", tasks.virtual(function()
    local cache, gone = recorded { default_ttl = 1 }
    cache:set("a", 1)
    tasks.pass(5)
    is(gone, { "a", 1, "expired" })
    cache:get("a")
    tasks.pass(5)
    assert.are.equal(1, #gone)
  end))

  it("an entry that expired, on the real loop: expired", tasks.real(function()
    local cache, gone = recorded { default_ttl = 0.01 }
    cache:set("a", 1)
    while not gone[1] do tasks.pass(0.01) end
    is(gone, { "a", 1, "expired" })
  end))

  it("a value that a set replaced: replaced", function()
    local cache, gone = recorded()
    cache:set("a", 1)
    cache:set("a", 2)
    cache:set("a", nil)
    cache:set("a", 3)
    assert.are.equal(3, #gone)
    is({ gone[1], gone[2] }, { "a", 1, "replaced" }, { "a", 2, "replaced" })
    assert.are.same({ n = 3, "a", nil, "replaced" }, gone[3])
  end)

  it("a value that a load replaced: replaced", function()
    local cache, gone = recorded()
    cache:set("a", 1)
    cache:refresh("a", function() return 2 end)
    is(gone, { "a", 1, "replaced" })
  end)

  it("a value that was deleted: deleted", function()
    local cache, gone = recorded()
    cache:set("a", 1)
    cache:delete("a")
    cache:delete("a")
    is(gone, { "a", 1, "deleted" })
  end)

  it("values that were cleared: cleared", tasks.virtual(function()
    local cache, gone = recorded()
    cache:set("a", 1)
    cache:set("b", 2)
    cache:clear()
    tasks.pass(1)
    table.sort(gone, function(x, y) return x[1] < y[1] end)
    is(gone, { "a", 1, "cleared" }, { "b", 2, "cleared" })
  end))

  it("values that a tag forgot: invalidated", tasks.virtual(function()
    local cache, gone = recorded()
    cache:set("a", 1, { tags = { "t" } })
    cache:set("b", 2, { tags = { "u" } })
    cache:invalidate_tags("t")
    tasks.pass(1)
    is(gone, { "a", 1, "invalidated" })
  end))

  it("a load's value that came too late: rejected", tasks.virtual(function()
    local cache, gone = recorded()
    local job = tasks.start(cache.get, cache, "a", (tasks.slow(0.1, "old")))
    tasks.settle()
    cache:set("a", "written")
    tasks.finish(job)
    is(gone, { "a", "old", "rejected" })
  end))

  it("a refresh that a newer one outran: rejected", tasks.virtual(function()
    local cache, gone = recorded()
    local jobs = {
      tasks.start(cache.refresh, cache, "a", (tasks.slow(0.2, "older"))),
      tasks.start(cache.refresh, cache, "a", (tasks.slow(0.1, "newer"))),
    }
    tasks.finish(jobs)
    is(gone, { "a", "older", "rejected" })
  end))

  it("nothing when an entry is read, touched or found absent", function()
    local cache, gone = recorded()
    cache:set("a", 1)
    cache:get("a")
    cache:touch("a", 100)
    cache:peek("a")
    cache:get("absent")
    cache:add("a", 2)
    assert.are.equal(0, #gone)
  end)

  for _, policy in ipairs { "lru", "fifo", "sieve", "s3fifo" } do
    it("every value that ever left, exactly once (" .. policy .. ")", tasks.virtual(function()
      math.randomseed(11)
      local cache, gone = recorded { maxsize = 50, policy = policy }
      local put = 0
      for _ = 1, 5000 do
        local key, dice = math.random(120), math.random(100)
        if dice <= 60 then
          put = put + 1
          cache:set(key, put, { ttl = math.random(2) == 1 and math.random() + 0.01 or nil,
            tags = math.random(3) == 1 and { "t:" .. math.random(5) } or nil })
        elseif dice <= 75 then
          cache:get(key)
        elseif dice <= 85 then
          cache:delete(key)
        elseif dice <= 90 then
          cache:invalidate_tags("t:" .. math.random(5))
        elseif dice <= 95 then
          tasks.pass(0.05)
        elseif dice <= 96 then
          cache:clear()
        else
          cache:resize(math.random(40, 60))
        end
      end
      tasks.pass(10)
      local seen = {}
      for _, notice in ipairs(gone) do
        assert.is_nil(seen[notice[2]], "told twice")
        seen[notice[2]] = true
      end
      for key, value in cache:entries() do
        assert.is_nil(seen[value], "told, but still there: " .. key)
        seen[value] = true
      end
      for value = 1, put do
        assert.is_true(seen[value], "left without a word: " .. value)
      end
    end))
  end
end)

describe("on_evict", function()
  it("that raises is logged and breaks nothing", tasks.virtual(function()
    local object = setmetatable({}, { __tostring = function() return "an odd error" end })
    for _, err in ipairs { "broken handler", object, false } do
      local cache = perigee.new { maxsize = 1, on_evict = function() error(err) end }
      local lines = logged(function()
        cache:set("a", 1)
        assert.is_true(cache:set("b", 2))
        assert.are.equal(3, (cache:get("c", function() return 3 end)))
        cache:delete("c")
        cache:set("d", 4, 0.1)
        tasks.pass(1)
        cache:set("e", 5)
        cache:clear()
        tasks.pass(1)
      end)
      assert.is_true(#lines >= 4)
      if err then
        assert.is_truthy(lines[1].text:find(tostring(err), 1, true), lines[1].text)
      end
      cache:set("f", 6)
      assert.are.equal(6, (cache:get("f")))
    end
  end))

  it("sees a consistent cache: its entry is gone, the new one is not half there", function()
    local cache, checked
    cache = perigee.new { maxsize = 2, policy = "lru", on_evict = function(key, value)
      checked = { key, value, cache:contains(key), cache:get_metrics().size <= 2 }
    end }
    cache:set("a", 1)
    cache:set("b", 2)
    cache:set("c", 3)
    assert.are.same({ "a", 1, false, true }, checked)
    assert.are.equal(3, (cache:get("c")))
  end)

  for name, call in pairs {
    ["set the key again"] = function(cache, key, value) cache:set(key, value) end,
    ["set other keys"] = function(cache, key) cache:set("from " .. key, 1) end,
    ["delete other keys"] = function(cache) cache:delete("k2") end,
    ["clear"] = function(cache) cache:clear() end,
    ["get"] = function(cache, key) cache:get(key) end,
    ["load the key again"] = function(cache, key) cache:get(key, function() return "again" end) end,
    ["load the key again, waiting"] = function(cache, key)
      cache:get(key, function()
        perigee.sleep(0.01)
        return "again"
      end)
    end,
    ["invalidate tags"] = function(cache) cache:invalidate_tags("t") end,
    ["resize"] = function(cache) cache:resize(3) end,
    ["read entries"] = function(cache) for _ in cache:entries() do end end,
  } do
    it("may call back into the cache: " .. name, tasks.virtual(function()
      math.randomseed(5)
      for _, policy in ipairs { "lru", "fifo", "sieve", "s3fifo" } do
        local cache, calls = nil, 0
        cache = perigee.new { maxsize = 4, policy = policy, on_evict = function(key, value)
          calls = calls + 1
          if calls % 2 == 0 then -- not always: a set at each eviction would never end
            call(cache, key, value)
          end
        end }
        local lines = logged(function()
          local job = tasks.start(function()
            for i = 1, 300 do
              local key = "k" .. math.random(8)
              cache:set(key, i, { ttl = i % 3 == 0 and 0.02 or nil, tags = { "t" } })
              if i % 50 == 0 then
                cache:invalidate_tags("t")
              elseif i % 40 == 0 then
                cache:clear()
              elseif i % 10 == 0 then
                cache:delete(key)
              elseif i % 7 == 0 then
                perigee.sleep(0.01)
              end
              assert(cache:get_metrics().size <= 4)
            end
          end)
          tasks.finish(job)
          assert.is_true(job.ok, tostring(job[1]))
        end)
        assert.is_true(calls > 50)
        assert.are.same({}, lines)
        local count = 0
        for key, value in cache:entries() do
          count = count + 1
          assert.are.equal(value, (cache:peek(key)))
        end
        assert.are.equal(count, cache:get_metrics().size)
        assert.is_true(count <= 4)
      end
    end))
  end

  it("that sets without end does not hang the cache", function()
    local cache, calls = nil, 0
    cache = perigee.new { maxsize = 1, on_evict = function()
      calls = calls + 1
      if calls < 1000 then
        cache:set("again" .. calls, calls)
      end
    end }
    cache:set("a", 1)
    cache:set("b", 2)
    assert.are.equal(1000, calls)
    assert.are.equal(1, cache:get_metrics().size)
  end)

  it("may drop the last reference to a value with a finalizer that uses the cache", function()
    local cache = perigee.new { maxsize = 10 }
    local finalized = 0
    local function finalizer()
      finalized = finalized + 1
      cache:set("finalized", finalized)
      cache:get(math.random(20))
      if finalized % 50 == 0 then
        cache:clear()
      end
    end
    for i = 1, 3000 do
      local proxy = newproxy(true)
      getmetatable(proxy).__gc = finalizer
      cache:set(math.random(20), proxy)
      if i % 100 == 0 then
        collectgarbage("step", 200)
      end
    end
    collectgarbage()
    collectgarbage()
    assert.is_true(finalized > 2900)
    assert.is_true(cache:get_metrics().size <= 10)
  end)
end)

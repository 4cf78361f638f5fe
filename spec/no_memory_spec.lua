-- SPDX-License-Identifier: MIT
-- Every allocation of the C libraries fails once, as seen by who uses a cache: what cannot be done
-- is refused and says so, nothing is broken by it, and the same call succeeds afterwards. Under
-- ASan also: nothing is lost on the way.
local agent = require "perigee.agent"
local disk = require "spec.support.disk"
local flight = require "perigee.load.flight"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local scarce = require "spec.support.scarce"
local tasks = require "spec.support.tasks"

local MISS = {}
local HARD = os.getenv "PERIGEE_PRESET" == "hard" -- everything grows at each step there
local MANY, SOME = HARD and 60 or 3000, HARD and 40 or 300

-- The scenario, and that so many allocations at least were made to fail by it.
local function it_survives(title, library, least, scenario)
  it(title, tasks.virtual(function()
    local failures
    logged(function() failures = scarce.each(library, scenario) end)
    assert.is_true(HARD or failures >= least, ("only %d allocations failed"):format(failures))
  end))
end

local function holds(cache, expected)
  for key, value in pairs(expected) do
    local found = cache:peek(key)
    if value == MISS then value = nil end
    assert.equal(value, found, "key " .. tostring(key))
  end
end

describe("a cache without memory", function()
  for _, policy in ipairs { "fifo", "lru", "sieve", "s3fifo", "wtinylfu", "auto" } do
    it_survives("is made, filled, asked and emptied with the policy " .. policy, "core", 10,
      function(world, try)
        world.begin()
        local cache = try(perigee.new, { maxsize = 35, policy = policy })
        world.cache = cache
        for i = 1, SOME do
          try(cache.set, cache, i, i, i % 7 == 0 and i or nil)
          assert.equal(i, (cache:get(i)))
          if i % 3 > 0 then cache:get(i - 20) end
        end
        try(cache.resize, cache, 25)
        try(cache.set, cache, "tagged", 1, { tags = { "a:b", "a:c" } })
        cache:clear()
        try(cache.set, cache, "after", "all")
        world.finish()
        holds(cache, { after = "all", tagged = MISS })
        assert.equal(1, cache:get_metrics().size)
        cache:close()
      end)
  end

  it_survives("grows from nothing, with lifetimes, tags and weights", "core", 30,
    function(world, try)
      world.begin()
      local cache = try(perigee.new, { maxsize = math.huge, maxweight = 1e6,
        weigh = function() return 1 end })
      world.cache = cache
      local expected = {}
      for i = 1, MANY do
        local opts = i % 2 == 0 and { ttl = i, tags = { "t:" .. i % 400, "all" } } or nil
        try(cache.set, cache, i, i, opts)
        expected[i] = i
      end
      world.finish()
      holds(cache, expected)
      cache:invalidate_tags "t:2"
      for i = 2, MANY, 400 do expected[i] = MISS end
      holds(cache, expected)
      cache:close()
    end)

  it_survives("keeps no entry without the tags it was to have", "core", 2, function(world)
    local cache = perigee.new { maxsize = 10 }
    world.cache = cache
    cache:set("k", "old")
    world.begin()
    local ok = pcall(cache.set, cache, "k", "new", { tags = { "a:1", "b:2", "c:3" } })
    world.finish()
    assert.equal(ok and "new" or nil, (cache:peek "k"))
    cache:invalidate_tags "c"
    assert.is_nil((cache:peek "k"))
    cache:close()
  end)

  it_survives("forgets too much rather than too little", "core", 1, function(world)
    local cache = perigee.new { maxsize = 10 }
    world.cache = cache
    cache:set("tagged", 1, { tags = { "a" } })
    cache:set("other", 1, { tags = { "o" } })
    cache:set("plain", 1)
    world.begin()
    for i = 1, 60 do cache:invalidate_tags("new:" .. i) end
    cache:invalidate_tags "a:b"
    world.finish()
    holds(cache, { tagged = MISS, plain = 1 })
    local kept = cache:peek "other"
    assert.is_true(kept == nil or kept == 1)
    cache:close()
  end)

  it_survives("renews lifetimes and changes numbers", "core", 1, function(world, try)
    local cache = perigee.new { maxsize = 1000 }
    world.cache = cache
    cache:set("k", 1)
    world.begin()
    assert.is_true(try(cache.touch, cache, "k", 5))
    assert.equal(3, try(cache.incr, cache, "k", 2))
    assert.equal(8, try(cache.incr, cache, "new", 7, 1, 5))
    assert.is_true(try(cache.add, cache, "added", 1, 3))
    world.finish()
    assert.is_true(cache:ttl "k" <= 5)
    cache:close()
  end)

  it_survives("serves wrapped functions, each with keys of its own", "core", 8,
    function(world, try)
      world.begin()
      local cache = try(perigee.new, { maxsize = 500 })
      world.cache = cache
      for n = 1, 12 do
        local wrap = n % 2 == 0 and perigee.ttl { cache = cache, time_to_live = 60 }
          or perigee.lru { cache = cache }
        local f = try(wrap, function(a, b) return a + b + n end)
        for a = 1, 10 do assert.equal(a + 1 + n, try(f, a, 1)) end
        assert.equal(2 + n, try(f, 1, 1))
        f:clear_cache()
        assert.equal(2 + n, try(f, 1, 1))
      end
      world.finish()
      cache:close()
    end)
end)

describe("tasks without memory", function()
  -- What memory tasks have got they keep: each time, more are needed.
  it_survives("are refused, and those that run go on", "rt", 2, function(world, try)
    local ended, running, n = 0, {}, 60 * 2 ^ world.nth
    world.begin()
    for i = 1, n do
      running[i] = try(perigee.spawn, function()
        perigee.sleep(i / 1000)
        ended = ended + 1
      end)
    end
    for i = 1, n do running[i]:wait() end
    world.finish()
    assert.equal(n, ended)
  end)
end)

describe("loads without memory", function()
  it_survives("end, and so does the wait of everybody who waits", "core", 2, function(world, try)
    local cache = perigee.new { maxsize = 1000 }
    world.cache = cache
    world.begin()
    local loader = tasks.slow(0.1, function(key) return "v" .. key end)
    local jobs = tasks.together(40, function(i)
      return try(cache.get, cache, "k" .. i % 10, loader)
    end)
    world.finish()
    for i, job in ipairs(jobs) do
      assert(job.ok, job[1])
      assert.equal("vk" .. i % 10, job[1])
    end
    assert.is_false(flight.any())
    cache:close()
  end)

  it_survives("begin a little later when there is none for their own", "rt", 1, function(world)
    local cache, parked = perigee.new { maxsize = 10000 }, {}
    world.cache = cache
    local room = 1000 * 2 ^ world.nth -- more than ever waited: none is idle
    for i = 1, room do parked[i] = perigee.spawn(perigee.sleep, 10) end
    for _ = 1, room do
      world.begin()
      local ok, task = pcall(perigee.spawn, perigee.sleep, 10)
      world.finish()
      if not ok then break end
      parked[#parked + 1] = task
    end
    world.begin()
    assert.equal("v", (cache:get("k", function()
      perigee.sleep(0)
      return "v"
    end)))
    world.finish()
    for _, task in ipairs(parked) do task:cancel() end
    cache:close()
  end)

  it_survives("bring the value when it cannot be kept", "core", 1, function(world)
    local cache = perigee.new { maxsize = 1000 }
    world.cache = cache
    cache:set("k", "old", 0.01)
    perigee.sleep(0.02)
    local function load()
      world.begin()
      return "v", nil, { ttl = 60, tags = { "user:1", "cart:7" } }
    end
    assert.equal("v", (cache:get("k", load)))
    world.finish()
    local kept = cache:peek "k"
    assert.is_true(kept == nil or kept == "v")
    cache:invalidate_tags "cart:7"
    assert.is_nil((cache:peek "k"))
    cache:close()
  end)

  it_survives("do not bring an older value back", "core", 1, function(world)
    local cache = perigee.new { maxsize = 1000, stale_if_error = 60 }
    world.cache = cache
    cache:set("k", "old")
    local function load()
      world.begin()
      return "new", nil, { ttl = 60, tags = { "a" } }
    end
    assert.equal("new", (cache:refresh("k", load)))
    world.finish()
    local kept = cache:peek "k"
    assert.is_true(kept == nil or kept == "new")
    cache:close()
  end)

  it_survives("within loads end, and cycles are still found", "core", 1, function(world)
    local cache = perigee.new { maxsize = 1000 }
    world.cache = cache
    local depth = 0
    local function nested(key)
      depth = depth + 1
      perigee.sleep(0.01)
      return key == 0 and 0 or cache:get(key - 1, nested) + 1
    end
    local function circle(key)
      perigee.sleep(0.01)
      return cache:get((key + 1) % 3 + 100, circle)
    end
    world.begin()
    local chain = tasks.start(function() return pcall(cache.get, cache, 30, nested) end)
    local round = tasks.start_many(3, function(i)
      return pcall(cache.get, cache, 99 + i, { loader = circle, timeout = 5 })
    end)
    tasks.finish({ chain, unpack(round) })
    world.finish()
    assert.equal(30, (cache:get(30, nested)))
    for _, job in ipairs(round) do
      assert.is_true(job.ok)
      assert.is_true(not job[1] or job[3] == "timeout")
    end
    assert.is_false(flight.any())
    cache:close()
  end)

  it_survives("of many keys at once end", "core", 2, function(world, try)
    local cache = perigee.new { maxsize = 1000, max_batch_size = 25, batch_window_ms = 10 }
    world.cache = cache
    local function batch_loader(keys)
      perigee.sleep(0.05)
      local map = {}
      for _, key in ipairs(keys) do map[key] = "v" .. key end
      return map
    end
    world.begin()
    local keys = {}
    for i = 1, 120 do keys[i] = "k" .. i end
    local values, errors = try(cache.get_many, cache, keys, batch_loader)
    local jobs = tasks.together(60, function(i)
      return try(cache.get, cache, "j" .. i, { batch_loader = batch_loader })
    end)
    world.finish()
    local missing = {}
    for _, key in ipairs(keys) do
      if errors and errors[key] or not values[key] then missing[#missing + 1] = key end
    end
    values = cache:get_many(missing, batch_loader)
    for _, key in ipairs(missing) do assert.equal("v" .. key, values[key]) end
    for i, job in ipairs(jobs) do
      assert(job.ok, job[1])
      assert.equal("vj" .. i, job[1])
    end
    assert.is_false(flight.any())
    cache:close()
  end)
end)

describe("a backup without memory", function()
  teardown(disk.clean)

  local function save_and_load(world, try)
    local path = disk.path()
    world.begin()
    local cache = try(disk.cache, path, { maxsize = math.huge })
    world.cache = cache
    for i = 1, SOME do
      try(cache.set, cache, i, { n = i }, { ttl = 1000 + i, tags = { "t:" .. i } })
    end
    local saved, why = try(cache.save_to_backup, cache)
    if not saved then assert.matches("memory", why) end
    world.finish()
    assert(cache:save_to_backup())
    cache:close()
    world.begin()
    local again = try(disk.cache, path, { maxsize = math.huge })
    world.finish()
    world.cache = again
    if again:get_metrics().size < SOME then assert(again:load_from_backup()) end
    for i = 1, SOME do assert.equal(i, again:peek(i).n) end
    again:close()
  end

  it_survives("is written and read", "core", 20, save_and_load)
  it_survives("is written and read without memory of its own", "disk", 8, save_and_load)
end)

describe("a session without memory", function()
  it_survives("lets its agent work on, or refuses it", "core", 10, function(world, try)
    local tool = agent.cache { resource = "r", kind = "exec", name = "act" } (function(k)
      return k
    end)
    world.begin()
    local session = try(agent.open, { max_tool_repeats = math.huge, max_execution_depth = 1e6,
      loop_detection = true })
    for i = 1, SOME do assert.equal(i, try(session.run, session, tool, i)) end
    local bytes = session:snapshot()
    world.finish()
    world.begin()
    local again, why = agent.restore(bytes)
    world.finish()
    if not again then
      assert.matches("memory", why)
      again = assert(agent.restore(bytes))
    end
    assert.equal(SOME, again:get_metrics().calls)
    again:close()
    session:close()
  end)
end)

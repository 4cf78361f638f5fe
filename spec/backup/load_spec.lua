-- SPDX-License-Identifier: MIT
-- Loading and saving beside everything else that goes on.
local disk = require "spec.support.disk"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- A backend whose load ends when it is told to.
local function slow(entries)
  local backend = { saved = {} }
  function backend.load()
    while not backend.go do perigee.sleep(0.001) end
    if backend.go == "fail" then return nil, "broken" end
    return entries
  end
  function backend.save(_, list)
    backend.saved[#backend.saved + 1] = list
    return true
  end
  function backend.clear() end
  return backend
end

local function cache_with(backend, more)
  local opts = { name = "c", backup = backend }
  for name, value in pairs(more or {}) do opts[name] = value end
  return disk.begin(opts)
end

local ENTRIES = { { key = "a", value = "old" }, { key = "b", value = "old" },
  { key = "n", value = 5 } }

describe("while its backup is loaded, a cache", function()
  after_each(disk.clean)

  for name, ask in pairs {
    get = function(cache) return (cache:get "a") end,
    ["get with a loader"] = function(cache)
      return (cache:get("a", function() return "loaded" end))
    end,
    get_many = function(cache) return cache:get_many({ "a" }, function() return {} end).a end,
    peek = function(cache) return (cache:peek "a") end,
    contains = function(cache) return cache:contains "a" and "old" end,
    ttl = function(cache) return cache:ttl "a" and "old" end,
    entries = function(cache) return disk.contents(cache).a end,
    add = function(cache) return cache:add("a", "new") or cache:get "a" end,
    incr = function(cache) return cache:incr("n", 1) == 6 and "old" end,
    touch = function(cache) return cache:touch("a", 5) and "old" end,
  } do
    it("lets a " .. name .. " that finds nothing wait for it", tasks.real(function()
      local backend = slow(ENTRIES)
      local cache = cache_with(backend)
      local job = tasks.start(ask, cache)
      tasks.settle()
      assert.is_false(job.done)
      backend.go = true
      tasks.pass(0.02)
      assert.equal("old", job[1])
    end))
  end

  it("counts what came that way as a hit", tasks.real(function()
    local backend = slow(ENTRIES)
    local cache = cache_with(backend)
    local job = tasks.start(cache.get, cache, "a")
    backend.go = true
    tasks.pass(0.02)
    assert.equal("memory", job[3])
    assert.equal(1, cache:get_metrics().hits)
    assert.equal(0, cache:get_metrics().misses)
  end))

  it("serves at once what is there already", tasks.real(function()
    local backend = slow(ENTRIES)
    local cache = cache_with(backend)
    cache:set("mine", 1)
    assert.equal(1, cache:get "mine")
    backend.go = true
  end))

  it("waits no longer than load_timeout", tasks.real(function()
    local backend = slow(ENTRIES)
    local cache = cache_with(backend, { load_timeout = 0.03 })
    assert.equal("loaded", cache:get("a", function() return "loaded" end))
    backend.go = true
    tasks.pass(0.02)
    assert.equal("loaded", cache:get "a")
  end))

  it("does not wait for a backup that cannot be loaded", tasks.real(function()
    local backend = slow(ENTRIES)
    local cache = cache_with(backend)
    local lines = logged(function()
      local job = tasks.start(cache.get, cache, "a", function() return "loaded" end)
      backend.go = "fail"
      tasks.pass(0.02)
      assert.equal("loaded", job[1])
    end)
    assert.is_truthy(lines[1].text:find "not loaded")
  end))

  it("keeps what was done to a key meanwhile", tasks.real(function()
    local entries = {}
    for _, key in ipairs { "set", "deleted", "gone", "tag", "kept" } do
      entries[#entries + 1] = { key = key, value = "old" }
    end
    local backend = slow(entries)
    local cache = cache_with(backend, { maxsize = 3, policy = "fifo" })
    cache:set("set", "new")
    cache:delete "deleted"
    cache:set("gone", "new")
    for i = 1, 3 do cache:set(i, i) end -- evicts "set" and "gone"
    for i = 1, 3 do cache:delete(i) end
    backend.go = true
    assert.equal("old", cache:get "kept")
    for _, key in ipairs { "set", "deleted", "gone" } do assert.is_false(cache:contains(key)) end
  end))

  it("takes nothing in after a clear", tasks.real(function()
    local backend = slow(ENTRIES)
    local cache = cache_with(backend)
    cache:clear()
    backend.go = true
    tasks.pass(0.02)
    assert.are.same({}, disk.contents(cache))
  end))

  it("takes in nothing of a function that was cleared", tasks.real(function()
    local path = disk.path()
    local cache = disk.cache(path)
    local f = perigee.lru { cache = cache, name = "f" } (function() return "old" end)
    f(1)
    cache:set("k", 1)
    cache:close()
    cache = disk.cache(path)
    f = perigee.lru { cache = cache, name = "f" } (function() return "new" end)
    f:clear_cache()
    assert.equal(1, cache:get "k")
    assert.equal("new", f(1))
  end))

  it("can be closed", tasks.real(function()
    local backend = slow(ENTRIES)
    local cache = cache_with(backend)
    local job = tasks.start(cache.close, cache)
    backend.go = true
    tasks.pass(0.02)
    assert.is_true(job.ok)
  end))
end)

describe("tags written while a backup is loaded", function()
  after_each(disk.clean)

  it("keep out what they forget", tasks.real(function()
    local path = disk.path()
    local cache = disk.cache(path)
    cache:set("k", 1, { tags = { "user:1" } })
    cache:set("l", 1, { tags = { "user:2" } })
    cache:close()
    cache = disk.cache(path)
    cache:invalidate_tags "user:1"
    assert.equal(1, cache:get "l")
    assert.is_false(cache:contains "k")
  end))
end)

describe("a save", function()
  after_each(disk.clean)

  it("goes on when its caller is cancelled", tasks.real(function()
    local path = disk.path()
    local cache = disk.cache(path)
    cache:get "nothing" -- waits until it is loaded
    for i = 1, 500 do cache:set(i, ("x"):rep(20000)) end -- enough not to be done at once
    local task = perigee.spawn(cache.save_to_backup, cache)
    task:cancel()
    assert.error(function() task:wait() end, "cancelled")
    for _ = 1, 1200 do
      if cache:get_metrics().backup_saves == 0 then tasks.pass(0.05) end
    end
    assert.equal(1, cache:get_metrics().backup_saves)
    cache:close()
    assert.equal(20000, #disk.cache(path):get(500))
  end))

  it("waits for the one that runs, then saves what has come since", tasks.real(function()
    local path = disk.path()
    local cache = disk.cache(path)
    for i = 1, 900 do cache:set(i, i) end
    local first = tasks.start(cache.save_to_backup, cache)
    cache:set("late", 1)
    local second = tasks.start(cache.save_to_backup, cache)
    tasks.finish { first, second }
    assert.equal(901, second[1])
    assert.is_true(first.ok)
  end))

  it("does not hold up the loop for long, nor does a load", tasks.real(function()
    local path = disk.path()
    local cache = disk.cache(path, { maxsize = 20000 })
    for i = 1, 20000 do cache:set(i, { "some value", i }) end
    local turns, stop = 0, false
    perigee.spawn(function()
      while not stop do
        perigee.sleep(0)
        turns = turns + 1
      end
    end)
    cache:save_to_backup()
    assert.is_true(turns > 5, turns .. " turns")
    cache:close()
    turns = 0
    cache = disk.cache(path, { maxsize = 20000 })
    assert.equal(20000, cache:get(20000)[2])
    assert.is_true(turns > 5, turns .. " turns")
    stop = true
  end))

  it("has everything again after one that failed", function()
    local path = disk.path()
    local cache = disk.cache(path)
    cache:set("a", 1)
    cache:set("b", 1)
    cache:save_to_backup()
    cache:delete "a"
    cache:set("c", 1)
    local share = cache.backup.share
    share.commit = function() return nil, "no" end
    assert.are.same({ nil, "no" }, { cache:save_to_backup() })
    share.commit = nil
    assert.equal(2, cache:save_to_backup())
    cache:close()
    assert.are.same({ b = 1, c = 1 }, disk.contents(disk.cache(path)))
  end)
end)

describe("autosave", function()
  after_each(disk.clean)

  it("saves from time to time, if something has changed", tasks.virtual(function()
    local backend = slow {}
    backend.go, backend.autosave = true, 10
    local cache = cache_with(backend)
    cache:set("k", 1)
    tasks.pass(9)
    assert.equal(0, #backend.saved)
    tasks.pass(2)
    assert.equal(1, #backend.saved)
    tasks.pass(50)
    assert.equal(1, #backend.saved)
    cache:set("l", 1)
    tasks.pass(11)
    assert.equal(2, #backend.saved)
  end))

  it("saves in plain code when something is written late enough", function()
    if perigee.runtime() ~= "none" then return end -- the host has a loop
    local backend = slow {}
    backend.go, backend.autosave = true, 0.02
    local cache = cache_with(backend)
    local began = perigee.now()
    repeat cache:set("k", perigee.now()) until #backend.saved == 4
    assert.is_true(perigee.now() - began > 3 * 0.02)
  end)
end)

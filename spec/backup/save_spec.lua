-- SPDX-License-Identifier: MIT
-- What a backup holds after a save, and what comes back.
local clock = require "perigee.runtime.clock"
local disk = require "spec.support.disk"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

describe("a cache with a backup", function()
  local path

  before_each(function() path = disk.path() end)
  after_each(disk.clean)

  -- The same cache in its next life.
  local function reopened(cache, more)
    if not cache.closed then cache:close() end
    return disk.cache(path, more)
  end

  it("comes back with what was saved: every kind of key and value", function()
    local cache = disk.cache(path)
    cache:set("s", { 1, { two = 2 } })
    cache:set(0.5, "half")
    cache:set(true, false)
    cache:set(false, nil)
    cache:set("", "empty")
    cache:set("a\0b\1c", "bytes")
    assert.equal(6, cache:save_to_backup())
    cache = reopened(cache)
    assert.are.same({ 1, { two = 2 } }, cache:get("s"))
    assert.equal("half", cache:get(0.5))
    assert.equal(false, cache:get(true))
    assert.are.same({ n = 3, nil, nil, "memory" }, { n = 3, cache:get(false) })
    assert.equal("empty", cache:get(""))
    assert.equal("bytes", cache:get("a\0b\1c"))
    assert.equal(6, cache:get_metrics().size)
  end)

  it("saves what has changed, and only that", function()
    local cache = disk.cache(path)
    for i = 1, 100 do cache:set(i, i) end
    assert.equal(100, cache:save_to_backup())
    local share, written = cache.backup.share, {}
    local put = getmetatable(share).__index.put
    function share.put(...)
      written[#written + 1] = (select(3, ...))
      return put(...)
    end
    assert.equal(100, cache:save_to_backup())
    assert.are.same({}, written)
    cache:set(7, "new")
    cache:touch(8, 50)
    cache:incr(9, 1)
    assert.equal(100, cache:save_to_backup())
    table.sort(written)
    assert.are.same({ 7, 8, 9 }, written)
    cache = reopened(cache)
    assert.equal("new", cache:get(7))
    assert.is_true(cache:ttl(8) < 51)
    assert.equal(10, cache:get(9))
  end)

  it("does not bring back what was deleted, cleared, evicted, replaced or invalidated", function()
    local cache = disk.cache(path, { maxsize = 3, policy = "lru" })
    cache:set("deleted", 1)
    cache:set("replaced", 1)
    cache:set("tagged", 1, { tags = { "user:1:x" } })
    cache:save_to_backup()
    cache:delete "deleted"
    cache:set("replaced", 2)
    cache:invalidate_tags "user:1"
    cache:save_to_backup()
    cache = reopened(cache, { maxsize = 3, policy = "lru" })
    assert.are.same({ replaced = 2 }, disk.contents(cache))
    cache:set("a", 1)
    cache:set("b", 1)
    cache:set("evicts replaced", 1)
    cache = reopened(cache, { maxsize = 3, policy = "lru" })
    assert.are.same({ a = 1, b = 1, ["evicts replaced"] = 1 }, disk.contents(cache))
    cache:clear()
    cache:set("after", 1)
    cache = reopened(cache)
    assert.are.same({ after = 1 }, disk.contents(cache))
  end)

  it("keeps the tags of its entries over a restart", function()
    local cache = disk.cache(path)
    cache:set("k", 1, { tags = { "user:1", { "http://x/y" } } })
    cache:set("l", 2, { tags = { "user:2" } })
    cache = reopened(cache)
    cache:invalidate_tags { "http://x/y" }
    assert.are.same({ l = 2 }, disk.contents(cache))
    cache:invalidate_tags "user"
    assert.are.same({}, disk.contents(cache))
  end)

  it("keeps a list of tags as it was given, whatever becomes of the caller's table", function()
    local cache, list = disk.cache(path), { "one" }
    cache:set("k", 1, { tags = list })
    list[1] = "other"
    cache = reopened(cache)
    cache:invalidate_tags "other"
    assert.is_true(cache:contains "k")
    cache:invalidate_tags "one"
    assert.is_false(cache:contains "k")
  end)

  it("counts a lifetime on while it is away", tasks.virtual(function()
    local cache = disk.cache(path)
    cache:set("short", 1, 10)
    cache:set("long", 1, 100)
    cache:set("ever", 1)
    tasks.pass(2)
    cache:close()
    tasks.pass(20)
    cache = disk.cache(path)
    assert.is_false(cache:contains "short")
    assert.is_near(78, cache:ttl "long", 0.1)
    assert.equal(math.huge, cache:ttl "ever")
  end))

  it("does not shorten a lifetime again for jitter", tasks.virtual(function()
    local cache = disk.cache(path)
    for i = 1, 50 do cache:set(i, i, 100) end
    cache:close()
    cache = disk.cache(path, { ttl_jitter = 0.9 })
    for i = 1, 50 do assert.is_near(100, cache:ttl(i), 0.1) end
  end))

  for jump = -50, 50, 100 do
    it(("is wrong by a jump of the wall clock (%d s) at most"):format(jump), function()
      local cache = disk.cache(path)
      cache:set("k", 1, 100)
      cache:set("ever", 1)
      cache:close()
      clock.wall_offset_ms = jump * 1000
      cache = disk.cache(path)
      clock.wall_offset_ms = 0
      assert.is_near(100 - jump, cache:ttl "k", 1)
      assert.equal(math.huge, cache:ttl "ever")
    end)
  end

  it("keeps in memory only what cannot be saved, says so once and counts it", function()
    local cache = disk.cache(path)
    local lines = logged(function()
      cache:set("f", print)
      cache:set("g", setmetatable({}, {}))
      cache:set("fine", 1)
      assert.equal(1, cache:save_to_backup())
      cache:set("h", coroutine.create(print))
      cache:save_to_backup()
    end)
    assert.equal(1, #lines)
    assert.is_truthy(lines[1].text:find("key [fg] cannot be saved"), lines[1].text)
    assert.equal(3, cache:get_metrics().backup_unsaved)
    assert.equal(print, cache:get "f")
    cache = reopened(cache)
    assert.are.same({ fine = 1 }, disk.contents(cache))
  end)

  it("does not leave an old value in the backup of a key whose new one cannot be saved", function()
    local cache = disk.cache(path)
    cache:set("k", "old")
    cache:save_to_backup()
    cache:set("k", print)
    logged(function() cache = reopened(cache) end)
    assert.is_false(cache:contains "k")
  end)

  it("loads on request what is not there, and leaves alone what is", function()
    local cache = disk.cache(path)
    cache:set("a", 1)
    cache:set("b", 1)
    cache:save_to_backup()
    cache:set("a", 2)
    cache:delete "b"
    assert.equal(1, cache:load_from_backup())
    assert.are.same({ a = 2, b = 1 }, disk.contents(cache))
    cache:clear()
    assert.equal(2, cache:load_from_backup())
    assert.are.same({ a = 1, b = 1 }, disk.contents(cache))
    cache = reopened(cache)
    assert.are.same({ a = 1, b = 1 }, disk.contents(cache))
  end)

  it("loads nothing by itself with load = false", function()
    local cache = disk.cache(path)
    cache:set("a", 1)
    cache:close()
    cache = disk.cache(path, { backup = perigee.disk { path = path, load = false } })
    assert.is_false(cache:contains "a")
    assert.equal(1, cache:load_from_backup())
    assert.equal(1, cache:get "a")
  end)

  it("takes in no more than it has room for, and drops the rest from the backup", function()
    local cache = disk.cache(path)
    for i = 1, 100 do cache:set(i, i) end
    cache:close()
    cache = disk.cache(path, { maxsize = 10 })
    assert.equal(10, cache:get_metrics().size)
    assert.equal(0, cache:get_metrics().evictions)
    assert.equal(10, cache:save_to_backup())
    cache = reopened(cache)
    assert.equal(10, cache:get_metrics().size)
  end)

  it("obeys maxweight when it loads", function()
    local cache = disk.cache(path)
    for i = 1, 20 do cache:set(i, i) end
    cache:close()
    cache = disk.cache(path, { maxweight = 50, weigh = function() return 10 end })
    assert.equal(50, cache:get_metrics().weight)
  end)

  it("keeps the entries of wrapped functions apart, all returns included", function()
    local cache, calls = disk.cache(path), 0
    local function one(a, b)
      calls = calls + 1
      return a, nil, b
    end
    local f = perigee.lru { cache = cache, name = "f" } (one)
    local g = perigee.ttl { cache = cache, name = "g" } (function(a) return "g" .. a end)
    f("x", "y")
    g("x")
    cache:set("x", "direct")
    assert.equal(3, f:save_to_backup())
    cache = reopened(cache)
    local again = perigee.lru { cache = cache, name = "f" } (one)
    assert.are.same({ n = 3, "x", nil, "y" }, { n = select("#", again("x", "y")), again("x", "y") })
    assert.equal(1, calls)
    assert.equal("direct", cache:get "x")
    again:clear_cache()
    cache = reopened(cache)
    assert.equal(2, cache:get_metrics().size)
  end)

  it("asks wrapped functions on it for a name, and for one each", function()
    local cache = disk.cache(path)
    assert.error_matches(function() perigee.lru { cache = cache } (print) end,
      'perigee.lru: a wrapped function needs option "name" on cache "c"')
    local f = perigee.lru { cache = cache, name = "f" } (print)
    assert.error_matches(function() perigee.lru { cache = cache, name = "f" } (print) end,
      'there is a function named "f" on cache "c" already')
    assert.is_truthy(f)
  end)

  it("shares its file with other caches, by name", function()
    local backup = perigee.disk(path)
    local a = disk.open { name = "a", backup = backup }
    local b = disk.open { name = "b", backup = backup }
    a:set("k", "a")
    b:set("k", "b")
    a:close()
    b:close()
    a = disk.open { name = "a", backup = backup }
    b = disk.open { name = "b", backup = backup }
    assert.equal("a", a:get "k")
    assert.equal("b", b:get "k")
    a:clear()
    a:save_to_backup()
    assert.equal(1, b:load_from_backup() + b:get_metrics().size)
  end)

  it("uses the codec it is told to", function()
    local cache = disk.cache(path, { codec = "json" })
    cache:set("k", { list = { 1, 2 } })
    cache = reopened(cache, { codec = "json" })
    assert.are.same({ list = { 1, 2 } }, cache:get "k")
    local lines = logged(function() cache = reopened(cache) end)
    assert.is_truthy(lines[1].text:find("made by another codec", 1, true), lines[1].text)
    assert.equal(1, cache:get_metrics().backup_refused)
    assert.is_false(cache:contains "k")
  end)

  it("takes entries only if they were signed with its secret, for this cache and key", function()
    local function with(secret, name)
      return disk.open { name = name or "c",
        backup = perigee.disk { path = path, secret = secret } }
    end
    local cache = with "s1"
    cache:set("k", 1)
    cache:close()
    logged(function()
      cache = with "s2"
      assert.is_false(cache:contains "k")
      cache:close()
    end)
    cache = with "s1"
    assert.equal(1, cache:get "k")
  end)

  it("has its numbers in the metrics", function()
    local cache = disk.cache(path)
    cache:set("k", 1)
    cache:save_to_backup()
    cache:clear()
    cache:load_from_backup()
    local metrics = cache:get_metrics()
    assert.equal(1, metrics.backup_saves)
    assert.equal(1, metrics.backup_loaded)
    assert.equal(0, metrics.backup_errors)
    assert.is_truthy(perigee.prometheus():find('perigee_backup_saves_total{cache="c"} 1', 1, true))
  end)
end)

describe("option backup", function()
  it("needs a name", function()
    assert.error_matches(function() perigee.new { backup = perigee.disk "/tmp/x" } end,
      'perigee.new: option "backup" needs option "name"')
  end)

  it("must be a backend", function()
    for _, wrong in ipairs { 1, "path", {}, { load = print, save = print } } do
      assert.error_matches(function() perigee.new { name = "n", backup = wrong } end,
        'perigee.new: option "backup" must be a backend: perigee.disk(...)', 1, true)
    end
  end)
end)

describe("a cache without a backup", function()
  it("saves and loads nothing", function()
    local cache = perigee.new {}
    cache:set("k", 1)
    assert.equal(0, cache:save_to_backup())
    assert.equal(0, cache:load_from_backup())
  end)
end)

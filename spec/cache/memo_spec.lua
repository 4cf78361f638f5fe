-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- A function that counts its calls and returns what it got.
local function counted(fn)
  local calls = { n = 0 }
  return function(...)
    calls.n = calls.n + 1
    return fn(...)
  end, calls
end

-- The same for a function of two parameters, seen as such from outside.
local function of_two()
  local calls = { n = 0 }
  return function(a, b)
    calls.n = calls.n + 1
    return a, b, calls.n
  end, calls
end

describe("a wrapped function", function()
  it("is called like the original, with all of its returns", function()
    local f = perigee.lru(function(...) return select("#", ...), ... end)
    assert.are.same({ 3, nil, false, n = 4 }, { n = select("#", f(nil, false, nil)),
      (f(nil, false, nil)), select(2, f(nil, false, nil)), select(3, f(nil, false, nil)) })
    local none = perigee.lru(function() end)
    assert.equal(0, select("#", none()))
    assert.equal(0, select("#", none()))
    local twice = perigee.lru(function(a) return a, nil end)
    assert.equal(2, select("#", twice(1)))
    assert.equal(2, select("#", twice(1)))
  end)

  it("binds its arguments: missing ones are nil, extra ones do not count", function()
    local fn, calls = of_two()
    local f = perigee.lru(fn)
    f(1) f(1, nil) f(1, nil, "extra")
    assert.equal(1, calls.n)
    f(1, 2) f(nil, 1) f() f(nil)
    assert.equal(4, calls.n)
  end)

  it("of any number of arguments keeps their count", function()
    local fn, calls = counted(function(...) return select("#", ...) end)
    local f = perigee.lru(fn)
    assert.equal(1, f(1))
    assert.equal(2, f(1, nil))
    assert.equal(0, f())
    assert.equal(2, f(1, nil))
    assert.equal(3, calls.n)
    local mixed = perigee.lru(function(_, ...) return select("#", ...) end)
    assert.equal(mixed(), mixed(nil))
    assert.not_equal(mixed(1), mixed(1, nil))
  end)

  it("takes up to any number of named parameters", function()
    for count = 0, 6 do
      local names = {}
      for i = 1, count do names[i] = "p" .. i end
      local list = table.concat(names, ", ")
      local made = loadstring(("local calls = ... return function(%s) calls.n = calls.n + 1 "
        .. "return calls.n%s end"):format(list, count > 0 and ", " .. list or ""))
      local calls = { n = 0 }
      local f = perigee.lru(made(calls))
      for variant = 1, 3 do
        local arguments = {}
        for i = 1, count do arguments[i] = i == count and variant or "same" end
        local first = { f(unpack(arguments, 1, count)) }
        assert.are.same(first, { f(unpack(arguments, 1, count)) })
        assert.are.same(first, { f.call(unpack(arguments, 1, count)) })
        assert.equal(count > 0 and variant or 1, first[1])
      end
    end
  end)

  it("does not cache nil with a second return, and returns all of it", function()
    local fn, calls = counted(function(a) return nil, "no " .. tostring(a), 13 end)
    local f = perigee.lru(fn)
    for n = 1, 2 do
      assert.are.same({ n = 3, [2] = "no x", [3] = 13 }, { n = select("#", f("x")), f("x") })
      assert.equal(2 * n, calls.n)
    end
    local short = perigee.lru(function() return nil, "why" end)
    assert.are.same({ n = 2, [2] = "why" }, { n = select("#", short()), short() })
  end)

  it("caches nil, false and NaN", function()
    for _, value in pairs { "nil", false, 0 / 0 } do
      local fn, calls = counted(function() if value ~= "nil" then return value end return nil end)
      local f = perigee.lru(fn)
      f(1) f(1)
      assert.equal(1, calls.n)
    end
  end)

  it("keeps a nil for neg_ttl, also among several returns", tasks.virtual(function()
    for _, returns in ipairs { function() return nil end, function() return nil, nil, 1 end } do
      local fn, calls = counted(returns)
      local f = perigee.ttl { time_to_live = 100, neg_ttl = 1 } (fn)
      f(1) f(1)
      assert.equal(1, calls.n)
      tasks.pass(2)
      f(1)
      assert.equal(2, calls.n)
    end
  end))

  it("raises what the function raises, the same object, and does not cache it", function()
    local err = { code = 7 }
    local fn, calls = counted(function() error(err) end)
    local f = perigee.lru(fn)
    for n = 1, 2 do
      local ok, raised = pcall(f, 1)
      assert.is_false(ok)
      assert.equal(err, raised)
      assert.equal(n, calls.n)
    end
  end)

  it("runs once for many callers at a time", tasks.virtual(function()
    local fn, calls = counted(function(a) perigee.sleep(1) return a, "second" end)
    local f = perigee.ttl(fn)
    local jobs = {}
    for i = 1, 100 do jobs[i] = perigee.spawn(function() return f("k") end) end
    for i = 1, 100 do assert.are.same({ "k", "second" }, { jobs[i]:wait() }) end
    assert.equal(1, calls.n)
    assert.equal(99, f:get_metrics().coalesced)
  end))

  it("may call itself, but not for the same arguments", function()
    local fib
    fib = perigee.lru { maxsize = 1000 } (function(n)
      return n < 2 and n or fib(n - 1) + fib(n - 2)
    end)
    assert.equal(12586269025, fib(50))
    local again
    again = perigee.lru(function(n) return again(n) end)
    local ok, message = pcall(again, 1)
    assert.is_false(ok)
    assert.is_truthy(message:find("deadlock, .*1 of perigee%.lru%(.*memo_spec%.lua:%d+%)"), message)
  end)

  it("wraps C functions, callable tables and wrapped functions", function()
    assert.equal(3, perigee.lru(math.sqrt)(9))
    assert.equal("a", perigee.lru(string.char)(97))
    assert.equal("ab", perigee.lru(string.char)(97, 98))
    local calls = 0
    local object = setmetatable({}, { __call = function(self, a)
      calls = calls + 1
      return type(self), a
    end })
    local inner = perigee.lru(object)
    local outer = perigee.lru(inner)
    for _ = 1, 2 do assert.are.same({ "table", 5 }, { outer(5) }) end
    assert.are.same({ "table", 5 }, { outer(5, "extra") })
    assert.equal(1, calls)
    assert.equal(object, inner.fn)
    assert.equal(inner, outer.fn)
  end)

  it("shares nothing with another, even of the same text", function()
    local function make(n) return perigee.lru(function(a) return a + n end) end
    local one, two = make(1), make(2)
    assert.equal(11, one(10))
    assert.equal(12, two(10))
    assert.equal(11, one(10))
  end)

  it("has its cache, the original, a plain function, and a name", function()
    local fn = function(a) return a end
    local f = perigee.ttl(fn)
    assert.equal(fn, f.fn)
    assert.equal("function", type(f.call))
    f("x")
    f.call("x")
    assert.equal(1, f.cache:get_metrics().hits)
    assert.is_truthy(tostring(f):find("^perigee%.ttl%(.*memo_spec%.lua:%d+%)$"), tostring(f))
  end)

  it("copies where the cache does", function()
    local f = perigee.lru { copy = true } (function() return { 1 }, { 2 } end)
    local one, two = f()
    one[1], two[1] = "spoilt", "spoilt"
    assert.are.same({ { 1 }, { 2 } }, { f() })
  end)

  it("shows others its first return only", function()
    local told, weighed = {}, {}
    local f = perigee.lru {
      maxsize = 1, maxweight = 100,
      on_evict = function(key, value, reason) told[#told + 1] = { key, value, reason } end,
      weigh = function(_, value) weighed[#weighed + 1] = value return 1 end,
    } (function(a) return "first " .. a, "second" end)
    f("a")
    for key, value in f.cache:entries() do assert.are.same({ "a", "first a" }, { key, value }) end
    f("b")
    assert.are.same({ { "a", "first a", "size" } }, told)
    assert.are.same({ "first a", "first b" }, weighed)
  end)
end)

describe("its methods", function()
  it("refresh calls afresh, and keeps the old result if that fails", function()
    local answer, calls = "old", 0
    local f = perigee.lru(function(a)
      calls = calls + 1
      if answer == "bad" then return nil, "down" end
      return answer, a
    end)
    assert.are.same({ "old", 1 }, { f(1) })
    answer = "new"
    assert.are.same({ "new", 1 }, { f:refresh(1) })
    assert.equal("new", (f(1)))
    answer = "bad"
    assert.are.same({ nil, "down" }, { f:refresh(1) })
    assert.equal("new", (f(1)))
    assert.equal(3, calls)
  end)

  it("invalidate_cache forgets one call, clear_cache all", function()
    local fn, calls = of_two()
    local f = perigee.lru(fn)
    f(1, 2) f(3, 4)
    assert.is_true(f:invalidate_cache(1, 2))
    f(1, 2) f(3, 4)
    assert.equal(3, calls.n)
    assert.is_true(f:clear_cache())
    assert.equal(0, f:get_metrics().size)
    f(1, 2) f(3, 4)
    assert.equal(5, calls.n)
  end)

  it("invalidate_cache fences a call that runs", tasks.virtual(function()
    local fn, calls = counted(function() perigee.sleep(1) return "row" end)
    local f = perigee.lru(fn)
    local job = perigee.spawn(f.call, 1)
    tasks.pass(0.5)
    f:invalidate_cache(1)
    job:wait()
    f(1)
    assert.equal(2, calls.n)
  end))

  it("save and load say that there is no backup", function()
    local f = perigee.lru(function() end)
    assert.equal(0, f:save_to_backup())
    assert.equal(0, f:load_from_backup())
  end)

  it("say when they are called without the colon", function()
    local f = perigee.lru(function() end)
    for _, name in ipairs { "refresh", "invalidate_cache", "clear_cache", "get_metrics" } do
      local ok, message = pcall(f[name], 1)
      assert.is_false(ok)
      assert.is_truthy(message:find("f:" .. name .. ": call it with a colon", 1, true), message)
    end
  end)
end)

describe("a mistake that the new cache of a wrapped function finds", function()
  it("points at who wrapped it", function()
    local taken = perigee.new { name = "taken" }
    for _, wrap in ipairs {
      function() perigee.lru { name = "taken" } (function() end) end,
      function() perigee.ttl { maxweight = 5 } (function() end) end,
    } do
      local ok, message = pcall(wrap)
      assert.is_false(ok)
      assert.is_truthy(message:find "^[^ ]*memo_spec.lua:%d+: perigee.new: ", message)
    end
    taken:close()
  end)
end)

describe("skip_args and key_fn", function()
  it("leave a method's object out of the key", function()
    local Class, calls = {}, 0
    Class.__index = Class
    Class.row = perigee.lru { skip_args = 1 } (function(_, id)
      calls = calls + 1
      return id
    end)
    local one, two = setmetatable({}, Class), setmetatable({}, Class)
    assert.equal(5, one:row(5))
    assert.equal(5, two:row(5))
    assert.equal(1, calls)
    Class.row:invalidate_cache(two, 5)
    one:row(5)
    assert.equal(2, calls)
  end)

  it("leave any number of arguments out, of any number", function()
    for skip = 0, 3 do
      for count = skip, skip + 4 do
        local names = {}
        for i = 1, count do names[i] = "p" .. i end
        local list = table.concat(names, ", ")
        local made = loadstring(("local calls = ... return function(%s) calls.n = calls.n + 1 "
          .. "return calls.n%s end"):format(list, count > 0 and ", " .. list or ""))
        local calls = { n = 0 }
        local f = perigee.lru { skip_args = skip } (made(calls))
        local one, two = {}, {}
        for i = 1, count do one[i], two[i] = i, i > skip and i or "other" end
        local first = { f(unpack(one, 1, count)) }
        assert.are.same(first, { f(unpack(two, 1, count)) })
        assert.equal(count, #first - 1)
        if count > skip then
          two[count] = "last"
          assert.equal(2, (f(unpack(two, 1, count))))
          f:invalidate_cache(unpack(two, 1, count))
          assert.equal(3, (f(unpack(two, 1, count))))
        end
      end
    end
  end)

  it("key_fn returns what to key by, from what the function sees", function()
    local seen
    local f = perigee.lru { key_fn = function(...)
      seen = select("#", ...)
      return (...).id
    end } (function(user, _) return user.name end)
    assert.equal("a", f({ id = 1, name = "a" }))
    assert.equal("a", f({ id = 1, name = "b" }, print, "extra"))
    assert.equal(2, seen)
    assert.equal("b", f({ id = 2, name = "b" }))
  end)

  it("what key_fn raises is raised, unchanged, before anything is called", function()
    local err, fn, calls = {}, of_two()
    local f = perigee.lru { key_fn = function() error(err) end } (fn)
    local ok, raised = pcall(f, 1)
    assert.is_false(ok)
    assert.equal(err, raised)
    assert.equal(0, calls.n)
  end)

  it("an argument that no key can hold is named, with what to do", function()
    local ok, message = pcall(perigee.lru(function(_, b) return b end), 1, print)
    assert.is_false(ok)
    assert.is_truthy(message:find("perigee.lru: argument 2: a function cannot be part of a key; "
      .. "leave it out with skip_args or key_fn", 1, true), message)
  end)
end)

describe("functions on a cache of yours", function()
  it("never meet each other's keys, nor the cache's own", function()
    local cache = perigee.new { maxsize = 100 }
    local one = perigee.lru { cache = cache } (function(a) return "one " .. a end)
    local two = perigee.ttl { cache = cache } (function(a) return "two " .. a end)
    cache:set("x", "direct")
    assert.equal("one x", one("x"))
    assert.equal("two x", two("x"))
    assert.equal("direct", cache:get("x"))
    assert.equal(cache, one.cache)
    assert.equal(3, cache:get_metrics().size)
  end)

  it("clear and count their own share only", function()
    local cache = perigee.new { maxsize = 100 }
    local one = perigee.lru { cache = cache } (function(a) return a end)
    local two = perigee.lru { cache = cache } (function(a) return a end)
    one(1) one(1) one(2)
    two(1)
    cache:set("x", 1)
    local metrics = one:get_metrics()
    assert.are.same({ 1, 2, 2, 2 },
      { metrics.hits, metrics.misses, metrics.loads, metrics.size })
    assert.equal(3, cache:get_metrics().loads)
    one:clear_cache()
    assert.equal(0, one:get_metrics().size)
    assert.equal(0, one:get_metrics().hits)
    assert.equal(1, two:get_metrics().size)
    assert.equal(1, cache:get("x"))
    two(1)
    assert.equal(1, two:get_metrics().hits)
  end)

  it("are all cleared with the cache, running calls too", tasks.virtual(function()
    local cache = perigee.new()
    local fn, calls = counted(function() perigee.sleep(1) return 1 end)
    local f = perigee.lru { cache = cache } (fn)
    local job = perigee.spawn(f.call, 1)
    tasks.pass(0.5)
    cache:clear()
    job:wait()
    f(1)
    assert.equal(2, calls.n)
  end))

  it("may clear in the middle of each other's calls", tasks.virtual(function()
    local cache = perigee.new()
    local one = perigee.lru { cache = cache } (function() perigee.sleep(1) return 1 end)
    local two = perigee.lru { cache = cache } (function() return 2 end)
    local job = perigee.spawn(one.call, 1)
    tasks.pass(0.5)
    two:clear_cache()
    job:wait()
    assert.equal(1, one:get_metrics().size)
    job = perigee.spawn(one.call, 2)
    tasks.pass(0.5)
    one:clear_cache()
    job:wait()
    assert.equal(0, one:get_metrics().size)
  end))

  it("tell on_evict what clear_cache forgot", function()
    local told = {}
    local cache = perigee.new { on_evict = function(key, value, reason)
      told[#told + 1] = { key, value, reason }
    end }
    local f = perigee.lru { cache = cache } (function(a) return a * 2, "more" end)
    f(4)
    cache:set(4, "stays")
    f:clear_cache()
    assert.are.same({ { 4, 8, "cleared" } }, told)
  end)

  it("have the lifetime that ttl gives them", tasks.virtual(function()
    local cache = perigee.new { default_ttl = 1000 }
    local fn, calls = counted(function() return 1 end)
    local f = perigee.ttl { cache = cache, time_to_live = 5 } (fn)
    f(1)
    tasks.pass(4)
    f(1)
    assert.equal(1, calls.n)
    tasks.pass(2)
    f(1)
    assert.equal(2, calls.n)
  end))

  it("raise when the cache is closed", function()
    local cache = perigee.new { name = "closing" }
    local f = perigee.lru { cache = cache } (function() return 1 end)
    f(1)
    cache:close()
    local ok, message = pcall(f, 1)
    assert.is_false(ok)
    assert.is_truthy(message:find("%): cache \"closing\" is closed"), message)
  end)

  it("give their place back when nobody has them any more", function()
    local cache = perigee.new { maxsize = 10 }
    for i = 1, 70000 do
      perigee.lru { cache = cache } (function() return i end)(1)
      if i % 1000 == 0 then collectgarbage() end
    end
    assert.is_true(cache:get_metrics().size <= 10)
  end)
end)

describe("the options of wrapping", function()
  it("have the defaults of their kind", function()
    local lru, ttl = perigee.lru(print).cache, perigee.ttl(print).cache
    assert.are.same({ 128, math.huge }, { lru.maxsize, lru.default_ttl })
    assert.are.same({ 1024, 60 }, { ttl.maxsize, ttl.default_ttl })
    assert.equal(5, perigee.ttl { time_to_live = 5 } (print).cache.default_ttl)
    assert.equal(6, perigee.ttl { default_ttl = 6 } (print).cache.default_ttl)
    assert.equal(7, perigee.lru { default_ttl = 7 } (print).cache.default_ttl)
  end)

  it("give each function of one wrapper a cache of its own", function()
    local wrap = perigee.lru { maxsize = 5 }
    assert.not_equal(wrap(print).cache, wrap(print).cache)
  end)
end)

describe("a mistake in wrapping", function()
  local f = perigee.lru(function(a) return a end)
  local cache = perigee.new()
  local CASES = {
    { function() perigee.lru(5) end, "perigee.lru: opts must be a function or a table of options" },
    { function() perigee.lru { ttl = 5 } end, "perigee.lru: there is no option \"ttl\"" },
    { function() perigee.lru { time_to_live = 5 } end, "there is no option \"time_to_live\"" },
    { function() perigee.ttl { time_to_live = 0 } end, "option \"time_to_live\" must be" },
    { function() perigee.lru { skip_args = -1 } end, "option \"skip_args\" must be" },
    { function() perigee.lru { skip_args = 2 } (function(a) return a end) end,
      "option \"skip_args\" is 2, but the function has 1 parameter" },
    { function() perigee.lru { key_fn = 5 } end, "option \"key_fn\" must be" },
    { function() perigee.lru { cache = {} } end, "option \"cache\" must be an open cache" },
    { function() perigee.lru { cache = cache, maxsize = 5 } end,
      "option \"maxsize\" belongs to the cache" },
    { function() perigee.lru {} () end, "perigee.lru: fn must be" },
    { function() perigee.lru {} (5) end, "perigee.lru: fn must be" },
    { function() perigee.lru_invalidator(print) end,
      "perigee.lru_invalidator: f must be a function wrapped by" },
    { function() perigee.ttl_invalidator(f, { skip_args = 1 }) end, "give option \"key_fn\"" },
    { function() perigee.lru_invalidator(f, { clear = true }) end, "there is no option \"clear\"" },
    { function() perigee.lru_invalidator(f) (5) end, "lru_invalidator: mutation must be" },
  }
  for i, case in ipairs(CASES) do
    it(("is said clearly and where it was made (%d)"):format(i), function()
      local ok, message = pcall(case[1])
      assert.is_false(ok)
      assert.is_truthy(message:find(case[2], 1, true), message)
      assert.is_truthy(message:find("memo_spec.lua:", 1, true), message)
    end)
  end
end)

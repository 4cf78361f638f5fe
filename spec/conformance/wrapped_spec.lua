-- SPDX-License-Identifier: MIT
-- Wrapped functions, as the reference's decorators behave. Where it has keyword arguments, Lua has
-- a table of options; where it has class methods, a function in a table.
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- A function that takes a while, returns its first argument and counts.
local function slow()
  local calls = { n = 0 }
  return function(a)
    perigee.sleep(0.1)
    calls.n = calls.n + 1
    return a
  end, calls
end

-- How long a call takes by the clock.
local function duration(f, ...)
  local start = perigee.now()
  f(...)
  return perigee.now() - start
end

local function is_fast(f, ...) return duration(f, ...) < 0.05 end

local KINDS = {
  lru = function(opts) return perigee.lru(opts or {}) end,
  ttl = function(opts)
    opts = opts or {}
    opts.time_to_live = opts.time_to_live or 1
    return perigee.ttl(opts)
  end,
}

describe("conformance: wrapped functions", function()
  it("56. lru keeps a result by its argument, another argument has another",
    tasks.virtual(function()
      local fn, calls = slow()
      local f = perigee.lru { maxsize = 10 } (fn)
      assert.are.same({ 1, 1, 2 }, { f(1), f(1), f(2) })
      assert.are.equal(2, calls.n)
    end))

  it("57. ttl keeps a result within its time to live", tasks.virtual(function()
    local fn, calls = slow()
    local f = perigee.ttl { time_to_live = 1 } (fn)
    f(1)
    tasks.pass(0.5)
    f(1)
    assert.are.equal(1, calls.n)
  end))

  it("58. with skip_args = 1 two objects share an entry", tasks.virtual(function()
    local calls, Class = 0, {}
    Class.__index = Class
    Class.get = perigee.lru { skip_args = 1 } (function(self, id)
      calls = calls + 1
      return self.name .. id
    end)
    local one, two = setmetatable({ name = "one" }, Class), setmetatable({ name = "two" }, Class)
    assert.are.equal("one1", one:get(1))
    assert.are.equal("one1", two:get(1))
    assert.are.equal(1, calls)
  end))

  for kind, make in pairs(KINDS) do
    it("59. 100 keys at once in room for 50: 100 calls, 50 kept (" .. kind .. ")",
      tasks.virtual(function()
        local fn, calls = slow()
        local f = make { maxsize = 50 } (fn)
        local jobs = {}
        for i = 1, 100 do jobs[i] = perigee.spawn(function() return f(i) end) end
        for i = 1, 100 do assert.are.equal(i, jobs[i]:wait()) end
        assert.are.equal(100, calls.n)
        assert.are.equal(50, f:get_metrics().size)
      end))

    local hit = kind == "lru" and "60." or "68."
    it(hit .. " the second call is fast (" .. kind .. ")", tasks.virtual(function()
      local f = make()(slow())
      assert.is_false(is_fast(f, 1))
      assert.is_true(is_fast(f, 1))
    end))

    it("61, 62. methods of objects and of classes are kept (" .. kind .. ")",
      tasks.virtual(function()
        local Class = {}
        Class.__index, Class.__cachekey = Class, function(self) return "Class " .. self.id end
        Class.of_object = make()(function(self, a) perigee.sleep(0.1) return self.id + a end)
        Class.of_class = make()(function(a) perigee.sleep(0.1) return a end)
        local object = setmetatable({ id = 1 }, Class)
        assert.is_false(is_fast(object.of_object, object, 5))
        assert.is_true(is_fast(object.of_object, object, 5))
        assert.is_false(is_fast(object.of_object, setmetatable({ id = 2 }, Class), 5))
        assert.is_false(is_fast(Class.of_class, 5))
        assert.is_true(is_fast(Class.of_class, 5))
      end))

    local skip = kind == "ttl" and "63." or "64."
    it(skip .. " skip_args leaves the first argument out (" .. kind .. ")",
      tasks.virtual(function()
        local opts = { skip_args = 1, time_to_live = kind == "ttl" and math.huge or nil }
        local f = make(opts)(function(_, b) perigee.sleep(0.1) return b end)
        assert.is_false(is_fast(f, 1, 5))
        assert.is_true(is_fast(f, 2, 5))
        assert.is_false(is_fast(f, 1, 6))
      end))

    local refreshing = kind == "lru" and "65." or "70."
    it(refreshing .. " refresh runs again (" .. kind .. ")", tasks.virtual(function()
      local fn, calls = slow()
      local f = make()(fn)
      f(1)
      assert.are.equal(1, f:refresh(1))
      assert.are.equal(2, calls.n)
      assert.is_true(is_fast(f, 1))
    end))

    local clear = kind == "lru" and "66." or "71."
    it(clear .. " clear_cache forces a load (" .. kind .. ")", tasks.virtual(function()
      local f = make()(slow())
      f(1)
      f:clear_cache()
      assert.is_false(is_fast(f, 1))
      assert.is_true(is_fast(f, 1))
    end))

    local invalidate = kind == "lru" and "67." or "72."
    it(invalidate .. " invalidate_cache forces a load of its arguments (" .. kind .. ")",
      tasks.virtual(function()
        local f = make()(slow())
        f(1)
        f(2)
        f:invalidate_cache(1)
        assert.is_true(is_fast(f, 2))
        assert.is_false(is_fast(f, 1))
      end))

    it(invalidate .. " of a method: the object is passed; a skipped one may differ (" .. kind
      .. ")", tasks.virtual(function()
        local method = make { skip_args = 1 } (function(_, id) perigee.sleep(0.1) return id end)
        method({}, 1)
        assert.is_true(is_fast(method, {}, 1))
        method:invalidate_cache({}, 1)
        assert.is_false(is_fast(method, {}, 1))
      end))

    local name = kind == "lru" and "73." or "74."
    it(name .. " a wrapped function says where its original stands (" .. kind .. ")", function()
      local fn = slow()
      local f = make()(fn)
      assert.are.equal(fn, f.fn)
      local place = "wrapped_spec.lua:" .. debug.getinfo(fn, "S").linedefined
      assert.is_truthy(tostring(f):find(place, 1, true), tostring(f))
    end)
  end

  it("69. slow, fast, and slow again after its time to live", tasks.virtual(function()
    local f = perigee.ttl { time_to_live = 1 } (slow())
    assert.is_false(is_fast(f, 1))
    assert.is_true(is_fast(f, 1))
    tasks.pass(1.1)
    assert.is_false(is_fast(f, 1))
  end))
end)

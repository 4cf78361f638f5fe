-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local nan = 0 / 0
local megabyte = ("x"):rep(1024 * 1024)

describe("keys", function()
  local cache

  before_each(function()
    cache = perigee.new { maxsize = math.huge }
  end)

  it("1, \"1\" and true are three keys", function()
    cache:set(1, "number")
    cache:set("1", "string")
    cache:set(true, "boolean")
    assert.are.equal("number", (cache:get(1)))
    assert.are.equal("string", (cache:get("1")))
    assert.are.equal("boolean", (cache:get(true)))
    cache:delete(1)
    assert.are.equal("string", (cache:get("1")))
    assert.are.equal("boolean", (cache:get(true)))
    assert.is_false(cache:contains(1))
  end)

  it("false is a key of its own", function()
    cache:set(false, "no")
    assert.are.equal("no", (cache:get(false)))
    assert.is_false(cache:contains(true))
    assert.is_false(cache:contains(0))
    assert.is_false(cache:contains(""))
    assert.is_false(cache:contains("false"))
  end)

  it("0 and -0 are one key", function()
    cache:set(0, "zero")
    assert.are.equal("zero", (cache:get(-0)))
    assert.are.equal("zero", (cache:get(1 / -math.huge)))
    cache:set(-0, "minus zero")
    assert.are.equal("minus zero", (cache:get(0)))
    assert.are.equal(1, cache:get_metrics().size)
  end)

  it("numbers of every size are told apart", function()
    local numbers = {
      0, 1, -1, 0.5, 0.1, 1 / 3, 2 ^ 31, 2 ^ 32, -2 ^ 31, 2 ^ 53, 2 ^ 53 - 1, 1e308, -1e308, 5e-324,
      math.huge, -math.huge, 1e15 + 0.5,
    }
    for i, number in ipairs(numbers) do
      cache:set(number, i)
    end
    for i, number in ipairs(numbers) do
      assert.are.equal(i, (cache:get(number)))
    end
    assert.are.equal(#numbers, cache:get_metrics().size)
  end)

  it("the empty string is a key", function()
    cache:set("", "empty")
    assert.are.equal("empty", (cache:get("")))
    assert.is_false(cache:contains("\0"))
  end)

  it("bytes after a NUL count", function()
    cache:set("a\0b", 1)
    cache:set("a\0c", 2)
    cache:set("a", 3)
    cache:set("a\0", 4)
    assert.are.equal(1, (cache:get("a\0b")))
    assert.are.equal(2, (cache:get("a\0c")))
    assert.are.equal(3, (cache:get("a")))
    assert.are.equal(4, (cache:get("a\0")))
  end)

  it("a key may be a megabyte long", function()
    cache:set(megabyte .. "a", "a")
    cache:set(megabyte .. "b", "b")
    collectgarbage()
    assert.are.equal("a", (cache:get(megabyte .. "a")))
    assert.are.equal("b", (cache:get(megabyte .. "b")))
    assert.are.equal("c", (cache:get(megabyte .. "c", function(key)
      return key:sub(-1)
    end)))
  end)

  it("a key is found again after its string was built anew", function()
    for i = 1, 2000 do
      cache:set("key " .. i, i)
    end
    collectgarbage()
    collectgarbage()
    for i = 1, 4000 do
      local value, _, source = cache:get("key " .. i)
      assert.are.equal(i <= 2000 and i or nil, value)
      assert.are.equal(i <= 2000 and "memory" or "miss", source)
    end
  end)

  it("a key whose string was collected never answers for another one", function()
    local small = perigee.new { maxsize = 50 }
    for round = 1, 40 do
      for i = 1, 100 do
        local key = ("r%d i%d"):format(round, i)
        small:set(key, key)
      end
      collectgarbage()
      for i = 1, 100 do
        local key = ("r%d i%d"):format(round, i)
        local value = small:get(key)
        assert.is_true(value == nil or value == key)
        assert.is_nil((small:get(("r%d i%d"):format(round + 1, i))))
      end
    end
  end)

  it("reach the loader as they are", function()
    for _, key in ipairs { "text", "", 5, 0.5, true, false } do
      local seen = {}
      cache:get(key, function(...)
        seen = { select("#", ...), ... }
      end)
      assert.are.same({ 1, key }, seen)
    end
  end)
end)

describe("values", function()
  local cache

  before_each(function()
    cache = perigee.new()
  end)

  local function loads(value)
    local calls = 0
    local function loader()
      calls = calls + 1
      return value
    end
    cache:get("key", loader)
    local got, err, source = cache:get("key", loader)
    assert.is_nil(err)
    assert.are.equal("memory", source)
    assert.are.equal(1, calls)
    assert.is_true(cache:contains("key"))
    assert.are.equal(1, cache:get_metrics().size)
    return got
  end

  it("nil is cached, and told apart from what is not in the cache", function()
    assert.is_nil(loads(nil))
    local value, err, source = cache:get("absent")
    assert.is_nil(value)
    assert.is_nil(err)
    assert.are.equal("miss", source)
    assert.is_false(cache:contains("absent"))
    local peeked, left = cache:peek("key")
    assert.is_nil(peeked)
    assert.are.equal(math.huge, left)
    assert.is_nil(select(2, cache:peek("absent")))
  end)

  it("a loader that returns nothing at all has said that there is none", function()
    cache:get("key", function() end)
    assert.are.equal("memory", select(3, cache:get("key")))
  end)

  it("false is cached", function()
    assert.is_false(loads(false))
  end)

  it("NaN is cached", function()
    local value = loads(nan)
    assert.is_true(value ~= value)
  end)

  it("values are kept by reference and of any kind", function()
    local kinds = { {}, print, coroutine.create(print), io.stdout, require("ffi").new("int[2]"),
      "", 0, setmetatable({}, { __eq = function() return false end }) }
    for _, kind in ipairs(kinds) do
      cache:clear()
      assert.is_true(rawequal(kind, (loads(kind))))
    end
  end)

  it("set keeps nil, false and NaN too", function()
    cache:set("nil", nil)
    cache:set("false", false)
    cache:set("nan", nan)
    assert.are.same({ nil, nil, "memory" }, { cache:get("nil") })
    assert.is_true(cache:contains("nil"))
    assert.is_false((cache:get("false")))
    local value = cache:get("nan")
    assert.is_true(value ~= value)
    assert.is_false(cache:add("nil", 1))
    assert.are.equal(3, cache:get_metrics().size)
  end)

  it("a value is not kept alive after it left", function()
    local weak = setmetatable({}, { __mode = "v" })
    for i, leave in ipairs {
      function() cache:delete("key") end,
      function() cache:clear() end,
      function() cache:set("key", 1) end,
    } do
      weak[i] = { i }
      cache:set("key", weak[i])
      leave()
    end
    perigee.run(tasks.settle)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)
end)

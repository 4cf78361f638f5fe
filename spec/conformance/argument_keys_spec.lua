-- SPDX-License-Identifier: MIT
-- Keys of arguments, as the reference's tests have them and as its faults do not. A tuple and a
-- list are a table here; a set is a table of trues; an object is a table whose metatable has
-- `__cachekey`; keyword arguments are a table of options.
local perigee = require "perigee"

local key = perigee.key

local function object(class, fields) return setmetatable(fields, class) end

-- A class whose objects are equal when their fields are, and not to objects of another class.
local function new_class(name)
  local class = { name = name }
  class.__cachekey = function(self)
    local fields = {}
    for field, value in pairs(self) do fields[field] = value end
    return name .. key(fields)
  end
  return class
end

describe("conformance: argument keys", function()
  it("75. equal arguments have equal keys, whatever the order of fields; nothing is changed",
    function()
      local opts = { b = 2, a = 1 }
      assert.are.equal(key(1, { a = 1, b = 2 }), key(1, opts))
      assert.are.same({ a = 1, b = 2 }, opts)
      assert.are_not.equal(key(1, { a = 1 }), key(1, opts))
    end)

  it("76. two classes of the same name and other identity are told apart, if they say so",
    function()
      local one, two = new_class("A#1"), new_class("A#2")
      assert.are_not.equal(key(object(one, { x = 1 })), key(object(two, { x = 1 })))
    end)

  it("77. objects of one class with the same values have one key", function()
    local class = new_class("A")
    assert.are.equal(key(object(class, { x = 1 })), key(object(class, { x = 1 })))
    assert.are_not.equal(key(object(class, { x = 1 })), key(object(class, { x = 2 })))
  end)

  it("78-80. an object is not the table of its values, nor an object of another class",
    function()
      local point, pair = new_class("Point"), new_class("Pair")
      assert.are_not.equal(key({ 1, 2 }), key(object(point, { 1, 2 })))
      assert.are_not.equal(key(object(pair, { 1, 2 })), key(object(point, { 1, 2 })))
      assert.are.equal(key(object(point, { 1, 2 })), key(object(point, { 1, 2 })))
    end)

  it("81, 97. lists of equal content have one key", function()
    assert.are.equal(key({ 1, 2, 3 }), key({ 1, 2, 3 }))
  end)

  it("82. a list that was changed has another key", function()
    local list = { 1, 2 }
    local before = key(list)
    list[3] = 3
    assert.are_not.equal(before, key(list))
  end)

  it("83, 94. a number is not its text", function()
    assert.are_not.equal(key(1), key("1"))
    assert.are_not.equal(key({ 1 }), key({ "1" }))
  end)

  it("84, 89. the order of options does not count", function()
    local one, other = {}, {}
    for i = 1, 20 do one["option" .. i] = i end
    for i = 20, 1, -1 do other["option" .. i] = i end
    assert.are.equal(key(one), key(other))
  end)

  it("85, 95. sets are compared by their members", function()
    assert.are.equal(key({ a = true, b = true }), key({ b = true, a = true }))
    assert.are_not.equal(key({ a = true }), key({ a = true, b = true }))
  end)

  it("86, 90, 96. nested structures count by content, at every depth", function()
    local function deep(leaf) return { 1, { a = { { b = { leaf, "x" } }, 2 } }, "z" } end
    assert.are.equal(key(deep(1), deep(2)), key(deep(1), deep(2)))
    assert.are_not.equal(key(deep(1)), key(deep(2)))
  end)

  it("87. objects with tables inside count by content", function()
    local class = new_class("A")
    assert.are.equal(key(object(class, { list = { 1, { 2 } } })),
      key(object(class, { list = { 1, { 2 } } })))
  end)

  it("88. types are told apart", function()
    local seen = {}
    for _, value in ipairs { 1, "1", true, { 1 }, { "1" }, { [true] = 1 }, 1LL, 1ULL } do
      assert.is_nil(seen[key(value)])
      seen[key(value)] = true
    end
  end)

  it("91, 98. a refresh is not part of the key, and the caller's arguments stay", function()
    local calls, opts = 0, { a = 1 }
    local f = perigee.lru(function(o) calls = calls + 1 return o.a end)
    f:refresh(opts)
    f(opts)
    assert.are.equal(1, calls)
    assert.are.same({ a = 1 }, opts)
  end)

  it("92. two functions with equal arguments have two entries", function()
    local cache = perigee.new()
    local one = perigee.lru { cache = cache } (function() return 1 end)
    local two = perigee.lru { cache = cache } (function() return 2 end)
    assert.are.same({ 1, 2, 1, 2 }, { one(), two(), one(), two() })
  end)

  it("93, 98. skip_args leaves the first arguments out, and only those", function()
    local calls = 0
    local f = perigee.lru { skip_args = 1 } (function(_, b, c) calls = calls + 1 return b, c end)
    f(1, 2, 3)
    f({}, 2, 3)
    assert.are.equal(1, calls)
    f(1, 2, 4)
    f(1, 3, 3)
    assert.are.equal(3, calls)
  end)

  it("99. keys are strings, equal when their content is, and usable as such", function()
    local cache = perigee.new()
    cache:set(key("a", { 1 }), "value")
    assert.are.equal("value", (cache:get(key("a", { 1 }))))
    assert.are.equal("string", type(key()))
  end)

  it("F9 functions never collide: they are refused, and a wrapped one is its own", function()
    local f = perigee.lru(function(a) return a end)
    assert.has_error(function() f(function() end) end)
    local function make(n) return perigee.lru(function() return n end) end
    assert.are_not.equal(make(1)(), make(2)())
  end)

  it("F9 1, true and 1.0: numbers are one, the boolean is not", function()
    local calls = 0
    local f = perigee.lru(function(a) calls = calls + 1 return a end)
    f(1)
    f(1.0)
    assert.are.equal(1, calls)
    assert.is_true(f(true))
  end)

  it("F10 cyclic arguments and mixed fields: a clear error, and no error", function()
    local cycle = {}
    cycle.self = cycle
    local f = perigee.lru(function(a) return type(a) end)
    local ok, message = pcall(f, cycle)
    assert.is_false(ok)
    assert.is_truthy(message:find("argument 1.self: a table that contains itself", 1, true))
    assert.are.equal("table", f({ 1, a = 2, [true] = 3, [0.5] = 4 }))
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan
local ffi = require "ffi"
local keys = require "perigee.value.keys"
local random = require "spec.support.random"
local table_new = require "table.new"

local key = keys.key

local function hex(bytes)
  return (bytes:gsub(".", function(char) return ("%02x"):format(char:byte()) end))
end

describe("an encoded key", function()
  it("tells types and kinds of numbers apart", function()
    local seen = {}
    local values = { 1, "1", true, 1LL, 1ULL, { 1 }, { "1" }, { { 1 } }, { [2] = 1 }, false, 0, "",
      {}, "n", "t", 0x7FFFFFFFFFFFFFFFLL, -1LL, 0xFFFFFFFFFFFFFFFFULL, 2 ^ 53, math.huge }
    for i, value in ipairs(values) do
      local made = key(value)
      assert.is_nil(seen[made], ("value %d has the key of value %s"):format(i, seen[made]))
      seen[made] = i
    end
    assert.is_nil(seen[key(nil)])
    assert.is_nil(seen[key()])
  end)

  it("is a string that begins with the reserved byte, of one string, too", function()
    assert.equal(0xFE, key("a"):byte())
    assert.equal(0xFE, key():byte())
  end)

  it("keeps arguments apart, and how many they are", function()
    assert.not_equal(key("a", "bc"), key("ab", "c"))
    assert.not_equal(key(1), key(1, nil))
    assert.not_equal(key(), key(nil))
    assert.not_equal(key("a", "b"), key("a\0b"))
    assert.not_equal(key({ "a", "b" }), key({ "a" }, { "b" }))
  end)

  it("takes 0 and -0 for one", function()
    assert.equal(key(0), key(-0))
    assert.equal(key({ -0 }), key({ 0 }))
    assert.equal(keys.two("f", 0, 1), keys.two("f", -0, 1))
  end)

  it("takes tables by content, in whatever order and way they were filled", function()
    local hashed, listed = table_new(0, 8), table_new(8, 0)
    for i = 4, 1, -1 do hashed[i] = i end
    for i = 1, 4 do listed[i] = i end
    hashed.x, hashed.y = 1, 2
    listed.y, listed.x = 2, 1
    assert.equal(key(hashed), key(listed))
    listed.x = 3
    assert.not_equal(key(hashed), key(listed))
  end)

  it("takes any value as a field's key, and a table twice", function()
    local shared = { 1, 2 }
    assert.equal(key({ shared, shared }), key({ { 1, 2 }, { 1, 2 } }))
    assert.equal(key({ [{ 1 }] = true, [false] = 2 }), key({ [false] = 2, [{ 1 }] = true }))
    assert.not_equal(key({ [1] = "a" }), key({ ["1"] = "a" }))
  end)

  it("carries any bytes", function()
    for _, text in ipairs { "", "\0", "a\0b", "\254", ("x"):rep(2 ^ 20), ("s\1\0\0\0"):rep(9) } do
      assert.equal(key(text), key(text .. ""))
      assert.not_equal(key(text), key(text .. "\0"))
      assert.not_equal(key(text, 1), key(1, text))
    end
  end)

  it("is the same on every machine", function()
    assert.equal("fe" .. "6e7466", hex(key(nil, true, false)))
    assert.equal("fe" .. "64000000000000f03f", hex(key(1)))
    assert.equal("fe" .. "730200000061ff", hex(key("a\255")))
    assert.equal("fe" .. "69feffffffffffffff" .. "750100000000000000", hex(key(-2LL, 1ULL)))
    local one, a, zero = "64000000000000f03f", "730100000061", "640000000000000000"
    assert.equal("fe" .. "28" .. one .. "74" .. a .. zero .. "29", hex(key({ true, a = 0 })))
  end)

  it("of scalars is the same by the way without garbage", function()
    local values = { 1, -1.5, "a", "", true, false, math.huge, "\254", ("long"):rep(2000) }
    for i = 1, #values + 1 do
      local a, b = values[i], values[#values - i + 1]
      assert.equal(key(a, b), keys.two("f", a, b))
      assert.equal(key(b, a, i), keys.three("f", b, a, i))
    end
    assert.equal(key({ 1 }, 2LL), keys.two("f", { 1 }, 2LL))
  end)

  it("makes no garbage of scalars while it is alive", function()
    local alive = keys.three("f", "user", 12, true)
    local function measure()
      collectgarbage()
      local before = collectgarbage("count")
      for _ = 1, 200000 do
        if keys.three("f", "user", 12, true) ~= alive then error("not the same") end
      end
      return collectgarbage("count") - before
    end
    measure()
    assert.is_true(measure() < 16)
  end)
end)

describe("a string, a number and a boolean", function()
  it("are keys as they are, when there is one argument", function()
    for _, value in ipairs { "a", "", "\0", 1, -0.5, true, false } do
      assert.equal(value, keys.one("f", value))
    end
  end)

  it("are encoded when the string looks encoded", function()
    assert.equal(key("\254"), keys.one("f", "\254"))
    assert.not_equal(keys.one("f", key("a")), keys.one("f", "a"))
  end)
end)

describe("what stands for itself by __cachekey", function()
  local class = { __cachekey = function(self) return "id " .. self.id end }

  it("is an object or a userdata, in a table, too", function()
    local one, same = setmetatable({ id = 1, at = 1 }, class), setmetatable({ id = 1 }, class)
    local proxy = newproxy(true)
    getmetatable(proxy).__cachekey = function() return "id 1" end
    assert.equal(key(one), key(same))
    assert.equal(key({ one }), key({ proxy }))
    assert.not_equal(key(one), key("id 1"))
  end)

  it("raises what that raises", function()
    local err = {}
    local ok, raised = pcall(key, setmetatable({}, { __cachekey = function() error(err) end }))
    assert.is_false(ok)
    assert.equal(err, raised)
  end)
end)

describe("what cannot be part of a key", function()
  local cycle = { name = "c" }
  cycle.list = { 1, cycle }
  local deep = {}
  for _ = 1, 101 do deep = { deep } end
  local CASES = {
    ["NaN"] = { 0 / 0, "argument 2: NaN cannot be part of a key" },
    ["a function"] = { print, "argument 2: a function cannot be part of a key; leave it out" },
    ["a thread"] = { coroutine.create(print), "argument 2: a thread cannot" },
    ["a userdata"] = { newproxy(), "argument 2: a userdata has no __cachekey" },
    ["a file"] = { io.stdout, "argument 2: a userdata has no __cachekey" },
    ["an object"] = { setmetatable({}, {}), "argument 2: a table with a metatable has no" },
    ["other cdata"] = { ffi.new "int[2]", "argument 2: cdata other than 64-bit integers" },
    ["a cycle"] = { cycle, "argument 2.list[2]: a table that contains itself" },
    ["depth"] = { deep, "tables nested deeper than 100" },
    ["something inside"] = { { a = { ["b c"] = { 1, print } } },
      "argument 2.a[\"b c\"][2]: a function" },
    ["a field's key"] = { { [print] = 1 }, "argument 2 (a key): a function" },
    ["a __cachekey of no text"] = { setmetatable({}, { __cachekey = function() return 1 end }),
      "argument 2: its __cachekey returned a number, not a string" },
  }
  for name, case in pairs(CASES) do
    it("is refused by name and path: " .. name, function()
      local ok, message = pcall(key, 1, case[1])
      assert.is_false(ok)
      assert.is_truthy(message:find("perigee.key: ", 1, true), message)
      assert.is_truthy(message:find(case[2], 1, true), message)
      assert.is_truthy(pcall(key, 1, {})) -- nothing is left behind
    end)
  end

  it("is refused in the scalar way, too", function()
    assert.has_error(function() keys.two("f", 0 / 0, 1) end)
    assert.has_error(function() keys.three("f", 1, print, 1) end)
    assert.equal(key(1, 2), keys.two("f", 1, 2))
  end)
end)

describe("100,000 random structures", function()
  local next_random = random.generator(77)
  local SCALARS = { 0, 1, "1", "", true, false, 1LL, 1ULL, "a", -1, 0.5 }
  local make

  local function make_table(depth, in_order)
    local count, fields = next_random(4), {}
    for i = 1, count do fields[i] = { SCALARS[next_random(#SCALARS) + 1], make(depth - 1) } end
    for i = 1, count do
      local name = fields[i][1]
      if type(name) == "cdata" then fields[i][1] = tostring(name) end
    end
    return { fields = fields, in_order = in_order }
  end

  -- A plan of a value: scalars as they are, tables as lists of fields.
  function make(depth)
    if depth == 0 or next_random(3) == 0 then return SCALARS[next_random(#SCALARS) + 1] end
    return make_table(depth)
  end

  local function is_plan(value) return type(value) == "table" end

  -- The value of a plan; later fields of a name win; filled forwards or backwards.
  local function build(plan, backwards)
    if not is_plan(plan) then return plan end
    local last, order, value = {}, {}, {}
    for _, field in ipairs(plan.fields) do
      if last[field[1]] == nil then order[#order + 1] = field[1] end
      last[field[1]] = field[2]
    end
    for i = 1, #order do
      local name = order[backwards and #order + 1 - i or i]
      value[name] = build(last[name], backwards)
    end
    return value
  end

  -- Another plan, which differs from the first in one place, or not at all.
  local function vary(plan)
    if not is_plan(plan) then
      return next_random(4) == 0 and SCALARS[next_random(#SCALARS) + 1] or plan
    end
    local fields = {}
    for i, field in ipairs(plan.fields) do fields[i] = field end
    local at = next_random(#fields + 1)
    if at > 0 then fields[at] = { fields[at][1], vary(fields[at][2]) } end
    return { fields = fields }
  end

  local function equal(a, b)
    if type(a) ~= type(b) then return false end
    if type(a) == "cdata" then return tostring(a) == tostring(b) end
    if type(a) ~= "table" then return a == b end
    for name, field in pairs(a) do
      if not equal(field, b[name]) then return false end
    end
    for name in pairs(b) do
      if a[name] == nil then return false end
    end
    return true
  end

  it("have equal keys exactly when they are deeply equal", function()
    local same = 0
    for i = 1, 100000 do
      local plan = make(4)
      local one, other = build(plan), build(vary(plan), true)
      local is_equal = equal(one, other)
      if is_equal then same = same + 1 end
      if (key(one) == key(other)) ~= is_equal then
        error(("pair %d: deeply equal is %s, equal keys is not"):format(i, tostring(is_equal)))
      end
    end
    assert.is_true(same > 20000 and same < 95000, same .. " of 100,000 pairs were equal")
  end)
end)

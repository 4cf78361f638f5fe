-- SPDX-License-Identifier: MIT
local ffi = require "ffi"
local codec = require "perigee.value.codec"
local random = require "spec.support.random"

local function nested(depth)
  local value = {}
  for _ = 2, depth do value = { value } end
  return value
end

local cycle = {}
cycle.inside = { cycle }

-- What a codec carries, and what it says of what it does not carry.
local CODECS = {
  buffer = {
    { 1, -0.5, 2 ^ 60, 1234567890123456, math.huge, "", "\0\255", true, false, 5LL, 7ULL, {},
      { 1, 2, { a = { b = "c" } } }, { [0] = 1, [2.5] = 2, [true] = 3, x = 4, ["1"] = 5, 6 },
      { 1, nil, 3 }, nested(64) },
    {
      ["a function"] = print,
      ["a thread"] = coroutine.create(print),
      ["a userdata"] = newproxy(),
      ["a lightuserdata"] = false, -- LuaJIT calls it a userdata
      ["cdata other than 64-bit integers"] = ffi.new "int[2]",
      ["a table with a metatable"] = { setmetatable({}, {}) },
      ["a table that contains itself"] = cycle,
      ["a table as a field's key"] = { [{}] = 1 },
      ["tables nested deeper than 64"] = nested(65),
    },
  },
  json = {
    { 1, -0.5, 2 ^ 40, 99999999999999, "", "\0\255", "\u{e9}", true, false, {},
      { 1, 2, { a = { b = "c" } } }, { x = { y = {} } } },
    {
      ["a function"] = print,
      ["NaN or an infinite number"] = { 0 / 0 },
      ["a number of more than 14 digits"] = 1234567890123456,
      ["a list with holes"] = { 1, nil, 3, 4 },
      ["a table that is a list and more"] = { 1, x = 2 },
      ["a table whose fields are not named by strings"] = { [2.5] = 1 },
      ["a table with a metatable"] = setmetatable({}, {}),
      ["a cdata"] = 5LL,
      ["a table that contains itself"] = cycle,
      ["tables nested deeper than 64"] = nested(65),
    },
  },
}

for name, cases in pairs(CODECS) do
  describe("the codec " .. name, function()
    local made = codec.new("spec", name, 1)

    it("carries what it takes, unchanged", function()
      for i, value in ipairs(cases[1]) do
        local bytes = assert(made.encode(value), "value " .. i)
        local ok, back = made.decode(bytes)
        assert.is_true(ok, tostring(back))
        assert.are.same(value, back)
        assert.equal(type(value), type(back))
      end
    end)

    for reason, value in pairs(cases[2]) do
      if value then
        it("does not take " .. reason, function()
          local bytes, why = made.encode(value)
          assert.is_nil(bytes)
          assert.equal(reason, why)
        end)
      end
    end

    it("never raises, whatever the bytes", function()
      local next_random = random.generator(99)
      for _ = 1, 2000 do
        local bytes = {}
        for i = 1, next_random(20) do bytes[i] = string.char(next_random(256)) end
        local ok, why = made.decode(table.concat(bytes))
        assert.is_true(ok or type(why) == "string")
      end
    end)
  end)
end

describe("a bomb of six bytes", function()
  it("costs next to nothing", function()
    local made = codec.new("spec", "buffer", 1)
    collectgarbage()
    local before, start = collectgarbage("count"), os.clock()
    local ok = made.decode("\10\255\255\255\255\7")
    assert.is_false(ok)
    assert.is_true(collectgarbage("count") - before < 100)
    assert.is_true(os.clock() - start < 0.5)
  end)
end)

describe("a codec of the user's", function()
  it("is called, and its mistakes are reasons", function()
    local given = { encode = function(value) return value[1] end, decode = function(bytes)
      if bytes == "bad" then error("cannot", 0) end
      return bytes
    end }
    local made = codec.new("spec", given, 1)
    assert.equal("x", made.encode({ "x" }))
    assert.are.same({ true, "x" }, { made.decode("x") })
    assert.are.same({ false, "cannot" }, { made.decode("bad") })
    assert.are.same({ nil, "its codec returned a number, not a string" }, { made.encode({ 5 }) })
    local bytes, why = made.encode(nil)
    assert.is_nil(bytes)
    assert.is_truthy(why:find("^its codec raised: "), why)
  end)

  it("has both functions", function()
    local is_codec = codec.KIND[2]
    assert.is_true(is_codec("buffer") and is_codec("json"))
    assert.is_true(is_codec({ encode = print, decode = print }))
    for _, wrong in ipairs { "xml", 5, {}, { encode = print }, { encode = 1, decode = 2 } } do
      assert.is_false(is_codec(wrong))
    end
  end)
end)

-- SPDX-License-Identifier: MIT
local doubles = require "perigee.value.doubles"
local ffi = require "ffi"

local function bytes_of(number) return ffi.string(ffi.new("double[1]", number), 8) end

describe("a double from outside", function()
  it("is read whatever its value", function()
    for _, number in ipairs { 0, 1, -1.5, 2 ^ 53, 1e308, 5e-324, math.huge, -math.huge } do
      assert.equal(number, doubles.read(bytes_of(number)))
    end
    assert.equal(-math.huge, 1 / doubles.read(bytes_of(-0)))
  end)

  it("is none when it is NaN, of whatever bits", function()
    local rests = { "\1\0\0\0\0\0", "\0\0\0\0\0\8", "\0\16\0\0\0\128", ("\255"):rep(6) }
    for high = 0x7f0, 0x7ff, 0xf do
      for _, rest in ipairs(rests) do
        for sign = 0, 128, 128 do
          local bytes = rest .. string.char(high % 16 * 16 + 15, math.floor(high / 16) + sign)
          local number = doubles.read(bytes)
          assert.equal(high == 0x7ff and "nil" or "number", type(number))
        end
      end
    end
  end)

  it("may stand at any address", function()
    local memory = ffi.new("char[16]", "abc" .. bytes_of(2.5))
    assert.equal(2.5, doubles.read(memory + 3))
  end)
end)

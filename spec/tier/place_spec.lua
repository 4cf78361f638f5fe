-- SPDX-License-Identifier: MIT
local buffer = require "string.buffer"
local place = require "perigee.tier.place"
local random = require "spec.support.random"

local KEYS = { "", "k", "\0", "a\0b", "\1", "\1\1", "sk", "\254@", 0, 1, -1, 0.5, math.huge, true,
  false }
local SPACES = { "", "f", "\0", "\1", "\1\1", "a\0s", "f\0", "s", ("long"):rep(50) }

describe("a place in a tier", function()
  it("says whose key it is and which, and no two are one", function()
    local seen = {}
    for _, space in ipairs(SPACES) do
      for _, key in ipairs(KEYS) do
        local at = place.of(space, key)
        assert.is_nil(seen[at])
        seen[at] = true
        local read_space, read_key = place.read(at)
        assert.equal(space, read_space)
        assert.equal(key, read_key)
        local bytes, length = place.write(buffer.new():put "x", space, key)
        assert.equal("x" .. at, require("ffi").string(bytes, length))
      end
    end
  end)

  it("is one for 0 and -0", function()
    assert.equal(place.of("", 0), place.of("", -0))
  end)

  it("is none, without a word, in bytes that are none", function()
    for _, bytes in ipairs { "", "x", "\0", "\0x", "\0n", "\0n1234567", "\0tt", "\0ff",
      "\0n\0\0\0\0\0\0\248\127", "\0n\0\16\0\0\0\128\253\255" } do
      assert.is_nil(place.read(bytes))
    end
    local next_random = random.generator(8)
    for _ = 1, 20000 do
      local bytes = {}
      for i = 1, next_random(20) do bytes[i] = string.char(next_random(3) * 57) end
      local text = table.concat(bytes)
      local space, key = place.read(text)
      if space then assert.is_true(key ~= nil) end
    end
  end)
end)

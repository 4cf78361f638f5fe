-- SPDX-License-Identifier: MIT
-- PERIGEE_FUZZ_ROUNDS sets how many damaged inputs are tried.
local buffer = require "string.buffer"
local ffi = require "ffi"
local C = require("perigee.lib").core
local random = require "spec.support.random"

local ROUNDS = tonumber(os.getenv("PERIGEE_FUZZ_ROUNDS")) or 200000
local SEED = 8151

local function check(bytes)
  local wrong = C.perigee_serialized_check(bytes, #bytes)
  return wrong ~= nil and ffi.string(wrong) or nil
end

local function nested(depth)
  local value = {}
  for _ = 2, depth do value = { value } end
  return value
end

local GOOD = {
  1, -1, 0.5, 2 ^ 60, math.huge, 0 / 0, "", "text", "\0\255", ("x"):rep(191), ("x"):rep(192),
  ("x"):rep(8128), ("x"):rep(100000), true, false, 1LL, 0xFFFFFFFFFFFFFFFFULL, {}, { 1, 2, 3 },
  { [0] = 1, 2 }, { [0] = 1 }, { a = 1, b = { c = { 1, 2, x = "y" } } }, { 1, nil, 3, n = 3 },
  { [1.5] = 1, [true] = 2, [-7] = 3 }, nested(64),
}

describe("the check of serialized bytes", function()
  it("takes everything that may be encoded", function()
    for i, value in ipairs(GOOD) do assert.is_nil(check(buffer.encode(value)), "value " .. i) end
    assert.is_nil(check(buffer.encode(nil)))
    local list = {}
    for i = 1, 70000 do list[i] = i end
    assert.is_nil(check(buffer.encode(list)))
  end)

  local HOSTILE = {
    ["nothing"] = { "", "too early" },
    ["a list that asks for gigabytes"] = { "\10\255\255\255\255\7", "longer than what is left" },
    ["a list from 1 that asks for gigabytes"] = { "\12\255\255\255\255\7",
      "longer than what is left" },
    ["fields that ask for gigabytes"] = { "\9\255\255\255\255\7", "more fields" },
    ["both"] = { "\13\5\255\255\255\255\7", "longer than what is left" },
    ["a forged pointer"] = { "\5AAAAAAAA", "a pointer" },
    ["a short pointer"] = { "\4AAAA", "a pointer" },
    ["NULL"] = { "\3", "a pointer" },
    ["a pointer in a table"] = { "\12\2\3", "a pointer" },
    ["a dictionary's string"] = { "\15\0", "a dictionary" },
    ["a dictionary's metatable"] = { "\14\0\8", "a dictionary" },
    ["a complex number"] = { "\18" .. ("\0"):rep(16), "complex" },
    ["an unknown tag"] = { "\19", "unknown" },
    ["a tag written long"] = { "\255\5\0\0\0AAAAAAAA", "unknown" },
    ["a string that is cut off"] = { "\37abc", "too early" },
    ["a number that is cut off"] = { "\7\0\0\0", "too early" },
    ["a count that is cut off"] = { "\10\255\1\0", "too early" },
    ["a list with a missing value"] = { "\12\3\1", "longer than what is left" },
    ["a field without its value"] = { "\9\1\33a", "too early" },
    ["a field named nil"] = { "\9\1\0\1", "key is nil" },
    ["a field named NaN"] = { "\9\1\7\0\0\0\0\0\0\248\127\1", "key is NaN" },
    ["two values"] = { "\1\1", "follows" },
    ["a list without the index 1"] = { "\12\0", "index 1" },
    ["tables nested too deep"] = { buffer.encode(nested(65)), "too deep" },
    ["tables nested without end"] = { ("\12\2"):rep(100000), "too deep" },
  }
  for name, case in pairs(HOSTILE) do
    it("refuses " .. name, function()
      local wrong = check(case[1])
      assert.is_truthy(wrong and wrong:find(case[2], 1, true), tostring(wrong))
    end)
  end

  it("lets through only what decodes, in proportion to its length", function()
    local next_random = random.generator(SEED)
    local passed = 0
    for round = 1, ROUNDS do
      local bytes = { buffer.encode(GOOD[next_random(#GOOD) + 1]):sub(1, 300):byte(1, -1) }
      for _ = 0, next_random(3) do
        local at = next_random(#bytes) + 1
        bytes[at] = next_random(4) == 0 and next_random(20) or next_random(256)
      end
      local damaged = string.char(unpack(bytes, 1, #bytes - next_random(3)))
      if check(damaged) == nil then
        passed = passed + 1
        local before = collectgarbage("count")
        local ok, why = pcall(buffer.decode, damaged)
        local grown = collectgarbage("count") - before
        if not ok and not tostring(why):find("duplicate table key", 1, true) then
          error(("round %d, seed %d: it does not decode: %s"):format(round, SEED, why))
        end
        if grown > 64 then
          error(("round %d, seed %d: %d KB of %d bytes"):format(round, SEED, grown, #damaged))
        end
      end
    end
    assert.is_true(passed > ROUNDS / 100, passed .. " passed")
  end)

  it("reads no byte that is not there", function()
    for _, value in ipairs(GOOD) do
      local bytes = buffer.encode(value)
      for length = 0, math.min(#bytes, 300) - 1 do
        local copy = ffi.new("char[?]", math.max(length, 1))
        ffi.copy(copy, bytes, length)
        assert.is_true(C.perigee_serialized_check(copy, length) ~= nil)
      end
    end
  end)
end)

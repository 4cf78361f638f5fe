-- SPDX-License-Identifier: MIT
-- PERIGEE_FUZZ_ROUNDS sets how many damaged envelopes are tried.
local envelope = require "perigee.value.envelope"
local random = require "spec.support.random"
local returns = require "perigee.value.returns"

local ROUNDS = (tonumber(os.getenv("PERIGEE_FUZZ_ROUNDS")) or 200000) / 10

local function new(opts) return envelope.new("spec", opts or {}, 1) end

local KINDS = {
  plain = new(), signed = new { secret = "s" }, json = new { codec = "json" },
  ["signed json"] = new { codec = "json", secret = "s" },
}

for kind, self in pairs(KINDS) do
  describe("an envelope (" .. kind .. ")", function()
    it("carries value, deadline, tags and key", function()
      local tags = { "user:1", { "http://x/y", "z" } }
      local sealed = assert(self:seal("place", { a = { 1, 2 } }, 12345.5, tags, "the key"))
      assert.are.same({ value = { a = { 1, 2 } }, deadline = 12345.5, tags = tags,
        key = "the key" }, self:open("place", sealed))
      assert.are.same({ value = "x", deadline = math.huge },
        self:open("p", self:seal("p", "x", math.huge)))
    end)

    it("carries nil and false", function()
      for _, case in ipairs { { nil }, { false } } do
        local opened = assert(self:open("p", self:seal("p", case[1], 1)))
        assert.equal(case[1], opened.value)
      end
    end)

    it("carries the returns of a function", function()
      for _, list in ipairs { { n = 0 }, { n = 3, "a", nil, 5 }, { n = 2, nil, nil } } do
        local value = returns.pack(unpack(list, 1, list.n))
        local opened = assert(self:open("p", self:seal("p", value, 1)))
        local back = { n = select("#", returns.unpack(opened.value)),
          returns.unpack(opened.value) }
        assert.are.same(list, back)
      end
    end)

    it("says why it cannot carry something", function()
      assert.are.same({ nil, "a function" }, { self:seal("p", print, 1) })
      assert.are.same({ nil, "a function" }, { self:seal("p", returns.pack(1, print), 1) })
    end)

    it("opens damaged, cut off and foreign bytes with a reason only", function()
      local next_random = random.generator(31)
      local whole = self:seal("place", { "value", { 1, 2, 3 } }, 5000, { "a:b" }, "key")
      for length = 0, #whole - 1 do
        local opened, why = self:open("place", whole:sub(1, length))
        assert.is_nil(opened)
        assert.equal("string", type(why))
      end
      for _ = 1, ROUNDS do
        local at = next_random(#whole) + 1
        local char = string.char(next_random(256))
        if char ~= whole:sub(at, at) then
          local opened, why = self:open("place", whole:sub(1, at - 1) .. char .. whole:sub(at + 1))
          if opened or type(why) ~= "string" then error("byte " .. at .. " counts for nothing") end
        end
      end
      for _, foreign in ipairs { "", "PE", ("\0"):rep(100), ("PE\1\0b"):rep(30), whole .. "x" } do
        assert.is_nil(self:open("place", foreign))
      end
    end)
  end)
end

describe("an envelope", function()
  it("with a secret opens only with it, and only in its place", function()
    local sealed = KINDS.signed:seal("place", "value", 1)
    assert.equal("value", KINDS.signed:open("place", sealed).value)
    assert.is_nil(KINDS.signed:open("elsewhere", sealed))
    assert.is_nil(new { secret = "t" }:open("place", sealed))
    assert.is_nil(KINDS.plain:open("place", sealed))
    assert.is_nil(KINDS.signed:open("place", KINDS.plain:seal("place", "value", 1)))
  end)

  it("opens only in its place", function()
    local _, why = KINDS.plain:open("q", KINDS.plain:seal("p", 1, 1))
    assert.equal("damaged", why)
  end)

  it("opens only with the codec that made it", function()
    local _, why = KINDS.json:open("p", KINDS.plain:seal("p", 1, 1))
    assert.equal("made by another codec", why)
  end)

  it("holds no more than max_value_bytes", function()
    local small = new { max_value_bytes = 100 }
    assert.is_truthy(small:seal("p", ("x"):rep(90), 1))
    local sealed, why = small:seal("p", ("x"):rep(101), 1)
    assert.is_nil(sealed)
    assert.is_truthy(why:find("of 100 at most", 1, true), why)
  end)

  it("is taken for hostile, also when its checksum is right", function()
    local C = require("perigee.lib").core
    local ffi = require "ffi"
    local function forge(payload, flags)
      local bytes = "PE\1" .. string.char(flags or 0) .. "b" .. ("\0"):rep(8) .. payload
      local sum = C.perigee_checksum("p", 1, bytes, #bytes)
      return bytes .. ffi.string(ffi.new("uint64_t[1]", sum), 8)
    end
    assert.equal(true, KINDS.plain:open("p", forge("\2")).value)
    for payload, flags in pairs {
      ["\10\255\255\255\255\7"] = 0, ["\5AAAAAAAA"] = 0, [""] = 0, ["\1"] = 4, ["\2"] = 8,
      ["\255\255\255\255x"] = 1, ["\2\0\0\0\5A\2"] = 2, ["\2\2"] = 0, ["\3"] = 0,
      ["\9\1\33n\7\0\0\0\0\0\0\240\127"] = 8, ["\2\1"] = 16,
    } do
      local opened, why = KINDS.plain:open("p", forge(payload, flags))
      assert.is_nil(opened)
      assert.equal("string", type(why))
    end
    -- NaNs, those that LuaJIT would take for a nil, a string, a table among them.
    for _, deadline in ipairs { "\0\0\0\0\0\0\248\127", ("\255"):rep(8), "\0\16\0\0\0\128\253\255",
      "\0\16\0\0\0\0\251\255", "\1\0\0\0\0\0\240\255" } do
      local nan = "PE\1\0b" .. deadline .. "\2"
      nan = nan .. ffi.string(ffi.new("uint64_t[1]", C.perigee_checksum("p", 1, nan, #nan)), 8)
      local opened, why = KINDS.plain:open("p", nan)
      assert.is_nil(opened)
      assert.equal("its deadline is no number", why)
    end
  end)
end)

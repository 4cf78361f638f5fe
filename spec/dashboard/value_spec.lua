-- SPDX-License-Identifier: MIT
-- suites: dev host
local ffi = require "ffi"

local show = require("perigee.dashboard.value").show

describe("a value on the dashboard", function()
  it("is a string as it is, or what Lua would write", function()
    assert.equal("a \"b\"\n", show "a \"b\"\n")
    assert.equal("42", show(42))
    assert.equal("true", show(true))
    assert.equal("nil", show(nil))
    assert.equal("5LL", show(5LL))
    assert.equal("(function)", show(print))
    assert.equal("(cdata)", show(ffi.new "int[2]"))
    assert.equal("{}", show {})
    assert.equal([[
{
  1,
  "x\n\"\\",
  [true] = 0.5,
}]], (show { 1, "x\n\"\\", [true] = 0.5 }))
    assert.equal("{\n  [\"1 c\"] = 2,\n  a = {\n    b = 1,\n  },\n}",
      (show { ["1 c"] = 2, a = { b = 1 } }))
  end)

  it("is read, and never run", function()
    local function refuse() error "called" end
    local mt = { __index = refuse, __tostring = refuse, __pairs = refuse, __len = refuse,
      __metatable = "hidden", __name = "thing" }
    assert.equal("(thing) {...}", show(setmetatable({ 1 }, mt)))
    mt.__len = nil
    assert.equal("(thing) {\n  1,\n}", show(setmetatable({ 1 }, mt)))
    assert.equal("(userdata)", show(newproxy(true)))
  end)

  it("is cut at 4 KB, and says so", function()
    local text, note = show(("x"):rep(5000))
    assert.equal(4096, #text)
    assert.equal("cut at 4 KB of 4.9 KB", note)
    text, note = show(("x"):rep(4096))
    assert.equal(4096, #text)
    assert.is_nil(note)
    text, note = show { ("y"):rep(5000) }
    assert.equal(4096, #text)
    assert.equal("cut at 4 KB", note)
  end)

  it("ends, however large or deep it is, and if it contains itself", function()
    local loop, long, wide = {}, {}, {}
    loop.loop = loop
    for i = 1, 100000 do long[i], wide["field " .. i] = i, i end
    assert.matches("loop = {...}", show(loop), 1, true)
    assert.equal(4096, #show(long))
    assert.equal("cut at 4 KB", select(2, show(long)))
    assert.is_true(#show(wide) <= 4096)
    assert.matches('^{\n  %["k+$', show { [("k"):rep(1e6)] = 1 })
  end)
end)

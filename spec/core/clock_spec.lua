-- SPDX-License-Identifier: MIT
local ffi = require "ffi"
local C = require("perigee.lib").core

describe("the clock", function()
  it("stands still while it is held", function()
    local clock = ffi.new("perigee_clock")
    clock.held, clock.now_ms = 1, 77
    assert.equal(77, C.perigee_clock_now(clock))
  end)

  it("runs with the machine otherwise, in milliseconds, and never goes back", function()
    local clock = ffi.new("perigee_clock")
    local last = C.perigee_clock_now(clock)
    assert.is_true(last > 0)
    for _ = 1, 1000 do
      local now = C.perigee_clock_now(clock)
      assert.is_true(now >= last)
      last = now
    end
    clock.offset_ms = -1e6
    assert.is_true(C.perigee_clock_now(clock) >= last)
  end)

  it("is moved on by its offset, and says seconds when synced", function()
    local clock = ffi.new("perigee_clock")
    local before = C.perigee_clock_sync(clock)
    clock.offset_ms = 5000
    local after = C.perigee_clock_sync(clock)
    assert.is_true(after - before >= 5 and after - before < 6)
    assert.is_true(math.abs(tonumber(clock.now_ms) / 1000 - after) < 0.01)
  end)
end)

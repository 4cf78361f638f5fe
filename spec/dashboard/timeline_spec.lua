-- SPDX-License-Identifier: MIT
-- suites: dev
-- Recording what happens, and folding it.
local timeline = require "perigee.dashboard.timeline"

local function at_ms(times)
  local now = 0
  local line = timeline.new({ "one", "two" }, function() return now / 1000 end)
  return line, function(ms) now = ms end, times
end

describe("a timeline", function()
  it("tells events in the order in which they began", function()
    local line, set = at_ms()
    set(30)
    line:add("two", "load", "slow", 10, 30)
    line:add("one", "note", "late")
    line:add("one", "call", "early", 5)
    assert.same({
      { at = 5, lane = 1, kind = "call", text = "early" },
      { at = 10, till = 30, lane = 2, kind = "load", text = "slow" },
      { at = 30, lane = 1, kind = "note", text = "late" },
    }, line:list())
  end)

  it("makes one of equal events at nearly one time, with their count", function()
    local line = at_ms()
    for i = 0, 3 do line:add("one", "wait", "waits", i, 100 + i) end
    line:add("one", "wait", "waits", 3, 120)
    line:add("one", "wait", "waits for longer", 3, 120)
    line:add("two", "wait", "waits", 3, 120)
    line:add("one", "wait", "waits", 50, 120)
    local list = line:list()
    assert.same({ at = 0, till = 103, lane = 1, kind = "wait", text = "waits", count = 4 }, list[1])
    assert.equal(5, #list)
    for i = 2, 5 do assert.is_nil(list[i].count) end
  end)

  it("knows nothing that took less than a tenth of a millisecond from what took no time",
    function()
      local line = at_ms()
      line:add("one", "hit", "has it", 1, 1.05)
      assert.same({ { at = 1, lane = 1, kind = "hit", text = "has it" } }, line:list())
    end)

  it("is never longer than 200 events, and loses none", function()
    for _, n in ipairs { 200, 201, 1000, 20000 } do
      local line, count = at_ms(), 0
      for i = 1, n do
        line:add(i % 3 == 0 and "two" or "one", i % 2 == 0 and "hit" or "call", "event " .. i,
          i * 10, i % 5 == 0 and i * 10 + i % 7 + 1 or nil)
      end
      local list, before, mixed = line:list(), 0, 0
      assert.is_true(#list <= timeline.MOST)
      if n == 200 then assert.equal(200, #list) end
      for _, event in ipairs(list) do
        count = count + (event.count or 1)
        assert.is_true(event.at >= before)
        before = event.at
        if event.text:find ", and the like$" then mixed = mixed + 1 end
      end
      assert.equal(n, count)
      assert.equal(n > 200, mixed > 0)
    end
  end)

  it("raises on a lane or a kind that it does not have", function()
    local line = at_ms()
    assert.has_error(function() line:add("three", "hit", "x") end)
    assert.has_error(function() line:add("one", "miss", "x") end)
  end)
end)

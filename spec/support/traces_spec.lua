-- SPDX-License-Identifier: MIT
-- suites: dev host
local traces = require "spec.support.traces"

local time, yield = os.time, coroutine.yield

describe("traces.watch", function()
  it("sees a loop that compiles, and nothing to complain about", function()
    local sum = 0
    local report = traces.watch(function()
      for i = 1, 1000 do sum = sum + i end
    end)
    assert.equal(500500, sum)
    assert.is_true(#report.traces >= 1)
    assert.equal("loop", report.traces[1].link)
    assert.matches("traces_spec.lua:%d+", report.traces[1].where)
    assert.same({}, report.aborts)
    assert.same({}, report.stitches)
  end)

  it("sees what cannot be compiled, and where", function()
    local report = traces.watch(function()
      for i = 1, 1000 do
        local closure = function() return i end
        closure()
      end
    end)
    assert.is_true(#report.aborts > 0)
    assert.matches("^NYI: bytecode %u+$", report.aborts[1].why)
    assert.matches("traces_spec.lua:%d+", report.aborts[1].where)
  end)

  it("sees a trace that is stitched at an interpreted call", function()
    local report = traces.watch(function()
      for _ = 1, 1000 do time() end
    end)
    assert.is_true(#report.stitches > 0)
    assert.equal("stitch", report.stitches[1].link)
  end)

  it("sees the stitch at a yield", function()
    local co = coroutine.wrap(function()
      while true do yield() end
    end)
    local report = traces.watch(function()
      for _ = 1, 1000 do co() end
    end)
    assert.is_true(#report.stitches > 0)
  end)

  it("starts with no compiled code", function()
    local function work()
      local sum = 0
      for i = 1, 1000 do sum = sum + i % 7 end
      return sum
    end
    work()
    assert.is_true(#traces.watch(work).traces > 0)
    assert.is_true(#traces.watch(work).traces > 0)
  end)

  it("forms no trace of code that is not hot", function()
    assert.same({}, traces.watch(function() return 1 + 1 end).traces)
  end)

  it("keeps only what happened at the place asked for", function()
    local function stitched()
      for _ = 1, 1000 do time() end
    end
    assert.same({}, traces.watch(stitched, "lua/perigee/").stitches)
    assert.is_true(#traces.watch(stitched, "traces_spec").stitches > 0)
  end)

  it("raises what the function raises, and watches no longer", function()
    assert.error_matches(function()
      traces.watch(function() error "on purpose" end)
    end, "on purpose")
    assert.is_true(#traces.watch(function()
      for _ = 1, 1000 do time() end
    end).traces > 0)
  end)
end)

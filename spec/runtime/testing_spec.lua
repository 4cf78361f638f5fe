-- SPDX-License-Identifier: MIT
-- The virtual clock.
local mistake = require "spec.support.mistake"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local runtime = require "perigee.runtime"
local testing = require "perigee.testing"
local C = require("perigee.lib").rt

describe("testing.run", function()
  it("returns what main returns and raises what it raises", function()
    assert.equal(3, select("#", testing.run(function(...) return ... end, nil, 2, nil)))
    local thrown = {}
    local ok, err = pcall(testing.run, function() error(thrown) end)
    assert.is_false(ok)
    assert.equal(thrown, err)
  end)

  it("refuses what is no function where it was given", function()
    for _, main in ipairs { 5, "main", {} } do
      local ok, message = pcall(function() testing.run(main) end)
      assert.is_false(ok)
      assert.is_truthy(message:find("testing_spec.lua:%d+: perigee.testing.run: main must be"),
        message)
    end
    assert.equal(7, testing.run(setmetatable({}, { __call = function() return 7 end })))
  end)

  it("sleeps a year without waiting", function()
    local before = C.perigee_loop_now()
    testing.run(function()
      local start = perigee.now()
      perigee.sleep(365 * 86400)
      assert.is_true(math.abs(perigee.now() - start - 365 * 86400) < 0.001)
    end)
    assert.is_true(C.perigee_loop_now() - before < 60)
  end)

  it("wakes sleepers in the order of their deadlines", function()
    local order = {}
    testing.run(function()
      for _, seconds in ipairs { 5, 1, 3, 2, 4 } do
        perigee.spawn(function()
          perigee.sleep(seconds)
          order[#order + 1] = seconds
        end)
      end
      perigee.sleep(10)
    end)
    assert.same({ 1, 2, 3, 4, 5 }, order)
  end)

  it("names a deadlock and the places where its tasks wait", function()
    local ok, err = pcall(testing.run, function()
      local first, second
      first = perigee.spawn(function() perigee.sleep(1) second:wait() end)
      second = perigee.spawn(function() first:wait() end)
      second:wait()
    end)
    assert.is_false(ok)
    assert.matches("deadlock", err, 1, true)
    assert.matches("testing_spec.lua:%d+", err)
  end)

  it("ends a deadlock though a task holds on to it", function()
    local ok, err
    local lines = logged(function()
      ok, err = pcall(testing.run, function()
        while true do pcall(perigee.sleep, math.huge) end
      end)
    end)
    assert.is_false(ok)
    assert.matches("deadlock", err, 1, true)
    assert.equal(1, #lines)
  end)

  it("inside itself is a scope", function()
    testing.run(function()
      local inner
      assert.equal(1, testing.run(function()
        inner = perigee.spawn(perigee.sleep, 100)
        perigee.sleep(1)
        return 1
      end))
      assert.is_false((pcall(inner.wait, inner)))
      assert.equal("virtual", perigee.runtime())
    end)
  end)

  it("runs inside a run on the real loop, which goes on afterwards", function()
    perigee.run(function()
      local may_wake, woken = false, false
      local other = perigee.spawn(function()
        while not may_wake do perigee.sleep(0.01) end
        woken = true
        return "other"
      end)
      assert.equal("virtual", testing.run(function()
        perigee.sleep(1000)
        assert.is_false(woken)
        local ok, err = pcall(other.wait, other)
        assert.is_false(ok)
        assert.matches("another clock", err, 1, true)
        return perigee.runtime()
      end))
      assert.equal("libev", perigee.runtime())
      perigee.sleep(0.01) -- of this clock again: 1,000 s have passed on the other one only
      assert.is_false(woken)
      may_wake = true
      assert.equal("other", other:wait())
    end)
  end)

  it("can cancel a task of the loop around it", function()
    perigee.run(function()
      local other = perigee.spawn(perigee.sleep, 100)
      testing.run(function() other:cancel() end)
      assert.same({ false, "cancelled" }, { pcall(other.wait, other) })
    end)
  end)

  it("leaves the clock where it was moved to: it never goes back", function()
    local core = require("perigee.lib").core
    local before = core.perigee_clock_now(runtime.clock)
    testing.run(function() perigee.sleep(3600) end)
    local passed = core.perigee_clock_now(runtime.clock) - before
    assert.is_true(passed >= 3600e3 and passed < 3601e3)
  end)

  it("lets real processes take their time", function()
    testing.run(function()
      local slept = false
      perigee.spawn(function() perigee.sleep(0.02) slept = true end)
      assert.equal("out\n", perigee.exec({ "sh", "-c", "sleep 0.05; echo out" }).stdout)
      assert.is_true(slept)
      assert.same({ nil, "timeout" }, { perigee.exec { "sleep", "5", timeout = 0.05 } })
    end)
  end)
end)

describe("testing.advance", function()
  it("moves the time, and all that is due by then has run", function()
    testing.run(function()
      local log = {}
      perigee.spawn(function()
        for i = 1, 4 do
          perigee.sleep(2)
          log[i] = perigee.spawn(function() perigee.sleep(0) return i end):wait()
        end
      end)
      local before = perigee.now()
      testing.advance(4)
      assert.same({ 1, 2 }, log)
      testing.advance(1.5)
      assert.same({ 1, 2 }, log)
      testing.advance(0.5)
      assert.same({ 1, 2, 3 }, log)
      assert.is_true(math.abs(perigee.now() - before - 6) < 1e-6)
    end)
  end)

  it("moves the clock of everything that expires", function()
    testing.run(function()
      local before = tonumber(runtime.clock.now_ms)
      testing.advance(0.25)
      assert.equal(250, tonumber(runtime.clock.now_ms) - before)
      for _ = 1, 1000 do testing.advance(0.001) end
      assert.equal(1250, tonumber(runtime.clock.now_ms) - before)
    end)
  end)

  it("returns though two tasks wake each other for ever", function()
    testing.run(function()
      perigee.spawn(function()
        while true do perigee.sleep(0) end
      end)
      testing.advance(1)
    end)
  end)

  it("is told where the clock cannot be moved", function()
    perigee.run(function()
      mistake(function() testing.advance("1") end, { "advance", "seconds", "1" })
      local ok, err = pcall(testing.advance, 1)
      assert.is_false(ok)
      assert.matches("only inside perigee.testing.run", err, 1, true)
    end)
  end)
end)

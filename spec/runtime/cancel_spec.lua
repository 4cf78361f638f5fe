-- SPDX-License-Identifier: MIT
local logged = require "spec.support.logged"
local perigee = require "perigee"
local testing = require "perigee.testing"

local function inside(body)
  return function() testing.run(body) end
end

local function only_abandoned(lines)
  assert.equal(1, #lines)
  assert.matches("abandoned", lines[1].text, 1, true)
  assert.matches("stack traceback", lines[1].text, 1, true)
  assert.matches("cancel_spec.lua", lines[1].text, 1, true)
end

describe("a cancelled task", function()
  it("raises the plain string 'cancelled' at each wait from then on", inside(function()
    local seen = {}
    local task = perigee.spawn(function()
      for i = 1, 3 do
        local ok, err = pcall(perigee.sleep, 100)
        seen[i] = { ok, err }
      end
    end)
    task:cancel()
    task:wait()
    for i = 1, 3 do assert.same({ false, "cancelled" }, seen[i]) end
  end))

  it("is woken in a later turn, never within the call", inside(function()
    local woken = false
    local task = perigee.spawn(function()
      pcall(perigee.sleep, 100)
      woken = true
    end)
    task:cancel()
    assert.is_false(woken)
    perigee.sleep(0)
    assert.is_true(woken)
  end))

  it("raises in those that wait for it", inside(function()
    local task = perigee.spawn(perigee.sleep, 100)
    task:cancel()
    assert.same({ false, "cancelled" }, { pcall(task.wait, task) })
  end))

  it("may be its own doing", inside(function()
    local task
    task = perigee.spawn(function()
      perigee.sleep(0)
      task:cancel()
      perigee.sleep(0)
      error "not reached"
    end)
    assert.same({ false, "cancelled" }, { pcall(task.wait, task) })
  end))

  it("stays as it is when it has ended", inside(function()
    local task = perigee.spawn(function() return 1 end)
    task:cancel()
    assert.equal(1, task:wait())
  end))

  it("never starts if it has not started", inside(function()
    local started, task = false, nil
    local function nest()
      local begun = false
      local inner = perigee.spawn(function()
        begun = true
        if task then started = true else nest() end
      end)
      if not begun and not task then
        task = inner
        task:cancel()
      end
    end
    nest() -- far down, starts are put off to the next turn
    perigee.sleep(1)
    assert.is_false(started)
    assert.same({ false, "cancelled" }, { pcall(task.wait, task) })
  end))

  it("raises though it was woken before", inside(function()
    local other = perigee.spawn(perigee.sleep, 1)
    local task = perigee.spawn(function() return other:wait() end)
    perigee.sleep(1)
    task:cancel()
    local ok, err = pcall(task.wait, task)
    assert.is_true(ok or err == "cancelled")
  end))

  it("leaves those alone that wait for the same", inside(function()
    local slow = perigee.spawn(function() perigee.sleep(5) return "slow" end)
    local first = perigee.spawn(function() return slow:wait() end)
    local second = perigee.spawn(function() return slow:wait() end)
    first:cancel()
    assert.equal("slow", second:wait())
    assert.same({ false, "cancelled" }, { pcall(first.wait, first) })
  end))

  it("that raises something else while it ends is reported", function()
    local lines = logged(inside(function()
      local task = perigee.spawn(function()
        pcall(perigee.sleep, 100)
        error "while cleaning up"
      end)
      task:cancel()
      perigee.sleep(1)
    end))
    assert.equal(1, #lines)
    assert.matches("while cleaning up", lines[1].text, 1, true)
  end)
end)

describe("perigee.shield", function()
  it("lets a cancelled task wait while it cleans up", inside(function()
    local steps = {}
    local task = perigee.spawn(function()
      local ok = pcall(perigee.sleep, 100)
      steps[1] = ok
      steps[2] = perigee.shield(function(a, ...)
        perigee.sleep(0.2)
        assert(perigee.spawn(function() perigee.sleep(0.1) return true end):wait())
        return a, ...
      end, "shielded", nil)
      steps[3] = pcall(perigee.sleep, 1)
    end)
    task:cancel()
    task:wait()
    assert.same({ false, "shielded", false }, steps)
  end))

  it("holds a cancellation back until it ends", inside(function()
    local seen
    local task = perigee.spawn(function()
      perigee.shield(function()
        perigee.shield(perigee.sleep, 1)
        perigee.sleep(1)
      end)
      seen = { pcall(perigee.sleep, 1) }
    end)
    task:cancel()
    task:wait()
    assert.same({ false, "cancelled" }, seen)
  end))

  it("passes errors and results through unchanged", inside(function()
    local thrown = {}
    local ok, err = pcall(perigee.shield, function() error(thrown) end)
    assert.is_false(ok)
    assert.equal(thrown, err)
    assert.equal(3, select("#", perigee.shield(function() return nil, 1, nil end)))
  end))
end)

describe("the grace of a second", function()
  it("ends a task that swallows every cancellation", function()
    local turns = 0
    only_abandoned(logged(inside(function()
      perigee.spawn(function()
        while true do
          pcall(perigee.sleep, 1)
          turns = turns + 1
        end
      end)
    end)))
    assert.is_true(turns > 2 and turns < 1000)
  end)

  it("ends it too when nobody closes its scope, and tells those that wait for it", function()
    only_abandoned(logged(inside(function()
      local task = perigee.spawn(function()
        while true do pcall(perigee.sleep, 1) end
      end)
      task:cancel()
      local before = perigee.now()
      assert.same({ false, "cancelled" }, { pcall(task.wait, task) })
      assert.is_true(perigee.now() - before < 1.1)
    end)))
  end)

  it("ends a shield that lasts too long", function()
    local before
    only_abandoned(logged(function()
      testing.run(function()
        before = perigee.now()
        assert.same({ nil, "timeout" }, { perigee.timeout(1, function()
          perigee.shield(perigee.sleep, 100)
        end) })
        assert.is_true(perigee.now() - before <= 2.1)
      end)
    end))
  end)

  it("ends a task that only yields", function()
    only_abandoned(logged(inside(function()
      perigee.spawn(function()
        while true do coroutine.yield() end
      end)
    end)))
  end)

  it("ends a generator's task", function()
    only_abandoned(logged(inside(function()
      perigee.spawn(perigee.wrap(function()
        while true do pcall(perigee.sleep, 1) end
      end))
    end)))
  end)

  it("really lasts a second on the real loop", function()
    local before
    only_abandoned(logged(function()
      perigee.run(function()
        before = perigee.now()
        perigee.spawn(function()
          while true do pcall(perigee.sleep, 1) end
        end)
      end)
      before = perigee.now() - before
    end))
    assert.is_true(before >= 0.9)
  end)
end)

-- SPDX-License-Identifier: MIT
-- Which runtime is used, and what the loop calls.
local context = require "perigee.context"
local hooks = require "perigee.runtime.hooks"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local testing = require "perigee.testing"

-- Runs `body` with hooks that are gone afterwards.
local function with_hook(list, hook, body)
  list[#list + 1] = hook
  local ok, err = pcall(body)
  assert(table.remove(list) == hook)
  assert(ok, err)
end

describe("perigee.runtime", function()
  it("names what is in force", function()
    assert.equal("libev", perigee.run(perigee.runtime))
    assert.equal("virtual", testing.run(perigee.runtime))
  end)
end)

describe("a turn hook", function()
  it("is called in each turn, with the clock moved and before tasks go on", function()
    local order = {}
    with_hook(hooks.turn, function() order[#order + 1] = "hook" end, function()
      testing.run(function()
        perigee.sleep(1)
        order[#order + 1] = "task"
        perigee.sleep(1)
        order[#order + 1] = "task"
      end)
    end)
    assert.matches("^hook.*hook task hook.* task", table.concat(order, " "))
  end)

  it("has its next turn within the seconds it returned", function()
    local times = {}
    with_hook(hooks.turn, function()
      times[#times + 1] = context.port.now()
      return 0.01
    end, function()
      perigee.run(function() perigee.sleep(0.1) end)
    end)
    assert.is_true(#times >= 5)
  end)

  it("does not keep a run alive, nor hide a deadlock", function()
    with_hook(hooks.turn, function() return 0.001 end, function()
      perigee.run { drain = true, main = function() end }
      local ok, err = pcall(testing.run, function()
        context.port.park(context.port.can_wait())
      end)
      assert.is_false(ok)
      assert.matches("deadlock", err, 1, true)
    end)
  end)

  it("that raises is reported, and the loop goes on", function()
    local lines = logged(function()
      with_hook(hooks.turn, function() error "broken hook" end, function()
        testing.run(function() perigee.sleep(1) end)
      end)
    end)
    assert.is_true(#lines >= 1)
    assert.matches("broken hook", lines[1].text, 1, true)
  end)

  it("may spawn tasks, which end with the run", function()
    local seen
    with_hook(hooks.turn, function()
      if not seen then
        seen = {}
        perigee.spawn(function() seen[1] = select(2, pcall(perigee.sleep, 100)) end)
        context.port.spawn(function() seen[2] = select(2, pcall(perigee.sleep, 100)) end)
      end
    end, function()
      testing.run(function() perigee.sleep(1) end)
    end)
    assert.same({ "cancelled", "cancelled" }, seen)
  end)

  it("cannot wait", function()
    local why
    with_hook(hooks.turn, function() why = select(2, context.port.can_wait()) end, function()
      testing.run(function() perigee.sleep(0) end)
    end)
    assert.matches("cannot wait here", why, 1, true)
  end)
end)

describe("a stop hook", function()
  it("runs in the last task of the outermost run, and may wait and spawn", function()
    local log = {}
    with_hook(hooks.stop, function()
      log[#log + 1] = "stop"
      perigee.sleep(0.01)
      log[#log + 1] = perigee.spawn(function() perigee.sleep(0) return "spawned" end):wait()
      context.port.spawn(function() log[#log + 1] = "work" end)
    end, function()
      testing.run(function()
        perigee.spawn(function()
          pcall(perigee.sleep, 100)
          log[#log + 1] = "cancelled"
        end)
        perigee.run(function() end)
        log[#log + 1] = "main"
      end)
    end)
    assert.same({ "main", "cancelled", "stop", "spawned", "work" }, log)
  end)

  it("runs when main raised too, and may itself raise", function()
    local ran = false
    local lines = logged(function()
      with_hook(hooks.stop, function()
        ran = true
        error "broken stop"
      end, function()
        local ok, err = pcall(testing.run, function() error("main's", 0) end)
        assert.same({ false, "main's" }, { ok, err })
      end)
    end)
    assert.is_true(ran)
    assert.equal(1, #lines)
    assert.matches("broken stop", lines[1].text, 1, true)
  end)
end)

describe("internal work", function()
  it("outlives the scope and the task that began it", function()
    local done = false
    perigee.run(function()
      perigee.run(function()
        perigee.spawn(function()
          context.port.spawn(function()
            perigee.sleep(0.02)
            done = true
          end)
        end)
      end)
      assert.is_false(done)
      perigee.sleep(0.05)
      assert.is_true(done)
    end)
  end)

  it("is cancelled when the outermost run ends", function()
    local seen
    testing.run(function()
      context.port.spawn(function() seen = { pcall(perigee.sleep, 100) } end)
    end)
    assert.same({ false, "cancelled" }, seen)
  end)

  it("leaves nothing of one piece of work to the next", function()
    perigee.run(function()
      for i = 1, 100 do
        local got
        context.port.spawn(function(a, b)
          perigee.sleep(0)
          got = { a, b }
        end, i)
        perigee.sleep(0.0001)
        while not got do perigee.sleep(0) end
        assert.same({ i }, got)
      end
    end)
  end)
end)

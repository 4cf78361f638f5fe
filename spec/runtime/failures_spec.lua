-- SPDX-License-Identifier: MIT
-- What is said about tasks that nobody hears of.
local logged = require "spec.support.logged"
local context = require "perigee.context"
local perigee = require "perigee"

local function only_one(lines, text)
  assert.equal(1, #lines)
  assert.equal("error", lines[1].level)
  assert.matches(text, lines[1].text, 1, true)
  assert.matches("stack traceback", lines[1].text, 1, true)
  assert.matches("failures_spec.lua", lines[1].text, 1, true)
end

local function broken(text)
  return function()
    perigee.sleep(0)
    error(text)
  end
end

describe("a task that raises", function()
  it("is reported with a traceback when nobody waits for it", function()
    only_one(logged(function()
      perigee.run(function()
        perigee.spawn(function() error "lost for good" end)
        perigee.sleep(0.01)
      end)
    end), "lost for good")
  end)

  it("is not reported when somebody waits, soon or later in the same turn", function()
    assert.equal(0, #logged(function()
      perigee.run(function()
        local soon = perigee.spawn(function() error "heard" end)
        assert.is_false((pcall(soon.wait, soon)))
        local later = perigee.spawn(broken "heard")
        assert.is_false((pcall(later.wait, later)))
        assert.is_false((pcall(perigee.gather, { broken "heard", broken "too" })))
        assert.is_false((pcall(perigee.timeout, 1, broken "heard")))
        assert.is_false((pcall(perigee.run, broken "heard")))
      end)
    end))
  end)

  it("is reported at the end of its scope at the latest", function()
    only_one(logged(function()
      perigee.run(function()
        perigee.run(function() perigee.spawn(function() error "in a scope" end) end)
      end)
    end), "in a scope")
  end)

  it("is reported when the last that waited for it was cancelled", function()
    only_one(logged(function()
      perigee.run(function()
        local task = perigee.spawn(function()
          perigee.sleep(0.01)
          error "unheard"
        end)
        local waiter = perigee.spawn(task.wait, task)
        waiter:cancel()
        perigee.sleep(0.03)
      end)
    end), "unheard")
  end)

  it("is reported with what its error object says", function()
    local thrown = setmetatable({}, { __tostring = function() return "an object" end })
    local lines = logged(function()
      perigee.run(function()
        perigee.spawn(function() error(thrown) end)
        perigee.spawn(function() error({}) end)
        perigee.sleep(0)
      end)
    end)
    assert.equal(2, #lines)
    assert.matches("an object", lines[1].text, 1, true)
    assert.matches("table value", lines[2].text, 1, true)
  end)
end)

describe("internal work that raises", function()
  it("is reported, and the loop goes on", function()
    only_one(logged(function()
      perigee.run(function()
        context.port.spawn(broken "inside")
        perigee.sleep(0.01)
      end)
    end), "internal work failed")
  end)

  it("is told to whoever keeps the loads when it had to be abandoned", function()
    local abandoned, before = nil, context.abandoned
    local function stubborn()
      while true do pcall(perigee.sleep, 1) end
    end
    context.abandoned = function(...) abandoned = { ... } end
    local lines = logged(function()
      require("perigee.testing").run(function() context.port.spawn(stubborn, "a", "b") end)
    end)
    context.abandoned = before
    assert.equal(1, #lines)
    assert.same({ stubborn, "a", "b" }, abandoned)
  end)
end)

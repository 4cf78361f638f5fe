-- SPDX-License-Identifier: MIT
-- Tools that fail: what is kept, for how long, and what the guard makes of it.
local agent = require "perigee.agent"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

describe("a tool that fails", function()
  local calls

  local function failing(opts, fail)
    calls = 0
    opts.resource, opts.name = "r", "fail"
    return agent.cache(opts)(function(...)
      calls = calls + 1
      return fail(...)
    end)
  end

  it("fails for all who wait, alike, and the next call runs again", tasks.virtual(function()
    local raised = { "object" }
    local tool = failing({}, function()
      perigee.sleep(0.1)
      error(raised, 0)
    end)
    for _, job in ipairs(tasks.together(5, function() return tool() end)) do
      assert.is_false(job.ok)
      assert.equal(raised, job[1])
    end
    assert.equal(1, calls)
    assert.has_error(tool)
    assert.equal(2, calls)
  end))

  it("returns all it returned: nil, err, and more", function()
    local tool = failing({}, function() return nil, "no", 7, nil end)
    assert.are.same({ n = 4, nil, "no", 7, nil }, (function(...)
      return { n = select("#", ...), ... }
    end)(tool()))
    tool()
    assert.equal(2, calls)
  end)

  it("with neg_errors is left alone for so long", tasks.virtual(function()
    local raised = { "object" }
    for _, way in ipairs { "raise", "return" } do
      local tool = failing({ neg_errors = 10 }, function()
        if way == "raise" then error(raised, 0) end
        return nil, raised, 3
      end)
      for _ = 1, 3 do
        local results = { pcall(tool, 1) }
        assert.equal(way == "return", results[1])
        assert.equal(raised, results[way == "return" and 3 or 2])
        if way == "return" then assert.equal(3, results[4]) end
      end
      assert.equal(1, calls)
      tasks.pass(11)
      pcall(tool, 1)
      assert.equal(2, calls)
    end
  end))

  it("keeps errors by class: what goes away by itself is not kept", function()
    local function classify(err) return err == "busy" and "transient" or "error" end
    local tool = failing({ neg_errors = 10, classify = classify }, function(err) error(err, 0) end)
    for _ = 1, 2 do
      pcall(tool, "busy")
      pcall(tool, "absent")
    end
    assert.equal(3, calls)
    tool = failing({ neg_errors = 10 }, function() return nil, "timeout" end)
    tool()
    tool()
    assert.equal(2, calls)
  end)

  it("keeps errors as a function of the error says", tasks.virtual(function()
    local tool = failing({ neg_errors = function(err) return err == "absent" and 5 or nil end },
      function(err) error(err, 0) end)
    for _ = 1, 2 do
      pcall(tool, "absent")
      pcall(tool, "other")
    end
    assert.equal(3, calls)
    tasks.pass(6)
    pcall(tool, "absent")
    assert.equal(4, calls)
  end))

  it("is not hidden by a neg_errors that says nonsense: that is logged", function()
    local tool = failing({ neg_errors = function() return -1 end }, function() error("x", 0) end)
    local lines = logged(function() assert.has_error(tool, "x") end)
    assert.matches('the tool "fail": .*option "neg_errors" must be a number of seconds > 0',
      lines[1].text)
    assert.has_error(tool, "x")
    assert.equal(2, calls)
  end)

  it("is forgotten by a write like any answer", function()
    local tool = failing({ neg_errors = 100 }, function() error("absent", 0) end)
    pcall(tool)
    agent.invalidator { resource = "r" } (function() end)()
    pcall(tool)
    assert.equal(2, calls)
  end)

  it("never keeps that its caller was cancelled, or refused", tasks.virtual(function()
    local tool = failing({ neg_errors = 100 }, function()
      perigee.sleep(1)
      return "answer"
    end)
    local job = tasks.start(tool)
    tasks.settle()
    job.task:cancel()
    tasks.finish(job)
    assert.equal("answer", tool())
    local inner = agent.cache { resource = "i", kind = "exec" } (function() return 1 end)
    local outer = failing({ neg_errors = 100 }, function() return inner() end)
    agent.session({ max_tool_repeats = 1 }, function(session)
      inner()
      assert.is_true(agent.is_loop_error(select(2, pcall(outer))))
      session:reset()
      assert.equal(1, outer())
    end)
  end))

  it("with an error of a class of its own is recognized by its text", function()
    local class = { __tostring = function(self) return "Error: " .. self.what end }
    local tool = failing({}, function() error(setmetatable({ what = "denied" }, class)) end)
    local last
    agent.session({ max_tool_repeats = math.huge }, function()
      for i = 1, 10 do last = select(2, pcall(tool, i)) end
    end)
    assert.is_true(agent.is_loop_error(last))
    assert.equal("error", last.kind)
    assert.matches("Error: denied", last.message)
  end)

  it("now and then gets twice the patience", function()
    local tool = failing({ classify = function() return "transient" end, kind = "exec" },
      function() error("busy", 0) end)
    local refused
    agent.session({ max_tool_repeats = math.huge }, function()
      for i = 1, 30 do
        local _, err = pcall(tool, "x")
        if agent.is_loop_error(err) then refused = refused or i end
      end
    end)
    assert.equal(10, refused)
  end)

  it("is not hidden by a classify that says nonsense: that is logged", function()
    local tool = failing({ classify = function() return "odd" end }, function() error("x", 0) end)
    agent.session(function(session)
      local lines = logged(function() assert.has_error(tool, "x") end)
      assert.matches('option "classify" must be "error" or "transient", got string "odd"',
        lines[1].text)
      assert.equal(0, session.pending)
    end)
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev hard host
-- Plain code, with no run around it: each case is a program of its own.
local run_script = require "spec.support.script"

local function prints(expected, code)
  return function()
    local output, status = run_script('local perigee = require "perigee"\n' .. code)
    assert.equal(expected, output)
    assert.equal(0, status)
  end
end

describe("plain code", function()
  it("sleeps, and its clock moves", prints("true\n", [[
    local before = perigee.now()
    perigee.sleep(0.03)
    local passed = perigee.now() - before
    print(passed >= 0.029)
  ]]))

  it("spawns tasks that go on whenever it waits", prints("started\n2\n2\na\tnil\tb\n", [[
    local begun = 0
    local function slow(...)
      begun = begun + 1
      perigee.sleep(0.05)
      print(begun) -- side by side: both had begun before one ended
      return ...
    end
    local first, second = perigee.spawn(slow, "a", nil, "b"), perigee.spawn(slow)
    print "started"
    second:wait()
    print(first:wait())
  ]]))

  it("is told the errors of its tasks", prints("false\tmine\ncancelled\n", [[
    local broken = perigee.spawn(function() perigee.sleep(0) error("mine", 0) end)
    print(pcall(broken.wait, broken))
    local task = perigee.spawn(perigee.sleep, 100)
    task:cancel()
    print(select(2, pcall(task.wait, task)))
  ]]))

  it("gathers, limits, executes and shields without a run", prints("2\nnil\ttimeout\nout\n5\n", [[
    print(#perigee.gather { function() perigee.sleep(0.01) return 1 end, function() return 2 end })
    print(perigee.timeout(0.01, perigee.sleep, 100))
    io.write(perigee.exec({ "echo", "out" }).stdout)
    print(perigee.shield(function() perigee.sleep(0.001) return 5 end))
  ]]))

  it("waits in a coroutine of its own, which blocks like all plain code", prints("1\n2\nnil\n", [[
    local co = coroutine.wrap(function()
      perigee.sleep(0.001)
      coroutine.yield(1)
      perigee.sleep(0.001)
      coroutine.yield(2)
    end)
    print(co()) print(co()) print((co()))
  ]]))

  it("runs internal work in place", prints("in place\nafter\n", [[
    require("perigee.context").port.spawn(function(text) print(text) end, "in place")
    print "after"
  ]]))

  it("is told when nothing could ever wake it", prints("true\ntrue\n", [[
    local port = require("perigee.context").port
    local ok, err = pcall(port.park, port.can_wait())
    print(not ok and err:find("deadlock", 1, true) ~= nil)
    print(port.park(port.can_wait(), 0.01) == false)
  ]]))

  it("has runs one after the other, and tasks of its own between", prints("1\n2\nmine\n3\n", [[
    local mine = perigee.spawn(function() perigee.sleep(0.02) return "mine" end)
    print(perigee.run(function() perigee.sleep(0.001) return 1 end))
    print(perigee.run(function() perigee.sleep(0.001) return 2 end))
    print(mine:wait())
    print(perigee.run(function() return 3 end))
  ]]))

  it("does not load the loop before it has to wait", prints("false\ntrue\n", [[
    require("perigee.context").port.now()
    print(rawget(require "perigee.lib", "rt") ~= nil)
    perigee.sleep(0)
    print(rawget(require "perigee.lib", "rt") ~= nil)
  ]]))

  it("may end with processes running and finalizers that wait", prints("end\n", [[
    for _ = 1, 20 do
      local last = newproxy(true)
      getmetatable(last).__gc = function()
        pcall(perigee.sleep, 0.001)
        pcall(perigee.spawn, perigee.sleep, 1)
        pcall(perigee.exec, { "true" })
      end
      perigee.spawn(function() perigee.exec { "sleep", "60" } return last end)
    end
    perigee.sleep(0.01)
    print "end"
  ]]))

  it("is not held up by a task that it left behind", prints("end\n", [[
    perigee.spawn(perigee.sleep, 100)
    print "end"
  ]]))
end)

describe("the runtime", function()
  it("is 'none' in plain code, and follows PERIGEE_RUNTIME", function()
    local code = [[
      local perigee = require "perigee"
      print(perigee.runtime(), perigee.run(function()
        perigee.sleep(0.001)
        local task = perigee.spawn(function() perigee.sleep(0.001) return "task" end)
        return perigee.runtime() .. " " .. task:wait()
      end))
    ]]
    local function run_as(name)
      return (run_script(([[
        local ffi = require "ffi"
        ffi.cdef "int setenv(const char *, const char *, int);"
        ffi.C.setenv("PERIGEE_RUNTIME", "%s", 1)
      ]]):format(name) .. code))
    end
    assert.equal("none\tlibev task\n", run_as "")
    assert.equal("none\tlibev task\n", run_as "libev")
    assert.equal("none\tnone task\n", run_as "none")
    assert.equal("none\tvirtual task\n", run_as "virtual")
    local output = run_as "nodejs"
    assert.matches("PERIGEE_RUNTIME is 'nodejs'", output, 1, true)
  end)
end)

describe("a task that nobody waits for", function()
  it("is reported to stderr, also when the program ends at once after it", function()
    local output, status = run_script [[
      require("perigee").spawn(function() error "the last words" end)
    ]]
    assert.equal(0, status)
    assert.matches("perigee: error", output, 1, true)
    assert.matches("the last words", output, 1, true)
    assert.matches("stack traceback", output, 1, true)
  end)

  it("is reported though the log's sink is broken", function()
    local output, status = run_script [[
      local perigee = require "perigee"
      require("perigee.log").sink = function() error "broken sink" end
      perigee.run(function()
        perigee.spawn(function() error "first words" end)
        perigee.sleep(0)
      end)
      print "went on"
    ]]
    assert.equal(0, status)
    assert.matches("first words", output, 1, true)
    assert.matches("went on", output, 1, true)
  end)
end)

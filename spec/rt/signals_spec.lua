-- SPDX-License-Identifier: MIT
-- suites: dev hard host
-- In a process of its own: signals are of the whole process.
local run_script = require "spec.support.script"

local PROLOGUE = [[
  local perigee = require "perigee"
  local context = require "perigee.context"
  local loop = require("perigee.runtime.libev").world.loop
  local C = require("perigee.lib").rt
  local function status(name)
    return io.open("/proc/self/status"):read("*a"):match("\n" .. name .. ":%s*(%x+)")
  end
  local function kill(name) io.popen("kill -" .. name .. " $PPID"):close() end
  local function wait(seconds)
    local ticket = context.port.can_wait()
    C.perigee_signals_await(loop, ticket)
    return context.port.park(ticket, seconds)
  end
]]

local function prints(expected, code)
  return function()
    local output, exit = run_script(PROLOGUE .. code)
    assert.equal(expected, output)
    assert.equal(0, exit)
  end
end

describe("a signal", function()
  it("wakes the ticket that awaits it, and is told once", prints("true\t2\t0\ntrue\t15\t0\n", [[
    for _, name in ipairs { "INT", "TERM" } do
      assert(C.perigee_signals_listen(loop) == 0)
      perigee.run(function()
        perigee.spawn(function() perigee.sleep(0.01) kill(name) end)
        print(wait(5), C.perigee_signals_take(), C.perigee_signals_take())
      end)
      C.perigee_signals_restore(loop)
    end
  ]]))

  it("that came before it was awaited wakes at once", prints("true\t15\n", [[
    assert(C.perigee_signals_listen(loop) == 0)
    kill "TERM"
    perigee.run(function() print(wait(5), C.perigee_signals_take()) end)
  ]]))

  it("is left to others before and after: the handlers are put back", prints("true\ntrue\n", [[
    local before = status "SigCgt"
    assert(C.perigee_signals_listen(loop) == 0)
    print(before ~= status "SigCgt")
    C.perigee_signals_restore(loop)
    print(before == status "SigCgt")
  ]]))

  it("is listened to by one loop at a time", prints("-1\n0\n", [[
    local other = C.perigee_loop_new()
    assert(C.perigee_signals_listen(loop) == 0)
    print(C.perigee_signals_listen(other))
    C.perigee_signals_restore(other)
    C.perigee_signals_restore(loop)
    print(C.perigee_signals_listen(other))
    C.perigee_loop_free(other)
    assert(C.perigee_signals_listen(loop) == 0)
  ]]))

  it("ends the program the second time, if the first was not heeded", function()
    local _, exit = run_script(PROLOGUE .. [[
      assert(C.perigee_signals_listen(loop) == 0)
      kill "TERM"
      kill "TERM"
      print "not reached"
    ]])
    assert.is_true(exit == 143 or exit == 124 + 19, "exit " .. tostring(exit))
  end)
end)

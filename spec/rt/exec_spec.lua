-- SPDX-License-Identifier: MIT
local ffi = require "ffi"
local files = require "spec.support.files"
local perigee = require "perigee"
local processes = require "spec.support.processes"
local scheduler = require "perigee.runtime.scheduler"
local testing = require "perigee.testing"
local C = require("perigee.lib").rt

local exec = perigee.exec

-- Time-outs that are tried in turn, until the program had the time to begin.
local PATIENCE = { 0.2, 2, 20 }

local function inside(body)
  return function()
    perigee.run(body)
    local loop = require("perigee.runtime.libev").world.loop
    local broken = C.perigee_loop_verify(loop)
    assert.is_true(broken == nil, broken ~= nil and ffi.string(broken) or nil)
  end
end

describe("perigee.exec", function()
  it("returns what the program wrote, and its exit code", inside(function()
    local result = exec { "sh", "-c", "echo out; echo err >&2; exit 3" }
    assert.same({ stdout = "out\n", stderr = "err\n", status = 3 }, result)
    assert.equal(0, exec({ "true" }).status)
  end))

  it("passes arguments as they are, through no shell", inside(function()
    local odd = { "a b", "$HOME", "'\"", "*", "", "ä\n\t" }
    local result = exec { "printf", "[%s]", unpack(odd) }
    assert.equal("[" .. table.concat(odd, "][") .. "]", result.stdout)
    assert.equal("7 0.5", exec({ "printf", "%s %s", 7, 0.5 }).stdout)
  end))

  it("says why a program could not be started", inside(function()
    local result, err = exec { "no-such-program-anywhere" }
    assert.is_nil(result)
    assert.matches("no-such-program-anywhere", err, 1, true)
    assert.matches("No such file", err, 1, true)
    assert.matches("Permission denied", select(2, exec { "/etc/passwd" }))
  end))

  it("tells the signal that ended a program", inside(function()
    local result = exec { "sh", "-c", "kill -9 $$" }
    assert.same({ 137, 9 }, { result.status, result.signal })
  end))

  it("feeds and drains megabytes at once without a deadlock", inside(function()
    local parts = {}
    for i = 1, 300000 do parts[i] = ("%011d\n"):format(i) end
    local text = table.concat(parts)
    assert.equal(text, exec({ "cat", stdin = text }).stdout)
    local both = exec { "sh", "-c", "tee /dev/stderr", stdin = text }
    assert.equal(text, both.stdout)
    assert.equal(text, both.stderr)
    local nul = ("\0\255\r\n"):rep(1000)
    assert.equal(nul, exec({ "cat", stdin = nul }).stdout)
  end))

  it("reads nothing when nothing is fed, or an empty text", inside(function()
    assert.equal("", exec({ "cat" }).stdout)
    assert.equal("", exec({ "cat", stdin = "" }).stdout)
  end))

  it("does not mind a program that does not read its input", inside(function()
    assert.equal(0, exec({ "true", stdin = ("x"):rep(5000000) }).status)
    assert.equal("x\n", exec({ "head", "-n", "1", stdin = ("x\n"):rep(3000000) }).stdout)
  end))

  it("stops a program that writes too much", inside(function()
    for _, command in ipairs { "yes", "yes >&2" } do
      local result, err = exec { "sh", "-c", command, max_output = 10000 }
      assert.is_nil(result)
      assert.matches("max_output (10000 bytes)", err, 1, true)
    end
    assert.equal(10000, #exec({ "head", "-c", "10000", "/dev/zero", max_output = 10000 }).stdout)
    assert.equal("", exec({ "true", max_output = 0 }).stdout)
  end))

  it("ends the whole group when the time is up, whatever it traps", inside(function()
    local pids = os.tmpname()
    local shell, child
    for _, timeout in ipairs(PATIENCE) do
      local before = C.perigee_loop_now()
      local result, err = exec { "sh", "-c",
        ("trap '' TERM; sleep 90 & echo $$ $! > %s; wait; sleep 90"):format(pids),
        timeout = timeout }
      assert.same({ nil, "timeout" }, { result, err })
      assert.is_true(C.perigee_loop_now() - before < 60)
      shell, child = files.read(pids):match "(%d+) (%d+)"
      if child then break end
    end
    os.remove(pids)
    for _, pid in ipairs { shell, child } do
      for _ = 1, 1000 do
        if not processes.is_running(pid) then break end
        perigee.sleep(0.01)
      end
      assert.is_false(processes.is_running(pid))
    end
  end))

  it("asks before it kills", inside(function()
    local marker = os.tmpname()
    for _, timeout in ipairs(PATIENCE) do
      exec { "sh", "-c", ("trap 'echo asked > %s; exit' TERM; sleep 60 & wait"):format(marker),
        timeout = timeout }
      if files.read(marker) ~= "" then break end
    end
    assert.equal("asked\n", files.read(marker))
    os.remove(marker)
  end))

  it("ends its process when the task is cancelled", inside(function()
    local before = C.perigee_loop_now()
    local task = perigee.spawn(exec, { "sleep", "60" })
    perigee.sleep(0.02)
    local loop = scheduler.world().loop
    assert.equal(1, C.perigee_exec_running(loop))
    task:cancel()
    assert.same({ false, "cancelled" }, { pcall(task.wait, task) })
    assert.equal(0, C.perigee_exec_running(loop))
    assert.is_true(C.perigee_loop_now() - before < 30)
  end))

  it("does not wait for a grandchild that holds the output open", inside(function()
    local before = C.perigee_loop_now()
    local result = exec { "sh", "-c", "sleep 60 & echo $!" }
    processes.signal(assert(tonumber(result.stdout)), 9)
    assert.equal(0, result.status)
    assert.is_true(C.perigee_loop_now() - before < 30)
  end))

  it("runs many side by side", inside(function()
    local marker = os.tmpname()
    local command, jobs = ("while [ -e %s ]; do sleep 0.1; done; exit "):format(marker), {}
    for i = 1, 40 do
      jobs[i] = function() return exec({ "sh", "-c", command .. i }).status end
    end
    jobs[41] = function()
      while C.perigee_exec_running(scheduler.world().loop) < 40 do perigee.sleep(0.01) end
      os.remove(marker)
    end
    local codes = perigee.gather(jobs)
    for i = 1, 40 do assert.equal(i, codes[i]) end
  end))

  it("reports true exit codes beside io.popen and os.execute", inside(function()
    local codes = {}
    for round = 1, 5 do
      local pipe = io.popen "sleep 0.02; exit 5"
      local task = perigee.spawn(function()
        for i = 1, 5 do codes[#codes + 1] = exec({ "sh", "-c", "exit " .. i }).status end
      end)
      assert.equal(7, math.floor(os.execute "exit 7" / 256) + os.execute "exit 7" % 256)
      assert.equal(0, exec({ "true" }).status)
      task:wait()
      assert.same({ 1, 2, 3, 4, 5 }, { unpack(codes, #codes - 4) })
      assert.equal(5 * round, #codes)
      local text, first, second, third = pipe:read "*a", pipe:close()
      assert.equal("", text)
      if third ~= nil then assert.same({ nil, "exit", 5 }, { first, second, third }) end
    end
  end))

  it("leaves no process and no descriptor behind", inside(function()
    exec { "true" }
    local before = processes.descriptors()
    for _ = 1, 20 do
      exec { "true" }
      exec { "no-such-program" }
      exec { "cat", stdin = "x" }
      exec { "sleep", "9", timeout = 0 }
      exec { "yes", max_output = 1 }
    end
    assert.equal(before, processes.descriptors())
    assert.equal(0, processes.zombies())
  end))

  it("survives running out of memory", inside(function()
    for n = 1, 5 do
      C.perigee_rt_fail_at(n)
      local result, err = exec { "cat", stdin = "text" }
      C.perigee_rt_fail_at(0)
      assert.is_true(result ~= nil or err ~= nil)
      if result then assert.equal(0, result.status) end
    end
    assert.equal("text", exec({ "cat", stdin = "text" }).stdout)
  end))
end)

describe("a process", function()
  it("has an id that is stale once it is freed", inside(function()
    local loop = scheduler.world().loop
    local argv = ffi.new("const char *[3]")
    argv[0], argv[1] = "sleep", "60"
    local id = C.perigee_exec_start(loop, argv, nil, 0, 100)
    assert.is_true(id > 0)
    local result = ffi.new "perigee_exec_result"
    assert.equal(0, C.perigee_exec_await(loop, id, 0))
    assert.equal(-1, C.perigee_exec_result_of(loop, id, result))
    C.perigee_exec_free(loop, id)
    for _, stale in ipairs { id, 0, -1, id + 1, 2 ^ 60, 0 / 0 } do
      assert.equal(-1, C.perigee_exec_await(loop, stale, 0))
      assert.equal(-1, C.perigee_exec_stop(loop, stale, 15))
      assert.equal(-1, C.perigee_exec_result_of(loop, stale, result))
      C.perigee_exec_free(loop, stale)
    end
    for _ = 1, 6000 do
      if C.perigee_exec_running(loop) == 0 then break end
      perigee.sleep(0.01)
    end
    assert.equal(0, C.perigee_exec_running(loop))
  end))

  it("goes with its loop", function()
    local loop = C.perigee_loop_new()
    local argv = ffi.new("const char *[4]")
    argv[0], argv[1], argv[2] = "sh", "-c", "trap '' TERM; sleep 60"
    for _ = 1, 3 do assert.is_true(C.perigee_exec_start(loop, argv, "x", 1, 100) > 0) end
    assert.equal(3, C.perigee_exec_running(loop))
    C.perigee_loop_free(loop)
    assert.equal(0, processes.zombies())
  end)

  it("of an abandoned task is ended too", function()
    testing.run(function()
      local ok = pcall(perigee.run, function()
        perigee.spawn(exec, { "sleep", "60" })
        perigee.sleep(0)
      end)
      assert.is_true(ok)
      assert.equal(0, C.perigee_exec_running(scheduler.world().loop))
    end)
  end)
end)

-- SPDX-License-Identifier: MIT
-- The pipes of a process.
local perigee = require "perigee"
local processes = require "spec.support.processes"

describe("a pipe", function()
  it("is fed slowly to a slow reader, and wholly", function()
    perigee.run(function()
      local text = ("line\n"):rep(60000)
      local slow = "sleep 0.05; head -c 1000; sleep 0.05; cat"
      assert.equal(text, perigee.exec({ "sh", "-c", slow, stdin = text }).stdout)
    end)
  end)

  it("whose reader has gone raises no signal here, and no handler is touched", function()
    local caught, ignored = processes.status "SigCgt", processes.status "SigIgn"
    perigee.run(function()
      for _ = 1, 5 do
        local result = perigee.exec { "sh", "-c", "exec 0<&-; sleep 0.01", stdin = ("x"):rep(1e6) }
        assert.equal(0, result.status)
      end
    end)
    assert.equal(caught, processes.status "SigCgt")
    assert.equal(ignored, processes.status "SigIgn")
    assert.equal("0000000000000000", processes.status "SigBlk")
  end)

  it("keeps busy writers fair to each other and to the loop", function()
    perigee.run(function()
      local turns = 0
      local ticker = perigee.spawn(function()
        while true do
          perigee.sleep(0.001)
          turns = turns + 1
        end
      end)
      local jobs = {}
      for i = 1, 3 do
        jobs[i] = function()
          return #perigee.exec({ "head", "-c", "8000000", "/dev/zero" }).stdout
        end
      end
      assert.same({ 8000000, 8000000, 8000000 }, perigee.gather(jobs))
      assert.is_true(turns > 2)
      ticker:cancel()
    end)
  end)
end)

-- SPDX-License-Identifier: MIT
-- What a program finds when it is started.
local perigee = require "perigee"
local processes = require "spec.support.processes"

local function output(command)
  return perigee.run(function() return perigee.exec({ "sh", "-c", command }).stdout end)
end

describe("a started program", function()
  it("leads a process group of its own", function()
    local pid, group = output("echo $$ $(ps -o pgid= -p $$)"):match "(%d+)%s+(%d+)"
    assert.equal(pid, group)
  end)

  it("has no descriptor of ours beside its three", function()
    local files = {}
    for i = 1, 10 do files[i] = assert(io.open "/dev/null") end
    assert.equal("0\n1\n2\n3\n", output "exec ls /proc/self/fd") -- 3 is the folder it reads
    for i = 1, 10 do files[i]:close() end
  end)

  it("reads /dev/null when nothing is fed to it", function()
    assert.equal("/dev/null\n", output "readlink /proc/$$/fd/0")
  end)

  it("has its signals as they are by default", function()
    -- Not /proc/$$: a shell that waits for a child may block signals of its own.
    local function of(field)
      return output("exec grep " .. field .. " /proc/self/status"):match "(%x+)\n"
    end
    assert.equal("0000000000000000", of "SigBlk")
    local ignored = tonumber(of "SigIgn", 16)
    assert.equal(0, math.floor(ignored / 2 ^ 12) % 2) -- SIGPIPE
  end)

  it("is told apart from one that cannot be started, which leaves nothing behind", function()
    perigee.run(function()
      perigee.exec { "true" }
      collectgarbage() -- what earlier specs left open
      collectgarbage()
      local before = processes.descriptors()
      for _ = 1, 10 do
        assert.is_nil((perigee.exec { "/no/such/file" }))
        assert.is_nil((perigee.exec { "/" }))
      end
      assert.equal(before, processes.descriptors())
      assert.equal(0, processes.zombies())
    end)
  end)
end)

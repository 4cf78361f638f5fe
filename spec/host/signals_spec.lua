-- SPDX-License-Identifier: MIT
-- What the host does when it is asked to end.
local host = require "spec.support.host"

-- Runs a script, sends `signal` when it has said "up", and returns what it wrote and its code.
local function signalled(signal, script, times)
  local path, out = os.tmpname(), os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write([[
    local perigee = require "perigee"
    io.stdout:setvbuf "no"
  ]], script)
  file:close()
  local result = host.shell(([[
    $PERIGEE %s >%s 2>&1 & p=$!
    i=0; while ! grep -q up %s && [ $i -lt 6000 ]; do sleep 0.01; i=$((i + 1)); done
    for n in %s; do kill -%s $p; sleep 0.1; done
    wait $p; code=$?; cat %s; exit $code
  ]]):format(path, out, out, times or "1", signal, out))
  os.remove(path)
  os.remove(out)
  return result.stdout, result.status
end

local WAITS = [[
  print "up"
  local ok, err = pcall(perigee.sleep, 30)
  perigee.shield(perigee.sleep, 0.01)
  print(ok, err)
  perigee.sleep(30)
]]

describe("the host, signalled,", function()
  it("cancels the script's tasks and exits 130 or 143", function()
    local out, status = signalled("INT", WAITS)
    assert.equal("up\nfalse\tcancelled\n", out)
    assert.equal(130, status)
    out, status = signalled("TERM", WAITS)
    assert.equal("up\nfalse\tcancelled\n", out)
    assert.equal(143, status)
  end)

  it("cancels every task, not only the first", function()
    local out, status = signalled("TERM", [[
      perigee.spawn(function() pcall(perigee.sleep, 30) print "other" end)
      print "up"
      perigee.sleep(30)
    ]])
    assert.equal("up\nother\n", out)
    assert.equal(143, status)
  end)

  it("calls the stop hooks, which may wait", function()
    local out, status = signalled("TERM", [[
      require("perigee.runtime").on_stop(function() perigee.sleep(0.02) print "flushed" end)
      print "up"
      perigee.sleep(30)
    ]])
    assert.equal("up\nflushed\n", out)
    assert.equal(143, status)
  end)

  it("exits in time though the script swallows the cancellation", function()
    local out, status = signalled("TERM", [[
      print "up"
      while true do pcall(perigee.sleep, 1) end
    ]])
    assert.matches("abandoned", out, 1, true)
    assert.equal(143, status)
  end)

  it("exits so though the script returns in peace", function()
    local _, status = signalled("INT", [[
      print "up"
      pcall(perigee.sleep, 30)
    ]])
    assert.equal(130, status)
  end)

  it("shows an error that the script raises instead of ending", function()
    local out, status = signalled("INT", [[
      print "up"
      pcall(perigee.sleep, 30)
      error "while ending"
    ]])
    assert.matches("while ending", out, 1, true)
    assert.equal(130, status)
  end)

  it("dies of the second signal when it does not heed the first", function()
    local _, status = signalled("TERM", [[
      print "up"
      while true do end
    ]], "1 2 3 4 5 6 7 8 9") -- two that come at once are one
    assert.equal(143, status)
  end)

  it("ends the processes it started", function()
    local out, status = signalled("TERM", [[
      perigee.spawn(function()
        perigee.exec { "sh", "-c", "trap 'echo asked >&2; exit' TERM; sleep 30 & wait" }
      end)
      print "up"
      perigee.sleep(30)
    ]])
    assert.equal("up\n", out)
    assert.equal(143, status)
  end)
end)

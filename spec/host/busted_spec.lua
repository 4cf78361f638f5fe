-- SPDX-License-Identifier: MIT
-- `busted --lua=perigee`: specs whose tests wait.
local host = require "spec.support.host"
local lfs = require "lfs"

local function busted(spec)
  local folder = os.tmpname()
  os.remove(folder)
  assert(lfs.mkdir(folder))
  local path = folder .. "/waiting_spec.lua"
  local file = assert(io.open(path, "w"))
  file:write(spec)
  file:close()
  local result = host.shell(("cd %s && busted --lua=$PERIGEE -o TAP %s"):format(folder, path))
  os.remove(path)
  lfs.rmdir(folder)
  return result
end

describe("busted under the host", function()
  it("runs tests that wait, set-ups that wait, and the virtual clock between", function()
    local result = busted [[
      local perigee = require "perigee"
      local testing = require "perigee.testing"
      describe("waiting", function()
        local ready
        setup(function() perigee.sleep(0.001) ready = true end)
        before_each(function() perigee.sleep(0.001) end)
        it("in a test", function()
          assert.is_true(ready)
          assert.equal("libev", perigee.runtime())
          local task = perigee.spawn(function() perigee.sleep(0.005) return 3 end)
          assert.equal(3, task:wait())
        end)
        it("in a scope", function()
          assert.equal(4, perigee.run(function() perigee.sleep(0.001) return 4 end))
        end)
        it("on the virtual clock", function()
          testing.run(function() perigee.sleep(3600) end)
          perigee.sleep(0.001)
        end)
        it("through a cache", function()
          local cache = perigee.new {}
          local load = function() perigee.sleep(0.001) return "loaded" end
          assert.equal("loaded", (cache:get("k", load)))
        end)
      end)
    ]]
    assert.equal("", result.stderr)
    assert.matches("1..4", result.stdout, 1, true)
    assert.is_nil(result.stdout:find("not ok", 1, true))
    assert.equal(0, result.status)
  end)

  it("tells failures as ever", function()
    local result = busted [[
      it("fails", function() require("perigee").sleep(0.001) error "failed on purpose" end)
      it("passes", function() require("perigee").sleep(0.001) end)
    ]]
    assert.matches("not ok 1", result.stdout, 1, true)
    assert.matches("failed on purpose", result.stdout, 1, true)
    assert.matches("ok 2", result.stdout, 1, true)
    assert.is_true(result.status ~= 0)
  end)
end)

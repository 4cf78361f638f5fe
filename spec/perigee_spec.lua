-- SPDX-License-Identifier: MIT
-- suites: dev host
local run = require "spec.support.script"

-- A program that sees this build.
local function program(code)
  return run(("package.path, package.cpath = %q, %q\n%s"):format(package.path, package.cpath, code))
end

describe("the front door", function()
  it("has every public name", function()
    local perigee = require "perigee"
    for _, name in ipairs { "new", "aligned", "run", "spawn", "gather", "timeout", "shield",
      "sleep", "now", "wrap", "exec", "runtime", "metrics", "prometheus", "on" } do
      assert.is_function(perigee[name], name)
    end
    assert.is_nil(perigee.nonsense)
  end)

  it("knows its version", function()
    local file = assert(io.open "VERSION")
    local version = file:read "*l"
    file:close()
    assert.equal(version, require "perigee.version")
    assert.equal(version, require("perigee")._VERSION)
  end)

  it("loads what is asked for, and no more", function()
    local output, status = program [[
      local perigee = require "perigee"
      assert(not package.loaded["perigee.lib"] and not package.loaded["perigee.cache"])
      perigee.new():set("key", "value")
      assert(package.loaded["perigee.cache"] and not package.loaded["perigee.exec"])
      io.write "fine"
    ]]
    assert.equal(0, status, output)
    assert.equal("fine", output)
  end)

  it("leaves no global behind", function()
    local output, status = program [[
      local before = {}
      for name in pairs(_G) do before[name] = true end
      local perigee = require "perigee"
      perigee.run(function() perigee.sleep(0) end)
      perigee.new():get("key", function() return 1 end)
      for name in pairs(_G) do io.write(before[name] and "" or name .. " ") end
    ]]
    assert.equal(0, status, output)
    assert.equal("", output)
  end)
end)

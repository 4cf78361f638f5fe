-- SPDX-License-Identifier: MIT
-- suites: dev host
-- Each case runs in a process of its own: a library is loaded once, and for good.
local run = require "spec.support.script"

-- A program that sees the Lua modules of this build, and C libraries along `cpath` only.
local function with_cpath(cpath, code)
  return run(("package.path, package.cpath = %q, %q\n%s"):format(package.path, cpath, code))
end

describe("perigee.lib", function()
  it("loads each library when it is first asked for", function()
    local output, status = with_cpath(package.cpath, [[
      local lib = require "perigee.lib"
      assert(rawget(lib, "core") == nil and rawget(lib, "rt") == nil)
      assert(lib.core.perigee_core_abi() > 0)
      assert(rawget(lib, "core") == lib.core and rawget(lib, "rt") == nil)
      io.write "fine"
    ]])
    assert.equal(0, status, output)
    assert.equal("fine", output)
  end)

  it("says what to do when a library is not there", function()
    local output, status = with_cpath("/nowhere/?.so", [[ local _ = require("perigee.lib").core ]])
    assert.equal(1, status)
    assert.matches("perigee/core.so' is not on package.cpath", output, 1, true)
    assert.matches("./dev build", output, 1, true)
    assert.matches("/nowhere/perigee/core.so", output, 1, true)
  end)

  for _, name in ipairs { "core", "rt", "disk" } do
    it("refuses a " .. name .. ".so of another version, and names both", function()
      local output, status = with_cpath(package.cpath, ([[
        local name = "%s"
        local cdef = require("perigee.cdef." .. name)
        package.loaded["perigee.cdef." .. name] = cdef:gsub("(_ABI) = (%%d+)", "%%1 = %%299")
        local _ = require("perigee.lib")[name]
      ]]):format(name))
      assert.equal(1, status)
      assert.matches(package.searchpath("perigee." .. name, package.cpath), output, 1, true)
      local abi, wanted = output:match "has ABI (%d+), the Lua modules need (%d+)"
      assert.equal(abi .. "99", wanted)
      assert.matches("two versions are mixed on package.path and package.cpath", output, 1, true)
    end)
  end
end)

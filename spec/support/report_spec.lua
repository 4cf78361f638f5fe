-- SPDX-License-Identifier: MIT
-- suites: dev
-- What ./dev test counts: the handler is run by a busted of its own, on specs made for it.

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- Runs busted on a spec with this text; returns what the report says, or nil if there is none.
local function counts(text)
  local base = os.tmpname()
  write(base .. "_spec.lua", text)
  os.execute(("PERIGEE_REPORT=%s.report luajit $(command -v busted) "
    .. "-o spec/support/report.lua %s_spec.lua >/dev/null 2>&1"):format(base, base))
  local file = io.open(base .. ".report")
  local line = file and file:read "*l"
  if file then file:close() end
  for _, suffix in ipairs { "", "_spec.lua", ".report" } do os.remove(base .. suffix) end
  return line
end

describe("the report of a suite", function()
  it("counts what passed and what failed", function()
    assert.equal("2 1", counts [[
      it("passes", function() end)
      it("passes too", function() end)
      it("fails", function() assert.equal(1, 2) end)
    ]])
  end)

  it("counts an error as a failure, also outside any test", function()
    assert.equal("0 1", counts [[ it("raises", function() error "on purpose" end) ]])
    assert.equal("0 1", counts [[ error "in the file" ]])
    assert.equal("0 1", counts [[ this is no Lua ]])
    assert.equal("0 1", counts [[
      describe("x", function()
        setup(function() error "in setup" end)
        it("never runs", function() end)
      end)
    ]])
  end)

  it("counts a pending test as a failure", function()
    assert.equal("1 1", counts [[
      it("passes", function() end)
      pending("is for later")
    ]])
    assert.equal("0 1", counts [[ it("gives up", function() pending("no mood") end) ]])
  end)

  it("forgives a pending test that says what this machine cannot do", function()
    assert.equal("1 0", counts [[
      it("passes", function() end)
      it("needs a pidfd", function() pending("this machine cannot: old kernel") end)
    ]])
  end)

  it("says zero when no test ran", function()
    assert.equal("0 0", counts "")
  end)

  it("is not there when the process dies before its end", function()
    assert.is_nil(counts [[ it("dies", function() os.exit(0) end) ]])
  end)
end)

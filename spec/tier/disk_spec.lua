-- SPDX-License-Identifier: MIT
-- The options of perigee.disk.
local perigee = require "perigee"

local function mistake(call, message)
  local ok, err = pcall(call)
  assert.is_false(ok)
  assert.equal(message, (err:gsub("^[^:]+:%d+: ", "")))
  assert.is_truthy(err:find("disk_spec.lua", 1, true), err)
end

describe("perigee.disk", function()
  it("takes a path, or a table of options", function()
    assert.equal("/tmp/x.db", perigee.disk("/tmp/x.db").path)
    assert.equal(5, perigee.disk { path = "/tmp/x.db", autosave = 5 }.autosave)
  end)

  it("opens nothing by itself", function()
    perigee.disk "/tmp/perigee-not-there.db"
    assert.is_nil(io.open "/tmp/perigee-not-there.db")
  end)

  it("says what is wrong with its options", function()
    mistake(function() perigee.disk() end,
      "perigee.disk: opts must be a path or a table of options, got nil")
    mistake(function() perigee.disk {} end, 'perigee.disk: option "path" must be a path: a string '
      .. "that is not empty, without NUL bytes, got nil")
    mistake(function() perigee.disk "" end, 'perigee.disk: option "path" must be a path: a string '
      .. 'that is not empty, without NUL bytes, got string ""')
    mistake(function() perigee.disk { path = "x", autosave = 0 } end, 'perigee.disk: option '
      .. '"autosave" must be a number of seconds > 0 (math.huge: for ever), got number 0')
    mistake(function() perigee.disk { path = "x", sync = "maybe" } end, 'perigee.disk: option '
      .. '"sync" must be one of "full", "normal", "off", got string "maybe"')
    mistake(function() perigee.disk { path = "x", max_value_bytes = 2 ^ 30 } end, "perigee.disk: "
      .. 'option "max_value_bytes" must be a whole number of bytes > 0, below 1 GB, got number '
      .. "1073741824")
    mistake(function() perigee.disk { path = "x", file = 1 } end, 'perigee.disk: there is no '
      .. 'option "file"; the options are autosave, load, max_value_bytes, path, secret, sync')
  end)
end)

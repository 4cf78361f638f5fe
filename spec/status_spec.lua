-- SPDX-License-Identifier: MIT
local perigee = require "perigee"

describe("perigee.status", function()
  it("says in one line per cache how it does", function()
    local cache = perigee.new { name = "status a", maxsize = 10 }
    for i = 1, 3 do cache:get("k" .. i, function() return i end) end
    cache:get "k1"
    local text = perigee.status()
    assert.matches("^Perigee " .. require("perigee.version"):gsub("%p", "%%%0"), text)
    assert.matches("cache +entries +hit rate", text)
    assert.matches("\nstatus a +3 +0.250 +1 +3 +3 ", text)
    cache:close()
    assert.is_nil(perigee.status():find("status a", 1, true))
  end)

  it("has no column that no cache has, and a dash where one has not", function()
    assert.is_nil(perigee.status():find("shared hits", 1, true))
  end)

  it("keeps to one line whatever a cache is called", function()
    local cache = perigee.new { name = "a\nb\27[31m" }
    assert.matches("\na?b?[31m ", perigee.status(), 1, true)
    cache:close()
  end)
end)

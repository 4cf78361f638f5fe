-- SPDX-License-Identifier: MIT
-- suites: dev host hard
-- Where no server can be.
local script = require "spec.support.script"

describe("perigee.http.listen", function()
  it("needs a loop, and says so in plain code", function()
    local output = script [[
      local perigee = require "perigee"
      print(pcall(perigee.http.listen, { port = 0, handler = function() end }))
    ]]
    assert.matches("false\t.*perigee.http.listen: there is no loop that would serve", output)
  end)

  it("says inside nginx that nginx is the server", function()
    local output = script [[
      ngx = { get_phase = function() end, timer = {}, config = { subsystem = "http" } }
      print(pcall(require("perigee.http").listen, {}))
    ]]
    assert.matches("false\t.*not inside nginx, which is the server here", output)
  end)
end)

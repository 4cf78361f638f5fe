-- SPDX-License-Identifier: MIT
-- One contract, every runtime.
local context = require "perigee.context"
local contract = require "spec.support.port_contract"
local perigee = require "perigee"
local testing = require "perigee.testing"

describe("the port of libev", function()
  contract(it, perigee.run, { name = "libev" })
end)

describe("the port of the virtual clock", function()
  contract(it, testing.run, { name = "virtual" })
end)

-- Under the host there is no plain code.
if context.port.name == "none" then
  describe("the port of plain code", function()
    contract(it, function(body) body() end, { name = "none", blocks = true })
  end)
end

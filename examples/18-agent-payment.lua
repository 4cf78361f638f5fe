-- SPDX-License-Identifier: MIT
-- A payment fails, and the agent tries again and again: the fourth attempt does not reach the bank,
-- unless the session only warns. Where a line is indented, the bank was really asked.
--
--     luajit examples/18-agent-payment.lua
local perigee = require "perigee"
local agent = require "perigee.agent"

local function charge(order_id, amount) -- the bank: think of a web service
  print(("    charging %.2f for %s"):format(amount, order_id))
  perigee.sleep(0.002)
  error("the bank is closed", 0)
end

local charge_payment = agent.invalidator { resource = "payment", name = "charge_payment" } (charge)

-- A refusal is raised, or returned where calls are to be short-circuited.
local function try()
  local ok, receipt, err = pcall(charge_payment, "ORD-1", 99.99)
  if not ok then return nil, receipt, "raised" end
  return receipt, err, "returned"
end

local function pay()
  for attempt = 1, 10 do
    local receipt, err, how = try()
    if receipt then return print("paid: " .. receipt) end
    if agent.is_loop_error(err) then
      return print(("attempt %d %s: %s"):format(attempt, how, err.message))
    end
  end
  print "ten attempts, and nothing is paid"
end

perigee.run(function()
  for _, on_loop in ipairs { "raise", "short_circuit", "warn" } do
    print(("on_loop = %q"):format(on_loop))
    agent.session({ session_id = "shop", max_tool_repeats = 3, on_loop = on_loop }, pay)
  end
end)

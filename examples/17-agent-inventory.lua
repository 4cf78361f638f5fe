-- SPDX-License-Identifier: MIT
-- An inventory agent checks and updates in turn: work if the stock changes, a loop if it does not.
-- Results tell them apart, calls do not. Where a line is indented, a call was really made.
--
--     luajit examples/17-agent-inventory.lua
local perigee = require "perigee"
local agent = require "perigee.agent"

local warehouse = {} -- think of a database

local function read_stock(item_id)
  print(("    %s: %d left"):format(item_id, warehouse.stock))
  perigee.sleep(0.002)
  return warehouse.stock
end

local function adjust(item_id, delta)
  print(("    %s: %+d"):format(item_id, delta))
  perigee.sleep(0.002)
  if not warehouse.is_stuck then warehouse.stock = warehouse.stock + delta end
  return "noted" -- which it says in any case
end

local check_stock = agent.cache { resource = "stock", name = "check_stock" } (read_stock)
local update_stock = agent.invalidator { resource = "stock", name = "update_stock" } (adjust)

local function sell_five()
  for _ = 1, 5 do
    check_stock "SKU-42"
    update_stock("SKU-42", -1)
  end
end

local function work(session)
  local ok, err = pcall(sell_five)
  local calls = session:get_metrics().calls
  if ok then return print(calls .. " calls, and no loop") end
  if not agent.is_loop_error(err) then error(err, 0) end
  print(("call %d was refused (kind %q, count %d)"):format(calls, err.kind, err.count))
  print(err.message)
end

local function run(title, is_stuck, evidence)
  print(title)
  warehouse.stock, warehouse.is_stuck = 9, is_stuck
  agent.session({ max_tool_repeats = 100, evidence = evidence }, work)
end

perigee.run(function()
  run("the stock changes:", false, "results") -- which is the default
  run("\nthe stock does not change:", true, "results")
  run("\nthe stock changes, and only calls count:", false, "calls")
end)

-- SPDX-License-Identifier: MIT
-- A function that remembers, a mutation that makes it forget, and who sees what meanwhile.
local perigee = require "perigee"

local rows = { [7] = "Ada" } -- think of a database

local user_name = perigee.lru { maxsize = 1000 } (function(id)
  print("reading row " .. id)
  perigee.sleep(0.005)
  return rows[id]
end)

local rename = perigee.lru_invalidator(user_name) (function(id, name)
  perigee.sleep(0.01)
  rows[id] = name
  perigee.sleep(0.01)
end)

perigee.run(function()
  print(user_name(7))
  print(user_name(7)) -- from memory

  -- Whoever reads while the mutation runs may see the old row; nobody does afterwards.
  local renaming = perigee.spawn(rename, 7, "Ada Lovelace")
  print(user_name(7))
  renaming:wait()
  print(user_name(7))

  local metrics = user_name:get_metrics()
  print(("%d loads, %d hit"):format(metrics.loads, metrics.hits))
end)

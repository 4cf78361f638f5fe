-- SPDX-License-Identifier: MIT
-- A thousand callers want the same missing value at once. One load runs; all of them wait for
-- it and get what it brings. If the first of them is cancelled, the others still get it.
local perigee = require "perigee"

perigee.run(function()
  local cache = perigee.new()
  local loads, answers = 0, 0

  local function slow(key)
    loads = loads + 1
    perigee.sleep(0.1) -- the other tasks go on meanwhile
    return "the value of " .. key
  end

  local tasks = {}
  for i = 1, 1000 do
    tasks[i] = perigee.spawn(function()
      if cache:get("popular", slow) == "the value of popular" then answers = answers + 1 end
    end)
  end
  tasks[1]:cancel() -- the one whose call began the load
  for i = 2, #tasks do tasks[i]:wait() end

  print(("%d loads, %d answers"):format(loads, answers))
end)

-- SPDX-License-Identifier: MIT
-- Tasks that know nothing of each other ask for one key each; the loader sees them together,
-- as one list. (Think of one query with `id IN (...)` in place of a hundred.)
local perigee = require "perigee"

local squares = {
  batch_loader = function(numbers)
    print(("one call for %d numbers"):format(#numbers))
    local results, errors = {}, {}
    for _, n in ipairs(numbers) do
      if n >= 0 then results[n] = n * n else errors[n] = "negative" end
    end
    return results, errors -- both by key: an error is of one key, not of the batch
  end,
}

perigee.run(function()
  local cache = perigee.new { batch_window_ms = 5, max_batch_size = 100 }

  local tasks = {}
  for i = 1, 50 do
    tasks[i] = perigee.spawn(function() return cache:get(i % 10, squares) end)
  end
  for i = 1, 50 do assert(tasks[i]:wait() == (i % 10) ^ 2) end
  print(("%d callers"):format(#tasks))

  -- A list at once needs no tasks, and no window to wait for.
  local values, errors = cache:get_many({ 9, 10, -1 }, squares)
  print(values[9], values[10], errors[-1])
end)

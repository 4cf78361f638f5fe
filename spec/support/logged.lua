-- SPDX-License-Identifier: MIT
--- Catches what Perigee says on its own account while a function runs.
local log = require "perigee.log"

--- Runs `fn` and returns the list of `{ level =, text = }` that were logged meanwhile.
return function(fn)
  local lines, sink = {}, log.sink
  log.sink = function(level, text)
    lines[#lines + 1] = { level = level, text = text }
  end
  local ok, err = pcall(fn)
  log.sink = sink
  if not ok then
    error(err, 0)
  end
  return lines
end

-- SPDX-License-Identifier: MIT
--- A busted output handler: busted's own plain text, and beside it the counts for `./dev test`.
--
-- `busted -o spec/support/report.lua` writes one line "passed failed" into the file that
-- `PERIGEE_REPORT` names, when the last test has ended: a process that dies on the way leaves no
-- such file, and that is a failure too. A pending test counts as failed, unless its reason says
-- "this machine cannot".

local function is_excused(pending)
  local why = tostring(pending.message or "") .. " " .. tostring(pending.name or "")
  return why:find("this machine cannot", 1, true) ~= nil
end

return function(options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.plainTerminal"(options)

  local function write_counts()
    local failed = handler.failuresCount + handler.errorsCount
    for _, pending in ipairs(handler.pendings) do
      if not is_excused(pending) then failed = failed + 1 end
    end
    local path = os.getenv "PERIGEE_REPORT"
    if path then
      local file = assert(io.open(path, "w"))
      file:write(handler.successesCount, " ", failed, "\n")
      file:close()
    end
    return nil, true
  end

  busted.subscribe({ "exit" }, write_counts)
  return handler
end

-- SPDX-License-Identifier: MIT
--- Runs the `perigee` executable of the build under test.
local perigee = require "perigee"

local _M = {}

--- Where it is.
function _M.path()
  local build = os.getenv "PERIGEE_BUILD"
  return build and build .. "/bin/perigee" or "perigee"
end

-- The leak checker looks at a process from outside when it ends, and crashes now and then.
local CHECKER_CRASHED = "LeakSanitizer has encountered a fatal error"

--- Runs it with arguments; `stdin` is what it reads.
-- @treturn table `stdout`, `stderr`, `status`
function _M.run(arguments, stdin)
  local spec = { _M.path(), timeout = 200, stdin = stdin }
  for _, argument in ipairs(arguments) do spec[#spec + 1] = argument end
  local result = assert(perigee.exec(spec))
  if result.stderr:find(CHECKER_CRASHED, 1, true) then result = assert(perigee.exec(spec)) end
  return result
end

--- Runs a script of this text, from a file that is gone afterwards.
function _M.run_script(text, ...)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  local result = _M.run { path, ... }
  os.remove(path)
  return result, path
end

--- Runs a shell command that finds the executable as $PERIGEE.
function _M.shell(command)
  local text = ("PERIGEE='%s'; %s"):format(_M.path(), command)
  return assert(perigee.exec { "sh", "-c", text, timeout = 200 })
end

return _M

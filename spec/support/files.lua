-- SPDX-License-Identifier: MIT
--- Whole files, and the output of commands.
local _M = {}

--- What is in a file.
function _M.read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

--- Makes a file, or makes it anew.
function _M.write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

--- Runs a command of the shell and returns `output (both streams), exit status`.
function _M.run(command)
  local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1; echo status=$?"))
  local output = pipe:read "*a"
  pipe:close()
  local text, status = output:match "^(.*)status=(%d+)\n$"
  return text, tonumber(status)
end

return _M

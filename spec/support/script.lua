-- SPDX-License-Identifier: MIT
--- Runs a Lua program in a process of its own, with a deadline: for what might hang or end the
-- process when it is broken.
local function write_file(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

--- Runs `code` and returns `output (both streams), exit status`.
return function(code, deadline_s)
  local path = os.tmpname()
  write_file(path, code)
  local command = ("timeout -k 1 %d luajit %s 2>&1; s=$?; echo; echo status=$s")
    :format(deadline_s or 60, path)
  local pipe = assert(io.popen(command, "r"))
  local output = pipe:read("*a")
  pipe:close()
  os.remove(path)
  local status = tonumber(output:match("status=(%d+)%s*$"))
  return (output:gsub("\nstatus=%d+%s*$", "")), status
end

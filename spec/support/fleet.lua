-- SPDX-License-Identifier: MIT
--- Programs that run side by side, each in a process of its own, for the drills.
local perigee = require "perigee"
local processes = require "spec.support.processes"

local read = require("spec.support.files").read

local _M = {}

--- What runs a Lua program so that it finds the build under test: a sanitized one needs its host.
_M.RUNNER = os.getenv "PERIGEE_RUNNER" or "luajit"

local alive = {}

--- Starts a program; `arg` has the arguments.
-- @treturn table `pid`
function _M.start(code, ...)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(code)
  file:close()
  local arguments = {}
  for i = 1, select("#", ...) do arguments[i] = "'" .. tostring((select(i, ...))) .. "'" end
  local pipe = assert(io.popen(("%s %s %s >%s.out 2>&1 & echo $!")
    :format(_M.RUNNER, path, table.concat(arguments, " "), path)))
  local process = { path = path, pid = tonumber(pipe:read "*l") }
  pipe:close()
  alive[process] = true
  return process
end

--- Kills one.
function _M.kill(process)
  processes.signal(process.pid, 9)
end

local function forget(process)
  alive[process] = nil
  os.remove(process.path)
  os.remove(process.path .. ".out")
end

--- What one has printed so far.
function _M.printed(process)
  return read(process.path .. ".out")
end

--- Kills one, whose output nobody wants.
function _M.finish(process)
  _M.kill(process)
  forget(process)
end

-- The leak checker looks at a process from outside when it ends, and crashes now and then: that is
-- nothing that the program has printed.
local function without_crash(text)
  local at = text:find "Tracer caught signal %d+: [^\n]*\n==%d+==LeakSanitizer has encountered"
  return at and text:sub(1, at - 1) or text
end

--- Waits for the end of one, at most `seconds`.
-- @treturn string what it has printed
function _M.output(process, seconds)
  local deadline = os.time() + seconds
  while processes.is_running(process.pid) do
    if os.time() > deadline then
      _M.kill(process)
      error("it did not end in " .. seconds .. " s: " .. _M.printed(process))
    end
    perigee.sleep(0.01)
  end
  local text = without_crash(_M.printed(process))
  forget(process)
  return text
end

--- Kills those that are left.
function _M.clean()
  for process in pairs(alive) do _M.finish(process) end
end

return _M

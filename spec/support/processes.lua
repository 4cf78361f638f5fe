-- SPDX-License-Identifier: MIT
--- What the machine says about processes, for the specs of perigee.exec.
local ffi = require "ffi"
local lfs = require "lfs"

ffi.cdef [[
int fileno(void *);
int kill(int pid, int sig);
int usleep(unsigned microseconds);
]]

local _M = {}

local function read(path)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

--- The descriptors this process has open now, as a count.
function _M.descriptors()
  local n = 0
  for _ in lfs.dir "/proc/self/fd" do n = n + 1 end
  return n - 3 -- ".", ".." and the folder that is being read
end

--- Sends a signal, by its number.
function _M.signal(pid, number)
  ffi.C.kill(pid, number)
end

--- Does nothing for a while, and lets no loop turn.
function _M.pause(milliseconds)
  ffi.C.usleep(milliseconds * 1000)
end

--- The descriptor under an open file.
function _M.descriptor_of(file)
  return ffi.C.fileno(file)
end

local function state_of(pid)
  local stat = read(("/proc/%d/stat"):format(pid))
  return stat and stat:match "^%d+ %(.*%) (%a)"
end

--- True while a process of this number runs (a zombie does not).
function _M.is_running(pid)
  local state = state_of(pid)
  return state ~= nil and state ~= "Z" and state ~= "X"
end

--- True while a signal has stopped it.
function _M.is_stopped(pid)
  return state_of(pid) == "T"
end

--- How many children of this process are zombies.
function _M.zombies()
  local pipe = assert(io.popen "ps -o stat= --ppid $PPID | grep -c Z")
  local n = tonumber(pipe:read "*a")
  pipe:close()
  return n
end

--- One line of /proc/self/status.
function _M.status(name)
  return (read "/proc/self/status"):match("\n" .. name .. ":%s*([^\n]*)")
end

return _M

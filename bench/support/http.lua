-- SPDX-License-Identifier: MIT
--- A `perigee.http` server in a process of its own, `wrk` that asks it, and what the kernel knows
-- of a process: the processor time it has used, and its memory.
-- @module bench.support.http

local ffi = require "ffi"
local process = require "bench.support.process"

ffi.cdef "int kill(int pid, int signal);"

local _M = {}

local CONT, TERM, STOP = 18, 15, 19
local PAGE_BYTES = 4096

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

--- Processor seconds that the first thread of a process has used.
-- @tparam number pid
-- @treturn number
function _M.cpu(pid)
  return tonumber(read(("/proc/%d/schedstat"):format(pid)):match "^%d+") * 1e-9
end

--- Bytes of a process that are in memory.
-- @tparam number pid
-- @treturn number
function _M.memory(pid)
  return tonumber(read(("/proc/%d/statm"):format(pid)):match "^%d+ (%d+)") * PAGE_BYTES
end

-- Processes -----------------------------------------------------------------------------------

local Process = {}
Process.__index = Process

-- Starts a Lua script of bench/support; its first line of output comes back, too.
local function start(script, ...)
  local path = assert(package.searchpath("bench.support." .. script, package.path))
  local words = { process.quote(process.interpreter()), process.quote(path), ... }
  -- The shell says its own number, which is that of the program it becomes.
  local pipe = assert(io.popen(("echo $$; exec %s 2>&1"):format(table.concat(words, " "))))
  local self = setmetatable({ pipe = pipe, pid = pipe:read "*n" }, Process)
  pipe:read "*l"
  local line = pipe:read "*l"
  return self, assert(line, script .. " does not start")
end

function Process:signal(number) ffi.C.kill(self.pid, number) end

--- Ends it, and waits for that.
function Process:stop()
  self:signal(CONT)
  self:signal(TERM)
  self.pipe:close()
end

--- Has it stand still, and go on.
function Process:pause() self:signal(STOP) end

function Process:resume() self:signal(CONT) end

--- Calls `work(server)` with a server (`port`, `pid`), which is stopped whatever happens.
-- @tparam function work
-- @return what it returns
function _M.with_server(work)
  local server, line = start "web_server"
  server.port = tonumber(line:match "^%d+")
  local done, result = xpcall(work, debug.traceback, server)
  server:stop()
  if not done then error(result, 0) end
  return result
end

--- Calls `work(clients)` with so many slow clients of a port.
-- @tparam number port
-- @tparam number count
-- @tparam function work
-- @return what it returns
function _M.with_slow_clients(port, count, work)
  local clients, line = start("slow_clients", port, count)
  local done, result = xpcall(work, debug.traceback, clients)
  clients:stop()
  if not done then error(result, 0) end
  assert(line == "ready", line)
  return result
end

-- wrk -----------------------------------------------------------------------------------------

--- Asks a server for as long as that.
-- @tparam number port
-- @tparam string path
-- @tparam number connections
-- @tparam number seconds whole ones
-- @treturn number requests that were answered
-- @treturn number seconds that it took
function _M.ask(port, path, connections, seconds)
  local pipe = assert(io.popen(("wrk -t1 -c%d -d%ds http://127.0.0.1:%d%s 2>&1"):format(
    connections, seconds, port, path)))
  local said = pipe:read "*a"
  pipe:close()
  assert(not said:find "Non%-2xx" and not said:find "Socket errors", said)
  local requests, rate = said:match "(%d+) requests in", said:match "Requests/sec: +([%d.]+)"
  assert(tonumber(requests or 0) > 0, said)
  return tonumber(requests), tonumber(requests) / tonumber(rate)
end

return _M

-- SPDX-License-Identifier: MIT
--- Real Redis servers for the specs: each is started by the spec on a unix socket of its own (and
-- on a loopback port if asked), and stopped by its process id.
local perigee = require "perigee"
local ports = require "spec.support.ports"
local processes = require "spec.support.processes"
local socket = require "socket"

local TERM, KILL, STOP, CONT = 15, 9, 19, 18

local _M = {}
local Server = {}
Server.__index = Server

local running, opened = {}, {}

local function quote(text) return "'" .. tostring(text):gsub("'", "'\\''") .. "'" end

local function output_of(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "*a"
  pipe:close()
  return (text:gsub("\n$", ""))
end

local function wait_until(what, seconds, condition)
  local ends = socket.gettime() + seconds
  repeat
    if condition() then return end
    processes.pause(5)
  until socket.gettime() > ends
  error(what .. " did not happen within " .. seconds .. " s")
end

-- Starts the process; whatever it held before is gone.
function Server:start()
  local command = { "redis-server", "--daemonize", "yes", "--save", "''", "--appendonly", "no",
    "--dir", quote(self.folder), "--pidfile", quote(self.folder .. "/pid"),
    "--unixsocket", quote(self.unix), "--port", self.port or 0, "--bind", "127.0.0.1" }
  for _, argument in ipairs(self.arguments) do command[#command + 1] = quote(argument) end
  os.remove(self.folder .. "/pid")
  local ended = os.execute(table.concat(command, " ") .. " >/dev/null")
  assert(ended == 0, "redis-server does not start")
  wait_until("the start of redis-server", 60, function()
    return output_of("redis-cli -s " .. quote(self.unix) .. " ping"):find "PONG"
      or output_of("redis-cli -s " .. quote(self.unix) .. " ping"):find "NOAUTH"
  end)
  local file = assert(io.open(self.folder .. "/pid"))
  self.pid = assert(tonumber(file:read "*a"))
  file:close()
  running[self] = true
  return self
end

--- Ends the process. With SIGKILL nothing is said to those who are connected.
function Server:stop(signal)
  if not running[self] then return end
  running[self] = nil
  processes.signal(self.pid, signal or TERM)
  if signal ~= KILL then processes.signal(self.pid, CONT) end
  wait_until("the end of redis-server", 60, function()
    return not processes.is_running(self.pid)
  end)
end

function Server:kill() self:stop(KILL) end

--- Ends it, and starts an empty one in its place.
function Server:restart()
  self:kill()
  self:start()
end

--- It keeps its connections, and says nothing more; and goes on.
function Server:pause()
  processes.signal(self.pid, STOP)
  wait_until("the pause of redis-server", 60, function() return processes.is_stopped(self.pid) end)
end

function Server:resume() processes.signal(self.pid, CONT) end

--- What redis-cli says to a command, given as arguments.
function Server:cli(...)
  local command = { "redis-cli", "-s", quote(self.unix), "--no-auth-warning" }
  for i = 1, select("#", ...) do command[#command + 1] = quote((select(i, ...))) end
  return output_of(table.concat(command, " "))
end

--- The keys there that match a pattern, sorted.
function Server:keys(pattern)
  local list = {}
  for key in (self:cli("--raw", "keys", pattern or "*") .. "\n"):gmatch "([^\n]+)\n" do
    list[#list + 1] = key
  end
  table.sort(list)
  return list
end

--- Options of `perigee.redis` for this server.
function Server:opts(more)
  local opts = { unix = self.unix }
  for name, value in pairs(more or {}) do opts[name] = value end
  return opts
end

--- A cache of this server's, as another process would have it: with connections of its own.
-- `opts` are those of `perigee.new`, `redis` those of `perigee.redis`.
function Server:cache(opts, redis)
  local all = { name = "c", maxsize = 1000, remote_cache = perigee.redis(self:opts(redis)) }
  for name, value in pairs(opts or {}) do all[name] = value end
  local cache = perigee.new(all)
  opened[#opened + 1] = cache
  return cache
end

--- Starts a server. More arguments are those of redis-server.
-- @tparam[opt] table opts `port` (true: a loopback port, too), and a list of arguments
function _M.start(opts)
  opts = opts or {}
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir -m 700 " .. quote(folder)) == 0)
  local server = setmetatable({ folder = folder, unix = folder .. "/socket", arguments = opts },
    Server)
  if opts.port then server.port = ports.free() end
  return server:start()
end

--- Closes the caches that were opened.
function _M.close_caches()
  for _, cache in ipairs(opened) do
    if not cache.closed then cache:close() end
  end
  opened = {}
end

--- Stops the servers of this spec, and closes their caches.
function _M.clean()
  _M.close_caches()
  for server in pairs(running) do
    server:stop()
    os.execute("rm -rf " .. quote(server.folder))
  end
end

--- Waits, in a task or in plain code, until something is so: at most `seconds`, or a minute.
function _M.eventually(condition, seconds)
  local deadline = os.time() + (seconds or 60)
  while not condition() do
    if os.time() > deadline then return false end
    perigee.sleep(0.005)
  end
  return true
end

return _M

-- SPDX-License-Identifier: MIT

--- A Redis server of one's own, on a unix socket in a folder that nobody else may enter. It is a
-- process of this program's: it ends with `server:stop()`, with the run, or with the program,
-- whatever ends that.
-- @module perigee.dashboard.redis_server

local perigee = require "perigee"

local _M = {}
local Server = {}
Server.__index = Server

local START_S = 5

-- A name that is free: the folder itself is made by the task that takes it away again.
local function new_name()
  local name = os.tmpname()
  os.remove(name)
  return name
end

-- `setpriv` has the kernel end it, should this program be killed.
local function command_of(folder, unix)
  return { "setpriv", "--pdeathsig", "TERM", "redis-server", "--port", 0, "--unixsocket", unix,
    "--dir", folder, "--save", "", "--appendonly", "no", "--loglevel", "warning" }
end

-- The server's task: runs it until the task is cancelled, and leaves nothing behind. Shielded, as
-- a `mkdir` that is cut off may have made its folder already, or be about to.
local function serve(folder, unix)
  perigee.shield(perigee.exec, { "mkdir", "-m", "700", folder })
  local ok, done, err = pcall(perigee.exec, command_of(folder, unix))
  perigee.shield(perigee.exec, { "rm", "-rf", folder })
  if not ok then error(done, 0) end
  return done, err
end

-- Why a server that should run has ended already.
local function why_it_ended(done, err)
  if not done then return err end
  return "redis-server does not start: " .. done.stdout .. done.stderr
end

local function wait_for_it(self)
  local deadline = perigee.now() + START_S
  while perigee.now() < deadline do
    local done, err = self.task:wait(0.02)
    if done or err ~= "timeout" then return nil, why_it_ended(done, err) end
    local answer = perigee.exec { "redis-cli", "-s", self.unix, "info", "server" }
    self.pid = answer and answer.stdout:match "process_id:(%d+)"
    if self.pid then return true end
  end
  return nil, "redis-server does not answer"
end

--- Starts a server, and waits until it answers. To be called in a task.
-- @treturn table|nil the server: `unix` is the path of its socket
-- @treturn string|nil why there is none
function _M.start()
  if not perigee.exec { "redis-server", "--version" } then
    return nil, "redis-server is not installed"
  end
  local folder = new_name()
  local unix = folder .. "/socket"
  local self = setmetatable({ unix = unix, pid = false, is_paused = false,
    task = perigee.spawn(serve, folder, unix) }, Server)
  local ok, why = wait_for_it(self)
  if ok then return self end
  self:stop()
  return nil, why
end

local function signal(self, name)
  return perigee.exec { "sh", "-c", "kill -$0 $1", name, self.pid }
end

--- Freezes it: it keeps its connections, and says nothing more.
-- @treturn boolean whether that could be done
function Server:pause()
  self.is_paused = true
  local done = signal(self, "STOP")
  return done ~= nil and done.status == 0
end

--- Lets it go on.
function Server:resume()
  signal(self, "CONT")
  self.is_paused = false
end

--- Ends it, and waits for that. What it held is gone.
function Server:stop()
  if self.is_paused then self:resume() end -- a frozen process does not end when it is asked to
  self.task:cancel()
  pcall(self.task.wait, self.task)
end

return _M

-- SPDX-License-Identifier: MIT
--- A second process with a cache of its own, that does what it is told: one name is one cache per
-- process, so whoever wants to see two of them talk needs two processes.
--
-- Commands and answers are files in a folder, each renamed into its place: either side may wait for
-- them in a task, and goes on with its other work meanwhile.
local buffer = require "string.buffer"
local fleet = require "spec.support.fleet"
local lfs = require "lfs"
local perigee = require "perigee"


local _M = {}
local Peer = {}
Peer.__index = Peer

local peers = {}

local PROGRAM = [==[
local buffer, ffi = require "string.buffer", require "ffi"
perigee = require "perigee"
local folder, mode = arg[1], arg[2]
ffi.cdef "int usleep(unsigned microseconds);"
local number, ends = 1, os.time() + 600 -- whoever started us may have died

function open(opts, redis_opts)
  if cache and not cache.closed then cache:close() end
  opts.remote_cache = perigee.redis(redis_opts)
  cache = perigee.new(opts)
end

local function answer(at, ...)
  local file = assert(io.open(folder .. "/answer", "wb"))
  file:write(buffer.encode { n = select("#", ...), ... })
  file:close()
  os.rename(folder .. "/answer", folder .. "/answer." .. at)
end

local function do_next()
  local file = io.open(folder .. "/command." .. number, "rb")
  if not file then return end
  local command = buffer.decode(file:read "*a")
  file:close()
  local at, code = number, assert(loadstring(command.code))
  number = number + 1
  local function run() answer(at, pcall(code, unpack(command, 1, command.n))) end
  if mode == "task" then perigee.spawn(run) else run() end
end

if mode == "task" then
  perigee.run(function()
    while os.time() < ends do do_next() perigee.sleep(0.001) end
  end)
else
  while os.time() < ends do do_next() ffi.C.usleep(1000) end
end
]==]

--- Starts the process.
-- @tparam string mode "task" or "plain"
function _M.start(mode)
  local folder = os.tmpname()
  os.remove(folder)
  assert(lfs.mkdir(folder))
  local self = setmetatable({ folder = folder, number = 0,
    process = fleet.start(PROGRAM, folder, mode) }, Peer)
  peers[self] = true
  return self
end

--- Sends code there, without waiting for what it returns: see `result`.
function Peer:send(code, ...)
  self.number = self.number + 1
  local path = ("%s/command.%d"):format(self.folder, self.number)
  local file = assert(io.open(path .. ".new", "wb"))
  file:write(buffer.encode { code = code, n = select("#", ...), ... })
  file:close()
  os.rename(path .. ".new", path)
  return self.number
end

--- What code of this number has returned.
function Peer:result(number)
  local path = ("%s/answer.%d"):format(self.folder, number)
  for _ = 1, 60000 do
    local file = io.open(path, "rb")
    if file then
      local answer = buffer.decode(file:read "*a")
      file:close()
      if not answer[1] then error("over there: " .. tostring(answer[2]), 2) end
      return unpack(answer, 2, answer.n)
    end
    perigee.sleep(0.001)
  end
  error("no answer from over there: " .. fleet.printed(self.process))
end

--- Runs code there; its arguments are in `...`, the cache is `cache`.
function Peer:eval(code, ...)
  return self:result(self:send(code, ...))
end

--- Calls a method of the cache there.
function Peer:call(method, ...)
  return self:eval("local method = ... return cache[method](cache, select(2, ...))", method, ...)
end

--- Closes the cache there and opens one that remembers nothing.
function Peer:open(opts, redis_opts)
  self:eval("open(...)", opts, redis_opts)
  return self
end

--- Ends all of them.
function _M.clean()
  for peer in pairs(peers) do
    fleet.finish(peer.process)
    os.execute("rm -rf '" .. peer.folder .. "'")
  end
  peers = {}
end

return _M

-- SPDX-License-Identifier: MIT
--- Servers that misbehave, for the specs of the Redis client: each is a process of its own, plain
-- luajit, which listens on a unix socket (or on a loopback port) and does what a script says.
--
-- A script is Lua text. `accept()` waits for a connection, which has
--
-- - `c:hear()`: some bytes that came, or nil at the end; `c:command()`: one command as a list;
-- - `c:say(bytes)`; `c:serve(answer)`: says `answer(command)` to each command, until the end;
-- - `c:close()`
--
-- and there are `sleep(seconds)`, `wall()` (seconds since 1970) and `bulk(...)` (a list of texts).
local lfs = require "lfs"
local files = require "spec.support.files"
local processes = require "spec.support.processes"

local read, write = files.read, files.write

local KILL = 9

local _M = {}
local Fake = {}
Fake.__index = Fake

local running = {}

local PRELUDE = [==[
local ffi = require "ffi"
ffi.cdef [[
int socket(int domain, int type, int protocol);
int bind(int fd, const void *address, unsigned size);
int listen(int fd, int backlog);
int accept(int fd, void *address, unsigned *size);
int getsockname(int fd, void *address, unsigned *size);
long recv(int fd, void *bytes, size_t size, int flags);
long send(int fd, const void *bytes, size_t size, int flags);
int close(int fd);
int usleep(unsigned microseconds);
unsigned alarm(unsigned seconds);
typedef struct { long seconds, micros; } timeval;
int gettimeofday(timeval *now, void *zone);
typedef struct { uint16_t family; char path[108]; } local_address;
typedef struct { uint16_t family; uint8_t port[2], host[4], rest[8]; } inet_address;
]]
local C, NOSIGNAL = ffi.C, 0x4000
local folder, how = arg[1], arg[2]
C.alarm(600) -- whatever becomes of the spec

local Connection = {}
Connection.__index = Connection
local bytes = ffi.new "char[65536]"

function Connection:hear()
  local n = tonumber(C.recv(self.fd, bytes, 65536, 0))
  return n > 0 and ffi.string(bytes, n) or nil
end

local function line(self)
  while not self.text:find("\r\n", 1, true) do
    self.text = self.text .. (self:hear() or error "the end")
  end
  local first, rest = self.text:match "^(.-)\r\n(.*)$"
  self.text = rest
  return first
end

function Connection:command()
  local list = {}
  for i = 1, tonumber(line(self):sub(2)) do
    local length = tonumber(line(self):sub(2))
    while #self.text < length + 2 do self.text = self.text .. (self:hear() or error "the end") end
    list[i], self.text = self.text:sub(1, length), self.text:sub(length + 3)
  end
  return list
end

function Connection:say(text)
  local said = 0
  while said < #text do
    local rest = text:sub(said + 1, said + 65536)
    local n = tonumber(C.send(self.fd, rest, #rest, NOSIGNAL))
    if n <= 0 then return end
    said = said + n
  end
end

function Connection:serve(answer)
  pcall(function() while true do self:say(answer(self:command())) end end)
end

function Connection:close() C.close(self.fd) end

local function sleep(seconds)
  while seconds > 0 do
    C.usleep(math.min(seconds, 0.5) * 1e6)
    seconds = seconds - 0.5
  end
end

local function wall()
  local now = ffi.new "timeval"
  C.gettimeofday(now, nil)
  return tonumber(now.seconds) + tonumber(now.micros) / 1e6
end

local function bulk(...)
  local parts = { ("*%d\r\n"):format(select("#", ...)) }
  for i = 1, select("#", ...) do
    local text = tostring((select(i, ...)))
    parts[#parts + 1] = ("$%d\r\n%s\r\n"):format(#text, text)
  end
  return table.concat(parts)
end

local address, listener
if how == "port" then
  address = ffi.new("inet_address", { family = 2, host = { 127, 0, 0, 1 } })
  listener = C.socket(2, 1, 0)
else
  address = ffi.new("local_address", { family = 1, path = folder .. "/socket" })
  listener = C.socket(1, 1, 0)
end
assert(C.bind(listener, address, ffi.sizeof(address)) == 0)
assert(C.listen(listener, 16) == 0)
local port = 0
if how == "port" then
  C.getsockname(listener, address, ffi.new("unsigned[1]", ffi.sizeof(address)))
  port = address.port[0] * 256 + address.port[1]
end

local function accept()
  return setmetatable({ fd = C.accept(listener, nil, nil), text = "" }, Connection)
end

local file = io.open(folder .. "/port.new", "w")
file:write(port)
file:close()
os.rename(folder .. "/port.new", folder .. "/port")
]==]

-- What a script need not use all of.
local USES = "local _ = accept, sleep, wall, bulk\n"

local function wait_until_ready(self)
  for _ = 1, 12000 do
    if lfs.attributes(self.folder .. "/port") then return end
    processes.pause(5)
  end
  error("the fake server does not start:\n" .. read(self.folder .. "/log"))
end

--- Starts one that does what the script says.
-- @tparam string script
-- @tparam[opt] string how `"port"`: it listens on a loopback port
function _M.start(script, how)
  local folder = os.tmpname()
  os.remove(folder)
  assert(lfs.mkdir(folder))
  local self = setmetatable({ folder = folder, unix = folder .. "/socket" }, Fake)
  write(folder .. "/script", PRELUDE .. USES .. script)
  local pipe = assert(io.popen(("cd %s; luajit script %s %s >log 2>&1 & echo $!")
    :format(folder, folder, how or "unix")))
  self.pid = assert(tonumber(pipe:read "*l"))
  pipe:close()
  running[self] = true
  wait_until_ready(self)
  self.port = tonumber(read(folder .. "/port"))
  return self
end

--- Ends it, if it has not ended.
function Fake:stop()
  if not running[self] then return end
  running[self] = nil
  processes.signal(self.pid, KILL)
  for name in lfs.dir(self.folder) do os.remove(self.folder .. "/" .. name) end
  lfs.rmdir(self.folder)
end

--- Ends all of them.
function _M.clean()
  for fake in pairs(running) do fake:stop() end
end

return _M

-- SPDX-License-Identifier: MIT
--- The examples for nginx, each run in a copy of its folder, on ports that are free.
local files = require "spec.support.files"
local lfs = require "lfs"
local ports = require "spec.support.ports"
local processes = require "spec.support.processes"
local socket = require "socket"

local NGINX = "/usr/sbin/nginx"
local HUP, TERM = 1, 15

local _M = {}
local Server = {}
Server.__index = Server

local running, folders = {}, {}

--- Whether something comes true within a minute.
function _M.eventually(condition)
  local ends = socket.gettime() + 60
  repeat
    if condition() then return true end
    processes.pause(5)
  until socket.gettime() > ends
  return false
end

-- Folders -----------------------------------------------------------------------------------------

--- A new folder, which `clean` removes.
function _M.new_folder()
  local folder = os.tmpname()
  os.remove(folder)
  assert(lfs.mkdir(folder))
  folders[#folders + 1] = folder
  return folder
end

-- What the examples listen on, and what their copy does.
local function new_ports()
  return { ["8080"] = ports.free(), ["8081"] = ports.free(), ["8082"] = ports.free() }
end

local function copy_file(from, to, name, own_ports, replaced)
  local text = replaced[name] or files.read(from .. "/" .. name)
  for old, new in pairs(replaced) do text = text:gsub(old, new) end
  files.write(to .. "/" .. name, (text:gsub("%f[%d]808%d%f[%D]", own_ports)))
end

local function put_copy(from, to, own_ports, replaced)
  lfs.mkdir(to)
  for name in lfs.dir(from) do
    if name:find "%.conf$" or name:find "%.lua$" then
      copy_file(from, to, name, own_ports, replaced)
    elseif not name:find "^%." and lfs.attributes(from .. "/" .. name, "mode") == "directory" then
      put_copy(from .. "/" .. name, to .. "/" .. name, own_ports, replaced)
    end
  end
end

-- Starting and stopping ---------------------------------------------------------------------------

-- nginx started by root runs its workers as somebody else, who may not see the checkout.
local function user()
  return files.run "id -u" == "0\n" and "user root;" or ""
end

function Server:is_listening()
  local connection = socket.connect("127.0.0.1", self.ports["8080"])
  return connection and connection:close() -- a worker would wait for it
end

--- Starts nginx in a folder, with a copy of what is in another one.
function _M.start_in(folder, from, replaced)
  local self = setmetatable({ folder = folder, ports = new_ports() }, Server)
  put_copy(from, folder, self.ports, replaced or {})
  local output, status = files.run(("%s -p %s -c nginx.conf -e error.log -g '%s'"):format(NGINX,
    self.folder, user()))
  assert(status == 0, output)
  running[self] = true
  assert(_M.eventually(function()
    local file = io.open(self.folder .. "/nginx.pid")
    self.pid = file and file:read "*n"
    if file then file:close() end
    return self.pid and self:is_listening()
  end))
  return self
end

--- Starts an example.
-- @tparam string example its folder in `examples`
-- @tparam[opt] table replaced other texts for some of its files, and patterns to replace
function _M.start(example, replaced)
  local above = _M.new_folder()
  put_copy("examples/support", above .. "/support", {}, {})
  return _M.start_in(above .. "/" .. example:match "[^/]+$", "examples/" .. example, replaced)
end

--- Ends all that was started here.
function _M.clean()
  for self in pairs(running) do
    processes.signal(self.pid, TERM)
    assert(_M.eventually(function() return not processes.is_running(self.pid) end))
  end
  for _, folder in ipairs(folders) do files.run("rm -rf " .. folder) end
  running, folders = {}, {}
end

function Server:workers()
  return files.run(("pgrep -P %d | sort"):format(self.pid))
end

--- Has it read its configuration again; when this returns, the old workers have ended.
function Server:reload()
  local old = self:workers()
  processes.signal(self.pid, HUP)
  assert(_M.eventually(function()
    local now = self:workers()
    for pid in old:gmatch "%d+" do
      if now:find("%f[%d]" .. pid .. "%f[%D]") then return false end
    end
    return now ~= ""
  end))
end

-- Requests ----------------------------------------------------------------------------------------

--- Sends a request.
-- @tparam string what `[method] path`
-- @tparam[opt] table headers
-- @tparam[opt] string from the address it comes from
-- @tparam[opt="8080"] string port as the example writes it
-- @tparam[opt] string body
function Server:send(what, headers, from, port, body)
  local method, path = what:match "^(%u+) (.*)$"
  local connection = assert(socket.tcp())
  if from then assert(connection:bind(from, 0)) end
  connection:settimeout(60)
  assert(connection:connect("127.0.0.1", self.ports[port or "8080"]))
  local lines = { ("%s %s HTTP/1.0"):format(method or "GET", path or what), "Host: localhost" }
  for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  if body then lines[#lines + 1] = "Content-Length: " .. #body end
  assert(connection:send(table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")))
  return connection
end

--- Waits for an answer: `status`, `body`, and `headers` by their names in small letters.
function _M.finish(connection)
  local text = assert(connection:receive "*a")
  connection:close()
  local status, head, body = text:match "^HTTP/%S+ (%d+)[^\r]*(.-\r\n)\r\n(.*)$"
  local headers = {}
  for name, value in head:gmatch "\r\n([^:\r]+): ([^\r]*)" do headers[name:lower()] = value end
  return { status = tonumber(status), body = body, headers = headers }
end

local function answer_of(connection)
  local answer = _M.finish(connection)
  return answer.body, answer.status, answer.headers["x-cache"]
end

--- A whole request.
function Server:ask(...) return _M.finish(self:send(...)) end

--- The same: the body, the status, and the header X-Cache.
function Server:get(...) return answer_of(self:send(...)) end

--- So many requests at once: a list of what `get` returns.
function Server:together(n, ...)
  local connections, answers = {}, {}
  for i = 1, n do connections[i] = self:send(...) end
  for i = 1, n do answers[i] = { answer_of(connections[i]) } end
  return answers
end

--- Its log.
function Server:log() return files.read(self.folder .. "/error.log") end

--- What is in the log that should not be.
function Server:errors()
  local found = {}
  for line in self:log():gmatch "[^\n]+" do
    if not line:find "^[%d/: ]+%[notice%]" then found[#found + 1] = line end
  end
  return found
end

return _M

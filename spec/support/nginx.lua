-- SPDX-License-Identifier: MIT
--- Real nginx servers with the Lua module for the specs: each is started by the spec in a folder
-- and on a loopback port of its own, and stopped by its process id.
local buffer = require "string.buffer"
local lfs = require "lfs"
local socket = require "socket"
local files = require "spec.support.files"
local ports = require "spec.support.ports"
local processes = require "spec.support.processes"

local HUP, KILL, TERM = 1, 9, 15
local PROGRAM, MODULES = "/usr/sbin/nginx", "/usr/lib/nginx/modules" -- of Debian

local _M = {}
local Server = {}
Server.__index = Server
local Request = {}
Request.__index = Request

local running = {}

-- What runs a chunk in a worker. An error travels as text, with its traceback.
local RUN = [[
local buffer = require "string.buffer"
local function told(ok, ...) return { ok = ok, n = select("#", ...), ... } end
local function traced(err) return debug.traceback(tostring(err), 2) end
ngx.req.read_body()
local call = buffer.decode(ngx.req.get_body_data())
local chunk, err = loadstring(call.chunk, "=chunk")
local answer = chunk and told(xpcall(chunk, traced, unpack(call, 1, call.n))) or told(false, err)
local encoded, text = pcall(buffer.encode, answer)
ngx.print(encoded and text or buffer.encode(told(false, "results cannot travel: " .. text)))
]]

-- Which worker a connection has met. A connection stays with its worker as long as it lives.
local WHO = [[
local text = ngx.worker.id() .. " " .. ngx.worker.pid()
ngx.header.content_length = #text
ngx.print(text)
]]

local CONFIG = [[
daemon on;
pid $folder/pid;
error_log $folder/error.log notice;
worker_processes $workers;
$user
load_module $modules/ndk_http_module.so;
load_module $modules/ngx_http_lua_module.so;
$main
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path $folder/client_body;
  proxy_temp_path $folder/proxy;
  fastcgi_temp_path $folder/fastcgi;
  uwsgi_temp_path $folder/uwsgi;
  scgi_temp_path $folder/scgi;
  client_max_body_size 16m;
  client_body_buffer_size 16m;
  $search
  lua_code_cache $code_cache;
  lua_socket_log_errors off;
  $http
  server {
    listen 127.0.0.1:$port $reuseport;
    location = /lua { content_by_lua_file $folder/run.lua; }
    location = /lua/worker { content_by_lua_file $folder/who.lua; }
    $locations
  }
}
]]

local function quote(text) return "'" .. tostring(text):gsub("'", "'\\''") .. "'" end

-- What is in a file, or nil: nginx makes some of its files when it pleases.
local function content_of(path)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function wait_until(what, seconds, condition)
  local deadline = socket.gettime() + seconds
  while not condition() do
    if socket.gettime() > deadline then
      error(("%s did not happen within %d s"):format(what, seconds), 0)
    end
    processes.pause(5)
  end
end

-- A worker's current folder is not this one: what is relative here means something else there.
local function absolute(search_path)
  local list, here = {}, lfs.currentdir()
  for entry in search_path:gmatch "[^;]+" do
    list[#list + 1] = entry:find "^/" and entry or here .. "/" .. entry
  end
  return table.concat(list, ";")
end

-- nginx started by root runs its workers as nobody, who may not see the checkout.
local function user_of(opts)
  if opts.user then return ("user %s;"):format(opts.user) end
  return output_of("id -u") == "0\n" and "user root;" or ""
end

-- Where the workers look for modules: where this process does, or where LuaJIT does by itself.
function Server:search_of(opts)
  if opts.bare then return "" end
  return ('lua_package_path "%s/?.lua;%s";\n  lua_package_cpath "%s";')
    :format(self.folder, absolute(package.path), absolute(package.cpath))
end

-- Several workers have a queue each (reuseport): else the kernel would give an idle server's
-- connections to the same worker again and again.
-- Under `./dev coverage` lines are counted in nginx, too: see lines.c.
local function with_coverage(http, library)
  if not library then return http end
  local load = ('package.loadlib("%s", "luaopen_lines")()'):format(library)
  local found
  http, found = http:gsub("(init_by_lua_block%s*{)", function(head) return head .. load .. "\n" end)
  return found > 0 and http or http .. "\ninit_by_lua_block { " .. load .. " }"
end

function Server:config(opts)
  local counting = os.getenv "PERIGEE_LINES"
  local values = {
    folder = self.folder, port = self.port, workers = self.worker_count, modules = MODULES,
    user = user_of(opts), reuseport = self.worker_count > 1 and "reuseport" or "",
    code_cache = opts.code_cache == false and "off" or "on",
    search = self:search_of(opts),
    main = (opts.main or "") .. (counting and "\nenv PERIGEE_COVERAGE;" or ""),
    http = with_coverage(opts.http or "", counting), locations = opts.locations or "",
  }
  return (CONFIG:gsub("%$([%l_]+)", values))
end

function Server:launch()
  local log = self.folder .. "/error.log"
  local command = ("env -u LUA_PATH -u LUA_CPATH %s -p %s -c %s -e %s"):format(PROGRAM,
    quote(self.folder), quote(self.folder .. "/nginx.conf"), quote(log))
  local ended = os.execute(command .. " >/dev/null 2>&1")
  if ended ~= 0 then error("nginx does not start:\n" .. self:log(), 0) end
  wait_until("the start of nginx", 60, function() -- the file is written after the fork
    self.pid = tonumber(content_of(self.folder .. "/pid") or "")
    return self.pid
  end)
  running[self] = true
  self:wait_for_workers({})
end

-- The workers that take requests: those that are shutting down are not among them.
function Server:workers()
  local pids = {}
  local text = output_of(("ps -o pid=,args= --ppid %d"):format(self.pid))
  for pid, what in text:gmatch "(%d+) ([^\n]*)" do
    if what:find "worker process" and not what:find "shutting down" then
      pids[#pids + 1] = tonumber(pid)
    end
  end
  table.sort(pids)
  return pids
end

-- Waits until all workers answer, and none of them is one of `gone` (a set of process ids).
function Server:wait_for_workers(gone)
  local function complete()
    local pids = self:workers()
    for _, pid in ipairs(pids) do
      if gone[pid] then return false end
    end
    return #pids == self.worker_count
  end
  wait_until("the start of the workers", 60, complete)
  for number = 0, self.worker_count - 1 do self:connect(number, gone):close() end
end

local function open(port, timeout)
  local connection = assert(socket.tcp())
  connection:settimeout(timeout)
  assert(connection:connect("127.0.0.1", port))
  connection:setoption("tcp-nodelay", true)
  return connection
end

-- The number and the process id of the worker that has this connection, or nil.
local function who_has(connection)
  connection:send "GET /lua/worker HTTP/1.1\r\nHost: localhost\r\n\r\n"
  local length = 0
  for line in function() return connection:receive "*l" end do
    if line == "" then break end
    length = tonumber(line:lower():match "^content%-length: (%d+)") or length
  end
  local number, pid = (connection:receive(length) or ""):match "^(%d+) (%d+)$"
  return tonumber(number), tonumber(pid)
end

--- A connection; with a number, to this worker: others are tried until it is met.
function Server:connect(worker, gone)
  if not worker then return open(self.port, self.timeout) end
  local met
  wait_until("a connection to worker " .. worker, 60, function()
    local connection = open(self.port, self.timeout)
    local number, pid = who_has(connection)
    if number == worker and not (gone and gone[pid]) then
      met = connection
    else
      connection:close()
    end
    return met
  end)
  return met
end

local function head_of(request)
  local lines = { ("%s %s HTTP/1.1"):format(request.method or "GET", request.path),
    "Connection: close" }
  if not (request.headers and request.headers.Host) then lines[#lines + 1] = "Host: localhost" end
  if request.body then lines[#lines + 1] = "Content-Length: " .. #request.body end
  for name, value in pairs(request.headers or {}) do
    lines[#lines + 1] = ("%s: %s"):format(name, value)
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

--- Sends a request, and does not wait for the answer: `finish` does.
-- @tparam table request `path`; if need be `method`, `headers`, `body`, `worker` (its number)
function Server:begin(request)
  local connection = self:connect(request.worker)
  assert(connection:send(head_of(request) .. (request.body or "")))
  return setmetatable({ connection = connection, path = request.path }, Request)
end

local function unchunked(text)
  local parts, position = {}, 1
  while true do
    local _, last, size = text:find("^(%x+)[^\r]*\r\n", position)
    local length = size and tonumber(size, 16) or 0
    if length == 0 then return table.concat(parts) end
    parts[#parts + 1] = text:sub(last + 1, last + length)
    position = last + length + 3
  end
end

--- Waits for the answer: its body, status, and headers (by names in small letters). Without an
-- answer: nil and why.
function Request:finish()
  local text, err, partial = self.connection:receive "*a"
  self.connection:close()
  text = text or partial
  local status, head, body = text:match "^HTTP/%S+ (%d+)[^\r]*\r\n(.-)\r\n\r\n(.*)$"
  if not status then return nil, err or "closed" end
  local headers = {}
  for name, value in (head .. "\r\n"):gmatch "([^:\r\n]+):%s*(.-)\r\n" do
    headers[name:lower()] = value
  end
  if headers["transfer-encoding"] == "chunked" then body = unchunked(body) end
  return body, tonumber(status), headers
end

--- Closes the connection now, as one who does not care any more.
function Request:abort()
  self.connection:setoption("linger", { on = true, timeout = 0 })
  self.connection:close()
end

--- One request, on a connection of its own: its body, status and headers.
function Server:get(path, headers)
  return self:begin { path = path, headers = headers }:finish()
end

function Server:post(path, body, headers)
  return self:begin { method = "POST", path = path, body = body, headers = headers }:finish()
end

--- Sends so many requests and then waits for them all: a list of `{ status, body }`.
function Server:together(n, path, headers)
  local requests, answers = {}, {}
  for i = 1, n do requests[i] = self:begin { path = path, headers = headers } end
  for i = 1, n do
    local body, status = requests[i]:finish()
    answers[i] = { status = status, body = body }
  end
  return answers
end

--- Sends a request, and after some seconds closes the connection abruptly.
function Server:abort(path, seconds)
  local request = self:begin { path = path }
  socket.sleep(seconds or 0)
  request:abort()
end

--- Begins to run a chunk in a worker (nil: whichever takes it). Arguments are the chunk's `...`.
function Server:begin_lua(worker, chunk, ...)
  local call = { chunk = chunk, n = select("#", ...), ... }
  return self:begin { method = "POST", path = "/lua", worker = worker,
    body = buffer.encode(call) }
end

--- Waits for a chunk: what it returns. An error is raised here, with its traceback there.
function Request:values()
  local body, status = self:finish()
  if not body or status ~= 200 then
    error(("no answer from %s: %s %s"):format(self.path, status, body), 0)
  end
  local answer = buffer.decode(body)
  if not answer.ok then error(answer[1], 0) end
  return unpack(answer, 1, answer.n)
end

--- Runs a chunk in some worker, and returns what it returns.
function Server:lua(chunk, ...) return self:begin_lua(nil, chunk, ...):values() end

--- The same in a certain worker, by its number (from 0 on).
function Server:lua_in(worker, chunk, ...) return self:begin_lua(worker, chunk, ...):values() end

local function set_of(list)
  local set = {}
  for _, value in ipairs(list) do set[value] = true end
  return set
end

--- Has it read its configuration again, and waits until only new workers take requests. Old ones
-- may be at work still.
function Server:reload()
  local before = set_of(self:workers())
  processes.signal(self.pid, HUP)
  self:wait_for_workers(before)
end

--- Waits until these processes have ended.
function Server.wait_for_end(_, pids)
  for _, pid in ipairs(pids) do
    wait_until("the end of a worker", 60, function() return not processes.is_running(pid) end)
  end
end

--- Ends a worker without warning, and waits until another is in its place.
function Server:kill_worker(pid)
  self.killed[pid] = true
  processes.signal(pid, KILL)
  self:wait_for_workers { [pid] = true }
end

--- The whole error log.
function Server:log() return content_of(self.folder .. "/error.log") or "" end

-- What the spec itself has brought about is no error.
function Server:is_expected(line)
  local pid = line:match "worker process (%d+) exited on signal 9"
  return self.killed[tonumber(pid)] or line:find("lua_code_cache is off", 1, true)
end

--- The entries of the error log that tell of errors, each with all its lines.
function Server:errors()
  local found, inside = {}, false
  for line in (self:log() .. "\n"):gmatch "([^\n]*)\n" do
    local level = line:match "^%d+/%d+/%d+ %d+:%d+:%d+ %[(%l+)%]"
    if level then
      inside = level ~= "notice" and level ~= "warn" and level ~= "info" and level ~= "debug"
        and not self:is_expected(line)
      if inside then found[#found + 1] = line end
    elseif inside and line ~= "" then
      found[#found] = found[#found] .. "\n" .. line
    end
  end
  return found
end

--- Ends it; its log can be read until `clean`.
function Server:stop(signal)
  if not running[self] then return end
  running[self] = nil
  processes.signal(self.pid, signal or TERM)
  wait_until("the end of nginx", 60, function() return not processes.is_running(self.pid) end)
end

local folders = {}

--- Why no server can be started on this machine: a text, or nil.
function _M.missing()
  if not lfs.attributes(PROGRAM) then return "nginx is not installed" end
  if not lfs.attributes(MODULES .. "/ngx_http_lua_module.so") then
    return "nginx has no Lua module (Debian: libnginx-mod-http-lua)"
  end
end

--- Starts a server. Options: `workers` (1), `main`, `http` and `locations` (directives for these
-- places), `code_cache` (true), `user` (its directive's words), `timeout` (of a request, 60 s),
-- `files` (texts by name, for the folder that stands first in the workers' search path), `bare`
-- (false; true: no search path is set, what is installed is found and nothing else).
function _M.start(opts)
  opts = opts or {}
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir -m 755 " .. quote(folder)) == 0)
  folders[#folders + 1] = folder
  local self = setmetatable({ folder = folder, port = ports.free(), killed = {},
    worker_count = opts.workers or 1, timeout = opts.timeout or 60 }, Server)
  files.write(folder .. "/run.lua", RUN)
  files.write(folder .. "/who.lua", WHO)
  for name, text in pairs(opts.files or {}) do files.write(folder .. "/" .. name, text) end
  files.write(folder .. "/nginx.conf", self:config(opts))
  self:launch()
  return self
end

--- Stops the servers of this spec, and removes their folders.
function _M.clean()
  for server in pairs(running) do server:stop() end
  for i, folder in ipairs(folders) do
    os.execute("rm -rf " .. quote(folder))
    folders[i] = nil
  end
end

return _M

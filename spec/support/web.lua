-- SPDX-License-Identifier: MIT
--- Raw HTTP clients in tasks, for the specs of servers: they send what they are told, byte for
-- byte, and never stop the loop.
local ffi = require "ffi"
local perigee = require "perigee"
local processes = require "spec.support.processes"
local socket = require "socket"
local C = require("perigee.lib").rt

local _M = {}
local Client = {}
Client.__index = Client

local LIMIT_S = 60

local function until_true(what, fn)
  local ends = socket.gettime() + LIMIT_S
  while true do
    local value = fn()
    if value then return value end
    if socket.gettime() > ends then error("waited in vain for " .. what, 2) end
    perigee.sleep(0.001)
  end
end
_M.eventually = until_true

--- A connection to a server here.
function _M.connect(port)
  local tcp = assert(socket.tcp())
  assert(tcp:connect("127.0.0.1", port))
  tcp:settimeout(0)
  return setmetatable({ tcp = tcp, bytes = "", closed = false }, Client)
end

function Client:send(text)
  local at = 1
  until_true("room to send", function()
    local last, why, part = self.tcp:send(text, at)
    at = (last or part) + 1
    return at > #text or why == "closed"
  end)
  return self
end

-- Takes in what is there; true if that was something, or the end.
function Client:take()
  if self.closed then return true end
  local bytes, why, part = self.tcp:receive(65536)
  bytes = bytes or part
  self.bytes = self.bytes .. bytes
  if why == "closed" then self.closed = true end
  return #bytes > 0 or self.closed
end

-- The next bytes, up to and with `stop`; or nil when the connection is closed before.
function Client:through(stop)
  return until_true("more", function()
    local _, last = self.bytes:find(stop, 1, true)
    if last then
      local text = self.bytes:sub(1, last)
      self.bytes = self.bytes:sub(last + 1)
      return text
    end
    if self.closed then return "" end
    self:take()
  end)
end

function Client:count(n)
  until_true(n .. " bytes", function()
    if #self.bytes >= n or self.closed then return true end
    self:take()
  end)
  local text = self.bytes:sub(1, n)
  self.bytes = self.bytes:sub(n + 1)
  return text
end

--- All that comes until the connection is closed.
function Client:rest()
  until_true("the end", function()
    self:take()
    return self.closed
  end)
  return self.bytes
end

local function read_chunks(self)
  local parts = {}
  while true do
    local line = self:through "\r\n"
    local digits = line:match "^%x+"
    if not digits then return table.concat(parts), false end
    local size = tonumber(digits, 16)
    parts[#parts + 1] = self:count(size)
    self:through "\r\n"
    if size == 0 then return table.concat(parts), true end
  end
end

--- The next response: `status`, `headers`, `body`, `is_whole`.
function Client:response(has_no_body)
  local head = self:through "\r\n\r\n"
  local status = tonumber(head:match "^HTTP/1%.%d (%d+)")
  if not status then return { status = nil, headers = {}, body = head .. self.bytes } end
  if status == 100 then return self:response(has_no_body) end
  local response = { status = status, headers = {}, body = "", is_whole = true }
  for name, value in head:gmatch "\n([%w-]+): ([^\r]*)" do
    local before = response.headers[name:lower()]
    response.headers[name:lower()] = before and before .. "|" .. value or value
  end
  local length = tonumber(response.headers["content-length"])
  if has_no_body then return response end
  if response.headers["transfer-encoding"] == "chunked" then
    response.body, response.is_whole = read_chunks(self)
  elseif length then
    response.body = self:count(length)
    response.is_whole = #response.body == length
  elseif status ~= 204 and status ~= 304 then
    response.body = self:rest()
  end
  return response
end

function Client:close()
  self.tcp:close()
end

--- A request as text.
function _M.request(method, target, headers, body)
  local lines = { ("%s %s HTTP/1.1"):format(method, target), "Host: here" }
  for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  if body then lines[#lines + 1] = "Content-Length: " .. #body end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

--- Asks on a connection of its own.
function _M.ask(port, method, target, headers, body)
  local client = _M.connect(port)
  client:send(_M.request(method, target, headers, body))
  local response = client:response(method == "HEAD")
  client:close()
  return response
end

function _M.get(port, target) return _M.ask(port, "GET", target) end

--- Checks what must hold of a server at any time.
function _M.verify(server)
  local broken = server.c and C.perigee_http_verify(server.c)
  if broken and broken ~= nil then error(ffi.string(broken), 2) end
end

--- Runs `body(server)` beside a server that calls `handler`; what it opens is closed after it.
function _M.serve(opts, body)
  if type(opts) == "function" then opts = { handler = opts } end
  opts.port = opts.port or 0
  return function()
    perigee.run(function()
      local before = processes.descriptors()
      local server = assert(perigee.http.listen(opts))
      local ok, err = pcall(body, server)
      _M.verify(server)
      server:stop(0)
      collectgarbage() -- sockets of clients
      collectgarbage()
      if not ok then error(err, 0) end
      assert(processes.descriptors() <= before, "descriptors are left open")
    end)
  end
end

return _M

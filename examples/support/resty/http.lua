-- SPDX-License-Identifier: MIT
-- A stand-in for lua-resty-http, which Kong and APISIX bring along: one request, one connection.
-- luacheck: globals ngx
local _M = {}
_M.__index = _M

function _M.new() return setmetatable({}, _M) end

function _M:set_timeout(ms) self.timeout_ms = ms end

local function read_answer(socket)
  local text, err = socket:receive "*a"
  if not text then return nil, err end
  local status, head, body = text:match "^HTTP/%S+ (%d+)[^\r]*(.-\r\n)\r\n(.*)$"
  if not status then return nil, "not HTTP" end
  local headers = {}
  for name, value in head:gmatch "\r\n([^:\r]+): ([^\r]*)" do headers[name] = value end
  return { status = tonumber(status), headers = headers, body = body }
end

--- Sends a request, and waits for its answer.
-- @tparam string url `http://address:port/path`
-- @tparam table options `method`, `headers`, `body`
-- @treturn table|nil `status`, `headers`, `body`
-- @treturn string|nil why not
function _M:request_uri(url, options)
  local host, port, path = url:match "^http://([^:/]+):(%d+)(.*)$"
  local socket, body = ngx.socket.tcp(), options.body or ""
  socket:settimeout(self.timeout_ms)
  local ok, err = socket:connect(host, tonumber(port))
  if not ok then return nil, err end
  local lines = { options.method .. " " .. path .. " HTTP/1.0", "Host: " .. host,
    "Content-Length: " .. #body }
  for name, value in pairs(options.headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  socket:send { table.concat(lines, "\r\n"), "\r\n\r\n", body }
  local answer
  answer, err = read_answer(socket)
  socket:close()
  return answer, err
end

return _M

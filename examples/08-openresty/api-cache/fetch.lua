-- SPDX-License-Identifier: MIT
-- A GET over a socket of nginx, for loaders.
--
-- Why not ngx.location.capture: that needs a request, and a load may run in a timer, which has
-- none: the refresh behind a stale value always does, and so does each load of a cache with
-- `detach = true`. A socket works in both. If you have lua-resty-http, use that.
-- luacheck: globals ngx
local _M = {}

local TIMEOUT_MS = 5000

-- Lines up to an empty one, as headers by their names in small letters.
local function read_headers(socket)
  local headers = {}
  while true do
    local line, err = socket:receive "*l"
    if not line then return nil, err end
    if line == "" then return headers end
    local name, value = line:match "^([^:]+):%s*(.-)%s*$"
    if name then
      name = name:lower()
      headers[name] = headers[name] and headers[name] .. ", " .. value or value
    end
  end
end

local function read_chunks(socket)
  local chunks = {}
  while true do
    local line, err = socket:receive "*l"
    local size = line and tonumber(line:match "^%x+", 16)
    if not size then return nil, err or "a chunk without a size" end
    if size == 0 then return table.concat(chunks) end
    chunks[#chunks + 1], err = socket:receive(size)
    if err then return nil, err end
    socket:receive "*l"
  end
end

local function read_body(socket, headers)
  if headers["transfer-encoding"] == "chunked" then return read_chunks(socket) end
  local length = tonumber(headers["content-length"])
  if length == 0 then return "" end
  return socket:receive(length or "*a")
end

local function read_answer(socket)
  local line, err = socket:receive "*l"
  local status = line and tonumber(line:match "^HTTP/1%.%d (%d%d%d)")
  if not status then return nil, err or "not HTTP" end
  local headers, body
  headers, err = read_headers(socket)
  if not headers then return nil, err end
  body, err = read_body(socket, headers)
  if not body then return nil, err end
  return { status = status, headers = headers, body = body }
end

--- Gets what is at a URL.
-- @tparam string host an address
-- @tparam number port
-- @tparam string url path and query
-- @treturn table|nil `status`, `headers`, `body`
-- @treturn string|nil why not
function _M.get(host, port, url)
  local socket = ngx.socket.tcp()
  socket:settimeout(TIMEOUT_MS)
  local ok, err = socket:connect(host, port)
  if not ok then return nil, err end
  ok, err = socket:send { "GET ", url, " HTTP/1.1\r\nHost: ", host, "\r\n",
    "Connection: close\r\n\r\n" }
  local answer
  if ok then answer, err = read_answer(socket) end
  socket:close()
  return answer, err
end

return _M

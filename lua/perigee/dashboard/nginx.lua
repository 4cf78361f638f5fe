-- SPDX-License-Identifier: MIT

--- The dashboard as nginx' answer to a request.
-- @module perigee.dashboard.nginx

local access = require "perigee.dashboard.access"
local each = require("perigee.value.names").each
local ngx = require "perigee.runtime.nginx"
local parse = require("perigee.http.request").query
local routes = require "perigee.dashboard.routes"
local token = require "perigee.dashboard.token"

local _M = {}

local MOST_BODY = 65536

local HINT = "The link with it was written to nginx’s error log, at level <code>notice</code> "
  .. "(<code>error_log ... notice;</code>)."
local NO_TOKEN = "The workers of this nginx cannot agree on one. Put <code>require "
  .. "\"perigee.dashboard\"</code> into <code>init_by_lua_block</code>, or give a cache "
  .. "<code>shared</code>."

-- Requests ----------------------------------------------------------------------------------------

-- A large body is in a file.
local function read_body()
  if tonumber(ngx.var.content_length or 0) > MOST_BODY then return nil end
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  if body then return body end
  local path = ngx.req.get_body_file()
  local file = path and io.open(path, "rb")
  if not file then return "" end
  body = file:read(MOST_BODY)
  file:close()
  return body
end

local function read_headers()
  local headers = {}
  for name, value in each(ngx.req.get_headers(100)) do
    headers[name:lower()] = type(value) == "table" and table.concat(value, "; ") or value
  end
  headers.host = ngx.var.http_host
  return headers
end

-- The address that the connection comes from, whatever headers or `set_real_ip_from` say.
local function peer()
  return ngx.var.realip_remote_addr or ngx.var.remote_addr
end

-- Where we listen; nil: at a unix socket.
local function port()
  local number = tonumber(ngx.var.server_port)
  return number and number > 0 and number or nil
end

local function read_request()
  local path, query = ngx.var.request_uri:match "^([^?]*)%??(.*)$"
  return {
    method = ngx.req.get_method(), path = path, mount = path:match "^.*/" or "/",
    query = parse(query), headers = read_headers(), peer = peer(),
    is_secure = ngx.var.scheme == "https", worker = ngx.worker.pid(),
    body = ngx.req.get_method() == "POST" and read_body() or "",
  }
end

-- Answers -----------------------------------------------------------------------------------------

local function send(response)
  ngx.status = response.status
  for name, value in each(response.headers) do ngx.header[name] = value end
  ngx.header["Content-Length"] = #response.body
  if ngx.req.get_method() ~= "HEAD" then ngx.print(response.body) end
end

-- There is no terminal: who comes without the token finds it in the log.
local function announce(request, self)
  if not self.token then return end
  if not access.is_ours(request.headers.host, self.port, self.hosts) then return end
  if not token.is_news() then return end
  ngx.log(ngx.NOTICE, ("perigee: the dashboard: %s://%s%s?token=%s"):format(
    request.is_secure and "https" or "http", request.headers.host, request.mount, self.token))
end

--- Answers this request.
-- @tparam table opts of `perigee.dashboard.serve`
function _M.serve(opts)
  local request = read_request()
  local self = { token = token.get(), hosts = opts.hosts, allow = opts.allow, port = port(),
    scenes = opts.scenes and require("perigee.dashboard.scenes") or false }
  self.hint = self.token and HINT or NO_TOKEN
  local is_allowed = access.is_allowed(request.peer, self.allow)
  if is_allowed then announce(request, self) end
  local name = request.path:match "[^/]*$"
  if is_allowed and not routes.has(name) and name:find "^[%w_-]+$" then
    ngx.header["Location"] = name .. "/" -- `location /perigee`, without a slash at its end
    ngx.status = 303
    return
  end
  send(routes.answer(self, request))
end

return _M

-- SPDX-License-Identifier: MIT

--- The dashboard: the caches of this process in a browser. See `docs/dashboard.md`.
--
--     require("perigee.dashboard").listen { port = 5001 }       -- in a task: it prints nothing
--     content_by_lua_block { require("perigee.dashboard").serve() }  -- inside nginx
--
-- @module perigee.dashboard

local access = require "perigee.dashboard.access"
local history = require "perigee.dashboard.history"
local ngx = require "perigee.runtime.nginx"
local options = require "perigee.options"
local routes = require "perigee.dashboard.routes"
local token = require "perigee.dashboard.token"

local _M = {}

local HINT = "The link with it was printed when the dashboard was started."

local function is_names(list)
  if type(list) ~= "table" then return false end
  for _, name in ipairs(list) do
    if type(name) ~= "string" or name == "" then return false, name end
  end
  return true
end

local LOOPBACK = { "a loopback address: 127.0.0.1, ::1 or localhost", function(v)
  return type(v) == "string" and (v == "localhost" or v ~= "unix:" and access.is_loopback(v))
end }
local HOSTS = { "a list of names, such as { \"cache.example:8443\" }", is_names }
local ALLOW = { "a list of addresses, or true (anybody)",
  function(v) return v == true or is_names(v) end }
local PORT = { "a whole number from 0 to 65535",
  function(v) return type(v) == "number" and v >= 0 and v <= 65535 and v % 1 == 0 end }

local SERVED = { hosts = HOSTS, allow = ALLOW, scenes = options.kinds.boolean }
local HANDLED = { hosts = HOSTS, allow = ALLOW, scenes = options.kinds.boolean, port = PORT }
local LISTENING = { host = LOOPBACK, port = PORT, hosts = HOSTS, scenes = options.kinds.boolean }

local function lower_all(list)
  local lower = {}
  for i, name in ipairs(list or {}) do lower[i] = name:lower() end
  return lower
end

local function new(opts)
  return { token = token.get(), hosts = lower_all(opts.hosts), allow = opts.allow, hint = HINT,
    port = opts.port, scenes = opts.scenes and require("perigee.dashboard.scenes") or false }
end

local function check(where, opts, specs)
  options.argument(where, "opts", options.kinds.list, opts, 3)
  return options.check(where, opts, specs, 3)
end

--- The dashboard as a handler for an HTTP server of one's own, below any path that ends with `/`:
-- give it the requests whose path begins with that.
-- @tparam[opt] table opts `hosts`: names in `Host` besides 127.0.0.1, localhost and [::1], with a
-- port or without; `allow`: a list of addresses besides loopback, or true; `port`: what `Host` must
-- say (any); `scenes` (false): whether there are buttons that run something
-- @treturn function `handler(request) -> response`, for `perigee.http.listen`
-- @treturn string the token, for a link: `path/?token=...`
-- @raise on an unknown option or a value it does not take
function _M.handler(opts)
  local self = new(check("perigee.dashboard.handler", opts or {}, HANDLED))
  return function(request)
    request.mount = request.path:match "^.*/" or "/"
    return routes.answer(self, request)
  end, self.token
end

--- Serves the dashboard in the run around it, at a loopback address.
-- @tparam[opt] table opts `host` (127.0.0.1), `port` (5001; 0: any), `hosts` and `scenes` as for
-- `handler`
-- @treturn table|nil the server: as of `perigee.http.listen`, and `url`, with the token
-- @treturn string why not: the port is taken
-- @raise on an unknown option or a value it does not take; inside nginx, and where no loop runs
function _M.listen(opts)
  opts = check("perigee.dashboard.listen", opts or {}, LISTENING)
  local host = opts.host or "127.0.0.1"
  local name = host:find ":" and "[" .. host .. "]" or host
  local self = new(opts)
  local server, why = require("perigee.http.server").listen {
    host = host, port = opts.port or 5001, max_body_bytes = 65536,
    handler = function(request)
      request.mount = request.path:match "^.*/" or "/"
      return routes.answer(self, request)
    end,
  }
  if not server then return nil, why end
  history.watch()
  self.port = server.port
  table.insert(self.hosts, name .. ":" .. server.port) -- 127.0.0.2 is ours, too, at this port
  server.url = ("http://%s:%d/?token=%s"):format(name, server.port, self.token)
  return server
end

--- Answers the request at hand, inside nginx: the whole of a `content_by_lua_block`, below any path
-- that ends with `/`. Connections from this machine only, unless `allow` says otherwise.
-- @tparam[opt] table opts `hosts`, `allow` and `scenes` as for `handler`
-- @raise on an unknown option or a value it does not take; outside nginx
function _M.serve(opts)
  opts = check("perigee.dashboard.serve", opts or {}, SERVED)
  if not ngx then error("perigee.dashboard.serve: inside nginx only; see perigee.dashboard.listen",
    2) end
  require("perigee.dashboard.nginx").serve { hosts = lower_all(opts.hosts), allow = opts.allow,
    scenes = opts.scenes }
end

return _M

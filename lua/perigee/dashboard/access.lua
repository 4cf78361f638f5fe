-- SPDX-License-Identifier: MIT

--- Who may ask the dashboard, and for what.
--
-- 1. The connection must come from this machine, unless `allow` says otherwise.
-- 2. `Host` must be one of ours: a page of somebody else's whose name was made to point at
--    127.0.0.1 (DNS rebinding) still says that name here.
-- 3. Keys, values and changes need the token, which the browser has as a cookie that neither
--    scripts nor other sites' requests have.
-- 4. A change must come from a page of this very origin: a cookie does not tell ports apart, so
--    that a page on another port of this machine would send it, too.
-- @module perigee.dashboard.access

local token_face = require "perigee.dashboard.token"

local _M = {}

-- Peers -------------------------------------------------------------------------------------------

--- Whether an address is one of this machine alone: loopback, or a unix socket.
-- @tparam string address a numeric address, or `unix:`
-- @treturn boolean
function _M.is_loopback(address)
  return address:find "^127%.%d+%.%d+%.%d+$" ~= nil or address == "::1" or address == "unix:"
end

local function is_in(list, item)
  for _, candidate in ipairs(list) do
    if candidate == item then return true end
  end
  return false
end

--- Whether the peer of a connection may ask.
-- @tparam string|nil peer its address
-- @tparam table|boolean|nil allow addresses besides loopback; true: any
-- @treturn boolean
function _M.is_allowed(peer, allow)
  if allow == true then return true end
  if not peer then return false end
  peer = peer:gsub("^::[fF][fF][fF][fF]:", "") -- IPv4 at a socket of both kinds
  return _M.is_loopback(peer) or type(allow) == "table" and is_in(allow, peer)
end

-- Hosts -------------------------------------------------------------------------------------------

local OURS = { ["127.0.0.1"] = true, ["localhost"] = true, ["[::1]"] = true }

local function split(host)
  local name, port = host:match "^(%[[%x:.]+%]):?(%d*)$"
  if not name then name, port = host:match "^([^:%[%]]+):?(%d*)$" end
  return name, port
end

--- The port that a `Host` names; 80 without one.
-- @tparam string|nil host the header
-- @treturn string digits
function _M.port_of(host)
  local _, port = split(host or "")
  return port and port ~= "" and port or "80"
end

--- Whether a `Host` is one of ours.
-- @tparam string|nil host the header
-- @tparam number|nil port where we listen; nil: any
-- @tparam[opt] table hosts more of them: `name`, with our port or none, or `name:port`
-- @treturn boolean
function _M.is_ours(host, port, hosts)
  if not host then return false end
  host = host:lower()
  if is_in(hosts or {}, host) then return true end
  local name, given = split(host)
  if not name or not (OURS[name] or is_in(hosts or {}, name)) then return false end
  return port == nil or tonumber(given ~= "" and given or 80) == port
end

-- Tokens ------------------------------------------------------------------------------------------

-- Cookies are shared by the ports of a host, so that each port has a name of its own.
local function cookie_name(host)
  return "perigee_" .. _M.port_of(host)
end

--- Whether a request has the token as a cookie.
-- @tparam table request its headers
-- @tparam string|nil token nil: nobody has it
-- @treturn boolean
function _M.is_known(request, token)
  local name, found = cookie_name(request.headers.host), false
  for key, value in (request.headers.cookie or ""):gmatch "([^=;%s]+)=([^;%s]*)" do
    if key == name and token and token_face.is(token, value) then found = true end
  end
  return found
end

--- The header that makes a browser keep the token.
-- @tparam table request its `host`, `mount` and `is_secure`
-- @tparam string token
-- @treturn string
function _M.cookie(request, token)
  local path = request.mount:find "^[%w._~/%%-]+$" and request.mount or "/"
  return ("%s=%s; Path=%s; HttpOnly; SameSite=Strict%s"):format(
    cookie_name(request.headers.host), token, path, request.is_secure and "; Secure" or "")
end

-- Origins -----------------------------------------------------------------------------------------

--- Whether a change was asked for by a page of ours, or by no browser.
-- @tparam table request its headers
-- @treturn boolean
function _M.is_same_origin(request)
  local headers = request.headers
  local site, origin = headers["sec-fetch-site"], headers.origin
  if site and site ~= "same-origin" and site ~= "none" then return false end
  if not origin then return true end
  return origin:lower() == (request.is_secure and "https://" or "http://") .. headers.host:lower()
end

-- Headers -----------------------------------------------------------------------------------------

local POLICY = table.concat({
  "default-src 'none'", "script-src 'nonce-%s'", "style-src 'nonce-%s'", "img-src 'self'",
  "connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
}, "; ")

--- What each answer says to the browser. `Referrer-Policy` is `same-origin`: no other site learns
-- where we are, and our own forms still have an `Origin`, which `no-referrer` would take away.
-- @tparam string nonce of the page's one script and its one style sheet
-- @treturn table
function _M.headers(nonce)
  return {
    ["Content-Security-Policy"] = POLICY:format(nonce, nonce),
    ["X-Content-Type-Options"] = "nosniff",
    ["X-Frame-Options"] = "DENY",
    ["Referrer-Policy"] = "same-origin",
    ["Cross-Origin-Opener-Policy"] = "same-origin",
    ["Cross-Origin-Resource-Policy"] = "same-origin",
    ["Cache-Control"] = "no-store",
  }
end

return _M

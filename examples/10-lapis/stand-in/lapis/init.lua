-- SPDX-License-Identifier: MIT
-- A stand-in for Lapis (https://leafo.net/lapis): routes, parameters, and answers in JSON or text,
-- under the names that Lapis has for them. To be replaced by Lapis itself.
-- luacheck: globals ngx
local application = require "lapis.application"
local cjson = require "cjson"

local _M = { Application = application.Application }

local function add_all(params, more)
  for name, value in pairs(more) do params[name] = value end
  return params
end

local function new_request(app)
  return {
    app = app,
    req = { method = ngx.req.get_method(), headers = ngx.req.get_headers() },
    params = add_all({}, ngx.req.get_uri_args()),
  }
end

local function send(answer)
  if type(answer) ~= "table" then answer = { answer } end
  ngx.status = answer.status or 200
  for name, value in pairs(answer.headers or {}) do ngx.header[name] = value end
  if answer.json == nil then return ngx.print(answer[1]) end
  ngx.header.content_type = "application/json"
  ngx.print(cjson.encode(answer.json))
end

--- Content phase: answers a request.
-- @tparam string name the application's module
function _M.serve(name)
  local app = require(name)
  local request = new_request(app)
  local action, route_name, params = app:find(ngx.var.uri)
  request.route_name = route_name
  add_all(request.params, params)
  send(action(request))
end

return _M

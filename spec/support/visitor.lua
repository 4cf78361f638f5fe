-- SPDX-License-Identifier: MIT
--- Somebody who asks a dashboard's handler, without a server between them.
local dashboard = require "perigee.dashboard"
local parse = require("perigee.http.request").query

local _M = {}
local Visitor = {}
Visitor.__index = Visitor

--- A dashboard with these options, and a browser on this machine that has its cookie.
function _M.new(opts)
  local handler, token = dashboard.handler(opts)
  return setmetatable({ handler = handler, token = token, host = "127.0.0.1:5001",
    cookie = "perigee_5001=" .. token }, Visitor)
end

--- Asks. `headers` add to those of a browser; false takes one away.
function Visitor:ask(method, target, headers, body)
  local path, query = target:match "^([^?]*)%??(.*)$"
  local request = { method = method, path = path, query = parse(query), body = body,
    peer = "127.0.0.1", headers = { host = self.host, cookie = self.cookie } }
  if method == "POST" then
    request.headers["content-type"] = "application/x-www-form-urlencoded"
    request.headers.origin = "http://" .. self.host
    request.headers["sec-fetch-site"] = "same-origin"
  end
  for name, value in pairs(headers or {}) do
    if name == "peer" then
      request.peer = value
    else
      request.headers[name] = value or nil
    end
  end
  return self.handler(request)
end

function Visitor:get(target, headers) return self:ask("GET", target, headers) end

local function escape(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- Sends a form: names and values.
function Visitor:send(target, form, headers)
  local pairs_of = {}
  for name, value in pairs(form) do pairs_of[#pairs_of + 1] = name .. "=" .. escape(value) end
  return self:ask("POST", target, headers, table.concat(pairs_of, "&"))
end

local ENTITIES = { amp = "&", lt = "<", gt = ">", quot = '"', ["#39"] = "'" }

--- The text that HTML stands for.
function _M.unescape(html)
  return (html:gsub("&([%w#]+);", ENTITIES))
end

--- The forms of a page, in order: `action`, and the fields that are hidden, by name.
function _M.forms(html)
  local list = {}
  for attributes, inside in html:gmatch "<form([^>]*)>(.-)</form>" do
    local form = { action = attributes:match 'action="([^"]*)"', fields = {} }
    for name, value in inside:gmatch '<input type="hidden" name="([^"]*)" value="([^"]*)">' do
      form.fields[name] = _M.unescape(value)
    end
    list[#list + 1] = form
  end
  return list
end

--- The forms with an action.
function _M.forms_for(html, action)
  local list = {}
  for _, form in ipairs(_M.forms(html)) do
    if form.action == action then list[#list + 1] = form end
  end
  return list
end

return _M

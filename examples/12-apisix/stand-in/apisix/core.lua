-- SPDX-License-Identifier: MIT
-- A stand-in for `apisix.core`: the functions that the plugin uses, as APISIX has them.
-- luacheck: globals ngx
local cjson = require "cjson.safe"

local _M = { json = cjson, log = {}, request = {}, response = {}, schema = {} }

for name, level in pairs { error = ngx.ERR, warn = ngx.WARN, notice = ngx.NOTICE,
  info = ngx.INFO } do
  _M.log[name] = function(...) ngx.log(level, ...) end
end

function _M.request.header(_, name)
  local value = ngx.req.get_headers()[name]
  return type(value) == "table" and value[1] or value
end

function _M.request.set_header(_, name, value) ngx.req.set_header(name, value) end

function _M.response.set_header(name, value) ngx.header[name] = value end

--- Ends a request; a table becomes JSON.
function _M.response.exit(code, body)
  ngx.status = code
  if type(body) == "table" then body = cjson.encode(body) .. "\n" end
  if body then ngx.print(body) end
  return ngx.exit(code)
end

local IS = {
  string = function(value) return type(value) == "string" end,
  integer = function(value) return type(value) == "number" and value % 1 == 0 end,
}

-- Of JSON Schema this knows objects with strings and integers, and adds defaults, as APISIX does.
function _M.schema.check(schema, conf)
  for _, name in ipairs(schema.required) do
    if conf[name] == nil then return false, ('property "%s" is required'):format(name) end
  end
  for name, property in pairs(schema.properties) do
    if conf[name] == nil then conf[name] = property.default end
    local value = conf[name]
    if value ~= nil and not IS[property.type](value) then
      return false, ('property "%s" validation failed: wrong type'):format(name)
    end
    if value ~= nil and property.minimum and value < property.minimum then
      return false, ('property "%s" validation failed: too small'):format(name)
    end
  end
  return true
end

return _M

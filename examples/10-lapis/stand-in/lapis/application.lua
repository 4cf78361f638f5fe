-- SPDX-License-Identifier: MIT
-- A stand-in for `lapis.application`: what applications are made of.
-- luacheck: globals ngx
local cjson = require "cjson.safe"

local _M = {}

-- Makes an action of one action for each method.
function _M.respond_to(actions)
  return function(self)
    return (actions[self.req.method] or actions.on_invalid_method)(self)
  end
end

-- Makes an action that finds the fields of a JSON body among its parameters.
function _M.json_params(action)
  return function(self)
    ngx.req.read_body()
    local body = cjson.decode(ngx.req.get_body_data() or "")
    for name, value in pairs(type(body) == "table" and body or {}) do self.params[name] = value end
    return action(self)
  end
end

local App = {}
App.__index = App

-- "/products/:id" is a pattern, and the names in it.
local function compile(path)
  local names = {}
  local pattern = path:gsub(":(%w+)", function(name)
    names[#names + 1] = name
    return "([^/]+)"
  end)
  return "^" .. pattern .. "$", names
end

function App:match(name, path, action)
  local pattern, names = compile(path)
  table.insert(self.routes, { name = name, pattern = pattern, names = names, action = action })
end

function App:get(name, path, action) self:match(name, path, _M.respond_to { GET = action }) end

function App:post(name, path, action) self:match(name, path, _M.respond_to { POST = action }) end

-- Answers requests for what there is not; applications have their own.
function App.handle_404() error "no such route" end

-- The action of a path, its route's name, and the parameters that are in the path.
function App:find(path)
  for _, route in ipairs(self.routes) do
    local found = { path:match(route.pattern) }
    if found[1] then
      local params = {}
      for i, name in ipairs(route.names) do params[name] = found[i] end
      return route.action, route.name, params
    end
  end
  return self.handle_404, nil, {}
end

function _M.Application() return setmetatable({ routes = {} }, App) end

return _M

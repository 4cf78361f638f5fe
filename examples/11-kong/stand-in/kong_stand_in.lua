-- SPDX-License-Identifier: MIT
-- A stand-in for Kong (https://github.com/Kong/kong): one plugin, the functions of the plugin
-- development kit that it uses, and the phases in Kong's order, with what Kong does around them.
-- luacheck: globals ngx
local cjson = require "cjson"

local _M = {}

local kong, plugin = { ctx = {}, log = {} }, {}

-- The kit -----------------------------------------------------------------------------------------

for name, level in pairs { err = ngx.ERR, warn = ngx.WARN, notice = ngx.NOTICE } do
  kong.log[name] = function(...) ngx.log(level, "[kong] ", ...) end
end

-- What the plugin knows of this request.
setmetatable(kong.ctx, { __index = function(_, name)
  assert(name == "plugin")
  ngx.ctx.plugin = ngx.ctx.plugin or {}
  return ngx.ctx.plugin
end })

function kong.log.set_serialize_value(key, value)
  ngx.ctx.serialized = ngx.ctx.serialized or {}
  ngx.ctx.serialized[key] = value
end

-- An authentication plugin has found out whose key it is: here, it is the consumer's id.
local function get_consumer()
  local id = ngx.var.http_apikey
  return id and { id = id }
end

-- In the access phase the answer is noted, and the plugin's coroutine is left for good.
local function exit(status, body)
  local ctx = ngx.ctx
  ctx.delayed_response = { status = status, body = body }
  coroutine.yield()
end

kong.client = { get_consumer = get_consumer }
kong.service = {
  request = { set_header = ngx.req.set_header, clear_header = ngx.req.clear_header },
  response = { get_header = function(name) return ngx.header[name] end },
}
kong.response = {
  exit = exit,
  clear_header = function(name) ngx.header[name] = nil end,
}

-- Phases ------------------------------------------------------------------------------------------

local function with_defaults(schema, config)
  local full = {}
  for _, entry in ipairs(schema.fields) do
    for _, field in ipairs(entry.config and entry.config.fields or {}) do
      local name, definition = next(field)
      full[name] = config[name]
      if full[name] == nil then full[name] = definition.default end
      assert(full[name] ~= nil or not definition.required, name .. ": required field missing")
    end
  end
  return full
end

local function flush(answer)
  local body = cjson.encode(answer.body)
  ngx.status = answer.status
  ngx.header.content_type, ngx.header.content_length = "application/json", #body
  ngx.print(body)
  return ngx.exit(answer.status)
end

local function note(phase)
  local phases = ngx.ctx.phases or {}
  ngx.ctx.phases = phases
  if phases[#phases] ~= phase then phases[#phases + 1] = phase end
end

local function run(phase)
  note(phase)
  if plugin.handler[phase] then plugin.handler[phase](plugin.handler, plugin.config) end
end

--- init_by_lua
-- @tparam string name the plugin
-- @tparam table config of its schema
function _M.init(name, config)
  rawset(_G, "kong", kong)
  local handler = require("kong.plugins." .. name .. ".handler")
  assert(handler.PRIORITY % 1 == 0, "PRIORITY is no integer")
  assert(handler.VERSION:find "^%d+%.%d+%.%d+$", "VERSION is not x.y.z")
  plugin.handler = handler
  plugin.config = with_defaults(require("kong.plugins." .. name .. ".schema"), config)
end

--- init_worker_by_lua
function _M.init_worker() plugin.handler:init_worker() end

--- rewrite_by_lua: only global plugins take part, and this one is not.
function _M.rewrite() note "rewrite" end

--- access_by_lua: each plugin in a coroutine of its own.
function _M.access()
  note "access"
  local co = coroutine.create(plugin.handler.access)
  local ok, err = coroutine.resume(co, plugin.handler, plugin.config)
  local answer = ngx.ctx.delayed_response
  if not ok then
    kong.log.err(err)
    answer = { status = 500, body = { message = "An unexpected error occurred" } }
  end
  if answer then return flush(answer) end
end

function _M.header_filter() run "header_filter" end

function _M.body_filter() run "body_filter" end

--- log_by_lua: what a plugin that logs would write.
function _M.log()
  run "log"
  kong.log.notice(cjson.encode { phases = ngx.ctx.phases, log = ngx.ctx.serialized })
end

return _M

-- SPDX-License-Identifier: MIT
-- A stand-in for APISIX (https://github.com/apache/apisix): loads one plugin, and calls its phases
-- in APISIX's order, with what APISIX does around them.
-- luacheck: globals ngx
local core = require "apisix.core"

local _M = {}

local NAME = "perigee-cache"
local MODULE = "apisix.plugins." .. NAME

local plugin, conf

-- APISIX loads plugins when a worker begins, and again when it is told to.
local function load()
  plugin = require(MODULE)
  assert(plugin.priority and plugin.version and type(plugin.schema) == "table")
  if plugin.init then plugin.init() end
end

--- init_by_lua
-- @tparam string hook the `lua_module_hook` of config.yaml
function _M.http_init(hook) require(hook) end

--- init_worker_by_lua
-- @tparam table route_conf the plugin's configuration
function _M.http_init_worker(route_conf)
  load()
  assert(plugin.check_schema(route_conf))
  conf = route_conf
end

local function note(ctx, phase)
  if ctx.phases[#ctx.phases] ~= phase then table.insert(ctx.phases, phase) end
end

local function run(phase)
  local ctx = ngx.ctx.api_ctx
  if not ctx then return end
  note(ctx, phase)
  local fn = plugin[phase]
  if not fn then return end
  return fn(conf, ctx)
end

--- access_by_lua: APISIX has both phases there. What a plugin returns is the answer.
function _M.http_access_phase()
  ngx.ctx.api_ctx = { var = ngx.var, phases = {} }
  for _, phase in ipairs { "rewrite", "access" } do
    local code, body = run(phase)
    if code or body then return core.response.exit(code, body) end
  end
end

function _M.http_header_filter_phase() run "header_filter" end

function _M.http_body_filter_phase()
  run "body_filter"
  run "delayed_body_filter"
end

function _M.http_log_phase()
  run "log"
  core.log.notice("phases: ", table.concat(ngx.ctx.api_ctx.phases, " "))
end

--- Content phase: the control API.
function _M.http_control()
  for _, route in ipairs(plugin.control_api()) do
    if route.uris[1] == ngx.var.uri and route.methods[1] == ngx.req.get_method() then
      return core.response.exit(route.handler())
    end
  end
  return core.response.exit(404)
end

--- Content phase: loads the plugin again, in this worker.
function _M.reload()
  if plugin.destroy then plugin.destroy() end
  package.loaded[MODULE] = nil
  load()
  ngx.say "loaded again"
end

return _M

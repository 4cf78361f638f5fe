-- SPDX-License-Identifier: MIT

--- nginx around us: the API of ngx_lua, or false. PERIGEE_RUNTIME=none in its environment
-- (directive `env`) makes Perigee treat it as plain code.
-- @module perigee.runtime.nginx

local ngx = rawget(_G, "ngx")

local is_inside = type(ngx) == "table" and ngx.get_phase and ngx.timer
  and ngx.config and ngx.config.subsystem == "http"
  and os.getenv("PERIGEE_RUNTIME") ~= "none"

return is_inside and ngx or false

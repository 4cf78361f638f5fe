-- SPDX-License-Identifier: MIT
--- What Perigee has to say without being asked: one line each, to standard error; inside nginx, to
-- its error log.
-- @module perigee.log

local ngx = require "perigee.runtime.nginx"

local _M = {}

local LEVELS = ngx and { warn = ngx.WARN, error = ngx.ERR }

--- Where lines go. Replace it to send them elsewhere.
-- @tparam string level `"warn"` or `"error"`
-- @tparam string text the line, without prefix
function _M.sink(level, text)
  if ngx then return ngx.log(LEVELS[level], "perigee: ", text) end
  io.stderr:write("perigee: ", level, ": ", text, "\n")
end

--- Says something the user should know but that broke nothing.
-- @tparam string text the line
function _M.warn(text)
  _M.sink("warn", text)
end

--- Says that something failed and nobody else will hear of it.
-- @tparam string text the line
function _M.error(text)
  _M.sink("error", text)
end

return _M

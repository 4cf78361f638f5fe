-- SPDX-License-Identifier: MIT

--- `perigee.http`: servers and requests. The rest loads lazily.
-- @module perigee.http

local _M = {}

-- Where each name comes from.
local SOURCES = {
  listen = { "perigee.http.server", "listen" },
  events = { "perigee.http.events", "response" },
  request = { "perigee.http.client", "request" },
  stream = { "perigee.http.client", "stream" },
}

setmetatable(_M, { __index = function(self, name)
  local source = SOURCES[name]
  if not source then return nil end
  local value = require(source[1])[source[2]]
  rawset(self, name, value)
  return value
end })

return _M

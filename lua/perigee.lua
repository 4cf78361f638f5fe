-- SPDX-License-Identifier: MIT
--- Perigee: a cache that Lua programs embed. The whole front door; the rest loads lazily.
--
--     local perigee = require "perigee"
--     local cache = perigee.new { maxsize = 1000, default_ttl = 300 }
--     local user = cache:get("user:1", function(key) return db:load(key) end)
--
-- @module perigee

local _M = { _VERSION = require "perigee.version" }

-- Where each public name comes from: a module, or a field of one.
local SOURCES = {
  new = { "perigee.cache", "new" },
  aligned = { "perigee.load.batch", "aligned" },
  lru = { "perigee.memo", "lru" },
  ttl = { "perigee.memo", "ttl" },
  lru_invalidator = { "perigee.memo", "lru_invalidator" },
  ttl_invalidator = { "perigee.memo", "ttl_invalidator" },
  key = { "perigee.value.keys", "key" },
  run = { "perigee.task", "run" },
  spawn = { "perigee.task", "spawn" },
  gather = { "perigee.task", "gather" },
  timeout = { "perigee.task", "timeout" },
  shield = { "perigee.task", "shield" },
  sleep = { "perigee.task", "sleep" },
  now = { "perigee.task", "now" },
  wrap = { "perigee.task", "wrap" },
  exec = { "perigee.exec" },
  http = { "perigee.http" },
  runtime = { "perigee.runtime", "name" },
  metrics = { "perigee.metrics", "all" },
  prometheus = { "perigee.metrics.prometheus", "text" },
  serve_metrics = { "perigee.metrics.prometheus", "serve" },
  on = { "perigee.events", "on" },
  status = { "perigee.metrics.status", "show" },
  disk = { "perigee.tier.disk", "new" },
  redis = { "perigee.tier.redis", "new" },
}

setmetatable(_M, { __index = function(self, name)
  local source = SOURCES[name]
  if not source then return nil end
  local value = require(source[1])
  if source[2] then value = value[source[2]] end
  rawset(self, name, value)
  return value
end })

-- In init_by_lua: before the workers are forked, which will share what is mapped here.
if require "perigee.runtime.nginx" then require("perigee.tier.board").prepare() end

return _M

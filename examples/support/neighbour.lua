-- SPDX-License-Identifier: MIT
-- Another process that shares the demo's cache through Redis: asks for facts about some packages,
-- forgets a section, and says what that cost.
--
--     perigee examples/support/neighbour.lua SOCKET SECTION PACKAGE...
package.path = (arg[0]:match "^(.*/)support/" or "../") .. "?.lua;" .. package.path

local perigee = require "perigee"
local packages = require "support.packages"
local report = require "support.report"

perigee.run(function(unix, section, ...)
  local began = report.clock()
  local cache = perigee.new { name = "packages", maxsize = 10000, default_ttl = 300,
    remote_cache = perigee.redis { unix = unix } }
  for _, name in ipairs { ... } do assert(cache:get(name, packages.load), name) end
  local seconds = report.clock() - began
  print(("%d %d %.6f"):format(packages.processes, cache:get_metrics().remote_hits, seconds))
  assert(select(2, cache:invalidate_tags(section)) == nil)
  cache:close()
end, ...)

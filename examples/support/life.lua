-- SPDX-License-Identifier: MIT
-- One life of the demo's cache with a backup: asks for facts about some packages, says what that
-- cost, and ends. The next life, a process of its own, finds what this one knew.
--
--     perigee examples/support/life.lua FILE PACKAGE...
package.path = (arg[0]:match "^(.*/)support/" or "../") .. "?.lua;" .. package.path

local perigee = require "perigee"
local packages = require "support.packages"
local report = require "support.report"

perigee.run(function(file, ...)
  local began = report.clock()
  local cache = perigee.new { name = "packages", maxsize = 10000, default_ttl = 300,
    backup = perigee.disk(file) }
  for _, name in ipairs { ... } do assert(cache:get(name, packages.load), name) end
  print(("%d %d %.6f"):format(packages.processes, cache:get_metrics().backup_loaded,
    report.clock() - began))
end, ...)

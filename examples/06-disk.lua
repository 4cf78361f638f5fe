-- SPDX-License-Identifier: MIT
-- A cache that survives its process: run this twice.
--
--     luajit examples/06-disk.lua [file]
local perigee = require "perigee"

local file = arg[1] or "/tmp/perigee-example.db"

perigee.run(function()
  local cache = perigee.new {
    name = "squares", -- the entries are kept under this name: several caches may share a file
    maxsize = 1000,
    default_ttl = 3600,
    backup = perigee.disk { path = file, autosave = 30 },
  }

  local function slow_square(n)
    perigee.sleep(0.01)
    return n * n
  end
  for n = 1, 20 do cache:get(n, slow_square) end

  local metrics = cache:get_metrics()
  print(("%d loads, %d entries came from %s"):format(metrics.loads, metrics.backup_loaded, file))
end) -- what has changed is saved here, at the end of the run

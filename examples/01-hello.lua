-- SPDX-License-Identifier: MIT
-- A cache in ten lines: what is not there is loaded, what is there is not loaded again.
local perigee = require "perigee"

local cache = perigee.new { maxsize = 1000, default_ttl = 60 }

local function load_user(id) -- a database, a web service, a process: anything slow
  return { id = id, name = "user " .. id }
end

for _ = 1, 2 do
  local user, _, source = cache:get(42, load_user)
  print(user.name, source) -- the first time from "load", then from "memory"
end

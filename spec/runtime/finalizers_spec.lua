-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan
-- Finalizers that begin tasks, cancel them and use caches. They run anywhere, at any exit of
-- compiled code, also in the middle of a step of the scheduler's; see spec/support/litter.lua.
local fleet = require "spec.support.fleet"
local read = require("spec.support.files").read

local PATIENCE_S = 120 -- for a program that takes less than a second

local function outcome(code, ...)
  return fleet.output(fleet.start(code, ...), PATIENCE_S)
end

describe("finalizers that use caches and tasks", function()
  local LITTER = read "spec/support/litter.lua"

  for _, place in ipairs { "run", "plain" } do
    for _, heat in ipairs { "hot", "cold" } do
      it(("leave everything in order: %s, %s"):format(place, heat), function()
        for seed = 1, 6 do
          assert.equal("done\n", outcome(LITTER, seed, place, heat), "seed " .. seed)
        end
      end)
    end
  end
end)

-- The finalizers of a closing Lua state run in any order, that of the loop among them.
describe("a finalizer of a Lua state that closes", function()
  local CLOSING = [[
    local what, begun = arg[1], arg[2] == "begun"
    local perigee = require "perigee"
    local cache = perigee.new {}
    local uses = {
      waits = function() perigee.sleep(0.01) end,
      runs = function() perigee.run(perigee.sleep, 0.01) end,
      begins = function() perigee.spawn(perigee.sleep, 0.01) end,
      cancels = function() BEGUN:cancel() end,
      loads = function() cache:get("k", function() return 1 end) end,
      wakes = function() cache:set("waited for", 1) cache:close() end,
    }
    -- Some are made before the loop is, and some after it.
    local kept = {}
    local function keep()
      for i = 1, 20 do
        local thing = newproxy(true)
        getmetatable(thing).__gc = function() pcall(uses[what]) end
        kept[#kept + 1] = thing
      end
    end
    keep()
    if begun then perigee.run(perigee.sleep, 0) end
    BEGUN = perigee.spawn(perigee.sleep, 60)
    perigee.spawn(function() cache:get("waited for", function() perigee.sleep(60) end) end)
    keep()
    KEPT = kept
    print "done"
  ]]

  for _, what in ipairs { "waits", "runs", "begins", "cancels", "loads", "wakes" } do
    it(("does no harm: it %s"):format(what), function()
      for _, begun in ipairs { "begun", "not begun" } do
        assert.equal("done\n", outcome(CLOSING, what, begun))
      end
    end)
  end
end)

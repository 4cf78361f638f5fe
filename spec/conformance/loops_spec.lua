-- SPDX-License-Identifier: MIT
-- suites: dev hard
-- Outside any loop: inside one, perigee.run is a scope, and its end ends no load.
local perigee = require "perigee"

describe("conformance: loops", function()
  it("F18 one cache works in one loop after the other", function()
    local cache = perigee.new()
    local function batch_loader(keys)
      perigee.sleep(0.01)
      local map = {}
      for _, key in ipairs(keys) do
        map[key] = key
      end
      return map
    end
    for round = 1, 3 do
      perigee.run(function()
        perigee.spawn(cache.get, cache, "left behind", function()
          perigee.sleep(1000)
        end)
        perigee.spawn(cache.get, cache, "batched " .. round, { batch_loader = batch_loader })
        assert.are.equal(round, (cache:get(round, function()
          perigee.sleep(0.001)
          return round
        end)))
        assert.are.equal("b" .. round,
          (cache:get("b" .. round, { batch_loader = batch_loader })))
      end)
    end
    assert.are.equal("now", (cache:get("left behind", function() return "now" end)))
  end)
end)

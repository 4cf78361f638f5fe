-- SPDX-License-Identifier: MIT
-- PERIGEE_MODEL_OPERATIONS sets how many operations each policy gets.
local C = require("perigee.lib").core
local testing = require "perigee.testing"
local drive = require "spec.support.drive"
local tasks = require "spec.support.tasks"

local OPERATIONS = tonumber(os.getenv("PERIGEE_MODEL_OPERATIONS")) or 1000000

for _, policy in ipairs { "fifo", "lru", "sieve", "s3fifo", "wtinylfu", "auto" } do
  describe(("a cache with the policy %s, seed %d,"):format(policy, drive.SEED), function()
    it(("does as the model over %d random operations"):format(OPERATIONS),
      tasks.virtual(function()
        drive.drive(drive.new(policy, 60), OPERATIONS)
      end))

    it("does so while stale entries are kept, which go before any other", tasks.virtual(function()
      local run = drive.new(policy, 60, { stale_while_revalidate = 0.2, stale_if_error = 50 })
      -- A stale entry that is written again keeps its place, which the model has forgotten.
      if policy == "fifo" then run.exact, run.model.order = false, nil end
      drive.drive(run, math.floor(OPERATIONS / 10))
      assert.is_true(C.perigee_store_verify(run.cache.store.handle) == nil)
    end))

    it("does as the model when it has no bound", tasks.virtual(function()
      local run = drive.new(policy, math.huge)
      run.exact = true
      drive.drive(run, math.floor(OPERATIONS / 10))
    end))

    it("keeps its content right as time passes and nothing else happens",
      tasks.virtual(function()
        local run = drive.new(policy, math.huge)
        run.exact = true
        for i = 1, 3000 do
          local ttl_ms = math.floor(1.005 ^ i) * 10 + 5
          run.cache:set(i, i, ttl_ms / 1000)
          run.model:set(i, i, ttl_ms)
        end
        while run.model.count > 0 and run.model.now_ms < 1e9 do
          run.step = run.step + 1
          local ms = math.floor(1.2 ^ (run.step % 60)) * 10
          testing.advance(ms / 1000)
          run.model:advance(ms)
          drive.compare_content(run)
        end
      end))
  end)
end

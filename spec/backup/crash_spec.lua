-- SPDX-License-Identifier: MIT
-- suites: dev
-- A process that saves over and over is killed at random moments. PERIGEE_CRASHES sets how often.
local disk = require "spec.support.disk"
local random = require "spec.support.random"

local CRASHES = tonumber(os.getenv "PERIGEE_CRASHES") or 200
local KEYS = 40

-- Round after round: every key gets the round's number, one key in five goes and comes back; the
-- round is acknowledged when its save has returned.
local WRITER = [[
  local perigee = require "perigee"
  local path, acknowledged, sync = arg[1], arg[2], arg[3]
  local cache = perigee.new { name = "c", backup = perigee.disk { path = path, sync = sync } }
  local round = (cache:get "round" or 0) + 1
  local file = assert(io.open(acknowledged, "a"))
  file:setvbuf "no"
  while true do
    cache:set("round", round)
    for i = 1, %d do
      if (i + round) %% 5 == 0 then
        cache:delete(i)
      else
        cache:set(i, { round = round, key = i, text = ("x"):rep(round %% 3000) })
      end
    end
    assert(cache:save_to_backup())
    assert(file:write(round .. "\n")) -- in one piece
    round = round + 1
  end
]]

-- The last round that the writer was told is saved.
local function last_acknowledged(path)
  local last = 0
  local file = io.open(path)
  if not file then return 0 end
  for line in file:lines() do last = tonumber(line) or last end
  file:close()
  return last
end

local function check_entries(cache, round)
  for i = 1, KEYS do
    local value = cache:get(i)
    if (i + round) % 5 == 0 then
      assert.is_nil(value)
    else
      assert.are.same({ round = round, key = i, text = ("x"):rep(round % 3000) }, value)
    end
  end
end

describe("a writer killed at a random moment", function()
  after_each(disk.clean)

  for _, sync in ipairs { "full", "off" } do
    it(("leaves what it had saved, and nothing else (sync = %q)"):format(sync), function()
      local next_random = random.generator(20)
      local path = disk.path()
      local acknowledged, script = path .. ".rounds", path .. ".lua"
      disk.write(script, WRITER:format(KEYS))
      local rounds, restarts = 0, 0
      local patience = 1 -- grows while lives are too short for this machine to save anything
      for _ = 1, CRASHES / 2 do
        local seconds = patience * (20 + next_random(80)) / 1000
        os.execute(("timeout --foreground -s KILL %.3f luajit %s %s %s %s 2>/dev/null"):format(
          seconds, script, path, acknowledged, sync)) -- in the foreground it waits for the end
        -- A life that was saved and killed before it was told so is where the next one began.
        local promised = math.max(last_acknowledged(acknowledged), rounds)
        local cache = disk.cache(path)
        local round = cache:get "round" or 0
        assert.is_true(round == promised or round == promised + 1,
          ("promised %d, found %d"):format(promised, round))
        if round > 0 then check_entries(cache, round) end
        assert.equal(0, cache:get_metrics().backup_refused)
        cache:close()
        if round > rounds then restarts = restarts + 1 end
        patience = round > rounds and math.max(1, patience / 1.2) or math.min(20, patience * 1.5)
        rounds = round
      end
      assert.is_true(restarts > CRASHES / 8, restarts .. " lives got anything saved")
      assert.are.same({}, disk.files "damaged")
    end)
  end
end)

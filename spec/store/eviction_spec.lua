-- SPDX-License-Identifier: MIT
-- With `on_evict` as a witness of what leaves and why, every policy can be held to what must
-- be true of all of them.
local perigee = require "perigee"
local drive = require "spec.support.drive"
local policies = require "spec.support.policies"
local random = require "spec.support.random"
local tasks = require "spec.support.tasks"

local OPERATIONS = (tonumber(os.getenv("PERIGEE_MODEL_OPERATIONS")) or 1000000) / 5

-- A run in which each notice is checked against the model as it stood when it came.
local function witnessed(policy, maxsize)
  local run, notices = nil, {}
  local function on_evict(key, value, reason)
    if reason ~= "size" then
      notices[#notices + 1] = { key, value, reason }
      return
    end
    local model = run.model
    drive.check(run, model.entries[key] and model.entries[key].value == value,
      "evicted for its size, but not living", key)
    drive.check(run, run.resizing or model.count >= model.maxsize,
      "evicted though there was room", key)
    model:drop(key)
  end
  run = drive.new(policy, maxsize, { on_evict = function(...)
    local ok, err = pcall(on_evict, ...)
    run.broken = run.broken or not ok and err
  end })
  run.model.order, run.exact = nil, true
  run.after = function()
    drive.check(run, not run.broken, run.broken)
    for i, notice in ipairs(notices) do
      local entry = run.model.entries[notice[1]]
      drive.check(run, not entry or entry.value ~= notice[2],
        "said to be " .. notice[3] .. ", but living", notice[1])
      notices[i] = nil
    end
  end
  return run
end

for _, policy in ipairs { "fifo", "lru", "sieve", "s3fifo", "wtinylfu", "auto" } do
  it(("the policy %s evicts living entries only, only when there is no room (seed %d)")
    :format(policy, drive.SEED), tasks.virtual(function()
      drive.drive(witnessed(policy, 60), OPERATIONS)
    end))
end

-- Requests of three kinds: some keys far more popular than others, a popularity that moves on,
-- and a scan through everything between them.
local function workload(n, each)
  local zipf, other = random.zipf(5000, 0.9, 17), random.zipf(5000, 0.9, 19)
  for i = 1, n do
    local block = math.floor(i / 5000)
    if block % 5 == 4 then
      each("scan " .. i % 5000)
    elseif block % 3 == 2 then
      each("key " .. (other() + block * 10) % 5000)
    else
      each("key " .. zipf())
    end
  end
end

local function compare_with_paper(policy, capacity, n)
  local reference, cache = policies[policy](capacity), perigee.new {
    policy = policy, maxsize = capacity,
  }
  local expected, got = 0, 0
  workload(n, function(key)
    expected = expected + (reference(key) and 1 or 0)
    if select(3, cache:get(key)) == "memory" then
      got = got + 1
    else
      cache:set(key, true)
    end
  end)
  return got / n, expected / n
end

for policy, tolerance in pairs { lru = 0, sieve = 0, s3fifo = 0.001 } do
  for _, capacity in ipairs { 50, 500 } do
    it(("the policy %s hits as often as its paper says, with %d places"):format(policy, capacity),
      function()
        local got, expected = compare_with_paper(policy, capacity, 100000)
        assert.is_true(expected > 0.1)
        assert.is_true(math.abs(got - expected) <= tolerance,
          ("%.4f, the paper's algorithm %.4f"):format(got, expected))
      end)
  end
end

-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan
-- Every way to ask, at random and at once: whatever comes back must be the asked key's own.
local perigee = require "perigee"
local random = require "spec.support.random"
local tasks = require "spec.support.tasks"

local SEED, KEYS, ROUNDS = 4711, 40, 300

local function value_of(key)
  return { key = key }
end

local function new_world(dice, opts)
  local world = { cache = perigee.new(opts), dice = dice }

  local function pause()
    local ms = dice(8)
    if ms > 2 then
      perigee.sleep(ms * 0.001)
    end
  end

  function world.loader(key)
    pause()
    local luck = dice(12)
    if luck == 0 then
      error({ failed = key })
    elseif luck == 1 then
      return nil, { failed = key }
    end
    return value_of(key), nil, luck == 2 and { tags = { "t:" .. key } } or nil
  end

  function world.batch_loader(keys)
    pause()
    local map, errors = {}, {}
    for _, key in ipairs(keys) do
      local target = dice(12) == 0 and errors or map
      target[key] = target == map and value_of(key) or { failed = key }
    end
    return map, errors
  end
  return world
end

-- An error that a loader of this key did not raise is passed on: a cancellation, or a fault.
local function check_error(err, is_own)
  if type(err) ~= "table" then
    error(err, 0)
  end
  assert(is_own(err.failed), "an error of another key")
end

local function check(key, ok, value, err)
  if not ok then
    check_error(value, function(failed) return failed == key end)
  elseif value ~= nil then
    assert(value.key == key, "a value of another key")
  elseif err ~= nil and err ~= "timeout" then
    assert(err.failed == key, "an err of another key")
  end
end

local function some_keys(dice)
  local keys = {}
  for i = 1, 1 + dice(5) do
    keys[i] = dice(KEYS)
  end
  return keys
end

local function options(world)
  local opts = { timeout = world.dice(4) == 0 and 0.003 or nil,
    use_cache = world.dice(6) ~= 0, tags = { "t:" .. world.dice(KEYS) } }
  opts[world.dice(2) == 0 and "loader" or "batch_loader"] = true
  opts.loader = opts.loader and world.loader
  opts.batch_loader = opts.batch_loader and world.batch_loader
  return opts
end

local function ask_many(world)
  local keys = some_keys(world.dice)
  local ok, values, errors = pcall(world.cache.get_many, world.cache, keys, options(world))
  if not ok then
    check_error(values, function(failed)
      for _, key in ipairs(keys) do
        if key == failed then
          return true
        end
      end
    end)
    return
  end
  for _, key in ipairs(keys) do
    check(key, true, values[key], errors and errors[key])
  end
end

local function ask(world)
  local dice, cache, key = world.dice, world.cache, world.dice(KEYS)
  local choice = dice(10)
  if choice < 4 then
    check(key, pcall(cache.get, cache, key, options(world)))
  elseif choice < 6 then
    ask_many(world)
  elseif choice == 6 then
    check(key, pcall(cache.refresh, cache, key, world.loader))
  elseif choice == 7 then
    check(key, pcall(cache.get, cache, key))
  elseif choice == 8 then
    cache:set(key, value_of(key), { ttl = 0.001 * (1 + dice(20)) })
  elseif dice(2) == 0 then
    cache:delete(key)
  else
    cache:invalidate_tags("t:" .. key)
  end
end

local worlds = {
  ["a plain cache"] = {},
  ["a small cache"] = { maxsize = 5, policy = "lru" },
  ["a cache that stores nothing"] = { maxsize = 0 },
  ["a cache that serves stale values"] = { default_ttl = 0.005, stale_while_revalidate = 0.02,
    stale_if_error = 0.05 },
  ["a cache with a load_timeout"] = { load_timeout = 0.004, max_batch_size = 2 },
  ["a cache that copies"] = { copy = true, batch_window_ms = 0 },
}

for name, opts in pairs(worlds) do
  it(("%s gives each of many callers what belongs to his key (seed %d)"):format(name, SEED),
    tasks.virtual(function()
      local dice = random.generator(SEED)
      local world = new_world(dice, opts)
      local jobs = tasks.start_many(20, function()
        for _ = 1, ROUNDS do
          ask(world)
          perigee.sleep(dice(3) * 0.001)
        end
      end)
      for _ = 1, 20 do
        tasks.pass(0.005)
        jobs[dice(#jobs) + 1].task:cancel()
        jobs[#jobs + 1] = tasks.start(function()
          for _ = 1, ROUNDS do
            ask(world)
          end
        end)
      end
      tasks.finish(jobs)
      for _, job in ipairs(jobs) do
        assert.is_true(job.ok or job[1] == "cancelled", tostring(job[1]))
      end
      for key, value in world.cache:entries() do
        assert.are.equal(key, value.key)
      end
      local metrics = world.cache:get_metrics()
      assert.is_true(metrics.hits >= metrics.stale_hits and metrics.misses >= 0)
    end))
end

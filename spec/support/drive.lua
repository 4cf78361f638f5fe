-- SPDX-License-Identifier: MIT
--- Drives a cache and its model with the same random operations and compares them.
local perigee = require "perigee"
local testing = require "perigee.testing"
local model = require "spec.support.model"
local random = require "spec.support.random"
local tasks = require "spec.support.tasks"

local _M = { SEED = 20240607 }

local keys = {}
for i = 0, 149 do
  keys[i] = i % 3 == 0 and i or i % 3 == 1 and "key " .. i or "k\0" .. i
end
keys[1], keys[4], keys[7] = true, false, ""

local tags = { "a", "b", "a:x", "a:y", "b:x", "a:x:1", "a:x:2", "b:x:1", "c:x:1" }

--- A cache, its model, and the step they are at.
function _M.new(policy, maxsize, opts)
  local order = (policy == "lru" or policy == "fifo") and policy or nil
  local cache_opts = { maxsize = maxsize, policy = policy }
  for name, value in pairs(opts or {}) do
    cache_opts[name] = value
  end
  return {
    random = random.generator(_M.SEED), step = 0, exact = order ~= nil,
    model = model.new(maxsize, order), cache = perigee.new(cache_opts),
  }
end

--- Fails with the step and the seed unless `condition` holds.
function _M.check(run, condition, what, key)
  if not condition then
    error(("step %d, seed %d: %s (key %q)"):format(run.step, _M.SEED, what, tostring(key)), 0)
  end
end

local check = _M.check

-- What the cache says about a key must be what the model says; where the model does not know
-- the order, the entry may have been evicted, and must then stay away.
local function compare(run, key, found, value)
  local entry = run.model.entries[key]
  if found then
    check(run, entry, "something dead or gone was found", key)
    check(run, value == entry.value, "a wrong value was found", key)
  elseif entry then
    check(run, not run.exact, "a living entry is missing", key)
    run.model:drop(key)
  end
end

local function random_ttl_ms(run)
  if run.random(2) == 0 then
    return nil
  end
  return (run.random(4) == 0 and run.random(100000) or run.random(40)) * 10 + 5
end

local function random_tags(run)
  if run.random(3) ~= 0 then
    return nil
  end
  return { tags[run.random(#tags) + 1], tags[run.random(#tags) + 1] }
end

local operations = {}

function operations.get(run, key)
  local value, _, source = run.cache:get(key)
  compare(run, key, source == "memory", value)
  run.model:get(key)
end

function operations.set(run, key)
  local ttl_ms, with_tags = random_ttl_ms(run), random_tags(run)
  run.cache:set(key, run.step, { ttl = ttl_ms and ttl_ms / 1000, tags = with_tags })
  run.model:set(key, run.step, ttl_ms, with_tags)
  compare(run, key, run.cache:contains(key), (run.cache:peek(key)))
  check(run, run.model.maxsize == 0 or run.model.entries[key], "what was set is not there", key)
end

function operations.set_plain(run, key)
  run.cache:set(key, run.step)
  run.model:set(key, run.step)
end

function operations.peek(run, key)
  local value, left = run.cache:peek(key)
  local entry = run.model.entries[key]
  compare(run, key, left ~= nil, value)
  check(run, not left or entry.deadline == math.huge and left == math.huge
    or math.abs((entry.deadline - run.model.now_ms) / 1000 - left) < 0.0015,
    "a wrong lifetime", key)
end

function operations.delete(run, key)
  run.cache:delete(key)
  run.model:drop(key)
  check(run, not run.cache:contains(key), "deleted, but there", key)
end

function operations.touch(run, key)
  local ttl_ms = run.random(100) * 10 + 5
  local touched = run.cache:touch(key, ttl_ms / 1000)
  local entry = run.model.entries[key]
  compare(run, key, touched, entry and entry.value)
  run.model:touch(key, ttl_ms)
end

function operations.advance(run)
  local ms = (run.random(50) == 0 and run.random(100000) or run.random(10)) * 10
  testing.advance(ms / 1000)
  run.model:advance(ms)
end

function operations.invalidate(run)
  local tag = tags[run.random(#tags) + 1]
  run.cache:invalidate_tags(tag)
  run.model:invalidate(tag)
end

function operations.turn()
  perigee.sleep(0)
end

function operations.clear(run)
  run.cache:clear()
  run.model:clear()
  check(run, run.cache:get_metrics().size == 0, "not empty after clear")
end

function operations.resize(run)
  if run.model.maxsize == math.huge then
    return
  end
  run.resizing = true
  local maxsize = run.random(10) == 0 and run.random(3) or 20 + run.random(80)
  run.cache:resize(maxsize)
  run.resizing = false
  run.model:resize(maxsize)
end

local function compare_size(run, count)
  local size = run.cache:get_metrics().size
  check(run, size >= count and size <= count + run.model.tag_dead,
    ("the size is %s, there are %d"):format(size, count))
  check(run, size <= run.model.maxsize, "the size is more than maxsize")
end

--- Compares the whole content, and the size: until the next turns it may still count what a tag
-- killed.
function _M.compare_content(run)
  local seen, count = {}, 0
  for key, value in run.cache:entries() do
    check(run, not seen[key], "an entry comes twice", key)
    seen[key], count = true, count + 1
    compare(run, key, true, value)
  end
  for key in pairs(run.model.entries) do
    if not seen[key] then
      compare(run, key, false)
    end
  end
  compare_size(run, count)
  tasks.settle()
  run.model.tag_dead = 0
  compare_size(run, count)
end

-- How often each operation comes, in ten thousand.
local weights = {
  get = 4800, set = 1500, set_plain = 1500, peek = 700, delete = 400, touch = 300, advance = 500,
  invalidate = 200, turn = 90, clear = 5, resize = 5,
}

local function deck_of(list)
  local deck, names = {}, {}
  for name in pairs(list) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    for _ = 1, list[name] do
      deck[#deck + 1] = operations[name]
    end
  end
  return deck
end

--- Does `steps` random operations on both, compares what they say, and the content now and then.
function _M.drive(run, steps)
  local deck = deck_of(weights)
  for step = 1, steps do
    run.step = step
    local operation = deck[run.random(#deck) + 1]
    -- Half of all operations are on a fifth of the keys.
    local key = keys[run.random(run.random(2) == 0 and 30 or 150)]
    operation(run, key)
    if run.after then
      run.after()
    end
    if step % 2000 == 0 then
      _M.compare_content(run)
    end
  end
  _M.compare_content(run)
end

return _M

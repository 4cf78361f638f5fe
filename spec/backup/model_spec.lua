-- SPDX-License-Identifier: MIT
-- Random programs on a cache with a backup, against what the file may hold. After each save the
-- rows are exactly the live entries; and a cache that is reopened holds what the last save did.
-- PERIGEE_MODEL_OPERATIONS sets how many operations each seed runs.
local disk = require "spec.support.disk"
local perigee = require "perigee"
local random = require "spec.support.random"
local tasks = require "spec.support.tasks"

local OPERATIONS = math.min((tonumber(os.getenv "PERIGEE_MODEL_OPERATIONS") or 30000) / 10, 100000)
local KEYS, MAXSIZE = 60, 40

local function wait(share)
  local rows = {}
  assert(share:read(function(row)
    local space, key, entry = share:open(row)
    rows[space .. "|" .. tostring(key)] = entry.value
  end))
  return rows
end

local function live(cache, f)
  local map = {}
  for key, value in cache:entries() do
    if type(key) == "string" and key:sub(1, 2) == "f:" then
      map["f|" .. key] = value
    else
      map["|" .. tostring(key)] = value
    end
  end
  return map, f
end

local function program(seed, policy, in_task)
  local next_random = random.generator(seed)
  local path = disk.path()
  local stamp, cache, f = 0, nil, nil
  local function open()
    cache = disk.cache(path, { maxsize = MAXSIZE, policy = policy })
    f = perigee.lru { cache = cache, name = "f" } (function(x)
      stamp = stamp + 1
      return x .. ":" .. stamp
    end)
  end
  local function key() return next_random(KEYS) + 1 end
  open()
  local last = {}
  local operations = {
    function() stamp = stamp + 1; cache:set(key(), stamp) end,
    function()
      stamp = stamp + 1
      cache:set(key(), stamp, { tags = { "t:" .. next_random(4) } })
    end,
    function() cache:set(key(), "short", 0.001 + next_random(100) / 1000) end,
    function() cache:delete(key()) end,
    function() cache:get(key()) end,
    function() f("f:" .. key()) end,
    function() f:invalidate_cache("f:" .. key()) end,
    function() cache:incr("n", 1) end,
    function() cache:touch(key(), 1000) end,
    function() tasks.pass(next_random(50) / 1000) end,
    function() if next_random(5) == 0 then cache:invalidate_tags("t:" .. next_random(4)) end end,
    function() if next_random(40) == 0 then cache:clear() end end,
    function() if next_random(20) == 0 then f:clear_cache() end end,
    function() -- what was saved is what is there
      if next_random(10) > 0 then return end
      assert(cache:save_to_backup())
      last = wait(cache.backup.share)
      assert.are.same(live(cache), last)
    end,
    function() -- the process is killed: the next one finds the last save, less what has expired
      if next_random(30) > 0 then return end
      cache.backup.changes:take()
      local pending = cache.backup.changes.pending
      cache.backup.changes.pending = function() return false end
      cache:close()
      assert(pending)
      open()
      cache:get "is loaded now"
      for name, value in pairs(live(cache)) do assert.equal(last[name], value) end
      for name, value in pairs(last) do
        if value ~= "short" then assert.equal(value, live(cache)[name], name) end
      end
    end,
    function() -- it ends as it should
      if next_random(30) > 0 then return end
      local before = live(cache)
      cache:close()
      open()
      cache:get "is loaded now"
      local after = live(cache)
      for name, value in pairs(after) do assert.equal(before[name], value) end
      for name, value in pairs(before) do
        if value ~= "short" then assert.equal(value, after[name], name) end
      end
      last = wait(cache.backup.share)
    end,
  }
  for _ = 1, OPERATIONS do
    operations[next_random(#operations) + 1]()
    if in_task and next_random(20) == 0 then perigee.sleep(0) end
  end
  cache:close()
end

describe("a random program leaves in the backup what it should", function()
  after_each(disk.clean)

  for i, policy in ipairs { "lru", "s3fifo", "fifo" } do
    it("(" .. policy .. ")", tasks.virtual(function() program(i * 11, policy, true) end))
  end
end)

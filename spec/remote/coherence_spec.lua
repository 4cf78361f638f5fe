-- SPDX-License-Identifier: MIT
-- suites: dev asan
-- Four processes share a cache, write, delete and invalidate at random, and the server is killed in
-- between: no reader may get a value older than what was confirmed before it asked.
--
-- The truth is a second server, in which every write raises a version. A writer raises it, writes
-- the cache, and when that was confirmed notes the version as the least that anybody may see. When
-- a reader learns of that version, the notice is in its own socket already (the server sends
-- notices before replies): it only has to turn its loop once.
local fleet = require "spec.support.fleet"
local redis = require "spec.support.redis"

local PROGRAM = [==[
local cache_socket, truth_socket, me, seconds, mode = unpack(arg)
me, seconds = tonumber(me), tonumber(seconds)
local perigee = require "perigee"
local redis_ev = require "perigee.client.redis_ev"
math.randomseed(me * 7919 + 20261121)

local truth = redis_ev.new({ unix = truth_socket, connect_timeout = 5, timeout = 5 }, "nothing")
local cache = perigee.new { name = "drill", maxsize = 60,
  remote_cache = perigee.redis { unix = cache_socket } }
local counts = { reads = 0, memory = 0, remote = 0, loads = 0, writes = 0, refused = 0, stale = 0 }
local stale = {}

local function ask(...)
  local replies = assert(truth:ask { { ... } })
  return tonumber(replies[1]) or 0
end

local function turn() perigee.sleep(0.001) end

local function load(key)
  local version = ask("GET", "truth:" .. key)
  if math.random(4) == 1 then perigee.sleep(math.random() * 0.005) end
  local tag = key:match "^t" and "tag:" .. (tonumber(key:match "%d+") % 3)
  return version, nil, tag and { tags = { tag } }
end

-- Whether we hear what others say, now and since some reading of the clock.
local function hears() return cache.remote.share.client.state == "open" end

local function read(key)
  local heard = hears()
  local least = ask("GET", "least:" .. key)
  turn()
  local tagged = key:match "^t" and math.random(2) == 1
  local value, err, source = cache:get(key, { loader = load,
    tags = tagged and { "tag:" .. (tonumber(key:match "%d+") % 3) } or nil })
  if err then error(err) end
  counts.reads = counts.reads + 1
  if source == "memory" or source == "remote" then counts[source] = counts[source] + 1 end
  if source == "load" then counts.loads = counts.loads + 1 end
  if value < least and heard and hears() then
    counts.stale = counts.stale + 1
    stale[#stale + 1] = ("%s: %d, not %d, from %s"):format(key, value, least, source)
  end
end

local function confirm(key, version, err)
  counts.writes = counts.writes + 1
  if err then
    counts.refused = counts.refused + 1
    perigee.sleep(0.02)
  else
    ask("EVAL", "if (tonumber(redis.call('GET', KEYS[1])) or 0) < tonumber(ARGV[1]) then "
      .. "redis.call('SET', KEYS[1], ARGV[1]) end return 0", "1", "least:" .. key,
      tostring(version))
  end
end

local busy = {}

local function write()
  local kind, n = math.random(10), math.random(12)
  if kind <= 4 then
    local key = "d" .. n
    local version = ask("INCR", "truth:" .. key)
    confirm(key, version, select(2, cache:delete(key)))
  elseif kind <= 7 then -- written by one process only, one after the other: sets have no order else
    local key = "s" .. (n - n % 4 + me)
    if busy[key] then return end
    busy[key] = true
    local version = ask("INCR", "truth:" .. key)
    cache:set(key, version)
    local writes = cache.remote.writes
    local flushed = writes:flush()
    confirm(key, version, not flushed and "late" or writes:owes("", key) and "owed" or nil)
    busy[key] = nil
  elseif kind <= 9 then
    local tag, keys, versions = n % 3, {}, {}
    for i = 1, 12 do
      if i % 3 == tag then
        keys[#keys + 1] = "t" .. i
        versions[#keys] = ask("INCR", "truth:t" .. i)
      end
    end
    local _, err = cache:invalidate_tags("tag:" .. tag)
    for i, key in ipairs(keys) do confirm(key, versions[i], err) end
  elseif math.random(10) == 1 then
    local version = ask("INCR", "truth:d1")
    confirm("d1", version, select(2, cache:clear()))
  end
end

local letters = { "d", "s", "t" }
local function act()
  if math.random(4) == 1 then write() else read(letters[math.random(3)] .. math.random(16)) end
end

local ends = os.time() + seconds
if mode == "plain" then
  while os.time() < ends do act() end
else
  perigee.run(function()
    local tasks = {}
    for i = 1, 4 do
      tasks[i] = perigee.spawn(function() while os.time() < ends do act() end end)
    end
    for i = 1, 4 do tasks[i]:wait() end
  end)
end
for name, count in pairs(counts) do print(name .. "=" .. count) end
for i = 1, math.min(5, #stale) do print("STALE " .. stale[i]) end
print "done"
]==]

describe("memories of several processes", function()
  teardown(function()
    fleet.clean()
    redis.clean()
  end)

  it("never hold what a confirmed write has replaced, whatever the server goes through", function()
    local server, truth, seconds = redis.start(), redis.start(), 6
    local processes = {}
    for i = 1, 4 do
      processes[i] = fleet.start(PROGRAM, server.unix, truth.unix, i, seconds,
        i == 4 and "plain" or "tasks")
    end
    redis.eventually(function() return false end, 1)
    server:restart()
    local sums = {}
    for i = 1, 4 do
      local output = fleet.output(processes[i], seconds + 30)
      assert.matches("done\n$", output)
      assert.is_nil(output:find "STALE", output)
      for name, count in output:gmatch "(%w+)=(%d+)" do
        sums[name] = (sums[name] or 0) + tonumber(count)
      end
    end
    for name, least in pairs { reads = 1000, writes = 300, memory = 100, remote = 100, loads = 100,
      refused = 1 } do
      assert.is_true(sums[name] >= least, ("only %d %s"):format(sums[name], name))
    end
    assert.is_true(sums.refused < sums.writes / 2)
  end)
end)

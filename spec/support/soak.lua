-- SPDX-License-Identifier: MIT
--- The program of one process of the soak: random calls of a cache with all its levels, random
-- cancels, loaders that fail and hang, steps of the wall clock; and an oracle that knows the least
-- version that each read may bring. Run as a script: see spec/soak_spec.lua.
--
-- The truth is a Redis of its own, which nobody disturbs: each write raises a version there before
-- it tells the cache. What this process has written, it must see ever after, whatever becomes of
-- Redis; what others have written and had confirmed, it must see while it hears of others.
local cache_socket, truth_socket, backup_path, me, seconds = unpack(arg)
me, seconds = tonumber(me), tonumber(seconds)

local flight = require "perigee.load.flight"
local perigee = require "perigee"
local redis_ev = require "perigee.client.redis_ev"
local clock = require("perigee.runtime").clock

local TASKS, LONGEST_CALL_S, REST_S = 12, 20, 5

io.stdout:setvbuf "no"
math.randomseed(me * 7919 + os.time())
local random = math.random
require("perigee.log").sink = function() end -- faults are what this is about

local truth = redis_ev.new({ unix = truth_socket, connect_timeout = 5, timeout = 5 }, "nothing")
local cache = perigee.new { name = "soak", maxsize = 70, load_timeout = 0.8, default_ttl = 20,
  batch_window_ms = 2, backup = perigee.disk { path = backup_path, sync = "off" },
  remote_cache = perigee.redis { unix = cache_socket }, single_load = 1 }

local counts = { reads = 0, memory = 0, remote = 0, load = 0, wait = 0, failed = 0, writes = 0,
  refused = 0, cancelled = 0, begun = 0, ended = 0, lost = 0, stale = 0, steps = 0, saves = 0 }

local function ask(...)
  local replies, why = truth:ask { { ... } }
  if not replies then error(why, 0) end
  return tonumber(replies[1]) or 0
end

-- Loaders ---------------------------------------------------------------------------------------

local function mishap()
  local what = random(40)
  if what == 1 then error("a loader's error", 0) end
  if what == 2 then return true end
  if what == 3 then perigee.sleep(5) end -- load_timeout is less
  if what < 12 then perigee.sleep(random() * 0.02) end
end

local function tag_of(key) return "tag:" .. (tonumber(key:match "%d+$") % 3) end

local function load(key)
  local version = ask("GET", "truth:" .. key)
  if mishap() then return nil, "a loader's refusal" end
  return version, nil, key:find "^t" and { tags = { tag_of(key) } } or nil
end

local function batch_load(keys)
  local map = {}
  for _, key in ipairs(keys) do map[key] = ask("GET", "truth:" .. key) end
  if mishap() then return nil, "a loader's refusal" end
  return map
end

local f = perigee.lru { cache = cache, name = "f" } (function(n)
  return ask("GET", "truth:f" .. n)
end)

-- The oracle ------------------------------------------------------------------------------------

local own = {} -- by key, the least version that this process may see

local function hears() return cache.remote.share.client.state == "open" end

local function raise_own(key, version)
  if version > (own[key] or 0) then own[key] = version end
end

local function check(key, value, least, source)
  if type(value) ~= "number" or value >= least then return end
  counts.stale = counts.stale + 1
  print(("STALE %s: %d, not %d, from %s"):format(key, value, least, source))
end

-- What others have had confirmed counts only if we could hear of it all the time.
local function read(key, get)
  local heard, least, must = hears(), own[key] or 0, 0
  if heard then must = ask("GET", "least:" .. key) end
  perigee.sleep(0.001) -- the notice is in our socket already
  least = math.max(least, own[key] or 0)
  local value, err, source = get(key)
  counts.reads = counts.reads + 1
  if source and counts[source] then counts[source] = counts[source] + 1 end
  if err ~= nil then
    counts.failed = counts.failed + 1
    return
  end
  check(key, value, least, source)
  if heard and hears() then check(key, value, must, source) end
end

local function confirm(key, version, err)
  raise_own(key, version)
  counts.writes = counts.writes + 1
  if err then
    counts.refused = counts.refused + 1
    return
  end
  ask("EVAL", "if (tonumber(redis.call('GET', KEYS[1])) or 0) < tonumber(ARGV[1]) then "
    .. "redis.call('SET', KEYS[1], ARGV[1]) end return 0", "1", "least:" .. key, tostring(version))
end

-- What is done ----------------------------------------------------------------------------------

local function get(key) return cache:get(key, load) end
local function get_in_batch(key) return cache:get(key, { batch_loader = batch_load }) end
local function get_impatiently(key) return cache:get(key, { loader = load, timeout = 0.01 }) end
local function refresh(key) return cache:refresh(key, load) end
local function call(key) return f(tonumber(key:match "%d+")), nil, "memory" end

local function get_many(first)
  local keys, least = {}, {}
  for i = 1, 8 do
    keys[i] = "b" .. (first + i) % 20
    least[i] = own[keys[i]] or 0
  end
  local values, _, sources = cache:get_many(keys, { batch_loader = batch_load, timeout = 2 })
  for i, key in ipairs(keys) do check(key, values[key], least[i], sources[key]) end
  counts.reads = counts.reads + #keys
end

local busy = {}

-- Sets have no order but that of their arrival: a key is written by one process, one at a time.
local function set(n)
  local key = ("s%d-%d"):format(me, n)
  if busy[key] then return end
  busy[key] = true
  local ok, err = pcall(function()
    local version = ask("INCR", "truth:" .. key)
    cache:set(key, version, { ttl = 1 + random(30) })
    raise_own(key, version)
    local writes = cache.remote.writes
    local flushed = writes:flush()
    confirm(key, version, not flushed and "late" or writes:owes("", key) and "owed" or nil)
  end)
  busy[key] = nil
  if not ok then error(err, 0) end
end

local function delete(key)
  local version = ask("INCR", "truth:" .. key)
  confirm(key, version, select(2, cache:delete(key)))
end

local function invalidate(tag)
  local keys, versions = {}, {}
  for i = 1, 12 do
    if i % 3 == tag then
      keys[#keys + 1] = "t" .. i
      versions[#keys] = ask("INCR", "truth:t" .. i)
    end
  end
  local _, err = cache:invalidate_tags("tag:" .. tag)
  for i, key in ipairs(keys) do raise_own(key, versions[i]) end
  for i, key in ipairs(keys) do confirm(key, versions[i], err) end
end

local function forget_call(n)
  local version = ask("INCR", "truth:f" .. n)
  confirm("f" .. n, version, select(2, f:invalidate_cache(n)))
end

local function save()
  if cache:save_to_backup() then counts.saves = counts.saves + 1 end
end

-- Only the wall clock steps: it is for what outlives the process.
local function step_clock()
  clock.wall_offset_ms = (random() - 0.5) * 7200 * 1000
  counts.steps = counts.steps + 1
end

local function act()
  local what, n = random(100), random(16)
  if what <= 20 then return read("d" .. n, get) end
  if what <= 35 then return read("t" .. n % 12 + 1, get) end
  if what <= 50 then return read("b" .. n, get_in_batch) end
  if what <= 58 then return read(("s%d-%d"):format(random(4), n), get) end
  if what <= 63 then return read("f" .. n, call) end
  if what <= 67 then return read("d" .. n, get_impatiently) end
  if what <= 70 then return read("d" .. n, refresh) end
  if what <= 75 then return get_many(n) end
  if what <= 83 then return delete((random(2) == 1 and "d" or "b") .. n) end
  if what <= 90 then return set(n) end
  if what <= 93 then return invalidate(n % 3) end
  if what <= 96 then return forget_call(n) end
  if what == 97 then return save() end
  if what == 98 and random(20) == 1 then return cache:clear() end
  if what == 99 then return step_clock() end
  perigee.sleep(random() * 0.01)
end

-- Calls that are cut off, and calls that must end -----------------------------------------------

local function watched(fn)
  counts.begun = counts.begun + 1
  local child = perigee.spawn(function()
    local ok, err = pcall(fn)
    if not ok and err == "cancelled" then error(err, 0) end
  end)
  if random(12) == 1 then
    perigee.sleep(random() * 0.01)
    child:cancel()
    counts.cancelled = counts.cancelled + 1
  end
  local _, why = pcall(child.wait, child, LONGEST_CALL_S)
  if not child.status then
    counts.lost = counts.lost + 1
    print("LOST " .. tostring(why))
  else
    counts.ended = counts.ended + 1
  end
end

local function resident_kib()
  local file = assert(io.open "/proc/self/statm")
  local pages = tonumber(file:read "*a":match "^%d+ (%d+)")
  file:close()
  return pages * 4
end

-- Without compiled code: there is more of it for a long time, until it has its full size.
local function tell_memory()
  jit.flush()
  collectgarbage()
  collectgarbage()
  print(("MEMORY %d %d %d %d"):format(os.time(), resident_kib(), collectgarbage "count",
    cache:get_metrics().bytes / 1024))
end

local function work(until_s)
  local tasks = {}
  for i = 1, TASKS do
    tasks[i] = perigee.spawn(function()
      while os.time() < until_s do watched(act) end
    end)
  end
  for i = 1, TASKS do tasks[i]:wait() end
end

perigee.run(function()
  local ends = os.time() + seconds
  while os.time() < ends do
    work(math.min(ends, os.time() + REST_S))
    tell_memory()
  end
  local patience = os.time() + 10 -- loads that were cut off by load_timeout end by themselves
  while flight.any() and os.time() < patience do perigee.sleep(0.05) end
  if flight.any() then counts.lost = counts.lost + 1 end
  cache.remote.writes:flush()
end)
cache:close()
for name, count in pairs(counts) do print(("COUNT %s %d"):format(name, count)) end
print "done"

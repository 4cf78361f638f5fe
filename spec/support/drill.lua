-- SPDX-License-Identifier: MIT
--- Processes share a cache at a Redis server, write, delete and invalidate at random: no reader may
-- get a value older than what was confirmed before it asked.
--
-- The truth is a second server, in which every write raises a version. A writer raises it, writes
-- the cache, and when that was confirmed notes the version as the least that anybody may see. When
-- a reader learns of that version, the notice is in its own socket already (the server sends
-- notices before replies): it only has to turn its loop once.
local perigee = require "perigee"

local _M = {}

--- What each process does before it ends: less would say nothing.
_M.LEAST = { reads = 500, writes = 150, memory = 50, remote = 50, loads = 50 }

--- The program of a process with a loop (`mode` is "tasks") or without: it prints the counts, what
-- was too old, and that it came to its end.
_M.PROGRAM = [[
  local perigee = require "perigee"
  local a, b, me, seconds, mode = unpack(arg)
  local function first_alone(jobs) jobs[1]() end
  local function main()
    local counts, stale = require("spec.support.drill").run(a, b, tonumber(me), tonumber(seconds),
      { client = "perigee.client.redis_ev", sleep = perigee.sleep,
        gather = mode == "plain" and first_alone or perigee.gather })
    for name, count in pairs(counts) do print(name .. "=" .. count) end
    for i = 1, math.min(5, #stale) do print("STALE " .. stale[i]) end
    print "done"
  end
  if mode == "plain" then main() else perigee.run(main) end
]]

--- One process' part in it.
-- @tparam string cache_socket
-- @tparam string truth_socket
-- @tparam number me the number of this process, from 1
-- @tparam number seconds how long, at least: it goes on, for a minute at most, until it has done
-- its part (`LEAST`)
-- @tparam table how the client's module, `sleep`, and `gather`, which runs functions side by side
-- @treturn table counts by their names
-- @treturn table what was too old: a list of texts
function _M.run(cache_socket, truth_socket, me, seconds, how)
  math.randomseed(me * 7919 + 20261121)
  local truth = require(how.client).new({ unix = truth_socket, connect_timeout = 60, timeout = 60 },
    "nothing")
  local cache = perigee.new { name = "drill", maxsize = 60,
    remote_cache = perigee.redis { unix = cache_socket } }
  local client = cache.remote.share.client
  local counts = { reads = 0, memory = 0, remote = 0, loads = 0, writes = 0, refused = 0 }
  local stale, busy = {}, {}
  local ends = os.time() + seconds
  local last = ends + 60

  local function ask(...)
    local replies = assert(truth:ask { { ... } })
    return tonumber(replies[1]) or 0
  end

  local function load(key)
    local version = ask("GET", "truth:" .. key)
    if math.random(4) == 1 then how.sleep(math.random() * 0.005) end
    local tag = key:match "^t" and "tag:" .. (tonumber(key:match "%d+") % 3)
    return version, nil, tag and { tags = { tag } }
  end

  -- Whether we hear what others say: since which time.
  local function hears() return client.state == "open" and (client.opened or true) end

  local function read(key)
    local heard = hears()
    local least = ask("GET", "least:" .. key)
    how.sleep(0.001)
    local tagged = key:match "^t" and math.random(2) == 1
    local value, err, source = cache:get(key, { loader = load,
      tags = tagged and { "tag:" .. (tonumber(key:match "%d+") % 3) } or nil })
    if err then error(err) end
    counts.reads = counts.reads + 1
    if source == "memory" or source == "remote" then counts[source] = counts[source] + 1 end
    if source == "load" then counts.loads = counts.loads + 1 end
    if value < least and heard and heard == hears() then
      stale[#stale + 1] = ("%s: %d, not %d, from %s"):format(key, value, least, source)
    end
  end

  local function confirm(key, version, err)
    counts.writes = counts.writes + 1
    if err then
      counts.refused = counts.refused + 1
      how.sleep(0.02)
    else
      ask("EVAL", "if (tonumber(redis.call('GET', KEYS[1])) or 0) < tonumber(ARGV[1]) then "
        .. "redis.call('SET', KEYS[1], ARGV[1]) end return 0", "1", "least:" .. key,
        tostring(version))
    end
  end

  local function write()
    local kind, n = math.random(10), math.random(12)
    if kind <= 4 then
      local key = "d" .. n
      local version = ask("INCR", "truth:" .. key)
      confirm(key, version, select(2, cache:delete(key)))
    elseif kind <= 7 then -- by one process only, one after the other: sets have no order else
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

  local function has_done_its_part()
    for name, least in pairs(_M.LEAST) do
      if counts[name] < least then return false end
    end
    return counts.refused < counts.writes / 2
  end

  local letters = { "d", "s", "t" }
  local function act()
    while os.time() < ends or os.time() < last and not has_done_its_part() do
      if math.random(4) == 1 then write() else read(letters[math.random(3)] .. math.random(16)) end
    end
  end

  how.gather { act, act, act, act }
  cache:close()
  return counts, stale
end

return _M

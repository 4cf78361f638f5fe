-- SPDX-License-Identifier: MIT
-- The second level: `cache:get` of keys that a Redis server on this machine has and memory has not,
-- beside what the server can do at all (`redis-benchmark -P 50`) and beside the least that a Lua
-- program could do: a loop that sends so many GETs at a time on one connection, waits for all of
-- them, and makes strings of the replies. Times are those on the wall: two processes work.

local keys = require "bench.support.keys"
local perigee = require "perigee"
local redis = require "bench.support.redis"
local rounds = require "bench.support.rounds"

local BYTES = 100
local AT_ONCE = 5000 -- writes that are on their way at a time
local LOOK_S = 0.0005 -- whether they have arrived
local MANY = 100
local SHARE = 64     -- of the operations of other cases

local function value_of(name) return name .. ("."):rep(BYTES - #name) end

local function open(unix, maxsize)
  return perigee.new { name = "bench", maxsize = maxsize, default_ttl = 3600,
    remote_cache = perigee.redis { unix = unix, timeout = 5 } }
end

local function wait_for_writes(cache, count)
  while cache:get_metrics().remote_writes < count do perigee.sleep(LOOK_S) end
end

-- Sets `n` keys, in turn; they are at the server when it returns.
local function set_all(cache, names, n)
  local length, written = #names, cache:get_metrics().remote_writes
  for i = 1, n do
    local name = names[(i - 1) % length + 1]
    cache:set(name, value_of(name))
    if i % AT_ONCE == 0 then wait_for_writes(cache, written + i) end
  end
  wait_for_writes(cache, written + n)
end

-- The same values, for those who know nothing of envelopes.
local function set_plain(unix, names)
  local bare = redis.bare(unix)
  for i = 1, #names do bare:set("plain:" .. names[i], value_of(names[i])) end
  bare:close()
  redis.benchmark(unix, "set", BYTES, 1)
end

-- Reading ------------------------------------------------------------------------------------

-- One of the tasks: asks for what is next until nothing is left.
local function ask(cache, names, values, turn)
  while turn.left > 0 do
    turn.left = turn.left - 1
    local at = turn.at % #names + 1
    turn.at = at
    local value, _, source = cache:get(names[at])
    assert(source == "remote" and value == values[at])
  end
end

local function reader(unix, names, values, tasks)
  local cache, turn = open(unix, 0), { at = 0, left = 0 }
  return { name = "perigee", on_wall = true, run = function(n)
    local list = {}
    turn.left = n
    for i = 1, tasks do list[i] = perigee.spawn(ask, cache, names, values, turn) end
    for i = 1, tasks do list[i]:wait() end
  end }
end

local function bare_reader(unix, names, values, outstanding)
  local bare, plain, got, at = redis.bare(unix), {}, {}, 0
  for i = 1, #names do plain[i] = "plain:" .. names[i] end
  return { name = "bare loop", on_wall = true, run = function(n)
    for _ = 1, n, outstanding do
      if at + outstanding > #plain then at = 0 end
      bare:get_all(plain, at + 1, at + outstanding, got)
      assert(got[1] == values[at + 1] and got[outstanding] == values[at + outstanding])
      at = at + outstanding
    end
  end }
end

local function benchmark(unix, command)
  return { name = "redis-benchmark", seconds = function(n)
    return redis.benchmark(unix, command, BYTES, n)
  end }
end

-- Calls `work(unix, names, values)` with a server that has the values, under both kinds of names.
local function with_values(count, work)
  local names, values = keys.names(count), {}
  for i = 1, #names do values[i] = value_of(names[i]) end
  return redis.with_server(function(unix)
    local writer = open(unix, 0)
    set_all(writer, names, #names)
    writer:close()
    set_plain(unix, names)
    return work(unix, names, values)
  end)
end

local function measure_hits(line, effort)
  local tasks = line.tasks
  return with_values(math.max(line.entries, 4 * tasks), function(unix, names, values)
    local n = math.ceil(effort.operations / SHARE / tasks) * tasks
    return rounds.run({
      reader(unix, names, values, tasks),
      bare_reader(unix, names, values, tasks),
      benchmark(unix, "get"),
    }, n, effort.rounds)
  end)
end

local function many_reader(unix, names, values)
  local cache, lists, at = open(unix, 0), {}, 0
  for i = 1, #names / MANY do lists[i] = { unpack(names, (i - 1) * MANY + 1, i * MANY) } end
  return { name = "perigee", on_wall = true, run = function(n)
    for _ = 1, n, MANY do
      at = at % #lists + 1
      local got = cache:get_many(lists[at])
      assert(got[lists[at][MANY]] == values[at * MANY])
    end
  end }
end

local function measure_many(line, effort)
  return with_values(math.max(line.entries, 4 * MANY), function(unix, names, values)
    local n = math.ceil(effort.operations / SHARE / MANY) * MANY
    return rounds.run({
      many_reader(unix, names, values),
      bare_reader(unix, names, values, MANY),
    }, n, effort.rounds)
  end)
end

-- Memory, and writing ------------------------------------------------------------------------

local function drive(cache, names, n)
  local hits, length = 0, #names
  for i = 1, n do
    if cache:get(names[i % length + 1]) == 1 then hits = hits + 1 end
  end
  return hits
end

local function memory_reader(name, cache, names)
  for i = 1, #names do cache:set(names[i], 1) end
  local run = rounds.copy(drive)
  return { name = name, run = function(n) assert(run(cache, names, n) == n, "no hits") end }
end

local function measure_memory(line, effort)
  local names = keys.names(line.entries)
  return redis.with_server(function(unix)
    local with = open(unix, #names)
    local without = perigee.new { maxsize = #names, default_ttl = 3600 }
    local contenders = { memory_reader("perigee", with, names),
      memory_reader("no remote cache", without, names), rounds.yardstick() }
    wait_for_writes(with, #names)
    return rounds.run(contenders, effort.operations, effort.rounds)
  end)
end

local function measure_set(line, effort)
  local names = keys.names(line.entries)
  return redis.with_server(function(unix)
    local cache = open(unix, #names)
    return rounds.run({
      { name = "perigee", on_wall = true, run = function(n) set_all(cache, names, n) end },
      benchmark(unix, "set"),
    }, math.ceil(effort.operations / SHARE), effort.rounds)
  end)
end

local function hits(tasks, to_benchmark)
  return { name = "redis-hits-" .. tasks, tasks = tasks, entries = 10000,
    what = ("cache:get, found in Redis, %d bytes, %d tasks"):format(BYTES, tasks),
    measure = measure_hits, figure = "perigee", beside = { "bare loop", "redis-benchmark" },
    targets = {
      { "redis-benchmark", over = "perigee", at_least = to_benchmark },
      { "bare loop", over = "perigee", at_least = 0.7 },
    } }
end

return {
  missing = redis.missing(),
  hits(50, 0.35),
  hits(500, 0.4),
  { name = "redis-get-many", what = ("cache:get_many of %d keys, found in Redis"):format(MANY),
    entries = 10000, measure = measure_many, figure = "perigee", per = "key",
    beside = { "bare loop" },
    targets = { { "bare loop", over = "perigee", at_least = 0.5 } } },
  { name = "redis-memory", what = "cache:get of a cache with a remote one, a memory hit",
    entries = 1000, measure = measure_memory, figure = "perigee", beside = { "no remote cache" },
    targets = { { "perigee", over = "no remote cache", at_most = 1.05 } } },
  { name = "redis-set", what = ("cache:set, %d bytes, until Redis has them"):format(BYTES),
    entries = 10000, measure = measure_set, figure = "perigee", beside = { "redis-benchmark" },
    targets = { { "redis-benchmark", over = "perigee", at_least = 0.02 } } },
}

-- SPDX-License-Identifier: MIT
-- A backup on disk: how long a save and a load take, how long the loop is held up meanwhile, and
-- what a memory hit costs with a backup. Beside it what one would write by hand: all entries in
-- one table, encoded into one file.
--
-- LuaJIT's table of strings doubles as it fills, all at once: loading entries makes new strings,
-- and whatever makes them pays for that. "strings alone" is the longest pause of making the same
-- keys and values with nothing else.

local buffer = require "string.buffer"
local clock = require "bench.support.clock"
local keys = require "bench.support.keys"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local function value_of(i) return { id = i, name = "somebody " .. i, tags = { "a", "b" } } end

-- Runs `work()` beside a task that turns the loop; seconds and the longest turn.
local function watched(work)
  local longest, stop, last = 0, false, clock.wall()
  local ticker = perigee.spawn(function()
    while not stop do
      perigee.sleep(0)
      local now = clock.wall()
      longest, last = math.max(longest, now - last), now
    end
  end)
  local began = clock.wall()
  last = began
  work()
  local took = clock.wall() - began
  stop = true
  ticker:wait()
  return took, longest
end

local function remove(path)
  for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(path .. suffix) end
end

local function open(path, n)
  return perigee.new { name = "bench", maxsize = n, backup = perigee.disk(path) }
end

local function naive_dump(path, n)
  local all = {}
  for i = 1, n do all["user:" .. i] = value_of(i) end
  local saving = clock.wall()
  local file = assert(io.open(path, "wb"))
  file:write(buffer.encode(all))
  file:close()
  saving = clock.wall() - saving
  all = nil -- luacheck: ignore
  collectgarbage()
  local loading = clock.wall()
  file = assert(io.open(path, "rb"))
  all = buffer.decode(file:read "*a")
  file:close()
  loading = clock.wall() - loading
  assert(all["user:" .. n].id == n)
  os.remove(path)
  return saving, loading
end

-- The longest pause between two of them.
local function strings_alone(n)
  local kept, longest, last = {}, 0, clock.wall()
  for i = 1, n do
    kept[#kept + 1] = "alone:" .. i
    kept[#kept + 1] = "nobody " .. i
    if i % 8 == 0 then
      local now = clock.wall()
      longest, last = math.max(longest, now - last), now
    end
  end
  assert(#kept == 2 * n)
  return longest
end

local function one_round(series, n)
  local path = os.tmpname()
  local function note(name, seconds) table.insert(series[name], seconds * 1e9) end
  perigee.run(function()
    local cache = open(path, n)
    for i = 1, n do cache:set("user:" .. i, value_of(i), 3600) end
    local took, longest = watched(function() assert(cache:save_to_backup() == n) end)
    note("save", took)
    note("save, longest turn", longest)
    cache:close()
    cache = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    took, longest = watched(function()
      cache = open(path, n)
      assert(cache:get("user:" .. n).id == n)
    end)
    note("load", took)
    note("load, longest turn", longest)
    cache:close()
  end)
  remove(path)
  collectgarbage()
  collectgarbage()
  note("strings alone", strings_alone(n))
  local saving, loading = naive_dump(path, n)
  note("naive save", saving)
  note("naive load", loading)
end

local function measure(line, effort)
  local series = { save = {}, load = {}, ["save, longest turn"] = {}, ["load, longest turn"] = {},
    ["strings alone"] = {}, ["naive save"] = {}, ["naive load"] = {}, yardstick = {} }
  for _ = 1, math.max(1, math.floor(effort.rounds / 5)) do
    one_round(series, line.entries)
    local yard = rounds.run({ rounds.yardstick() }, effort.operations, 1).yardstick[1]
    table.insert(series.yardstick, yard)
  end
  return series
end

local function drive(cache, names, n)
  local hits, length = 0, #names
  for i = 1, n do
    if cache:get(names[i % length + 1]) == 1 then hits = hits + 1 end
  end
  return hits
end

local function hits(line, effort)
  local names, path = keys.names(line.entries), os.tmpname()
  local function contender(name, cache)
    for i = 1, #names do cache:set(names[i], 1, 3600) end
    local run = rounds.copy(drive)
    return { name = name, run = function(n) assert(run(cache, names, n) == n, "no hits") end }
  end
  local series = perigee.run(function()
    local with = perigee.new { name = "with", maxsize = line.entries, backup = perigee.disk(path) }
    local without = perigee.new { maxsize = line.entries }
    return rounds.run({ contender("perigee", with), contender("no backup", without),
      rounds.yardstick() }, effort.operations, effort.rounds)
  end)
  remove(path)
  return series
end

local function seconds(name, what, figure, beside, at_most, notes)
  return { name = "disk-" .. name, what = what, entries = 100000, measure = measure,
    figure = figure, unit = "ns", per = "all", beside = beside, notes = notes,
    targets = { { figure, at_most = at_most, absolute = true } } }
end

return {
  seconds("save", "100,000 entries saved to disk", "save", { "naive save" }, 1e9),
  seconds("save-turn", "the longest turn of the loop meanwhile", "save, longest turn", {}, 2e6),
  seconds("load", "100,000 entries loaded from disk", "load", { "naive load" }, 0.5e9),
  seconds("load-turn", "the longest turn of the loop meanwhile", "load, longest turn",
    { "strings alone" }, 2e6),
  { name = "disk-hits", what = "cache:get of a cache with a backup, a hit",
    entries = 1000, measure = hits, figure = "perigee", beside = { "no backup" },
    targets = { { "perigee", over = "no backup", at_most = 1.05 } } },
}

-- SPDX-License-Identifier: MIT
-- A herd: many tasks ask for one cold key. The loader waits for a turn of the loop, so every
-- task starts, joins the one load, parks, is woken and ends. Beside it the least that Lua can
-- do: as many bare coroutines, each resumed, yielding, resumed.

local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local loads = 0

local function load_slowly()
  loads = loads + 1
  perigee.sleep(0)
  return 1
end

local herd = 0

local function run_herd(cache, n)
  herd = herd + 1
  local key, loads_before = "herd:" .. herd, loads
  local function ask() return cache:get(key, load_slowly) end
  local tasks = {}
  for i = 1, n do tasks[i] = perigee.spawn(ask) end
  for i = 1, n do assert(tasks[i]:wait() == 1) end
  assert(loads == loads_before + 1, "a herd must load once")
end

local function run_coroutines(n)
  local threads = {}
  local function wait() return coroutine.yield() end
  for i = 1, n do
    threads[i] = coroutine.create(wait)
    coroutine.resume(threads[i])
  end
  for i = 1, n do coroutine.resume(threads[i]) end
end

local function measure(line, effort)
  return perigee.run(function()
    local cache = perigee.new { maxsize = 100 }
    return rounds.run({
      { name = "perigee", run = function(n) run_herd(cache, n) end },
      { name = "coroutines", run = run_coroutines },
      rounds.yardstick(),
    }, line.entries, effort.rounds * 2)
  end)
end

return {
  { name = "herds", what = "tasks that ask for one cold key: spawn, join, park, wake, end; 1 load",
    entries = 10000, measure = measure, figure = "perigee", beside = { "coroutines" },
    per = "task",
    targets = { { "perigee", at_most = 350, absolute = true } } },
}

-- SPDX-License-Identifier: MIT
-- `cache:get_many` of keys that are not there: each is a load of its own, all go to the batch
-- loader together, with no window to wait for. In one batch, and in batches of the default size.

local keys = require "bench.support.keys"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local function load_batch(list)
  local results = {}
  for i = 1, #list do results[list[i]] = i end
  return results
end

-- The least there is to do: ask the loader, keep what it says in a table.
local function run_bare(names)
  local kept, results = {}, load_batch(names)
  for i = 1, #names do kept[names[i]] = results[names[i]] end
  return kept
end

local function run_batch(cache, names)
  cache:clear()
  local values, errors = cache:get_many(names, load_batch)
  assert(errors == nil and values[names[1]] and values[names[#names]])
end

local function measure(line, effort)
  local names = keys.names(line.entries)
  return perigee.run(function()
    local cache = perigee.new {
      maxsize = line.entries * 2, default_ttl = 3600, max_batch_size = line.batch,
    }
    return rounds.run({
      { name = "perigee", run = function() run_batch(cache, names) end },
      { name = "bare tables", run = function() run_bare(names) end },
      rounds.yardstick(),
    }, line.entries, effort.rounds * 2)
  end)
end

local lines = {}
for _, batch in ipairs { 10000, 100 } do
  table.insert(lines, {
    name = "batches-of-" .. batch,
    what = ("cache:get_many of cold keys, no window, max_batch_size %d"):format(batch),
    entries = 10000, batch = batch,
    measure = measure, figure = "perigee", beside = { "bare tables" }, per = "key",
    targets = { { "perigee", at_most = 1e9 / 1.5e6, absolute = true } },
  })
end

return lines

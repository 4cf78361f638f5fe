-- SPDX-License-Identifier: MIT
-- Forgetting a million entries at once, by their tag or by `clear`: the time of the call, which
-- must not grow with the entries. What they leave behind is reclaimed turn by turn: the longest
-- of those turns stands beside it.

local clock = require "bench.support.clock"
local keys = require "bench.support.keys"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local TTL = 3600

local function timed(forget, cache)
  local began = clock.wall()
  forget(cache)
  return (clock.wall() - began) * 1e9
end

local function longest_turn(cache)
  local longest = 0
  repeat
    local began = clock.cpu()
    perigee.sleep(0)
    longest = math.max(longest, clock.cpu() - began)
  until cache:get_metrics().size == 0
  return longest * 1e9
end

-- The call in question, compiled as in a program that is warm, on a cache of two entries.
local function warm_up(forget, options)
  local small = perigee.new { maxsize = 2 }
  for i = 1, 500 do
    small:set("a", i, options)
    timed(forget, small)
  end
  return small
end

local function measure(line, effort)
  local names, yardstick = keys.names(line.entries), rounds.yardstick()
  local options = { ttl = TTL, tags = line.tags }
  return perigee.run(function()
    local series = { perigee = {}, ["two entries"] = {}, ["longest turn"] = {}, yardstick = {} }
    local cache = perigee.new { maxsize = line.entries }
    for _ = 1, math.max(2, effort.rounds / 5) do
      for i = 1, #names do cache:set(names[i], i, options) end
      perigee.sleep(0)
      local small = warm_up(line.forget, options)
      local yard = rounds.run({ yardstick }, effort.operations, 1).yardstick[1]
      table.insert(series.yardstick, yard)
      table.insert(series["two entries"], timed(line.forget, small))
      table.insert(series.perigee, timed(line.forget, cache))
      assert(cache:get(names[1]) == nil)
      table.insert(series["longest turn"], longest_turn(cache))
    end
    return series
  end)
end

return {
  { name = "invalidate-tag", what = "cache:invalidate_tags of a tag over all entries: the call",
    entries = 1000000, tags = { "all" }, measure = measure, figure = "perigee", per = "call",
    forget = function(cache) cache:invalidate_tags("all") end,
    beside = { "two entries" }, notes = { "longest turn" },
    targets = { { "perigee", at_most = 2000, absolute = true } } },
  { name = "clear", what = "cache:clear of all entries: the call",
    entries = 1000000, measure = measure, figure = "perigee", per = "call",
    forget = function(cache) cache:clear() end,
    beside = { "two entries" }, notes = { "longest turn" },
    targets = { { "perigee", at_most = 20000, absolute = true } } },
}

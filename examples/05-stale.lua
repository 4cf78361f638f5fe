-- SPDX-License-Identifier: MIT
-- When the time of an entry is over: the old value while a fresh one comes, the old value while
-- the source is down, a fresh value before the time is over, and not everything at the same time.
-- Where a line is indented, the source was really asked.
--
--     luajit examples/05-stale.lua
--
-- The clock is that of perigee.testing, which moves when all tasks wait: so an hour takes no time.
local perigee = require "perigee"
local testing = require "perigee.testing"

local edition, is_down = 0, false -- the source: think of a newspaper's web service

local function load_news()
  print(is_down and "    the source does not answer" or "    the source is asked")
  perigee.sleep(2)
  if is_down then return nil, "the source is down" end
  edition = edition + 1
  return "edition " .. edition
end

local function ask(cache)
  local began = perigee.now()
  local news, err, source = cache:get("news", load_news)
  print(("%s, from %s, after %d s"):format(news or err, source, perigee.now() - began))
end

local function later(seconds)
  testing.advance(seconds)
  print(("%d seconds later:"):format(seconds))
end

-- For 30 seconds after its end an entry is given away at once, and a load runs behind it.
local function stale_while_revalidate()
  local cache = perigee.new { default_ttl = 60, stale_while_revalidate = 30 }
  ask(cache)
  later(70)
  ask(cache)
  later(2)
  ask(cache)
  later(3600) -- too old even for that: who asks has to wait
  ask(cache)
end

-- For an hour after its end an entry stands in for a load that fails.
local function stale_if_error()
  local cache = perigee.new { default_ttl = 60, stale_if_error = 3600 }
  ask(cache)
  is_down = true
  later(70)
  ask(cache)
  later(3600)
  ask(cache)
  is_down = false
  ask(cache)
end

-- Who finds that less than 10 seconds are left has a fresh value loaded, and does not wait for it.
-- So nobody is given what is old, and as long as somebody asks, nobody waits.
local function early_refresh()
  local cache, refreshing = perigee.new { default_ttl = 60 }, false

  local function refresh()
    cache:refresh("news", load_news) -- the value that is there stays until this one has come
    refreshing = false
  end

  ask(cache)
  for _ = 1, 4 do
    later(18)
    local left = cache:ttl "news"
    if left and left < 10 and not refreshing then
      refreshing = true
      perigee.spawn(refresh)
    end
    ask(cache)
  end
end

-- Entries that came together end together, and are loaded together. Jitter takes a random part of
-- each lifetime away: here, up to half of it.
local function jitter(fraction)
  local cache, ending, most = perigee.new { maxsize = 1000, ttl_jitter = fraction }, {}, 0
  for i = 1, 1000 do
    cache:set(i, "a page", 60)
    local second = math.ceil(cache:ttl(i))
    ending[second] = (ending[second] or 0) + 1
    most = math.max(most, ending[second])
  end
  print(("ttl_jitter = %g: in one second end at most %d of 1000"):format(fraction, most))
end

testing.run(function()
  print "stale_while_revalidate:"
  stale_while_revalidate()
  print "\nstale_if_error:"
  stale_if_error()
  print "\nan early refresh:"
  early_refresh()
  print "\njitter:"
  jitter(0)
  jitter(0.5)
end)

-- SPDX-License-Identifier: MIT

--- A herd: many callers want one expired key at the same moment.

local words = require "perigee.dashboard.words"

local CALLERS = 1000
local QUERY_S, TTL_S = 0.1, 0.05
local KEY = "the price list"

local _M = {
  name = "herd",
  title = "A herd",
  about = "A popular entry expires, and everybody asks for it at once: how often is it loaded?",
  lanes = { "callers", "cache", "database" },
}

-- All callers at once, through the cache. Returns how many got the answer, and when the last did.
local function ask_through(stage, cache, load)
  local answers, slowest = 0, 0
  stage:together(CALLERS, function()
    local got = stage:get(cache, KEY, load)
    if got.value == KEY then answers = answers + 1 end
    slowest = math.max(slowest, got.ms)
  end)
  return answers, slowest
end

-- The same with a plain table: who does not find the value has it loaded.
local function ask_plainly(stage, load)
  local plain, loads = {}, 0
  stage:add("callers", "note", "the same callers, with a plain table instead of the cache")
  stage:together(CALLERS, function()
    if plain[KEY] then return end
    loads = loads + 1
    plain[KEY] = load(KEY)
  end)
  return loads
end

function _M.run(stage)
  local cache = stage:cache { maxsize = 10 }
  local function load(key)
    stage:query("reads " .. key, QUERY_S)
    return key
  end
  cache:set(KEY, KEY, TTL_S)
  stage:add("cache", "note", KEY .. " is in the cache for 50 ms")
  stage:wait_until(1, function() return not cache:contains(KEY) end)
  stage:add("cache", "note", KEY .. " has expired")
  local answers, slowest = ask_through(stage, cache, load)
  local metrics = cache:get_metrics()
  local plainly = ask_plainly(stage, load)

  local summary = ("%s, %s; with a plain table %s"):format(words.of(CALLERS, "caller"),
    words.of(metrics.loads, "load"), words.of(plainly, "load"))
  if answers < CALLERS then
    summary = summary .. ("; only %s got the answer"):format(words.count(answers))
  end
  return summary, {
    { "callers", words.count(CALLERS) },
    { "loads", words.count(metrics.loads) },
    { "callers who joined the running load", words.count(metrics.coalesced) },
    { "right answers", words.count(answers) },
    { "the slowest answer", words.ms(slowest) },
    { "a load", words.ms(metrics.load_seconds * 1000 / math.max(metrics.loads, 1)) },
    { "loads with a plain table", words.count(plainly) },
  }
end

return _M

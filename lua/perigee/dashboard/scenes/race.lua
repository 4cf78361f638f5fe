-- SPDX-License-Identifier: MIT

--- The invalidation race: a row changes while it is being loaded. Beside the cache the same is done
-- with a plain table behind a lock, as such caches are often written.

local perigee = require "perigee"
local words = require "perigee.dashboard.words"

local QUERY_S, CHANGE_S, LATE_S = 0.15, 0.05, 0.1
local OLD, NEW = "the old row", "the new row"
local KEY, TAG = "user:1", "user:1"

local _M = {
  name = "race",
  title = "The invalidation race",
  about = "A row changes while a slow load of it runs: does the cache keep the old one?",
  lanes = { "readers", "cache", "plain table", "database" },
}

-- A row that can change. Who asks gets it as it was when the question came; the answer is slow, and
-- the first ones do not come before the change.
local function new_database(stage)
  local database = { row = OLD, loads = 0 }
  function database.load()
    local row = database.row
    database.loads = database.loads + 1
    stage:query("answers with " .. row, QUERY_S, function()
      return stage:wait_until(1, function() return database.row == NEW or stage.closing end)
    end)
    return row
  end
  return database
end

-- A table in place of the cache: one caller loads, the others wait for it and look again.
local function new_plain(stage, load)
  local plain = { value = nil, is_loading = false }
  function plain.get()
    local began = stage:time()
    local waited = plain.is_loading
    while plain.is_loading do perigee.sleep(0.005) end
    local kind = plain.value and (waited and "wait" or "hit") or "call"
    if not plain.value then
      plain.is_loading = true
      local value = load()
      plain.value, plain.is_loading = value, false
    end
    stage:add("plain table", kind, "gives " .. plain.value, began, stage:time())
    return plain.value
  end
  return plain
end

local function change(stage, cache, plain, database)
  database.row = NEW
  stage:add("database", "change", "the row changes")
  cache:invalidate_tags(TAG)
  plain.value = nil
  stage:add("plain table", "change", "forgets " .. KEY)
end

-- Readers of both: one before the change, one after it while the first load still runs, one late.
local function play(stage, cache, plain, database)
  local options = { loader = database.load, tags = { TAG } }
  local function get() return stage:get(cache, KEY, options).value end
  local ours, theirs = {}, {}
  perigee.gather {
    function() ours[1] = get() end,
    function() theirs[1] = plain.get() end,
    function()
      perigee.sleep(CHANGE_S)
      change(stage, cache, plain, database)
      perigee.sleep(LATE_S - CHANGE_S)
      perigee.gather {
        function() ours[2] = get() end,
        function() theirs[2] = plain.get() end,
      }
    end,
  }
  stage:add("readers", "note", "all loads have ended; both are asked once more")
  ours[3], theirs[3] = get(), plain.get()
  return ours, theirs
end

local function verdict(value)
  if value == NEW then return "has the new row" end
  return value == OLD and "keeps the old row" or "has neither row"
end

function _M.run(stage)
  local cache = stage:cache { maxsize = 10 }
  local database = new_database(stage)
  local plain = new_plain(stage, database.load)
  local ours, theirs = play(stage, cache, plain, database)
  local metrics = cache:get_metrics()

  local summary = ("afterwards Perigee %s, and the plain table %s"):format(verdict(ours[3]),
    verdict(theirs[3]))
  return summary, {
    { "Perigee: who asked before the change got", tostring(ours[1]) },
    { "Perigee: who asked just after it got", tostring(ours[2]) },
    { "Perigee: who asked late got", tostring(ours[3]) },
    { "Perigee: loads", words.count(metrics.loads) },
    { "plain table: who asked before the change got", theirs[1] },
    { "plain table: who asked just after it got", theirs[2] },
    { "plain table: who asked late got", theirs[3] },
    { "plain table: loads", words.count(database.loads - metrics.loads) },
  }
end

return _M

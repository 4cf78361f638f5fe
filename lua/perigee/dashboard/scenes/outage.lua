-- SPDX-License-Identifier: MIT

--- An outage: the second level of a cache goes silent, and comes back. A row changes meanwhile.
--
-- The cache has no room in memory, so that every read asks the second level first.

local perigee = require "perigee"
local redis_server = require "perigee.dashboard.redis_server"
local words = require "perigee.dashboard.words"

local ROWS = { "row 1", "row 2", "row 3", "row 4", "row 5" }
local QUERY_S, READ_S = 0.01, 0.02
local TIMEOUT_S = 0.1             -- of the second level
local OUTAGE_S, CHANGE_S = 0.6, 0.2
local PATIENCE_S = 5              -- until it is used again
local CHANGED = ROWS[1]           -- the row that changes

local _M = {
  name = "outage",
  title = "The second level is gone",
  about = "Redis freezes and comes back: who waits for it, and what becomes of a change that it "
    .. "could not be told?",
  lanes = { "readers", "cache", "second level", "database" },
}

-- The second level ---------------------------------------------------------------------------

-- A server of our own, which is frozen; or why there is none.
local function redis_level(stage)
  if perigee.runtime() ~= "libev" then return nil, "no process can be started here" end
  local server, why = redis_server.start()
  if not server then return nil, why end
  stage:later(server.stop, server)
  return {
    what = ("a redis-server process, frozen by SIGSTOP; it may take %s to answer"):format(
      words.ms(TIMEOUT_S * 1000)),
    backend = perigee.redis { unix = server.unix, timeout = TIMEOUT_S,
      connect_timeout = TIMEOUT_S },
    off = function() return server:pause() end,
    on = function() server:resume() end,
  }
end

-- A table in this process, which can be switched off.
local function table_level(why)
  local entries, is_on = {}, true
  local function unless_off(fn)
    return function(...)
      if not is_on then return nil, "it is switched off" end
      return fn(...)
    end
  end
  return {
    what = ("a table in this process, switched off (%s)"):format(why),
    backend = {
      get = unless_off(function(_, key)
        local value = entries[key]
        if value == nil then return false end
        return true, value
      end),
      set = unless_off(function(_, key, value)
        entries[key] = value
        return true
      end),
      delete = unless_off(function(_, key)
        entries[key] = nil
        return true
      end),
      clear = unless_off(function()
        entries = {}
        return true
      end),
      close = function() end,
    },
    off = function()
      is_on = false
      return true
    end,
    on = function() is_on = true end,
  }
end

local function second_level(stage)
  local level, why = redis_level(stage)
  return level or table_level(why)
end

-- The scene ----------------------------------------------------------------------------------

local function new_database(stage)
  local versions = {}
  for _, row in ipairs(ROWS) do versions[row] = 1 end
  local function text_of(row) return ("%s, version %d"):format(row, versions[row]) end
  local function load(row)
    local text = text_of(row)
    stage:query("reads " .. text, QUERY_S)
    return text
  end
  return { versions = versions, text_of = text_of, load = load }
end

local function new_counts()
  return { reads = 0, from_level = 0, loads = 0, wrong = 0, slowest = 0, slow = 0 }
end

-- One read, counted. Who reads gets a version that stood in the database when he asked, or later.
local function read(stage, play, row, counts)
  local right = play.database.text_of(row)
  local got = stage:get(play.cache, row, play.database.load)
  counts.reads = counts.reads + 1
  if got.source == "remote" then counts.from_level = counts.from_level + 1 end
  if got.source == "load" then counts.loads = counts.loads + 1 end
  if got.value ~= right then counts.wrong = counts.wrong + 1 end
  counts.slowest = math.max(counts.slowest, got.ms)
  if got.ms >= TIMEOUT_S * 1000 then counts.slow = counts.slow + 1 end
  return got
end

-- A row changes, and the cache is told.
local function change(stage, play)
  local versions, began = play.database.versions, stage:time()
  versions[CHANGED] = versions[CHANGED] + 1
  stage:add("database", "change", CHANGED .. " changes")
  local _, why = play.cache:delete(CHANGED)
  stage:add("readers", "change", ("has %s forgotten; %s"):format(CHANGED,
    why and "not confirmed: " .. why or "confirmed"), began, stage:time())
  return why
end

-- Every row is read once, and then is in the second level.
local function fill(stage, play)
  local counts = new_counts()
  for _, row in ipairs(ROWS) do read(stage, play, row, counts) end
  stage:wait_until(3, function() return play.cache:get_metrics().remote_writes >= #ROWS end)
  for _, row in ipairs(ROWS) do read(stage, play, row, counts) end
  return counts
end

-- Reads go on while the second level is away.
local function live_without(stage, play)
  local counts, i = new_counts(), 0
  local began, why, has_changed = perigee.now(), nil, false
  while perigee.now() - began < OUTAGE_S do
    i = i % #ROWS + 1
    read(stage, play, ROWS[i], counts)
    if not has_changed and perigee.now() - began >= CHANGE_S then
      has_changed, why = true, change(stage, play)
    end
    perigee.sleep(READ_S)
  end
  return counts, why
end

-- Reads go on until the second level has answered for each row, also for the one that changed.
local function recover(stage, play)
  local counts, answered, i, left = new_counts(), {}, 0, #ROWS
  local ends = perigee.now() + PATIENCE_S
  while left > 0 and perigee.now() < ends do
    i = i % #ROWS + 1
    local row = ROWS[i]
    local got = read(stage, play, row, counts)
    if got.source == "remote" and not answered[row] then answered[row], left = true, left - 1 end
    perigee.sleep(READ_S)
  end
  return counts, left == 0, answered[CHANGED]
end

local function play_all(stage, play)
  local before = fill(stage, play)
  local is_off, went = play.level.off(), stage:time()
  local meanwhile, why = live_without(stage, play)
  play.level.on()
  stage:add("second level", "error", is_off and "is away" or "could not be stopped", went,
    stage:time())
  stage:add("second level", "note", "is back")
  local after, is_used, is_made_up = recover(stage, play)
  return before, meanwhile, after, { why = why, is_off = is_off, is_used = is_used,
    is_made_up = is_made_up }
end

local function summary_of(meanwhile, after, seen)
  local wrong = meanwhile.wrong + after.wrong
  local parts = { ("%s during the outage, the slowest took %s"):format(
    words.of(meanwhile.reads, "read"), words.ms(meanwhile.slowest)) }
  parts[2] = wrong == 0 and "no old row was served"
    or words.of(wrong, "old row") .. " served"
  if not seen.is_off then parts[3] = "the second level could not be stopped" end
  if not seen.is_used then
    parts[#parts + 1] = "afterwards it did not answer for each row in time"
  end
  return table.concat(parts, "; ")
end

function _M.run(stage)
  local level = second_level(stage)
  local play = { level = level, database = new_database(stage),
    cache = stage:cache { maxsize = 0, default_ttl = 60, remote_cache = level.backend } }
  local before, meanwhile, after, seen = play_all(stage, play)
  local metrics = play.cache:get_metrics()
  return summary_of(meanwhile, after, seen), {
    { "the second level", level.what },
    { "before: reads that it answered", words.count(before.from_level) },
    { "during the outage: reads", words.count(meanwhile.reads) },
    { "during the outage: reads answered by the loader", words.count(meanwhile.loads) },
    { "during the outage: reads that waited for it", words.count(meanwhile.slow) },
    { "during the outage: the slowest read", words.ms(meanwhile.slowest) },
    { "a change during the outage", seen.why and "not confirmed: " .. seen.why or "confirmed" },
    { "afterwards: reads that it answered", words.count(after.from_level) },
    { "afterwards: it has the new row", seen.is_made_up and "yes" or "not yet" },
    { "old rows served", words.count(meanwhile.wrong + after.wrong) },
    { "errors of the second level", words.count(metrics.remote_errors) },
  }
end

return _M

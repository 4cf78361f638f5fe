-- SPDX-License-Identifier: MIT

--- Expiry: a popular key is read on and on while it expires, and while its loader fails.

local perigee = require "perigee"
local words = require "perigee.dashboard.words"

local READ_S, QUERY_S = 0.02, 0.06
local TTL_S, REVALIDATE_S, IF_ERROR_S = 0.2, 0.1, 2
local PATIENCE_S = 3 -- for each part

local _M = {
  name = "expiry",
  title = "Expiry",
  about = "An entry expires: the old value is served while a new one is loaded, and for longer "
    .. "while the database is down.",
  lanes = { "reader", "cache", "database" },
}

-- Each answer of the database is a version of its own.
local function new_database(stage)
  local database = { is_down = false, version = 0 }
  function database.load()
    local answered = stage:query("reads the page", QUERY_S, function()
      return not database.is_down
    end)
    if not answered then return nil, "the database is down" end
    database.version = database.version + 1
    return "version " .. database.version
  end
  return database
end

local function count_read(counts, got)
  counts.reads = counts.reads + 1
  if got.source == "memory" then counts.hits = counts.hits + 1 end
  if got.source == "stale" then counts.stale = counts.stale + 1 end
  if got.value == nil then counts.errors = counts.errors + 1 end
  counts.slowest = math.max(counts.slowest, got.ms)
end

-- Reads on and on until what it gets is so.
local function new_reader(stage, cache, database)
  local counts = { reads = 0, hits = 0, stale = 0, errors = 0, slowest = 0, missed = {} }
  local function read_until(what, is_so)
    local ends = perigee.now() + PATIENCE_S
    repeat
      local got = stage:get(cache, "the page", database.load)
      count_read(counts, got)
      if is_so(got) then return end
      perigee.sleep(READ_S)
    until perigee.now() >= ends
    table.insert(counts.missed, what)
  end
  return counts, read_until
end

local function is_stale(got) return got.source == "stale" end
local function has_waited(got) return got.source == "stale" and got.ms >= QUERY_S * 500 end

-- Whether a value is fresh, and newer than what the database has given so far.
local function is_newer(database)
  local version = database.version
  return function(got)
    return got.value and got.source ~= "stale" and tonumber(got.value:match "%d+") > version
  end
end

local function play(stage, database, read_until)
  read_until("the first load", is_newer(database))
  local is_refreshed = is_newer(database)
  read_until("an expired value at once", is_stale)
  read_until("the value that was loaded behind the reader's back", is_refreshed)
  database.is_down = true
  stage:add("database", "change", "goes down")
  read_until("an expired value at once, while the database was down", is_stale)
  read_until("an expired value in place of an error", has_waited)
  read_until("the same once more", has_waited)
  database.is_down = false
  stage:add("database", "change", "is back")
  read_until("a fresh value afterwards", is_newer(database))
end

function _M.run(stage)
  local cache = stage:cache { maxsize = 10, default_ttl = TTL_S,
    stale_while_revalidate = REVALIDATE_S, stale_if_error = IF_ERROR_S }
  local database = new_database(stage)
  local counts, read_until = new_reader(stage, cache, database)
  play(stage, database, read_until)
  local metrics = cache:get_metrics()

  local summary = ("%s, %s, of which %s failed; %s"):format(words.of(counts.reads, "read"),
    words.of(metrics.loads, "load"), words.count(metrics.load_errors),
    counts.errors == 0 and "no reader got an error"
      or "readers got " .. words.of(counts.errors, "error"))
  if #counts.missed > 0 then
    summary = summary .. "; not seen: " .. table.concat(counts.missed, ", ")
  end
  return summary, {
    { "reads", words.count(counts.reads) },
    { "from memory, fresh", words.count(counts.hits) },
    { "expired values served", words.count(counts.stale) },
    { "errors that the reader got", words.count(counts.errors) },
    { "loads", words.count(metrics.loads) },
    { "loads that failed", words.count(metrics.load_errors) },
    { "the slowest read", words.ms(counts.slowest) },
    { "an entry is fresh for", words.ms(TTL_S * 1000) },
    { "then served at once, and loaded behind, for", words.ms(REVALIDATE_S * 1000) },
    { "served in place of an error for", words.ms(IF_ERROR_S * 1000) },
  }
end

return _M

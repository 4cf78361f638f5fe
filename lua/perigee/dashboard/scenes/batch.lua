-- SPDX-License-Identifier: MIT

--- A batch: callers who know nothing of each other ask for a row each.

local perigee = require "perigee"
local words = require "perigee.dashboard.words"

local ROWS, GROUP = 100, 10       -- the callers come in groups
local GROUP_S, WINDOW_MS = 0.001, 50
local QUERY_S = 0.04
local LOCKED = 13                 -- a row that cannot be read, the first time

local _M = {
  name = "batch",
  title = "A batch",
  about = "A hundred callers ask for one row each, and the database is asked for all of them "
    .. "together.",
  lanes = { "callers", "cache", "database" },
  each = "a row",
}

-- A query for many rows. The locked one fails for itself.
local function new_loader(stage)
  local queries, is_locked = {}, true
  return queries, function(ids)
    queries[#queries + 1] = #ids
    stage:query("reads " .. words.of(#ids, "row"), QUERY_S)
    local rows, errors = {}, {}
    for _, id in ipairs(ids) do
      rows[id] = "row " .. id
      if id == LOCKED and is_locked then rows[id], errors[id] = nil, "it is locked" end
    end
    if errors[LOCKED] then is_locked = false end
    return rows, errors
  end
end

-- Everybody asks for the row of his number. Returns how many got it, and the errors by row.
local function ask(stage, cache, options)
  local right, errors = 0, {}
  stage:together(ROWS, function(id)
    perigee.sleep(math.floor((id - 1) / GROUP) * GROUP_S)
    local got = stage:get(cache, id, options, "its row")
    if got.value == "row " .. id then right = right + 1 end
    if got.err then errors[#errors + 1] = ("row %d: %s"):format(id, got.err) end
  end)
  return right, errors
end

function _M.run(stage)
  local cache = stage:cache { maxsize = 1000, batch_window_ms = WINDOW_MS, max_batch_size = ROWS }
  local queries, load = new_loader(stage)
  local options = { batch_loader = load }
  local right, errors = ask(stage, cache, options)
  local first = cache:get_metrics()
  stage:add("callers", "note", "all ask once more")
  local again = ask(stage, cache, options)
  local second = cache:get_metrics()

  local summary = ("%s asked for one by one, %s, %s"):format(words.of(ROWS, "row"),
    words.of(first.batches, "query", "queries"), words.of(#errors, "error"))
  if right + #errors < ROWS then
    summary = summary .. ("; only %d got their row"):format(right)
  end
  return summary, {
    { "callers, a row each", words.count(ROWS) },
    { "queries", words.count(first.batches) },
    { "rows in them", words.count(first.batched_keys) },
    { "callers who got their row", words.count(right) },
    { "errors", #errors == 0 and "none" or table.concat(errors, ", ") },
    { "asked once more: rows from memory", words.count(second.hits - first.hits) },
    { "asked once more: rows from the database",
      words.count(second.batched_keys - first.batched_keys) },
    { "asked once more: callers who got their row", words.count(again) },
    { "rows in each query", table.concat(queries, ", ") },
  }
end

return _M

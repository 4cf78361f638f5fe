-- SPDX-License-Identifier: MIT

--- `perigee.status`: the caches at a glance, for people. It shows numbers, never keys or values.
-- @module perigee.metrics.status

local metrics = require "perigee.metrics"
local name_list = require "perigee.value.names"
local ngx = require "perigee.runtime.nginx"
local version = require "perigee.version"

local _M = {}

-- heading, field, how it is written; a field that no cache has is left out.
local COLUMNS = {
  { "entries", "size", "%d" },
  { "hit rate", "hit_rate", "%.3f" },
  { "hits", "hits", "%d" },
  { "misses", "misses", "%d" },
  { "loads", "loads", "%d" },
  { "errors", "load_errors", "%d" },
  { "coalesced", "coalesced", "%d" },
  { "stale", "stale_hits", "%d" },
  { "evicted", "evictions", "%d" },
  { "expired", "expirations", "%d" },
  { "shared hits", "shared_hits", "%d" },
  { "remote hits", "remote_hits", "%d" },
  { "remote errors", "remote_errors", "%d" },
  { "KB", "bytes", "%d" },
}

local function cell(column, counters)
  local value = counters[column[2]]
  if not value then return "-" end
  if column[1] == "KB" then value = math.floor(value / 1024) end
  return column[3]:format(value)
end

local function columns_in_use(by_name)
  local used = {}
  for _, column in ipairs(COLUMNS) do
    for _, counters in name_list.each(by_name) do
      if counters[column[2]] then
        used[#used + 1] = column
        break
      end
    end
  end
  return used
end

-- Control characters of a name would spoil the table, or the terminal.
local function printable(name)
  if name == "" then return "(unnamed)" end
  return (name:gsub("[%c\127-\255]", "?"))
end

local function rows_of(by_name)
  local columns, names, rows = columns_in_use(by_name), name_list.sorted(by_name), {}
  rows[1] = { "cache" }
  for _, column in ipairs(columns) do table.insert(rows[1], column[1]) end
  for _, name in ipairs(names) do
    local row = { printable(name) }
    for _, column in ipairs(columns) do row[#row + 1] = cell(column, by_name[name]) end
    rows[#rows + 1] = row
  end
  return rows
end

local function lines_of(rows)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, text in ipairs(row) do widths[i] = math.max(widths[i] or 0, #text) end
  end
  for i, row in ipairs(rows) do
    local cells = {}
    for j, text in ipairs(row) do
      local space = (" "):rep(widths[j] - #text)
      cells[j] = j == 1 and text .. space or space .. text
    end
    lines[i] = table.concat(cells, "  ")
  end
  return lines
end

--- The caches at a glance, as text: one line each, summed over the workers of nginx. In a content
-- handler of nginx it is the answer: `content_by_lua_block { require("perigee").status() }`.
-- @treturn string|nil the text; nil when it was sent
function _M.show()
  local head = ("Perigee %s"):format(version)
  if ngx then
    head = ("%s in nginx, %d workers, told by %d"):format(head, ngx.worker.count(),
      ngx.worker.pid())
  end
  local lines = lines_of(rows_of(metrics.summed()))
  local text = head .. "\n\n" .. table.concat(lines, "\n") .. "\n"
  if not ngx or ngx.get_phase() ~= "content" then return text end
  ngx.header.content_type = "text/plain; charset=utf-8"
  ngx.header.cache_control = "no-store"
  ngx.print(text)
end

return _M

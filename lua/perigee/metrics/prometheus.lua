-- SPDX-License-Identifier: MIT

--- The metrics of all caches in Prometheus' text format, version 0.0.4, and how they are served.
-- @module perigee.metrics.prometheus

local histogram = require "perigee.metrics.histogram"
local metrics = require "perigee.metrics"
local ngx = require "perigee.runtime.nginx"
local sorted = require("perigee.value.names").sorted

local _M = {}

local TYPE = "text/plain; version=0.0.4; charset=utf-8"

-- However many caches a program makes, the text stays bounded: the first so many in the order of
-- their names, which is the same at each scrape and in each worker, have series of their own; the
-- rest is summed.
local CACHES_MAX, REST = 200, "(other)"

-- field, metric, type, help; in the order of the text.
local FAMILIES = {
  { "hits", "perigee_hits_total", "counter", "Gets answered from memory, stale ones included." },
  { "stale_hits", "perigee_stale_hits_total", "counter", "Gets answered with an expired value." },
  { "misses", "perigee_misses_total", "counter", "Gets that found nothing in memory." },
  { "coalesced", "perigee_coalesced_total", "counter", "Misses that joined a running load." },
  { "loads", "perigee_loads_total", "counter", "Loads that ended, one per key." },
  { "load_errors", "perigee_load_errors_total", "counter", "Loads that failed." },
  { "load_seconds", "perigee_load_seconds_total", "counter", "Time spent in loads." },
  { "batches", "perigee_batches_total", "counter", "Calls of batch loaders." },
  { "batched_keys", "perigee_batched_keys_total", "counter", "Keys asked of batch loaders." },
  { "evictions", "perigee_evictions_total", "counter", "Entries given up for lack of room." },
  { "expirations", "perigee_expirations_total", "counter", "Entries reclaimed after expiry." },
  { "size", "perigee_entries", "gauge", "Live entries." },
  { "invalidated", "perigee_invalidated_entries", "gauge",
    "Entries dead by a tag and not yet reclaimed." },
  { "weight", "perigee_weight", "gauge", "Sum of the weights of the entries." },
  { "bytes", "perigee_native_bytes", "gauge", "Native memory of the cache." },
  { "backup_saves", "perigee_backup_saves_total", "counter", "Saves to the backup." },
  { "backup_errors", "perigee_backup_errors_total", "counter", "Saves and loads that failed." },
  { "backup_loaded", "perigee_backup_loaded_total", "counter", "Entries taken from the backup." },
  { "backup_refused", "perigee_backup_refused_total", "counter",
    "Entries of the backup that could not be read." },
  { "backup_unsaved", "perigee_backup_unsaved_total", "counter", "Values that cannot be saved." },
  { "shared_hits", "perigee_shared_hits_total", "counter",
    "Misses that the shared dictionary answered." },
  { "shared_misses", "perigee_shared_misses_total", "counter", "Misses that it did not." },
  { "shared_writes", "perigee_shared_writes_total", "counter", "Entries written to it." },
  { "shared_unsaved", "perigee_shared_unsaved_total", "counter", "Values that cannot be shared." },
  { "shared_notices", "perigee_shared_notices_total", "counter", "Changes by other workers." },
  { "remote_hits", "perigee_remote_hits_total", "counter",
    "Misses that the remote cache answered." },
  { "remote_misses", "perigee_remote_misses_total", "counter", "Misses that it did not." },
  { "remote_errors", "perigee_remote_errors_total", "counter", "Times that it failed to answer." },
  { "remote_writes", "perigee_remote_writes_total", "counter", "Writes that it has confirmed." },
  { "remote_refused", "perigee_remote_refused_total", "counter",
    "Entries of it that could not be read." },
  { "remote_unsaved", "perigee_remote_unsaved_total", "counter", "Values that cannot travel." },
  { "remote_notices", "perigee_remote_notices_total", "counter", "Changes by others, heard of." },
}

-- what took that long, metric, help
local HISTOGRAMS = {
  { "load", "perigee_load_duration_seconds", "How long loads took that ended." },
  { "remote", "perigee_remote_duration_seconds",
    "How long reads of the remote cache took, of one key or many, until it answered or failed." },
}

-- Names ------------------------------------------------------------------------------------------

-- Well-formed UTF-8 (the Unicode standard, table 3-7): a first byte, and what may follow it.
local FOLLOWERS = {
  { "[\194-\223]", "[\128-\191]" },
  { "\224", "[\160-\191][\128-\191]" },
  { "[\225-\236\238\239]", "[\128-\191][\128-\191]" },
  { "\237", "[\128-\159][\128-\191]" },
  { "\240", "[\144-\191][\128-\191][\128-\191]" },
  { "[\241-\243]", "[\128-\191][\128-\191][\128-\191]" },
  { "\244", "[\128-\143][\128-\191][\128-\191]" },
}

-- Where the character ends that begins at a byte; nil: none does.
local function end_of_character(text, at)
  for _, pair in ipairs(FOLLOWERS) do
    local _, last = text:find("^" .. pair[1] .. pair[2], at)
    if last then return last end
  end
end

-- A name as a label. One that is not UTF-8 would make Prometheus refuse the whole text: its bytes
-- that are none are written as \xff.
local function label_of(name)
  if not name:find "[%z\128-\255]" then return name end
  local parts, at = {}, 1
  while at <= #name do
    local last = select(2, name:find("^[\1-\127]+", at)) or end_of_character(name, at)
    parts[#parts + 1] = last and name:sub(at, last) or ("\\x%02x"):format(name:byte(at))
    at = (last or at) + 1
  end
  return table.concat(parts)
end

local ESCAPES = { ["\\"] = "\\\\", ["\""] = "\\\"", ["\n"] = "\\n" }

local function escaped(label) return (label:gsub("[\\\"\n]", ESCAPES)) end

-- The text ---------------------------------------------------------------------------------------

-- The labels in order, and counters and durations by label.
local function by_label(counters, durations)
  local labels, counted, timed = {}, {}, {}
  for i, name in ipairs(sorted(counters)) do
    local label = i <= CACHES_MAX and label_of(name) or REST
    if not counted[label] then labels[#labels + 1] = label end
    counted[label] = metrics.add_counters(counted[label], counters[name])
    timed[label] = metrics.add_durations(timed[label], durations[name] or {})
  end
  return labels, counted, timed
end

local function add_head(lines, metric, kind, help)
  lines[#lines + 1] = ("# HELP %s %s"):format(metric, help)
  lines[#lines + 1] = ("# TYPE %s %s"):format(metric, kind)
end

local function add_family(lines, family, labels, counted)
  local field, metric, kind, help = unpack(family)
  add_head(lines, metric, kind, help)
  for _, label in ipairs(labels) do
    local value = counted[label][field]
    if value then
      lines[#lines + 1] = ("%s{cache=\"%s\"} %.17g"):format(metric, escaped(label), value)
    end
  end
end

local function add_samples(lines, metric, label, durations)
  local below = 0
  for i, bound in ipairs(histogram.BOUNDS) do
    below = below + durations.counts[i - 1]
    local le = bound < math.huge and ("%g"):format(bound) or "+Inf"
    lines[#lines + 1] = ("%s_bucket{cache=\"%s\",le=\"%s\"} %.17g"):format(metric, label, le, below)
  end
  lines[#lines + 1] = ("%s_sum{cache=\"%s\"} %.17g"):format(metric, label, durations.sum)
  lines[#lines + 1] = ("%s_count{cache=\"%s\"} %.17g"):format(metric, label, below)
end

local function add_histograms(lines, family, labels, timed)
  local what, metric, help = unpack(family)
  add_head(lines, metric, "histogram", help)
  for _, label in ipairs(labels) do
    local durations = timed[label][what]
    if durations then add_samples(lines, metric, escaped(label), durations) end
  end
end

--- The metrics of every cache as text; inside nginx summed over the workers. A cache has one label,
-- `cache`, its name; of more than 200 names, those that come last are summed under `(other)`.
-- @treturn string
function _M.text()
  local labels, counted, timed = by_label(metrics.summed())
  local lines = {}
  for _, family in ipairs(FAMILIES) do add_family(lines, family, labels, counted) end
  for _, family in ipairs(HISTOGRAMS) do add_histograms(lines, family, labels, timed) end
  return table.concat(lines, "\n") .. "\n"
end

--- Answers a scrape. In a content handler of nginx it sends the text:
-- `content_by_lua_block { require("perigee").serve_metrics() }`. Elsewhere it returns a response,
-- and so is a handler: `perigee.http.listen { port = 9145, handler = perigee.serve_metrics }`.
-- @treturn table|nil `{ headers =, body = }`; nil when it was sent
function _M.serve()
  local text = _M.text()
  if not ngx or ngx.get_phase() ~= "content" then
    return { headers = { ["Content-Type"] = TYPE, ["Cache-Control"] = "no-store" }, body = text }
  end
  ngx.header.content_type = TYPE
  ngx.header.cache_control = "no-store"
  ngx.print(text)
end

return _M

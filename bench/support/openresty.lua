-- SPDX-License-Identifier: MIT
--- What is measured inside an nginx worker: it is loaded there, and `bench/cases/openresty.lua`
-- calls it. Where keys are found, the values are strings of 32 bytes; what is loaded is the key.
-- @module bench.support.openresty

-- luacheck: globals ngx

local clock = require "bench.support.clock"
local keys = require "bench.support.keys"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local _M = {}

local TTL = 3600
local KEYS_PER_ENTRY = 128 -- where hardly a key may be found, whatever a policy keeps
local SHARE = 16           -- of the operations of other cases, where each takes so much longer
local GETS = 100           -- in a request

local function value_of(name) return name .. ("."):rep(32 - #name) end
local function never() error "that should have been there" end

-- Loaders. The third result is a time to live, for mlcache: a negative one, so it keeps nothing.
local function load(name) return name end
local function load_unkept(name) return name, nil, -1 end

-- The caches -----------------------------------------------------------------------------------

local function new_perigee(size, shared)
  return perigee.new { name = shared and "shared" or "plain", maxsize = size, default_ttl = TTL,
    shared = shared and "perigee" or nil }
end

local function new_lrucache(size) return assert(require("resty.lrucache").new(size)) end

-- Without an `lru` of its own it would have that of the one before, of the same name.
local function new_mlcache(size)
  return assert(require("resty.mlcache").new("bench", "mlcache", { lru = new_lrucache(size),
    ttl = TTL }))
end

local function fill(cache, names, ...)
  for i = 1, #names do cache:set(names[i], value_of(names[i]), ...) end
  return cache
end

-- It has a `set`, for those who tell the other workers of each.
local function fill_mlcache(cache, names)
  for i = 1, #names do assert(cache:get(names[i], nil, value_of, names[i])) end
  return cache
end

-- The loops: each is copied for its contender, and has no upvalues ------------------------------

local function get_perigee(cache, sequence, first, last, loader, expected)
  local count = 0
  for i = first, last do
    local value, err, source = cache:get(sequence[i], loader)
    if value ~= nil and err == nil and source == expected then count = count + 1 end
  end
  return count
end

local function get_mlcache(cache, sequence, first, last, loader, expected)
  local count = 0
  for i = first, last do
    local value, err, level = cache:get(sequence[i], nil, loader, sequence[i])
    if value ~= nil and err == nil and level == expected then count = count + 1 end
  end
  return count
end

-- The same of hits in memory, which are so fast that a comparison with a variable shows.
local function hit_perigee(cache, sequence, first, last, loader)
  local count = 0
  for i = first, last do
    local value, err, source = cache:get(sequence[i], loader)
    if value ~= nil and err == nil and source == "memory" then count = count + 1 end
  end
  return count
end

local function hit_mlcache(cache, sequence, first, last, loader)
  local count = 0
  for i = first, last do
    local value, err, level = cache:get(sequence[i], nil, loader, sequence[i])
    if value ~= nil and err == nil and level == 1 then count = count + 1 end
  end
  return count
end

-- Of a table, of lua-resty-lrucache, and of the shared dict.
local function get_table(map, sequence, first, last)
  local count = 0
  for i = first, last do
    if map[sequence[i]] ~= nil then count = count + 1 end
  end
  return count
end

local function get_plainly(cache, sequence, first, last)
  local count = 0
  for i = first, last do
    if cache:get(sequence[i]) ~= nil then count = count + 1 end
  end
  return count
end

-- All gets must end as expected, or a share of them.
local function check(name, count, n, share)
  assert(count >= n * (share or 1), ("%s: %d of %d only"):format(name, count, n))
end

-- A contender that goes on in the sequence where the round before ended.
local function contender(name, get, cache, sequence, loader, expected, share)
  local run, at = rounds.copy(get), 0
  return { name = name, run = function(n)
    local left, count = n, 0
    while left > 0 do
      if at == #sequence then at = 0 end
      local last = math.min(at + left, #sequence)
      count = count + run(cache, sequence, at + 1, last, loader, expected)
      left, at = left - (last - at), last
    end
    check(name, count, n, share)
  end }
end

-- A contender that goes through the sequence with a new cache each time. What it costs to make the
-- cache, and to be rid of the one before, is not counted.
local function beginner(name, get, new, sequence, loader, expected)
  local run = rounds.copy(get)
  return { name = name, seconds = function(n)
    local seconds = 0
    for _ = 1, n / #sequence do
      local cache = new(#sequence)
      collectgarbage()
      local began = clock.cpu()
      local count = run(cache, sequence, 1, #sequence, loader, expected)
      seconds = seconds + clock.cpu() - began
      check(name, count, #sequence)
      if cache.close then cache:close() end
    end
    return seconds
  end }
end

-- What is measured -----------------------------------------------------------------------------

--- Hits in the worker's memory, drawn with Zipf's frequencies.
function _M.hits(entries, operations, count)
  local names = keys.names(entries)
  local sequence, map = keys.zipf(names, operations), {}
  for i = 1, #names do map[names[i]] = value_of(names[i]) end
  return rounds.run({
    contender("perigee", hit_perigee, fill(new_perigee(entries), names), sequence, never),
    contender("mlcache", hit_mlcache, fill_mlcache(new_mlcache(entries), names), sequence, never),
    contender("lrucache", get_plainly, fill(new_lrucache(entries), names, TTL), sequence),
    contender("shared dict", get_plainly, fill(ngx.shared.plain, names, TTL), sequence),
    contender("table", get_table, map, sequence),
    rounds.yardstick(),
  }, operations, count)
end

--- The same of a cache that has a shared tier, beside one that has none.
function _M.hits_with_shared(entries, operations, count)
  local names = keys.names(entries)
  local sequence = keys.zipf(names, operations)
  return rounds.run({
    contender("perigee", hit_perigee, fill(new_perigee(entries, true), names), sequence, never),
    contender("not shared", hit_perigee, fill(new_perigee(entries), names), sequence, never),
    rounds.yardstick(),
  }, operations, count)
end

--- Hits in the shared dict of a worker whose memory is empty: each puts the entry there.
function _M.shared_hits(entries, operations, count)
  local names = keys.names(entries)
  fill(new_perigee(entries, true), names):close()
  fill_mlcache(new_mlcache(entries), names)
  return rounds.run({
    beginner("perigee", get_perigee, function(n) return new_perigee(n, true) end, names, never,
      "shared"),
    beginner("mlcache", get_mlcache, new_mlcache, names, never, 2),
    contender("shared dict", get_plainly, fill(ngx.shared.plain, names, TTL), names),
    rounds.yardstick(),
  }, math.ceil(operations / SHARE / entries) * entries, count)
end

--- Misses without a shared tier, and hardly any room: Perigee puts what is loaded into memory;
-- mlcache is told to keep it nowhere.
function _M.misses(entries, operations, count)
  local names, room = keys.names(entries), math.max(2, math.floor(entries / KEYS_PER_ENTRY))
  return rounds.run({
    contender("perigee", get_perigee, new_perigee(room), names, load, "load",
      0.99 - room / entries),
    contender("mlcache", get_mlcache, new_mlcache(room), names, load_unkept, 3),
    rounds.yardstick(),
  }, math.max(entries, operations / SHARE), count)
end

--- Misses of keys that were never seen; the results go into memory, and to the shared dict. There
-- is room for all.
function _M.shared_misses(entries, _, count)
  local names = keys.names(entries * (count + 1))
  return rounds.run({
    contender("perigee", get_perigee, new_perigee(#names, true), names, load, "load"),
    contender("mlcache", get_mlcache, new_mlcache(#names), names, load, 3),
    rounds.yardstick(),
  }, entries, count)
end

-- Requests: what a worker answers after a hundred gets ------------------------------------------

local makers = {
  perigee = function(names) return hit_perigee, fill(new_perigee(#names), names) end,
  shared = function(names) return hit_perigee, fill(new_perigee(#names, true), names) end,
  mlcache = function(names) return hit_mlcache, fill_mlcache(new_mlcache(#names), names) end,
  lrucache = function(names) return get_plainly, fill(new_lrucache(#names), names, TTL) end,
  dict = function(names) return get_plainly, fill(ngx.shared.plain, names, TTL) end,
}

local subjects, names, at = {}, nil, 0

--- Fills all those caches.
function _M.prepare(entries, with_mlcache)
  names = keys.names(math.max(entries, GETS))
  for name, make in pairs(makers) do
    if name ~= "mlcache" or with_mlcache then
      local get, cache = make(names)
      subjects[name] = { get = rounds.copy(get), cache = cache }
    end
  end
end

--- Gets a hundred keys of a cache, and says a word.
function _M.answer(name)
  local subject = subjects[name]
  at = at + GETS
  if at > #names then at = GETS end
  local count = subject.get(subject.cache, names, at - GETS + 1, at, never)
  if count ~= GETS then return ngx.exit(500) end
  ngx.say "hello"
end

local pages

--- Answers with a kilobyte from lua-resty-lrucache.
function _M.page()
  pages = pages or new_lrucache(1000)
  local path = ngx.var.uri
  local page = pages:get(path)
  if not page then
    page = ("x"):rep(1024)
    pages:set(path, page, TTL)
  end
  local header = ngx.header
  header.content_type, header.content_length = "text/plain", #page
  ngx.print(page)
end

return _M

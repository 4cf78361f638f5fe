-- SPDX-License-Identifier: MIT
--- Loading a value: one load per key, kept only if nothing was written meanwhile.
--
-- A load's *record* is shared by all who wait for it:
--
--     cache, key, loader, spec   what it loads (spec: the options of the call that began it)
--     began                      version of the cache's tags when it began
--     since                      when it began, seconds
--     done, ok, value, err       its result; ok = false: `value` is what the loader raised
--     outdated                   tags of its result, one of which was written while it ran
--     in_place                   whether it runs in plain code, on the stack of whoever began it
--     shared                     whether anybody but the caller that began it may hold the record
-- @module perigee.load

local C = require("perigee.lib").core
local context = require "perigee.context"
local copying = require "perigee.copying"
local events = require "perigee.events"
local flight = require "perigee.flight"
local options = require "perigee.options"
local returns = require "perigee.returns"
local store_face = require "perigee.store"
local tags = require "perigee.tags"

local handlers = events.handlers
local identity, STALE = store_face.identity, store_face.STALE

local type = type

local _M = {}

-- How long a value is kept: seconds, or false for not at all.
local function lifetime(cache, value, spec, hint_ttl)
  local asked = spec and spec.ttl or cache.default_ttl
  if returns.first(value) ~= nil then return hint_ttl or asked end
  local neg = cache.neg_ttl
  if spec and spec.neg_ttl ~= nil then neg = spec.neg_ttl end
  if neg == false then return false end
  return hint_ttl or neg or asked
end
_M.lifetime = lifetime

--- What an entry weighs: `weigh` of the cache, or 0.
-- @tparam table cache the cache
-- @param key the key
-- @param value the value
-- @treturn number
-- @raise when `weigh` gives no number >= 0
local function weight_of(cache, key, value)
  local weigh = cache.weigh
  if not weigh then return 0 end
  local weight = weigh(key, returns.first(value))
  if type(weight) ~= "number" or weight ~= weight or weight < 0 then
    options.fail("perigee.new", "the result of option \"weigh\"", "a number >= 0", weight, 1)
  end
  return weight
end
_M.weight_of = weight_of

--- Puts a value into the cache's store. Tells nobody yet: the caller runs `store:tell`.
-- @tparam table cache the cache
-- @param key its key
-- @param value the value
-- @tparam number|false ttl seconds, or false: only forget what is there
-- @tparam table|nil list tags of the entry
-- @tparam boolean used whether it counts as a use of the entry that is there
function _M.keep(cache, key, value, ttl, list, used)
  if not ttl then return cache.store:delete(key, cache.space) end
  cache.store:put(cache.space, key, value, ttl * 1000, weight_of(cache, key, value), list, used)
  if cache.backup then cache.backup:wrote() end
end

--- Adds to a counter of a cache, and of the whole that it is a part of.
-- @tparam table cache the cache
-- @tparam string counter its name
-- @tparam number by how much
local function count(cache, counter, by)
  cache[counter] = cache[counter] + by
  local whole = cache.whole
  if whole then whole[counter] = whole[counter] + by end
end
_M.count = count

local function tell_landed(record, failed, seconds)
  local cache = record.cache
  if failed and handlers.load_error then
    local err = returns.reason(record.err)
    if not record.ok then err = record.value end
    events.emit("load_error",
      { cache = cache.name or "", key = record.key, seconds = seconds, err = err })
  elseif not failed and handlers.load then
    events.emit("load", { cache = cache.name or "", key = record.key, seconds = seconds })
  end
end

-- What the loader said about its value: ttl, tags, whether to keep it. A string is no hint.
local function read_hints(hints)
  local kind = type(hints)
  if kind == "number" then return hints, nil, true end
  if kind == "table" then return hints.ttl, hints.tags, hints.cache ~= false end
  return nil, nil, true
end

local function check_hints(ttl, list)
  if ttl ~= nil then
    options.argument("loader", "hints.ttl", options.kinds.duration, ttl, 0)
  end
  if list ~= nil then options.argument("loader", "hints.tags", tags.LIST, list, 0) end
end

-- The tags of the entry: those of the call and those that the loader learned.
local function all_tags(spec, learned)
  local asked = spec and spec.tags
  if not learned then return asked end
  if not asked then return learned end
  local list = {}
  for i = 1, #asked do list[i] = asked[i] end
  for i = 1, #learned do list[#list + 1] = learned[i] end
  return list
end

-- Stores the value of a load that succeeded, or says why not.
local function store_result(record, keep, ttl, list)
  local cache, store = record.cache, record.cache.store
  if list and not store:may_keep(list, record.began) then
    keep, record.outdated = false, list
  end
  if keep and not cache.closed then
    _M.keep(cache, record.key, record.value, ttl, list, false)
  elseif ttl and (store.on_evict or handlers.evict) then
    store:left(record.key, record.value, "rejected")
  end
end

local function settle(record, hints)
  local cache = record.cache
  local hint_ttl, learned, wanted = read_hints(hints)
  check_hints(hint_ttl, learned)
  local ttl = wanted and lifetime(cache, record.value, record.spec, hint_ttl)
  local value = cache.copy and copying.copy(record.value)
  if value then record.value = value end
  local keep = flight.land(record, true)
  store_result(record, keep, ttl, all_tags(record.spec, learned))
end

--- Ends a load with what its loader gave.
-- @tparam table record the load
-- @tparam number now the port's time
-- @tparam boolean ok false: `value` is what it raised
-- @param value as returned
-- @param err as returned
-- @param hints as returned
function _M.land(record, now, ok, value, err, hints)
  if record.done then return end -- it took too long, and its callers have gone
  local cache = record.cache
  local seconds = now - record.since
  if seconds >= cache.load_timeout then ok, value, err = true, nil, "timeout" end
  local failed = not ok or value == nil and err ~= nil
  record.ok, record.value, record.err = ok, value, err
  count(cache, "loads", 1)
  count(cache, "load_seconds", seconds)
  if not failed then
    local settled, why = pcall(settle, record, hints)
    if not settled then
      record.ok, record.value, record.err, failed = false, why, nil, true
    end
  end
  if failed then count(cache, "load_errors", 1) end
  if not record.done then flight.land(record, false) end
  if handlers.load or handlers.load_error then tell_landed(record, failed, seconds) end
  if cache.store.queued > 0 then cache.store:tell() end
end

local function land_now(record, ...)
  _M.land(record, context.port.now(), ...)
end

local function run(record)
  land_now(record, pcall(record.loader, record.key))
end

local function abandon(record)
  land_now(record, false, "cancelled")
end

-- Records that nobody but their own callers ever held, for the next loads.
local spare, spare_count, SPARE_MAX = {}, 0, 4096

local function new_record()
  return {
    id = 0, outer = 0, cache = false, key = false, loader = false, spec = false, began = 0,
    since = 0, done = false, ok = false, value = nil, err = nil, outdated = false,
    in_place = false, shared = false, abandon = abandon,
  }
end

local function reuse(record)
  record.cache, record.key, record.loader, record.spec = false, false, false, false
  record.value, record.err, record.outdated = nil, nil, false
  record.done, record.ok = false, false
  if spare_count == SPARE_MAX then return end
  spare_count = spare_count + 1
  spare[spare_count] = record
end

local function take_spare()
  local record = spare[spare_count]
  spare[spare_count] = false
  spare_count = spare_count - 1
  return record
end

--- A new record; the load begins when `flight.begin` has it.
-- @tparam table cache the cache
-- @param key the key
-- @tparam function|nil loader its loader
-- @tparam table|false spec options of the call
-- @tparam number since when it begins, by the port's time
-- @treturn table the record
function _M.record(cache, key, loader, spec, since)
  local record = spare_count > 0 and take_spare() or new_record()
  record.cache, record.key, record.loader, record.spec = cache, key, loader, spec
  record.began = cache.tagged and cache.store:tag_version() or 0
  record.since = since
  record.in_place = context.port.name == "none"
  return record
end

--- Gives a load up that took longer than `load_timeout`.
-- @tparam table record the load
function _M.give_up(record)
  land_now(record, true, nil, "timeout")
end

-- Plain code can wait for plain code in vain only: a load that was begun further up this stack goes
-- on when we return (that is a cycle, and said so), any other one was interrupted, by a finalizer
-- or by a coroutine of the user's.
local function is_out_of_reach(record)
  return record.in_place and context.port.name == "none"
    and not flight.running_for(record.cache, record.key)
end

--- The running load of a key that may be joined: not one that has taken too long, nor one whose
-- known tags were written since it began.
-- @tparam table cache the cache
-- @param key the key
-- @treturn table|nil its record
function _M.joinable(cache, key)
  if cache.loading == 0 then return nil end
  local s, n = identity(key)
  local record = flight.find(cache.number, s, n, cache.version)
  if not record or is_out_of_reach(record) then return nil end
  if context.port.now() - record.since >= cache.load_timeout then
    _M.give_up(record)
    return nil
  end
  local list = record.spec and record.spec.tags
  if list and not cache.store:may_keep(list, record.began) then
    flight.detach(record)
    return nil
  end
  record.shared = true
  return record
end

--- Starts a load of its own for a key.
-- @tparam table cache the cache
-- @param key the key
-- @tparam function loader its loader
-- @tparam table|false spec options of the call
-- @treturn table its record, which may be done already
function _M.start(cache, key, loader, spec)
  local record = _M.record(cache, key, loader, spec, context.port.now())
  local s, n = identity(key)
  flight.begin(record, s, n, 0)
  flight.start(record, run)
  return record
end

--- The value of a key that expired less than `grace` seconds ago.
-- @tparam table cache the cache
-- @param key the key
-- @tparam number grace seconds
-- @treturn boolean whether there is one
-- @return the value
local function stale_within(cache, key, grace)
  if grace == 0 then return false end
  local left, value = cache.store:look(key, cache.space)
  if not left or left > 0 or -left >= grace * 1000 then return false end
  return true, value
end
_M.stale_within = stale_within

--- Counts a value served after its deadline to a caller who had been counted as a miss.
-- @tparam table cache the cache
local function count_stale(cache)
  C.perigee_store_count(cache.store.handle, cache.space, 1, -1)
  count(cache, "stale_hits", 1)
end
_M.count_stale = count_stale

--- What a load's result means to one caller, as `cache:get` returns it.
-- @tparam table record a load that is done
-- @tparam string source `"load"` or `"wait"`
-- @tparam boolean counted whether the caller was counted as a miss
-- @return value, err, source
-- @raise what the loader raised
function _M.outcome(record, source, counted)
  local failed = not record.ok or record.value == nil and record.err ~= nil
  if not failed then
    local value, err = record.value, record.err
    if source == "load" and not record.shared then reuse(record) end
    return value, err, source
  end
  if counted then
    local found, value = stale_within(record.cache, record.key, record.cache.stale_if_error)
    if found then
      count_stale(record.cache)
      return value, nil, "stale"
    end
  end
  if not record.ok then error(record.value, 0) end
  return nil, record.err, source
end

--- Waits for a load as long as the caller's patience and `load_timeout` allow.
-- @tparam table record the load
-- @tparam number patience seconds
-- @treturn boolean whether the load is done
function _M.wait(record, patience)
  local limit = record.cache.load_timeout
  if limit < math.huge then
    limit = limit - (context.port.now() - record.since)
  end
  if flight.wait(record, math.min(limit, patience)) then return true end
  if limit <= patience then _M.give_up(record) end
  return record.done
end

--- Gets a value from the running load of a key, or from a new one.
-- @tparam table cache the cache
-- @param key the key
-- @tparam table|nil record the load to wait for; nil: join or start one
-- @tparam function starter `starter(cache, key, loader, spec)` starts a load, returns its record
-- @tparam function loader its loader
-- @tparam table|false spec options of the call
-- @return value, err, source
function _M.through(cache, key, record, starter, loader, spec)
  local arrived = cache.tagged and cache.store:tag_version() or 0
  local counted = record == nil
  local source = "load"
  record = record or _M.joinable(cache, key)
  if not record then
    record = starter(cache, key, loader, spec)
  elseif counted then
    source = "wait"
    count(cache, "coalesced", 1)
  end
  if not record.done and not _M.wait(record, spec and spec.timeout or math.huge) then
    return nil, "timeout", source
  end
  if record.outdated and source == "wait" and cache.store:may_keep(record.outdated, arrived) then
    -- It began before a write that this caller came after: not for him.
    return _M.through(cache, key, nil, starter, loader, spec)
  end
  return _M.outcome(record, source, counted)
end

-- Starts a refresh that nobody waits for, unless one runs.
local function refresh_behind(cache, key, starter, loader, spec)
  if _M.joinable(cache, key) then return nil end
  return starter(cache, key, loader, spec)
end

--- Answers a caller who found an expired value that is still kept.
-- @tparam table cache the cache
-- @param key the key
-- @tparam function starter as for `through`
-- @tparam function loader its loader
-- @tparam table|false spec options of the call
-- @return value, err, source
function _M.stale(cache, key, starter, loader, spec)
  C.perigee_store_count(cache.store.handle, cache.space, 0, 1)
  local found, value = stale_within(cache, key, cache.stale_while_revalidate)
  if not found then return _M.through(cache, key, nil, starter, loader, spec) end
  local record = refresh_behind(cache, key, starter, loader, spec)
  if record and record.done and context.port.name == "none" and record.ok
    and not (record.value == nil and record.err ~= nil) then
    return record.value, record.err, "load"
  end
  count_stale(cache)
  return value, nil, "stale"
end

-- What is not there may be on its way from the backup.
local function look_again(cache, key)
  cache.restoring:settle(cache.load_timeout)
  local left, value = cache.store:look(key, cache.space)
  if not left or left <= 0 then return false end
  C.perigee_store_count(cache.store.handle, cache.space, 1, -1)
  return true, value
end

--- Answers a caller whose key memory has no live value for; the store was asked already.
-- @tparam table cache the cache
-- @param key the key
-- @tparam number slot what the store said: `MISS`, or at most `STALE`
-- @tparam function starter as for `through`
-- @tparam function|nil loader its loader
-- @tparam table|false spec options of the call
-- @return value, err, source
function _M.missing(cache, key, slot, starter, loader, spec)
  if slot <= STALE then
    if loader then return _M.stale(cache, key, starter, loader, spec) end
    C.perigee_store_count(cache.store.handle, cache.space, 0, 1)
  elseif cache.restoring then
    local found, value = look_again(cache, key)
    if found then return value, nil, "memory" end
  end
  if not loader then return nil, nil, "miss" end
  return _M.through(cache, key, nil, starter, loader, spec)
end

--- A fresh load that starts now; the old value stays until it succeeds.
-- @tparam table cache the cache
-- @param key the key
-- @tparam function starter as for `through`
-- @tparam function loader its loader
-- @tparam table|false spec options of the call
-- @return value, err, source
function _M.fresh(cache, key, starter, loader, spec)
  local own = flight.running_for(cache, key)
  if own then flight.raise_cycle(own) end
  local record = starter(cache, key, loader, spec)
  return _M.through(cache, key, record, starter, loader, spec)
end

return _M

-- SPDX-License-Identifier: MIT
--- Loading a value: one load per key, whoever asks; what the callers get who wait for it.
--
-- A load's *record* is shared by all who wait for it: see `perigee.load.landing`.
-- @module perigee.load

local C = require("perigee.lib").core
local context = require "perigee.context"
local each = require("perigee.value.names").each
local flight = require "perigee.load.flight"
local landing = require "perigee.load.landing"
local losing = require "perigee.load.losing"
local store_face = require "perigee.store"

local identity, STALE = store_face.identity, store_face.STALE
local count, land, reuse = landing.count, landing.land, landing.reuse
local is_forbidden = landing.is_forbidden
local begin, start_flight = flight.begin, flight.start
local new_record, call = landing.record, landing.call
local error = error

local _M = {}

--- Gives a load up that took longer than `load_timeout`.
-- @tparam table record the load
function _M.give_up(record)
  land(record, context.port.now(), true, nil, "timeout")
  losing.end_thread(record)
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
local function joinable(cache, key)
  if not flight.any() then return nil end
  local s, n = identity(key)
  local record = flight.find(cache.number, s, n, cache.version)
  if not record or is_out_of_reach(record) then return nil end
  if losing.is_lost(record) then
    landing.lose(record)
    return nil
  end
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
_M.joinable = joinable

--- Starts a load of its own for a key.
-- @tparam table cache the cache
-- @param key the key
-- @tparam function loader its loader
-- @tparam table|false spec options of the call
-- @tparam[opt] boolean behind whether nobody is to wait for it
-- @treturn table its record, which may be done already
function _M.start(cache, key, loader, spec, behind)
  local record = new_record(cache, key, loader, spec, context.port.now(), behind)
  local s, n = identity(key)
  begin(record, s, n, 0)
  if cache.below then cache.below:start(record) else start_flight(record, call) end
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

-- Nobody else has a load's record, if its own caller got the result so.
local REUSABLE = { load = true, remote = true, shared = true }

--- What a load's result means to one caller, as `cache:get` returns it.
-- @tparam table record a load that is done
-- @tparam string source `"load"` or `"wait"`
-- @tparam boolean counted whether the caller was counted as a miss
-- @return value, err, source
-- @raise what the loader raised
local function outcome(record, source, counted)
  local failed = not record.ok or record.value == nil and record.err ~= nil
  if not failed then
    local value, err = record.value, record.err
    if record.found and (source == "load" or record.found == "miss") then source = record.found end
    if not record.shared and REUSABLE[source] then reuse(record) end
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
_M.outcome = outcome

--- Waits for a load as long as the caller's patience and `load_timeout` allow.
-- @tparam table record the load
-- @tparam number patience seconds
-- @treturn boolean whether the load is done
function _M.wait(record, patience)
  local limit = record.cache.load_timeout
  if limit < math.huge then
    limit = limit - (context.port.now() - record.since)
  end
  local wait = context.port.is_over and losing.wait or flight.wait
  if not wait(record, math.min(limit, patience)) then
    if limit <= patience then _M.give_up(record) end
  elseif record.err == "timeout" and record.thread then -- somebody else gave it up
    losing.end_thread(record)
  end
  return record.done
end

--- Whether a load may have begun before a write of a tag that one who joined it came after: then
-- its value is not for him.
-- @tparam table record a load that is done
-- @tparam string source `"wait"` for one who joined it
-- @tparam number arrived version of the cache's tags when he came
-- @treturn boolean
local function is_old_for(record, source, arrived)
  return record.outdated and source == "wait" and record.began < arrived
end
_M.is_old_for = is_old_for

--- Starts a refresh that nobody waits for, unless one runs.
-- @tparam table cache the cache
-- @param key the key
-- @tparam function starter as for `through`
-- @tparam function loader its loader
-- @tparam table|false spec options of the call
-- @treturn table|nil its record
local function refresh_behind(cache, key, starter, loader, spec)
  if _M.joinable(cache, key) then return nil end
  return starter(cache, key, loader, spec, true)
end
_M.refresh_behind = refresh_behind

-- A phase of nginx in which nothing can wait, not even for a load that runs: an old value; or a
-- loader that does not wait; or why not, and a refresh that the next caller finds done.
local function at_once(cache, key, record, starter, loader, spec)
  local own = flight.running_for(cache, key)
  if own then flight.raise_cycle(own) end
  local grace = math.max(cache.stale_while_revalidate, cache.stale_if_error)
  local found, value = false, nil
  if not record then found, value = stale_within(cache, key, grace) end
  if found then
    if loader then refresh_behind(cache, key, starter, loader, spec) end
    count_stale(cache)
    return value, nil, "stale"
  end
  record = record or starter(cache, key, loader, spec)
  if record.done and not is_forbidden(record) then return outcome(record, "load", false) end
  return _M.put_off(cache, key, starter, loader, spec)
end

--- What a load comes to whose loader would have to wait where nothing can: it is tried again behind
-- the caller's back.
-- @tparam table cache the cache
-- @param key the key
-- @tparam function starter as for `through`
-- @tparam function loader its loader
-- @tparam table|false spec options of the call
-- @treturn nil
-- @treturn string why not
-- @treturn string source
function _M.put_off(cache, key, starter, loader, spec)
  local _, why = context.port.can_wait()
  refresh_behind(cache, key, starter, loader, spec)
  return nil, why, "load"
end

--- Gets a value from the running load of a key, or from a new one.
-- @tparam table cache the cache
-- @param key the key
-- @tparam table|nil record the load to wait for; nil: join or start one
-- @tparam function starter `starter(cache, key, loader, spec)` starts a load, returns its record
-- @tparam function loader its loader
-- @tparam table|false spec options of the call
-- @tparam number|nil arrived version of the cache's tags when the caller came; nil: now
-- @tparam number|nil until_s when the caller's patience ends; nil: as the options say
-- @return value, err, source
function _M.through(cache, key, record, starter, loader, spec, arrived, until_s)
  arrived = arrived or cache.tagged and cache.store:tag_version() or 0
  local counted = record == nil
  local source = "load"
  if context.port.may_wait and not context.port.may_wait() then
    return at_once(cache, key, record, starter, loader, spec)
  end
  record = record or joinable(cache, key)
  if not record then
    record = starter(cache, key, loader, spec)
  elseif counted then
    source = "wait"
    count(cache, "coalesced", 1)
  end
  if spec and spec.timeout then until_s = until_s or context.port.now() + spec.timeout end
  if not record.done
    and not _M.wait(record, until_s and until_s - context.port.now() or math.huge) then
    return nil, "timeout", source
  end
  if record.found == "lost" or record.found == "miss" and loader -- it was for somebody without one
    or is_old_for(record, source, arrived) then -- the next one begins later than he came
    return _M.through(cache, key, nil, starter, loader, spec, arrived, until_s)
  end
  return outcome(record, source, counted)
end
local through = _M.through

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
  if cache.shared then
    local found, value = cache.shared:find(cache, key)
    if found then
      if slot <= STALE then C.perigee_store_count(cache.store.handle, cache.space, 0, 1) end
      return value, nil, "shared"
    end
  end
  if slot <= STALE then
    if loader then return _M.stale(cache, key, starter, loader, spec) end
    C.perigee_store_count(cache.store.handle, cache.space, 0, 1)
  elseif cache.restoring then
    local found, value = look_again(cache, key)
    if found then return value, nil, "memory" end
  end
  if not loader then
    if not cache.below then return nil, nil, "miss" end
    return _M.through(cache, key, nil, _M.start, nil, spec)
  end
  return through(cache, key, nil, starter, loader, spec)
end

local FRESH = { use_cache = false }

-- The same options, and that no level may be asked.
local function as_fresh(spec)
  if not spec then return FRESH end
  if spec.use_cache == false then return spec end
  local copy = { use_cache = false }
  for name, value in each(spec) do
    if name ~= "use_cache" then copy[name] = value end
  end
  return copy
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
  local record = starter(cache, key, loader, as_fresh(spec))
  return _M.through(cache, key, record, starter, loader, spec)
end

return _M

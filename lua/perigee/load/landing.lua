-- SPDX-License-Identifier: MIT
--- How a load ends: its value is kept only if nothing was written meanwhile.
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
--     aside                      inside nginx: false if its caller runs it, "behind" if it runs in
--                                a timer, "thread" if in a light thread of his
--     life                       inside nginx: of the request that it runs in, 0 for none yet
--     thread                     inside nginx: that light thread
--     batch                      inside nginx: what it is the head of
--     call                       inside nginx: its loader as a timer may call it
--     found                      the level that had it; "miss": nobody had, and no loader; "lost":
--                                it was cut off with its request
--     is_fresh                   whether no level may be asked
--     seen, token, session       what `perigee.remote` read before, its lease, and whose load it is
--     lease, name, hash, fence, wide, stamp, number, filled   what `perigee.sharing` has: its
--                                lease, the name and the hash of the key there, what a fill and a
--                                lease compare, and whether the fill was done
-- @module perigee.load.landing

local context = require "perigee.context"
local copying = require "perigee.value.copying"
local events = require "perigee.events"
local flight = require "perigee.load.flight"
local histogram = require "perigee.metrics.histogram"
local hosting = require "perigee.load.hosting"
local options = require "perigee.options"
local returns = require "perigee.value.returns"
local store_face = require "perigee.store"
local tags_face = require "perigee.tags"

local handlers = events.handlers

-- A load and all that it calls is compiled as one trace, if it needs no more than 500 constants: so
-- what is called on the way are locals, here and in `perigee.load` and `perigee.load.flight`.
local type, pcall = type, pcall
local land_flight = flight.land
local first, observe = returns.first, histogram.observe
local OUT_OF_MEMORY = store_face.OUT_OF_MEMORY

local _M = {}

-- How long a value is kept: seconds, or false for not at all.
local function lifetime(cache, value, spec, hint_ttl)
  local asked = spec and spec.ttl or cache.default_ttl
  if first(value) ~= nil then return hint_ttl or asked end
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
local function keep(cache, key, value, ttl, list, used)
  if not ttl then return cache.store:delete(key, cache.space) end
  cache.store:put(cache.space, key, value, ttl * 1000, weight_of(cache, key, value), list, used)
  if cache.backup then cache.backup:wrote() end
end
_M.keep = keep

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

-- Counts a load that ended, and what it took.
local function count_load(cache, seconds)
  observe(cache.load_durations, seconds)
  local whole = cache.whole
  if whole then observe(whole.load_durations, seconds) end
end

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

--- Checks what a loader said about its value.
-- @tparam string where whose loader it is, for messages
-- @param ttl as it came
-- @param list tags, as they came
-- @raise when they are neither nil nor what they should be
local function check_hints(where, ttl, list)
  if ttl ~= nil then options.result(where, "hints.ttl", options.kinds.duration, ttl) end
  if list ~= nil then options.result(where, "hints.tags", tags_face.LIST, list) end
end
_M.check_hints = check_hints

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
local function store_result(record, may_keep, ttl, list)
  local cache, store = record.cache, record.cache.store
  if list and not store:may_keep(list, record.began) then
    may_keep, record.outdated = false, list
  end
  if may_keep and not cache.closed then
    keep(cache, record.key, record.value, ttl, list, false)
  elseif ttl and (store.on_evict or handlers.evict) then
    store:left(record.key, record.value, "rejected")
  end
end

--- Ends a load with what a lower level has, which is no load.
-- @tparam table record the load
-- @param value the value
-- @tparam number left seconds
-- @tparam table|nil tags its tags
-- @tparam string level `"remote"` or `"shared"`
function _M.land_found(record, value, left, tags, level)
  if record.done then return end
  local cache = record.cache
  record.ok, record.value, record.err, record.found = true, value, nil, level
  if tags then cache.tagged = true end
  local may_keep = land_flight(record, true)
  local settled, why = pcall(store_result, record, may_keep, left, tags)
  if not settled and why ~= OUT_OF_MEMORY then record.ok, record.value = false, why end
  if cache.shared then cache.shared:landed(record, may_keep and not record.outdated, left, tags) end
  if cache.store.queued > 0 then cache.store:tell() end
end

-- What a loader that waits raises where nothing can: of ngx_lua, of LuaJIT, of Perigee.
local FORBIDDEN = { "API disabled in the ", "no request found", "attempt to yield ",
  "cannot wait here: " }

--- Whether a load failed because its loader would have had to wait where nothing can.
-- @tparam table record a load
-- @treturn boolean
function _M.is_forbidden(record)
  local err = record.value
  if record.ok and err == nil then err = record.err end -- of a load within it
  if not record.done or record.ok and record.value ~= nil or type(err) ~= "string" then
    return false
  end
  for i = 1, #FORBIDDEN do
    if err:find(FORBIDDEN[i], 1, true) then return true end
  end
  return false
end

-- What it holds of other processes' patience.
local function release(record)
  if record.token or record.lease then record.cache.below:release(record) end
end

--- Ends a load that was cut off with the request that it ran in: whoever waits looks again.
-- @tparam table record the load
function _M.lose(record)
  if record.done then return end
  record.ok, record.value, record.err = true, nil, nil
  record.found, record.shared = "lost", true
  land_flight(record, false)
  release(record)
  if record.batch then record.batch:lose() end
end

--- Ends a load with what another worker's came to, which is not kept, and is no load of ours.
-- @tparam table record the load
-- @tparam boolean ok false: `value` is what its loader raised
-- @param value as returned
-- @param err as returned
function _M.land_told(record, ok, value, err)
  if record.done then return end
  record.ok, record.value, record.err = ok, value, err
  land_flight(record, false)
end

--- Ends a load that had no loader: no level has the key.
-- @tparam table record the load
function _M.land_absent(record)
  if record.done then return end
  record.ok, record.value, record.err, record.found = true, nil, nil, "miss"
  land_flight(record, false)
end

local function settle(record, hints)
  local cache = record.cache
  local hint_ttl, learned, wanted = read_hints(hints)
  check_hints("loader", hint_ttl, learned)
  local ttl = wanted and lifetime(cache, record.value, record.spec, hint_ttl)
  local value = cache.copy and copying.copy(record.value)
  if value then record.value = value end
  if cache.shared then cache.shared:look() end
  local may_keep = land_flight(record, true)
  local list = all_tags(record.spec, learned)
  if list and #list > 0 then cache.tagged = true end
  store_result(record, may_keep, ttl, list)
  if cache.below then
    cache.below:after_load(record, may_keep and not record.outdated, ttl, list)
  end
end

--- Ends a load with what its loader gave.
-- @tparam table record the load
-- @tparam number now the port's time
-- @tparam boolean ok false: `value` is what it raised
-- @param value as returned
-- @param err as returned
-- @param hints as returned
local function land(record, now, ok, value, err, hints)
  if record.done then return release(record) end -- it took too long, and its callers have gone
  local cache = record.cache
  local seconds = now - record.since
  if seconds >= cache.load_timeout then ok, value, err = true, nil, "timeout" end
  local failed = not ok or value == nil and err ~= nil
  record.ok, record.value, record.err = ok, value, err
  count_load(cache, seconds)
  if not failed then
    local settled, why = pcall(settle, record, hints)
    if not settled and why ~= OUT_OF_MEMORY then -- without memory it is not kept, no more
      record.ok, record.value, record.err, failed = false, why, nil, true
    end
  end
  if failed then count(cache, "load_errors", 1) end
  if not record.done then land_flight(record, false) end
  if cache.below then release(record) end
  if handlers.load or handlers.load_error then tell_landed(record, failed, seconds) end
  if cache.store.queued > 0 then cache.store:tell() end
end

_M.land = land

local function land_now(record, ...)
  land(record, context.port.now(), ...)
end

--- Calls the loader of a load, and lands it.
-- @tparam table record the load
function _M.call(record)
  if record.cache.below then record.since = context.port.now() end -- asking it was no loading
  if record.aside == "behind" then return land_now(record, pcall(record.call, record.key)) end
  land_now(record, pcall(record.loader, record.key))
end

--- Ends a load of this id, if it still runs: its record may be another load's by now.
-- @tparam table record the load's
-- @tparam number id the load's
-- @tparam number now the port's time
-- @tparam boolean ok as for `land`
-- @param value as for `land`
-- @param err as for `land`
function _M.land_if(record, id, now, ok, value, err)
  if record.id == id then land(record, now, ok, value, err) end
end

--- Ends a load with what went wrong.
-- @tparam table record the load
-- @param err as if the loader had raised it
function _M.fail(record, err)
  land_now(record, false, err)
end

local function abandon(record)
  _M.fail(record, "cancelled")
end

-- Records that nobody but their own callers ever held, for the next loads. A finalizer that comes
-- by while somebody takes or gives one does without.
local spare, spare_count, SPARE_MAX = {}, 0, 4096
local busy = false

local function new_record()
  return {
    id = 0, outer = 0, cache = false, key = false, loader = false, spec = false, began = 0,
    since = 0, done = false, ok = false, value = nil, err = nil, outdated = false,
    in_place = false, shared = false, abandon = abandon,
    aside = false, life = 0, thread = false, batch = false, call = false,
    found = false, is_fresh = false, seen = false, token = false, session = nil,
    lease = false, name = false, hash = 0, fence = 0, wide = 0, stamp = 0, number = 0,
    filled = false,
  }
end

--- Nobody but its own caller ever held this record: another load may have it.
-- @tparam table record a load that is done
function _M.reuse(record)
  if record.cache.below then
    record.seen, record.token, record.session = false, false, nil
    record.lease, record.name = false, false
  end
  if record.aside then record.thread, record.call = false, false end
  record.id, record.cache, record.key, record.loader, record.spec = 0, false, false, false, false
  record.value, record.err, record.outdated = nil, nil, false
  record.done, record.ok = false, false
  record.found, record.is_fresh = false, false
  if busy or spare_count == SPARE_MAX then return end
  busy = true
  spare_count = spare_count + 1
  spare[spare_count] = record
  busy = false
end

local function take_spare()
  if busy then return nil end
  busy = true
  local record = spare[spare_count]
  if record then
    spare[spare_count] = nil
    spare_count = spare_count - 1
  end
  busy = false
  return record
end

--- A new record; the load begins when `flight.begin` has it.
-- @tparam table cache the cache
-- @param key the key
-- @tparam function|nil loader its loader
-- @tparam table|false spec options of the call
-- @tparam number since when it begins, by the port's time
-- @tparam boolean|nil behind whether it is to run behind the callers' backs
-- @treturn table the record
function _M.record(cache, key, loader, spec, since, behind)
  local record = take_spare() or new_record()
  record.cache, record.key, record.loader, record.spec = cache, key, loader, spec
  record.began = cache.tagged and cache.store:tag_version() or 0
  record.since = since
  record.is_fresh = spec and spec.use_cache == false
  if context.port.lead then
    record.in_place = true
    record.aside = (behind or spec or cache.leads_aside) and hosting.place(cache, spec, behind)
  else
    record.in_place = context.port.name == "none"
  end
  return record
end

return _M

-- SPDX-License-Identifier: MIT
--- Many keys in one call of a loader: the face of `batch.h`, and `get_many`.
--
-- A batch is opened by the first key that nobody loads yet; it leaves when its window is over or
-- when it is full. Each of its keys is a load like any other, so that callers join it by key,
-- and all are one group, which one task settles.
-- @module perigee.load.batch

local ffi = require "ffi"

local C = require("perigee.lib").core
local context = require "perigee.context"
local flight = require "perigee.load.flight"
local landing = require "perigee.load.landing"
local load = require "perigee.load"
local options = require "perigee.options"
local store_face = require "perigee.store"

local identity, MISS, STALE = store_face.identity, store_face.MISS, store_face.STALE

local _M = {}

local registry = C.perigee_batch_new()
if registry == nil then error("perigee: out of memory", 0) end

ffi.gc(registry, function(handle)
  registry = C.perigee_batch_closed() -- finalizers of a closing Lua state run in any order
  C.perigee_batch_free(handle)
end)

--- Stands for the batch loader of those who gave none: only lower levels are asked.
function _M.NONE() end

local aligned_mt = { __name = "perigee.aligned" }

--- Marks a list that a batch loader returns as being in the order of its keys.
-- @tparam table list values; holes are nils
-- @tparam[opt=#list] number n how many there are
-- @treturn table what the batch loader returns
function _M.aligned(list, n)
  options.argument("perigee.aligned", "list", options.kinds.list, list, 2)
  if n ~= nil then options.argument("perigee.aligned", "n", options.kinds.bound, n, 2) end
  return setmetatable({ list = list, n = n or #list }, aligned_mt)
end

-- A map by key of what a batch loader returned.
local function by_key(returned, records, what)
  if getmetatable(returned) ~= aligned_mt then return returned end
  if returned.n ~= #records then
    error(("batch_loader: %s is a list of %d for %d keys"):format(what, returned.n, #records), 0)
  end
  local map = {}
  for i = 1, #records do map[records[i].key] = returned.list[i] end
  return map
end

local function land_all(records, ok, value, err)
  local now = context.port.now()
  for i = 1, #records do landing.land(records[i], now, ok, value, err) end
end

-- Lands what is left of a batch: those of its loads that have landed may be other loads by now.
local function land_rest(batch, value)
  local now, ids = context.port.now(), batch.ids
  for i, record in ipairs(batch.records) do landing.land_if(record, ids[i], now, false, value) end
end

local function land_each(records, results, errors)
  if errors ~= nil and type(errors) ~= "table" then return land_all(records, true, nil, errors) end
  if type(results) ~= "table" then
    options.fail("batch_loader", "the first result", "a table by key (or perigee.aligned(list))",
      results, -1)
  end
  local now = context.port.now()
  results = by_key(results, records, "the first result")
  errors = errors and by_key(errors, records, "the second result")
  for i = 1, #records do
    local record = records[i]
    landing.land(record, now, true, results[record.key], errors and errors[record.key])
  end
end

-- Closes the batch and says which keys are in it; a load may have been given up meanwhile.
local function take(batch)
  local keys, records, ids, now = {}, {}, {}, context.port.now()
  batch.records, batch.ids = records, ids
  if batch.cache.open[batch.loader] == batch then batch.cache.open[batch.loader] = nil end
  local id = C.perigee_batch_take(registry, batch.id)
  while id ~= 0 do
    local record = flight.record(id)
    if record then
      keys[#keys + 1], records[#records + 1], record.since = record.key, record, now
      ids[#ids + 1] = id
    end
    id = C.perigee_batch_take(registry, batch.id)
  end
  return keys
end

local function call_loader(batch, keys, records)
  local cache = batch.cache
  cache.batches, cache.batched_keys = cache.batches + 1, cache.batched_keys + #keys
  land_each(records, (batch.call or batch.loader)(keys))
end

-- The second level first; the loader is called with what that leaves, in one or more parts.
local function run_below(batch, below)
  local load_some = batch.loader ~= _M.NONE and function(records)
    local keys, now = {}, context.port.now()
    for i, record in ipairs(records) do keys[i], record.since = record.key, now end
    local ok, err = pcall(call_loader, batch, keys, records)
    if ok then return end
    land_all(records, false, err)
    if err == "cancelled" then error(err, 0) end
  end
  below:run(batch.records, load_some or nil)
end

local function settle(batch)
  local keys = take(batch)
  if #keys == 0 then return end
  if batch.cache.below then return run_below(batch, batch.cache.below) end
  call_loader(batch, keys, batch.records)
end

local function wait_for_company(batch)
  local port = context.port
  local ticket = batch.window > 0 and port.can_wait()
  if not ticket then return end
  batch.ticket = ticket
  port.park(ticket, batch.window)
end

local function run(batch)
  local ok, err = pcall(wait_for_company, batch)
  if ok then ok, err = pcall(settle, batch) end
  if ok then return end
  if not batch.records then take(batch) end
  land_rest(batch, err)
end

local function abandon(batch)
  if not batch.records then take(batch) end
  land_rest(batch, "cancelled")
end

-- The request that was to run it has ended.
local function lose(batch)
  if not batch.records then take(batch) end
end

local function open_batch(cache, loader, window)
  local now = context.port.now()
  local id = C.perigee_batch_begin(registry, 0, cache.max_batch_size,
    (now + window) * 1000)
  if id == 0 then error("perigee: out of memory", 0) end
  return {
    id = id, cache = cache, loader = loader, window = window, opened = now,
    ticket = 0,      -- what its task parks on while it waits for company
    head = false,    -- the record of its first key: the head of the group
    full = false,
    records = false, -- once it has left
    ids = false,     -- of the records, as they were then
    group = {},      -- inside nginx: the records from the beginning
    abandon = abandon, lose = lose,
  }
end

-- A new load of a key, in this batch.
local function add(batch, key, spec, behind)
  local record = landing.record(batch.cache, key, false, spec, batch.opened, behind)
  local s, n = identity(key)
  flight.begin(record, s, n, batch.head and batch.head.id or 0)
  if context.port.lead then
    batch.group[#batch.group + 1] = record
    record.batch = not batch.head and batch
  end
  batch.head = batch.head or record
  local size = C.perigee_batch_add(registry, batch.id, record.id)
  if size == 0 then landing.land(record, batch.opened, false, "perigee: out of memory") end
  batch.full = size >= batch.cache.max_batch_size
  return record
end

local function depart(batch)
  flight.start(batch.head, run, batch)
end

-- The batch that a key may still go along with. Inside nginx, whoever was to run it may be gone.
local function open_of(cache, loader)
  local batch, port = cache.open[loader], context.port
  if not batch or not port.is_over then return batch end
  local head = batch.head
  local is_gone = head.life ~= 0 and port.is_over(head.life)
    or head.life == 0 and head.aside == "behind" and port.is_stuck()
  if not is_gone then return batch end
  cache.open[loader] = nil
  for _, record in ipairs(batch.group) do landing.lose(record) end
end

--- Starts a load of a key as part of its loader's open batch, or of a new one.
-- @tparam table cache the cache
-- @param key the key
-- @tparam function loader the batch loader
-- @tparam table spec options of the call
-- @tparam[opt] boolean behind whether nobody is to wait for it
-- @treturn table its record
function _M.start(cache, key, loader, spec, behind)
  local batch = open_of(cache, loader)
  if batch then
    local record = add(batch, key, spec, behind)
    if batch.full then
      cache.open[loader] = nil
      context.port.unpark(batch.ticket)
    end
    return record
  end
  batch = open_batch(cache, loader, cache.batch_window)
  local record = add(batch, key, spec, behind)
  if context.port.can_wait() and not batch.full and context.port.name ~= "none" then
    cache.open[loader] = batch
  else
    batch.window = 0
  end
  depart(batch)
  return record
end

-- Options with which loads run side by side also where a caller runs them himself.
local function aside(spec)
  return context.port.lead and setmetatable({ aside = true }, { __index = spec }) or spec
end

-- What get_many does about one key that memory does not answer. Returns its load, or nil.
local function begin_missing(cache, key, spec, leaving)
  local port = context.port
  local record = spec.use_cache ~= false and (not port.may_wait or port.may_wait())
    and load.joinable(cache, key)
  if record then return record, "wait" end
  if spec.loader then return load.start(cache, key, spec.loader, aside(spec)), "load" end
  local batch = leaving[#leaving]
  if not batch or batch.full then
    batch = open_batch(cache, spec.batch_loader, 0)
    leaving[#leaving + 1] = batch
  end
  return add(batch, key, spec), "load"
end

-- Memory's answers; the keys it has none for are returned as a list.
local function from_memory(cache, keys, spec, values, sources)
  local store, missing = cache.store, {}
  local has_loader = spec.loader or spec.batch_loader
  for i = 1, #keys do
    local key = keys[i]
    if sources[key] == nil then
      local slot, value = MISS, nil
      if spec.use_cache ~= false then slot, value = store:get(key, cache.space) end
      local found = slot < 0 and cache.shared and spec.use_cache ~= false
      if found then found, value = cache.shared:find(cache, key) end
      if slot >= 0 or found then
        values[key], sources[key] = value, found and "shared" or "memory"
      else
        if slot <= STALE then C.perigee_store_count(store.handle, cache.space, 0, 1) end
        sources[key] = "miss"
        if has_loader then missing[#missing + 1] = key end
      end
    end
  end
  return missing
end

-- How one key alone is loaded: starter and loader.
local function alone(spec)
  if spec.loader or spec.batch_loader == _M.NONE then return load.start, spec.loader end
  return _M.start, spec.batch_loader
end

-- Begins a load for each missing key; fills in what may be served stale at once.
local function begin_all(cache, missing, spec, values, sources)
  local waiting, leaving, port = {}, {}, context.port
  local starter, loader = alone(spec)
  for i = 1, #missing do
    local key = missing[i]
    local found, value = load.stale_within(cache, key, cache.stale_while_revalidate)
    local record, source
    if found and port.lead then
      load.refresh_behind(cache, key, starter, loader, spec)
    else
      record, source = begin_missing(cache, key, spec, leaving)
    end
    if source == "wait" then landing.count(cache, "coalesced", 1) end
    if found then
      load.count_stale(cache)
      values[key], sources[key] = value, "stale"
    else
      sources[key] = source
      waiting[#waiting + 1] = record
    end
  end
  for i = 1, #leaving do
    local head = leaving[i].head
    if i < #leaving and not head.aside and port.lead then head.aside = "thread" end -- side by side
    depart(leaving[i])
  end
  return waiting
end

-- What a load that was waited for means to the caller.
local function result_of(cache, record, spec, source, arrived)
  local starter, loader = alone(spec)
  local port = context.port
  if port.may_wait and not port.may_wait() and landing.is_forbidden(record) then
    return load.put_off(cache, record.key, starter, loader, spec)
  end
  local was_for_nobody = record.found == "miss" and loader -- a load of somebody without a loader
  if not was_for_nobody and record.found ~= "lost"
    and not load.is_old_for(record, source, arrived) then
    return load.outcome(record, source, spec.use_cache ~= false)
  end
  return load.through(cache, record.key, nil, starter, loader, spec, arrived)
end

local function collect(cache, waiting, spec, values, sources, arrived)
  local port, errors = context.port, nil
  local deadline = port.now() + (spec.timeout or math.huge)
  for i = 1, #waiting do
    local record = waiting[i]
    local key = record.key
    local value, err
    if record.done or load.wait(record, deadline - port.now()) then
      value, err, sources[key] = result_of(cache, record, spec, sources[key], arrived)
    else
      err = "timeout"
    end
    values[key] = value
    if err ~= nil then
      errors = errors or {}
      errors[key] = err
    end
  end
  return errors
end

--- `cache:get_many`, after its arguments were checked.
-- @tparam table cache the cache
-- @tparam table keys list of keys
-- @tparam table spec options of the call
-- @treturn table values by key
-- @treturn table|nil errors by key
-- @treturn table sources by key
function _M.get_many(cache, keys, spec)
  local values, sources = {}, {}
  if cache.restoring then cache.restoring:settle(cache.load_timeout) end
  if cache.below and not spec.loader and not spec.batch_loader then
    spec = setmetatable({ batch_loader = _M.NONE }, { __index = spec })
  end
  local missing = from_memory(cache, keys, spec, values, sources)
  if #missing == 0 then return values, nil, sources end
  local arrived = cache.tagged and cache.store:tag_version() or 0
  local waiting = begin_all(cache, missing, spec, values, sources)
  return values, collect(cache, waiting, spec, values, sources, arrived), sources
end

return _M

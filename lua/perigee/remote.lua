-- SPDX-License-Identifier: MIT

--- What a cache does with its second level: a miss asks it before the loader; what is found or
-- loaded goes up and down; what is written here is written there, behind the caller's back
-- (`perigee.remote.write_behind`); what others change there is forgotten here
-- (`perigee.remote.hearing`).
--
-- Reading happens inside the load of a key, so one process asks once, whoever waits. While the
-- second level does not answer, nobody waits for it: reads are misses, and writes are owed.
-- @module perigee.remote

local C = require("perigee.lib").core
local context = require "perigee.context"
local each = require("perigee.value.names").each
local events = require "perigee.events"
local flight = require "perigee.load.flight"
local gathering_face = require "perigee.remote.gathering"
local hearing = require "perigee.remote.hearing"
local histogram = require "perigee.metrics.histogram"
local landing = require "perigee.load.landing"
local leases = require "perigee.remote.leases"
local log = require "perigee.log"
local names_of = require("perigee.value.names").of
local options = require "perigee.options"
local redis = require "perigee.tier.redis"
local runtime = require "perigee.runtime"
local spaces = require "perigee.store.spaces"
local trip_face = require "perigee.tier.trip"
local users = require "perigee.tier.users"
local write_behind = require "perigee.remote.write_behind"

local handlers = events.handlers

local _M = {}
local mt = { __index = _M, __name = "perigee.remote" }

local METHODS = { "get", "set", "delete", "clear", "close" }

local attached = {}

--- What option `remote_cache` takes.
_M.KIND = { "a backend: perigee.redis{...}, or a table with the methods " ..
  table.concat(METHODS, ", "), function(value)
  if redis.is(value) then return true end
  if type(value) ~= "table" then return false end
  for _, name in ipairs(METHODS) do
    if not options.is_callable(value[name]) then return false end
  end
  return true
end }

local function count(self, counter)
  self.counters[counter] = self.counters[counter] + 1
end

-- Says once, until it is well again, that the second level does not answer.
local function note_error(self, err)
  count(self, "remote_errors")
  if handlers.remote_error then
    events.emit("remote_error", { cache = self.cache.name or "", err = err })
  end
  if self.ailing then return end
  self.ailing = true
  log.warn(("%s: the remote cache does not answer: %s"):format(self.cache:describe(), err))
end

local function warn_once(self, counter, said)
  count(self, counter)
  if self.warned[counter] then return end
  self.warned[counter] = true
  log.warn(("%s: %s (this is said once; see the metric %s)"):format(self.cache:describe(), said,
    counter))
end

-- The name of the space that a load's key is in.
local function space_name(self, record)
  return record.cache.space == 0 and "" or spaces.name_of(self.cache, record.cache.space) or ""
end

-- Writing ------------------------------------------------------------------------------------

local function deadline_of(ttl)
  return C.perigee_clock_wall_ms(runtime.clock) + ttl * 1000
end

--- Writes an entry, behind the caller's back.
-- @tparam string space name of its space
-- @param key its key
-- @param value its value
-- @tparam number ttl seconds
-- @tparam table|nil tags its tags
-- @tparam boolean more whether other writes follow at once
function _M:set(space, key, value, ttl, tags, more)
  local cache = self.cache
  local began = tags and #tags > 0 and cache.store:tag_version()
  local clears = self.clears
  context.port.now() -- inside nginx: a worker takes up what was begun before the workers were
  self.writes:push({
    kind = "set", space = space, key = key, value = value, tags = tags,
    deadline = deadline_of(ttl),
    is_dead = function()
      return self.clears ~= clears or began and not cache.store:may_keep(tags, began)
    end,
  }, more)
end

--- Deletes a key there. Waits until that is known, `timeout` at most.
-- @tparam string space name of its space
-- @param key the key
-- @treturn boolean true
-- @treturn string|nil why it is not known
function _M:delete(space, key)
  local op = { kind = "delete", space = space, key = key }
  self.writes:push(op)
  return self.writes:confirmed(op)
end

--- Clears the cache there, or one space of it: as `delete`.
-- @tparam string|nil space name of the space
function _M:clear(space)
  local op = { kind = "clear", space = space }
  if not space then self.clears = self.clears + 1 end
  self.writes:push(op)
  return self.writes:confirmed(op)
end

--- Writes tags there: as `delete`.
-- @tparam table list of tags
function _M:invalidate_tags(list)
  local ops, err = {}, nil
  for i = 1, #list do
    ops[i] = { kind = "tag", tag = list[i] }
    self.writes:push(ops[i], i < #list)
  end
  for i = 1, #ops do err = select(2, self.writes:confirmed(ops[i])) or err end
  return true, err
end

--- Gives a lease back.
-- @tparam string space name of the key's space
-- @param key the key
-- @tparam string token what we had it by
function _M:give_back(space, key, token)
  self.writes:push { kind = "release", space = space, key = key, token = token }
end

--- The same for a load.
-- @tparam table record the load that it was for
function _M:release(record)
  if not record.token then return end
  self:give_back(space_name(self, record), record.key, record.token)
  record.token = false
end

--- A load has ended: its value goes to the second level, if that was asked before and if nothing
-- was written since.
-- @tparam table record the load
-- @tparam boolean keep whether memory keeps it
-- @tparam number|false ttl seconds
-- @tparam table|nil tags its tags
function _M:after_load(record, keep, ttl, tags)
  if not record.seen or not keep or not ttl then return end
  local cache, began, clears = record.cache, record.began, self.clears
  tags = tags and #tags > 0 and tags or nil
  self.writes:push {
    kind = "fill", space = space_name(self, record), key = record.key, value = record.value,
    tags = tags,
    seen = record.seen, token = record.token, deadline = deadline_of(ttl),
    is_dead = function()
      return self.clears ~= clears or tags and not cache.store:may_keep(tags, began)
    end,
  }
  record.token = false
end

-- Reading ------------------------------------------------------------------------------------

--- What was learned of a load.
-- @tparam table record the load
-- @tparam table trip see `perigee.tier.trip`
-- @tparam number i its number there
-- @treturn boolean true when that has ended it
function _M:learn(record, trip, i)
  local own_tags = trip.own_tags[i]
  record.seen, record.token = trip.seen[i], trip.tokens[i]
  if trip.refused[i] then
    warn_once(self, "remote_refused", ("an entry of the remote cache cannot be used: %s (key %s)")
      :format(trip.refused[i], tostring(record.key)))
  end
  if record.is_fresh then return false end
  local may_be_tagged = own_tags or not self.share.knows_tags
  if not trip.found[i] or may_be_tagged and self.writes:owes_tags() then
    count(self, "remote_misses")
    return false
  end
  count(self, "remote_hits")
  if record.token then self:release(record) end
  landing.land_found(record, trip.values[i], trip.lefts[i], own_tags or nil, "remote")
  return true
end

-- Whether nothing can be asked just here, which says nothing about the server.
local function is_barred(self)
  local port = context.port
  return self.share.client and port.name == "openresty" and not port.can_wait()
end

--- Asks for some loads.
-- @tparam table records the loads
-- @tparam function how `how(share, trip, single_load)` asks
-- @treturn table|nil the trip, if there is an answer
function _M:ask(records, how)
  local trip = trip_face.new()
  for _, record in ipairs(records) do
    trip_face.add(trip, space_name(self, record), record.key, record.spec and record.spec.tags,
      record.is_fresh)
  end
  local began = context.port.now()
  local called, ok, err = pcall(how, self.share, trip, self.single_load)
  if ok ~= "cancelled" and not is_barred(self) then -- else nothing was asked
    histogram.observe(self.durations, context.port.now() - began)
  end
  if called and ok then
    self.ailing = false
    return trip
  end
  for i = 1, trip.n do -- it may have been given to us, unheard
    if trip.tokens[i] then self:give_back(trip.spaces[i], trip.keys[i], trip.tokens[i]) end
  end
  if not called and ok == "cancelled" then error(ok, 0) end
  if not is_barred(self) then note_error(self, tostring(called and err or ok)) end
end

--- Whether writes of our own are on their way that some loads have to wait for: they could take up
-- what those are about to replace, and nobody would tell them.
function _M:is_behind(records)
  local writes = self.writes
  writes:settle_in_time()
  for _, record in ipairs(records) do
    if writes:is_under_way(space_name(self, record), record.key) then return true end
  end
  return false
end

-- Reads entries, lands what is found. Returns the loads that are left; if `by_lease`, those that
-- the second level has nothing for, and would take, are a list of their own.
local function read(self, records, by_lease)
  local asked, left, absent = {}, {}, {}
  if self:is_behind(records) then self.writes:flush() end
  for _, record in ipairs(records) do
    local list = self.writes:is_quiet(space_name(self, record), record.key) and asked or left
    list[#list + 1] = record
  end
  local trip = #asked > 0 and self:ask(asked, self.share.read)
  for i, record in ipairs(asked) do
    if not trip and not record.is_fresh then count(self, "remote_misses") end
    if not trip or not self:learn(record, trip, i) then
      local list = by_lease and trip and not record.is_fresh and absent or left
      list[#list + 1] = record
    end
  end
  return left, absent
end

--- Runs loads: asks the second level first, and lands what it has.
-- @tparam table records the loads
-- @tparam function|nil load `load(records)` loads some of them and lands them; nil: what is not
--   there is absent
function _M:run(records, load)
  local left, absent = read(self, records, load and self.single_load and self.share.lease)
  if not load then
    for _, record in ipairs(left) do landing.land_absent(record) end
    return
  end
  if #left > 0 then load(left) end
  if #absent > 0 then leases.lead(self, absent, load) end
end

-- One load at a time -------------------------------------------------------------------------

local function load_one(records)
  landing.call(records[1])
end

-- The work of a load that is not gathered.
local function run_one(record)
  local self = record.cache.remote
  local ok, err = pcall(self.run, self, { record }, record.loader and load_one or nil)
  if not ok then landing.fail(record, err) end
end

-- The work of a load that was, and that the second level has nothing for.
local function lead_one(record)
  local self = record.cache.remote
  local ok, err = pcall(leases.lead, self, { record }, load_one)
  if not ok then landing.fail(record, err) end
end

-- Starts the work of a load that was gathered, as if whoever asked first had started it.
local function start(record, work)
  local session = context.session
  context.session = record.session
  flight.start(record, work)
  context.session = session
end

local function go_on(record, work)
  if record.loader then start(record, work) else landing.land_absent(record) end
end

-- Whatever befalls one load of a trip, the others go on.
local function each_load(self, trip, act, what)
  local records = trip.records
  for i = 1, trip.n do
    local record = records[i]
    records[i] = false
    if record and not record.done then
      local ok, err = pcall(act, self, record, i, what)
      if not ok then landing.fail(record, err) end
    end
  end
end

local function hear_answer(self, record, i, trip)
  if self:learn(record, trip, i) then return end
  go_on(record, self.single_load and lead_one or landing.call)
end

--- What the second level said to loads that were gathered: see `perigee.remote.gathering`.
-- @tparam table trip what it said, with the loads as `records`
function _M:answered(trip)
  self.ailing = false
  each_load(self, trip, hear_answer, trip)
end

local function hear_nothing(self, record, _, why)
  if why == "cancelled" then return landing.fail(record, why) end
  count(self, "remote_misses")
  go_on(record, landing.call)
end

--- It said nothing.
-- @tparam table trip the loads, as `records`
-- @param why
function _M:unanswered(trip, why)
  if why ~= "cancelled" then note_error(self, tostring(why)) end
  each_load(self, trip, hear_nothing, why)
end

--- Starts a load of one key: it asks the second level first.
-- @tparam table record the load
function _M:start(record)
  local gathering, space = self.gathering, space_name(self, record)
  if gathering and not record.is_fresh and context.port.name ~= "none"
    and self.writes:is_quiet(space, record.key) and gathering:add(record, space) then
    return
  end
  flight.start(record, run_one)
end

-- Life ---------------------------------------------------------------------------------------

local function new_counters()
  return { remote_hits = 0, remote_misses = 0, remote_errors = 0, remote_writes = 0,
    remote_refused = 0, remote_unsaved = 0, remote_notices = 0 }
end

local function share_of(cache, backend, opts, level)
  if not redis.is(backend) then return users.new(backend), 1 end
  local fence_s = cache.load_timeout < math.huge and cache.load_timeout or 0
  return backend:share(cache.name, opts.codec or "buffer", fence_s, level + 1), backend.opts.timeout
end

--- Gives a new cache its second level.
-- @tparam perigee.cache cache the cache
-- @tparam table backend option `remote_cache`
-- @tparam table opts `codec`, `single_load`
-- @tparam number level as for `error`, counted from the caller
function _M.attach(cache, backend, opts, level)
  local share, timeout = share_of(cache, backend, opts, level + 1)
  local self = setmetatable({
    cache = cache, backend = backend, share = share,
    single_load = opts.single_load or false,
    counters = new_counters(), durations = histogram.new(), -- of reads
    ailing = false, warned = {},
    clears = 0, -- of the whole cache, by anybody
  }, mt)
  self.writes = write_behind.new(share, timeout, {
    written = function()
      self.ailing = false
      count(self, "remote_writes")
    end,
    failed = function(err) note_error(self, err) end,
    unsaved = function(key, why)
      warn_once(self, "remote_unsaved", ("the value of key %s cannot be sent to the remote cache, "
        .. "and stays in memory only: %s"):format(tostring(key), why))
    end,
  })
  self.gathering = share.gathers and gathering_face.new(self) or false
  hearing.listen(cache, share, {
    noticed = function() count(self, "remote_notices") end,
    cleared = function() self.clears = self.clears + 1 end,
    opened = function() self.writes:settle() end,
  })
  cache.remote, cache.below = self, self
  attached[self] = true
end

--- Takes in what others have changed, where no loop turns.
function _M:look()
  local client = self.share.client
  if client and (client.deaf or context.port.name == "none") then self.share:peek() end
end

--- Ends it.
function _M:close()
  self.writes:flush()
  attached[self] = nil
  if redis.is(self.backend) then
    self.backend:leave(self.cache.name)
  else
    self.share:close()
  end
end

runtime.on_turn(function()
  local wanted = math.huge
  for self in each(attached) do
    wanted = math.min(wanted, self.writes:settle_in_time() or math.huge)
  end
  return wanted < math.huge and wanted or nil
end)

-- What waits is written before the run ends, and what was cut off then is made up for.
local function flush_all()
  for _, self in ipairs(names_of(attached)) do
    self.writes:settle()
    self.writes:flush()
  end
end

runtime.on_ending(flush_all)
runtime.on_stop(flush_all)

return _M

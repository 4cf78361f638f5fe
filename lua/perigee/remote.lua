-- SPDX-License-Identifier: MIT

--- What a cache does with its second level: a miss asks it before the loader; what is found or
-- loaded goes up and down; what is written here is written there, behind the caller's back.
--
-- Reading happens inside the load of a key, so one process asks once, whoever waits. Writing goes
-- through one queue per cache, in the order of the calls, by one worker. While the second level
-- does not answer, nobody waits for it: reads are misses, and for each key the last write is kept;
-- when it answers again those keys are deleted there, so that nothing older than them comes back.
-- What others change arrives as notices, each of which is a `delete`, `clear` or tag write here.
-- @module perigee.remote

local C = require("perigee.lib").core
local context = require "perigee.context"
local events = require "perigee.events"
local flight = require "perigee.flight"
local landing = require "perigee.landing"
local latch = require "perigee.latch"
local log = require "perigee.log"
local options = require "perigee.options"
local redis = require "perigee.tier.redis"
local runtime = require "perigee.runtime"
local spaces = require "perigee.spaces"
local store_face = require "perigee.store"
local users = require "perigee.tier.users"

local handlers = events.handlers
local identity = store_face.identity

local _M = {}
local mt = { __index = _M, __name = "perigee.remote" }

local QUEUE_MAX = 10000   -- writes that wait
local KEPT_MAX = 10000    -- keys to be deleted when it answers again; more: a clear
local AT_ONCE = 200       -- writes in one trip
local LOOK_FIRST_S, LOOK_LAST_S = 0.002, 0.05 -- for another process' value

local attached = {}

--- What option `remote_cache` takes.
_M.KIND = { "a backend: perigee.redis{...}, or a table with the methods get, set, delete, clear and "
  .. "close", function(value)
  if redis.is(value) then return true end
  if type(value) ~= "table" then return false end
  for _, name in ipairs { "get", "set", "delete", "clear", "close" } do
    if not options.is_callable(value[name]) then return false end
  end
  return true
end }

local function count(self, counter, by)
  self.counters[counter] = self.counters[counter] + (by or 1)
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

local function note_success(self)
  self.ailing = false
end

-- Writing ------------------------------------------------------------------------------------

-- Keeps what could not be written, to make up for it later.
local function keep_for_later(self, op)
  if op.kind == "fill" or op.kind == "release" then return end
  local kept = self.kept
  if kept.all then return end
  if op.kind == "clear" then
    if op.space == nil then
      self.kept = { all = true, count = 0, keys = {}, tags = {}, spaces = {} }
    else
      kept.spaces[op.space] = true
    end
    return
  end
  if op.kind == "tag" then
    kept.tags[#kept.tags + 1] = op.tag
  else
    local keys = kept.keys[op.space] or {}
    kept.keys[op.space] = keys
    if not keys[op.key] then kept.count = kept.count + 1 end
    keys[op.key] = true
  end
  if kept.count + #kept.tags > KEPT_MAX then keep_for_later(self, { kind = "clear" }) end
end

local function finish(op, ok, err)
  op.done, op.ok, op.why = true, ok, err
  if op.latch then op.latch:release() end
end

local function write_some(self, ops)
  local called, ok, err = pcall(self.share.apply, self.share, ops)
  if not called then ok, err = nil, ok end
  if not ok then note_error(self, tostring(err)) else note_success(self) end
  for _, op in ipairs(ops) do
    local failed = not ok and tostring(err) or op.err
    if ok and op.err then note_error(self, op.err) end
    if failed then keep_for_later(self, op) end
    if op.unsaved then self:leave_out(op.key, op.unsaved) end
    if not failed then count(self, "remote_writes") end
    finish(op, not failed, failed)
  end
end

local function take_some(self)
  local ops, queue = {}, self.queue
  local n = math.min(AT_ONCE, #queue)
  for i = 1, n do ops[i] = queue[i] end
  local rest = {}
  for i = n + 1, #queue do rest[#rest + 1] = queue[i] end
  self.queue = rest
  return ops
end

-- The worker: writes until the queue is empty.
local function work(self)
  local ok, err = pcall(function()
    while self.queue[1] do
      self.current = take_some(self)
      write_some(self, self.current)
      self.current = false
    end
  end)
  self.working = false
  if ok then return end
  for _, op in ipairs(self.current or {}) do -- cut off with the run it was in
    if not op.done then
      keep_for_later(self, op)
      finish(op, false, tostring(err))
    end
  end
  self.current = false
end

local function queue(self, op)
  if #self.queue >= QUEUE_MAX then
    keep_for_later(self, op)
    count(self, "remote_errors")
    return finish(op, false, "too many writes wait")
  end
  self.queue[#self.queue + 1] = op
  if self.working then return end
  self.working = true
  context.port.spawn(work, self)
end

-- Waits until an operation is done, `timeout` at most: true, or true and why it is not known to be.
local function confirmed(self, op)
  if not op.done then
    op.latch = latch.new()
    local ended, why = op.latch:wait(self.timeout)
    if not ended then return true, why or "timeout" end
  end
  if op.ok then return true end
  return true, op.why
end

--- Writes an entry, behind the caller's back.
function _M:set(space, key, value, ttl, tags)
  local cache = self.cache
  local began = tags and #tags > 0 and cache.store:tag_version()
  local version = cache.version
  queue(self, {
    kind = "set", space = space, key = key, value = value, tags = tags,
    deadline = C.perigee_clock_wall_ms(runtime.clock) + ttl * 1000,
    is_dead = function()
      return cache.version ~= version or began and not cache.store:may_keep(tags, began)
    end,
  })
end

--- Deletes a key there. Waits until that is known, `timeout` at most.
-- @treturn boolean true
-- @treturn string|nil why it is not known
function _M:delete(space, key)
  local op = { kind = "delete", space = space, key = key }
  queue(self, op)
  return confirmed(self, op)
end

--- Clears the cache there, or one space of it.
function _M:clear(space)
  local op = { kind = "clear", space = space }
  queue(self, op)
  return confirmed(self, op)
end

--- Writes tags there.
function _M:invalidate_tags(list)
  local op
  for i = 1, #list do
    op = { kind = "tag", tag = list[i] }
    queue(self, op)
  end
  return confirmed(self, op)
end

--- Says once that a value cannot travel.
function _M:leave_out(key, why)
  count(self, "remote_unsaved")
  if self.warned then return end
  self.warned = true
  log.warn(("%s: the value of key %s cannot be sent to the remote cache, and stays in memory only: "
    .. "%s (this is said once; see the metric remote_unsaved)"):format(self.cache:describe(),
    tostring(key), why))
end

-- It answers again: what was written meanwhile is deleted there.
local function make_up(self)
  local kept = self.kept
  self.kept = { count = 0, keys = {}, tags = {}, spaces = {} }
  if kept.all then queue(self, { kind = "clear" }) end
  for space in next, kept.spaces do queue(self, { kind = "clear", space = space }) end
  for _, tag in ipairs(kept.tags) do queue(self, { kind = "tag", tag = tag }) end
  for space, keys in next, kept.keys do
    for key in next, keys do queue(self, { kind = "delete", space = space, key = key }) end
  end
end

local function has_kept(self)
  local kept = self.kept
  return kept.all or kept.count > 0 or #kept.tags > 0 or next(kept.spaces) ~= nil
end

-- Reading ------------------------------------------------------------------------------------

local function space_name(self, record)
  return record.cache.space == 0 and "" or spaces.name_of(self.cache, record.cache.space) or ""
end

-- Reads the entries of some loads. Each record gets `seen` if the second level answered.
local function read(self, records)
  local items = {}
  for i, record in ipairs(records) do
    items[i] = { space = space_name(self, record), key = record.key,
      tags = record.spec and record.spec.tags or nil }
  end
  local called, ok, err = pcall(self.share.read, self.share, items)
  if not called and ok == "cancelled" then error(ok, 0) end
  if not called then ok, err = nil, ok end
  if not ok then
    note_error(self, tostring(err))
    return nil
  end
  note_success(self)
  for i, record in ipairs(records) do
    record.item, record.seen = items[i], items[i].seen
    if items[i].refused then
      count(self, "remote_refused")
      if not self.refused then
        self.refused = true
        log.warn(("%s: an entry of the remote cache cannot be used: %s (key %s; this is said once; "
          .. "see the metric remote_refused)"):format(self.cache:describe(), items[i].refused,
          tostring(record.key)))
      end
    end
  end
  return items
end

-- Lands a load with what was found; false if there is nothing to land it with.
local function land_found(self, record, item)
  local entry = item.entry
  if not entry then return false end
  local left = (entry.deadline - C.perigee_clock_wall_ms(runtime.clock)) / 1000
  if left <= 0 then return false end
  count(self, "remote_hits")
  landing.land_found(record, entry.value, left, entry.tags)
  return true
end

-- Waits for the value of whoever has the lease, or takes the lease: true when the load has landed.
local function land_led(self, record)
  local seconds, port = self.single_load, context.port
  local ends, pause = port.now() + seconds, LOOK_FIRST_S
  while true do
    local token, err = self.share:lease(record.item, seconds)
    if token == nil then note_error(self, tostring(err)) end
    if token then record.token = token end
    if token ~= false then
      if ends - port.now() < seconds then -- it has waited: there may be a value by now
        local items = read(self, { record })
        if items and land_found(self, record, items[1]) then
          if token then self:release(record) end
          return true
        end
      end
      return false
    end
    local ticket = port.can_wait()
    if not ticket or port.now() >= ends then return false end
    port.park(ticket, pause)
    pause = math.min(pause * 1.5, LOOK_LAST_S)
    local items = read(self, { record })
    if not items then return false end
    if land_found(self, record, items[1]) then return true end
  end
end

--- Gives a lease back.
function _M:release(record)
  queue(self, { kind = "release", space = record.item.space, key = record.key,
    token = record.token })
  record.token = false
end

local function loaded(record, ...)
  landing.land(record, context.port.now(), ...)
end

local function run(self, record)
  local items = read(self, { record })
  if items and not record.is_fresh and land_found(self, record, items[1]) then return end
  if not record.is_fresh then count(self, "remote_misses") end
  if not record.loader then return landing.land_absent(record) end
  if items and self.single_load and not record.is_fresh and self.share.lease
    and land_led(self, record) then
    return
  end
  record.since = context.port.now()
  loaded(record, pcall(record.loader, record.key))
end

--- Runs a load: asks the second level first, then the loader.
-- @tparam table record the load
function _M:run(record)
  local ok, err = pcall(run, self, record)
  if not ok then loaded(record, false, err) end
end

--- The second level's answers for a batch; what it has is landed.
-- @tparam table records the loads
-- @treturn table those that are left
function _M:run_batch(records)
  local fresh = true
  for _, record in ipairs(records) do fresh = fresh and record.is_fresh end
  local items = read(self, records)
  if not items then return records end
  local left = {}
  for i, record in ipairs(records) do
    if record.is_fresh or not land_found(self, record, items[i]) then
      left[#left + 1] = record
      if not record.is_fresh then count(self, "remote_misses") end
    end
  end
  return left
end

--- A load has ended: its value goes to the second level, if that was asked before and if nothing
-- was written since.
-- @tparam table record the load
-- @tparam boolean keep whether memory keeps it
-- @tparam number|false ttl seconds
-- @tparam table|nil tags its tags
function _M:after_load(record, keep, ttl, tags)
  local token = record.token
  if record.seen and keep and ttl then
    local cache, began, version = record.cache, record.began, record.cache.version
    queue(self, {
      kind = "fill", space = record.item.space, key = record.key, value = record.value,
      tags = tags, seen = record.seen, token = token,
      deadline = C.perigee_clock_wall_ms(runtime.clock) + ttl * 1000,
      is_dead = function()
        return cache.version ~= version or tags and not cache.store:may_keep(tags, began)
      end,
    })
    record.token = false
  elseif token then
    self:release(record)
  end
end

-- Hearing ------------------------------------------------------------------------------------

-- The cache, or the part of it, whose space has a name.
local function owner_of(self, space)
  local cache = self.cache
  if space == "" then return cache end
  for part in next, cache.parts do
    if part.kept_as == space then return part end
  end
end

-- Forgets a key that somebody else has changed.
local function forget(self, space, key)
  local owner = owner_of(self, space)
  if not owner then return end
  local s, n = identity(key)
  if owner.loading > 0 then flight.fence(owner.number, s, n) end
  self.cache.store:delete(key, owner.space)
  if self.cache.store.queued > 0 then self.cache.store:tell() end
  count(self, "remote_notices")
end

-- Forgets everything, but not the numbers.
local function forget_all(self)
  local cache = self.cache
  cache.version = cache.version + 1
  for part in next, cache.parts do part.version = part.version + 1 end
  cache.store:clear()
  if cache.store.queued > 0 then cache.store:tell() end
  count(self, "remote_notices")
end

local function listen(self)
  local share, cache = self.share, self.cache
  function share.on_key(space, key) forget(self, space, key) end
  function share.on_long_key() forget_all(self) end
  function share.on_clear() forget_all(self) end
  function share.on_space(space)
    local part = owner_of(self, space)
    if part and part ~= cache then part:forget_all() end
  end
  function share.on_tag(parts)
    cache.tagged = true
    cache.store:write_tag(parts)
    count(self, "remote_notices")
  end
  function share.on_lost()
    self.was_lost = true
    forget_all(self)
  end
  function share.on_open()
    -- What was loaded while nobody could say what had changed may be old.
    if self.was_lost then forget_all(self) end
    self.was_lost = false
    if has_kept(self) then make_up(self) end
  end
end

-- Life ---------------------------------------------------------------------------------------

--- Gives a new cache its second level.
-- @tparam perigee.cache cache the cache
-- @tparam table backend option `remote_cache`
-- @tparam table opts `codec`, `single_load`
-- @tparam number level as for `error`, counted from the caller
function _M.attach(cache, backend, opts, level)
  local is_redis = redis.is(backend)
  local fence_s = cache.load_timeout < math.huge and cache.load_timeout or 0
  local self = setmetatable({
    cache = cache,
    backend = backend,
    share = is_redis and backend:share(cache.name, opts.codec or "buffer", fence_s, level + 1)
      or users.new(backend),
    timeout = is_redis and backend.opts.timeout or 1,
    single_load = opts.single_load or false,
    counters = { remote_hits = 0, remote_misses = 0, remote_errors = 0, remote_writes = 0,
      remote_refused = 0, remote_unsaved = 0, remote_notices = 0 },
    queue = {}, working = false, current = false,
    kept = { count = 0, keys = {}, tags = {}, spaces = {} },
    ailing = false, warned = false, refused = false, was_lost = false,
  }, mt)
  cache.remote = self
  attached[self] = true
  listen(self)
end

--- Takes in what others have changed, where no loop turns.
function _M:look()
  if context.port.name == "none" and self.share.client then self.share.client:peek() end
end

--- Waits until what was written is written, `timeout` at most.
function _M:flush()
  local last = self.queue[#self.queue] or self.current and self.current[#self.current]
  if last and not last.done then confirmed(self, last) end
end

--- Ends it.
function _M:close()
  self:flush()
  attached[self] = nil
  if redis.is(self.backend) then
    self.backend:leave(self.cache.name)
  else
    self.share:close()
  end
end

runtime.on_stop(function()
  local list = {}
  for self in next, attached do list[#list + 1] = self end
  for _, self in ipairs(list) do self:flush() end
end)

return _M

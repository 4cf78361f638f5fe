-- SPDX-License-Identifier: MIT

--- What a cache does with its backup: load when it is made; save what has changed when asked, from
-- time to time, and at the end.
--
-- Saving walks over the entries that changed and hands them to the tier in the order in which
-- things happened to each key; it is a snapshot of each entry, not of the cache. Loading takes in
-- what is not there, unless it was written or forgotten since the loading began. Both work for at
-- most a millisecond per turn of the loop. One of them runs at a time, as internal work that no
-- caller's cancellation ends half-way.
-- @module perigee.backup

local C = require("perigee.lib").core
local atomic = require "perigee.atomic"
local changes_face = require "perigee.backup.changes"
local context = require "perigee.context"
local each = require("perigee.value.names").each
local landing = require "perigee.load.landing"
local latch = require "perigee.runtime.latch"
local listed = require "perigee.tier.listed"
local log = require "perigee.log"
local names_of = require("perigee.value.names").of
local options = require "perigee.options"
local runtime = require "perigee.runtime"
local spaces = require "perigee.store.spaces"
local store_face = require "perigee.store"
local disk = require "perigee.tier.disk"

local _M = {}
local mt = { __index = _M, __name = "perigee.backup" }

local WORK_S = 0.001 -- of one turn
local LOOK_EVERY = 8 -- entries between two looks at the time
local STEP = 1024
local MANY_LEFT = 65536 -- keys that left: then a save is due

local attached = {} -- every open cache that has a backup, by its `perigee.backup`

--- What option `backup` takes.
_M.KIND = { "a backend: perigee.disk(...), or a table with the methods load, save and clear",
  function(value)
    if disk.is(value) then return true end
    return type(value) == "table" and options.is_callable(value.load)
      and options.is_callable(value.save) and options.is_callable(value.clear)
  end }

-- Working in slices -----------------------------------------------------------------------

-- A function to call after each entry: lets the loop turn when it is time.
local function breather()
  local port = context.port
  local ends, count = C.perigee_clock_machine() + WORK_S, 0
  if port.name == "none" then return function() end end
  return function()
    count = count + 1
    if count % LOOK_EVERY ~= 0 or C.perigee_clock_machine() < ends then return end
    local ticket = port.can_wait()
    if ticket then port.park(ticket, 0) end
    ends = C.perigee_clock_machine() + WORK_S
  end
end

local claim = atomic(function(self, job)
  if self.working then return false end
  self.working = job.latch
  return true
end)

-- Runs `work(self, job)` when no other work of this backup runs; returns the job when it is done:
-- its `count`, or its `err`.
local function exclusively(self, work)
  local job = { count = 0, latch = latch.new() }
  while not claim(self, job) do
    local working, ended, why = self.working, true, nil
    if working then ended, why = working:wait(math.huge) end
    if not ended then return { err = "the backup is busy, and " .. why } end
  end
  context.port.spawn(function()
    local ok, err = pcall(work, self, job)
    if not ok then job.err = tostring(err) end
    self.working = false
    job.latch:release()
  end)
  local ended, why = job.latch:wait(math.huge)
  if not ended then job.err = why end
  return job
end

-- Loading ---------------------------------------------------------------------------------

-- Why an entry that a tier holds is not taken in, or nil.
local function why_not(self, number, key, tags, left)
  local cache, changes = self.cache, self.changes
  if left <= 0 then return "expired" end
  if changes:is_outdated(number, key) then return "outdated" end
  if tags and not cache.store:may_keep(tags, self.began) then return "outdated" end
  local s, n = store_face.identity(key)
  if C.perigee_store_find(cache.store.handle, number, s, n) >= 0 then return "present" end
end

-- Puts an entry in as it was, and says that the backup has it, if it is known to.
local function put_back(self, number, key, entry, left, weight)
  local store = self.cache.store
  local s, n = store_face.identity(key)
  if entry.tags then self.cache.tagged = true end
  store:put_entry(number, key, entry.value, left, weight, entry.tags, false)
  local was_busy = store.busy
  store.busy = true
  local slot = C.perigee_store_find(store.handle, number, s, n)
  if slot >= 0 then
    C.perigee_store_set_ttl(store.handle, slot, left)
    if self.is_clean then C.perigee_store_set_saved(store.handle, slot, 1) end
  end
  store.busy = was_busy
  return slot >= 0
end

-- Takes an entry in; what there is no room for, and what has expired, goes from the backup.
local function take_in(self, job, space, key, entry)
  local number = spaces.number_of(self.cache, space)
  -- Rounded: milliseconds since 1970 leave a double few bits for their parts.
  local left = math.floor(entry.deadline - C.perigee_clock_wall_ms(runtime.clock) + 0.5)
  local why = why_not(self, number, key, entry.tags, left)
  if not why then
    local weight = landing.weight_of(self.cache, key, entry.value)
    if C.perigee_store_has_room(self.cache.store.handle, weight) == 0 then
      why = "expired"
    elseif put_back(self, number, key, entry, left, weight) then
      job.count = job.count + 1
    end
  end
  if why == "expired" then self.changes:left(key, number) end
end

-- Notes an entry that cannot be used, for one line per reason.
local function refuse(self, refused, key, why)
  self.counters.backup_refused = self.counters.backup_refused + 1
  local seen = refused[why]
  if not seen then refused[why] = { count = 1, key = key } else seen.count = seen.count + 1 end
end

local function report_refused(self, refused)
  for why, seen in each(refused) do
    log.warn(("%s: %d entr%s of the backup cannot be used: %s (one is %q)"):format(
      self.cache:describe(), seen.count, seen.count == 1 and "y" or "ies", why, seen.key))
  end
end

local function load_entries(self, job)
  local clears, refused, breathe = self.changes.clears, {}, breather()
  local ok, err = self.share:read(function(row)
    if self.changes.clears ~= clears then return false end
    local space, key, entry = self.share:open(row)
    local taken, why = space ~= nil, key
    if space then taken, why = pcall(take_in, self, job, space, key, entry) end
    if not taken then refuse(self, refused, self.share:describe(row), tostring(why)) end
    breathe()
  end)
  report_refused(self, refused)
  if not ok then error(err, 0) end
end

local function load_work(self, job)
  local changes, store = self.changes, self.cache.store
  self.is_clean = not changes:pending()
  self.began = store:tag_version()
  changes:begin_reading()
  local refused = self.counters.backup_refused
  local ok, err = pcall(load_entries, self, job)
  changes:end_reading()
  if ok and self.counters.backup_refused == refused then changes:know_all() end
  self.counters.backup_loaded = self.counters.backup_loaded + job.count
  if not ok then error(err, 0) end
end

-- Saving ----------------------------------------------------------------------------------

-- Gives up what is expired or dead: it is not to be saved, and must go from the backup.
local function reclaim(self, breathe)
  local store = self.cache.store
  while C.perigee_store_due_ms(store.handle) <= C.perigee_clock_now(runtime.clock) do
    C.perigee_store_step(store.handle, STEP)
    store:drain()
    for _ = 1, LOOK_EVERY do breathe() end
  end
end

local function must(ok, err)
  if not ok then error(err, 0) end
end

-- What left, in front of whatever has come in its place. Kept in `gone` until all is written.
local function save_gone(self, gone)
  local changes = self.changes
  if not changes.cleared and changes.count == 0 then return end
  local cleared, keys, numbers, count = changes:take()
  gone[#gone + 1] = { cleared = cleared, keys = keys, spaces = numbers, count = count }
  if cleared then must(self.share:clear()) end
  for i = 1, count do
    local space = spaces.name_of(self.cache, numbers[i])
    if space then must(self.share:delete(space, keys[i])) end
  end
end

-- What cannot be carried stays in memory only.
local function leave_out(self, slot, space, key, why)
  local counters = self.counters
  counters.backup_unsaved = counters.backup_unsaved + 1
  C.perigee_store_set_saved(self.cache.store.handle, slot, 0)
  must(self.share:delete(space, key))
  if self.warned then return end
  self.warned = true
  log.warn(("%s: the value of key %s cannot be saved, and stays in memory only: %s (this is said "
    .. "once; see the metric backup_unsaved)"):format(self.cache:describe(), tostring(key), why))
end

local function save_entry(self, slot, key, value, number, left, tags)
  local space = spaces.name_of(self.cache, number)
  if not space then return end
  local deadline = C.perigee_clock_wall_ms(runtime.clock) + left
  local ok, why, is_value = self.share:put(space, key, value, deadline, tags)
  if not ok and is_value then return leave_out(self, slot, space, key, why) end
  must(ok, why)
end

local function save_entries(self, gone)
  local breathe, slot = breather(), -1
  local key, value, number, left, tags
  reclaim(self, breathe)
  save_gone(self, gone)
  if self.share.is_list then C.perigee_store_resave(self.cache.store.handle) end
  repeat
    slot, key, value, number, left, tags = self.changes:next(slot)
    if slot >= 0 then
      save_gone(self, gone)
      save_entry(self, slot, key, value, number, left, tags)
      breathe()
      must(self.share:relieve())
    end
  until slot < 0
  save_gone(self, gone)
  must(self.share:commit())
end

-- Nothing is known to be in the backup as it is here: the next save saves all.
local function take_back(self, gone)
  self.share:rollback()
  C.perigee_store_resave(self.cache.store.handle)
  for _, batch in ipairs(gone) do
    self.changes.cleared = self.changes.cleared or batch.cleared
    for i = 1, batch.count do self.changes:left(batch.keys[i], batch.spaces[i]) end
  end
end

local function save_work(self, job)
  local gone = {}
  self.gone = gone
  local ok, err = pcall(save_entries, self, gone)
  self.gone = false
  if ok then
    self.counters.backup_saves = self.counters.backup_saves + 1
    job.count = C.perigee_store_saved(self.cache.store.handle)
    return
  end
  self.counters.backup_errors = self.counters.backup_errors + 1
  take_back(self, gone)
  error(err, 0)
end

-- For those who have no caller to tell.
local function save_behind(self)
  if not self.changes:pending() then return end
  local job = exclusively(self, save_work)
  if job.err then log.error(("%s: not saved: %s"):format(self.cache:describe(), job.err)) end
end

--- Saves what has changed.
-- @treturn number|nil how many entries the backup holds now
-- @treturn string|nil why it could not be saved
function _M:save()
  local job = exclusively(self, save_work)
  if job.err then return nil, job.err end
  return job.count
end

--- Loads what is not there.
-- @treturn number|nil how many entries came in
-- @treturn string|nil why it could not be loaded
function _M:load()
  local job = exclusively(self, load_work)
  if job.err then return nil, job.err end
  return job.count
end

-- When to -----------------------------------------------------------------------------------

-- Seconds until a save is due; 0: it is.
local function due_in(self, now)
  if self.changes.count > MANY_LEFT then return 0 end
  if not self.autosave then return math.huge end
  self.due = math.min(self.due, now + self.autosave)
  return math.max(0, self.due - now)
end

local function save_if_due(self, now)
  local left = due_in(self, now)
  if left > 0 or self.working then return left end
  if self.autosave then self.due = now + self.autosave end
  context.port.spawn(save_behind, self)
  return self.autosave or math.huge
end

--- An entry was stored. Plain code has no turns: it saves here, when that is due.
function _M:wrote()
  local port = context.port
  if port.name == "none" and (self.autosave or self.changes.count > MANY_LEFT) then
    save_if_due(self, port.now())
  end
end

runtime.on_turn(function()
  local wanted, now = math.huge, nil
  for self in each(attached) do
    now = now or context.port.now()
    wanted = math.min(wanted, save_if_due(self, now))
  end
  return wanted < math.huge and wanted or nil
end)

local function save_all()
  for _, self in ipairs(names_of(attached)) do save_behind(self) end
end

runtime.on_stop(save_all)

-- The state closes, and finalizers run in any order: whichever comes first saves everything.
local function save_at_close()
  local last = attached
  attached = {}
  context.port = context.port.at_close or context.port
  for self in each(last) do
    if self.working then -- it will not go on
      self.working = false
      take_back(self, self.gone or {})
    end
    pcall(save_behind, self)
  end
end

--- Gives a new cache its backup, and begins loading.
-- @tparam perigee.cache cache the cache
-- @tparam table backend option `backup`
-- @tparam string|table codec option `codec`
-- @tparam number level as for `error`, counted from the caller
function _M.attach(cache, backend, codec, level)
  local is_disk = disk.is(backend)
  local share = is_disk and backend:share(cache.name, codec, level + 1) or listed.new(backend)
  local self = setmetatable({
    cache = cache,
    share = share,
    changes = changes_face.watch(cache.store),
    counters = { backup_saves = 0, backup_errors = 0, backup_loaded = 0, backup_refused = 0,
      backup_unsaved = 0 },
    autosave = backend.autosave or false,
    due = math.huge,
    working = false, -- the latch of what runs
    beginning = false, -- the latch of the first load, while it runs
    gone = false,    -- while it is a save: what left and is not written yet
    warned = false,
    is_clean = false,
    began = 0,
  }, mt)
  cache.backup = self
  attached[self] = true
  cache.store.before_close = save_at_close
  if is_disk then backend.before_close = save_at_close end
  if backend.load ~= false then self:begin() end
end

-- The first load has ended, or was cut off with the run in which it began: then whoever needs it
-- begins it again.
local function end_first_load(self, ok, err)
  local began = self.beginning
  self.beginning = false
  if not ok and err == "cancelled" then return began:release() end
  self.cache.restoring = false
  if not ok then
    self.counters.backup_errors = self.counters.backup_errors + 1
    log.error(("%s: not loaded: %s"):format(self.cache:describe(), err))
  end
  began:release()
end

--- Begins loading; until it has ended, those who find nothing wait for it.
function _M:begin()
  self.beginning, self.cache.restoring = latch.new(), self
  context.port.spawn(function()
    local ok, count, err = pcall(self.load, self)
    end_first_load(self, ok and count ~= nil, err or count)
  end)
end

--- Waits for the first load.
-- @tparam number timeout seconds
function _M:settle(timeout)
  if not self.beginning then self:begin() end
  if self.beginning then self.beginning:wait(timeout) end
end

--- Ends it: saves what has changed.
function _M:close()
  if self.beginning then self.beginning:wait(math.huge) end
  save_behind(self)
  attached[self] = nil
  self.share:close()
end

-- Methods of a cache -----------------------------------------------------------------------

--- Saves what has changed to the backup. Without one there is nothing to do.
-- @tparam perigee.cache cache the cache
-- @treturn number|nil how many entries the backup holds now
-- @treturn string|nil why it could not be saved
function _M.save_to_backup(cache)
  if not cache.backup then return 0 end
  return cache.backup:save()
end

--- Loads from the backup what is not here. Without one there is nothing to do.
-- @tparam perigee.cache cache the cache
-- @treturn number|nil how many entries came in
-- @treturn string|nil why it could not be loaded
function _M.load_from_backup(cache)
  if not cache.backup then return 0 end
  return cache.backup:load()
end

return _M

-- SPDX-License-Identifier: MIT

--- One load among the workers of one nginx: who misses takes the key's lease (`perigee.tier.board`)
-- and loads; the others look every millisecond or two, one of them in each worker, until there is a
-- value or an error. A lease is made to last while its load runs; that of a worker that died ends
-- by itself.
-- @module perigee.sharing.leases

local C = require("perigee.lib").core
local context = require "perigee.context"
local flight = require "perigee.load.flight"
local landing = require "perigee.load.landing"
local ngx = require "perigee.runtime.nginx"

local _M = {}

local LEASE_S, RENEW_S = 5, 1
local LOOK_FIRST_S, LOOK_LAST_S = 0.001, 0.002
local PATIENCE_S, PATIENCE_INSIDE_S = 60, 5 -- for another worker's load; inside a load of ours

--- The name of the space that the keys of a cache, or a part of one, are in.
-- @tparam table cache
-- @treturn string
function _M.space_of(cache)
  return cache.kept_as or ""
end

local space_of = _M.space_of

--- Gives the lease of a load back, and tells who waits for it what the dictionary does not: why the
-- load failed, or a value that is not kept.
-- @tparam table self the level: see `perigee.sharing`
-- @tparam table record the load
function _M.give_back(self, record)
  local token = record.lease
  record.lease = false
  if not record.filled and not record.found and not landing.is_forbidden(record) then
    pcall(self.tier.tell, self.tier, record, token) -- an error may not want to be text
  end
  self.board:give(record.hash, token, record.number)
end

--- Makes the leases of loads last that have run for a while.
function _M.renew()
  local now = context.port.now()
  flight.each(function(record)
    if record.lease and now - record.since > RENEW_S then
      record.cache.shared.board:renew(record.hash, record.lease, LEASE_S, record.number)
    end
  end)
end

local tokens, tokens_of = 0, false

-- A number that no other load of any worker has.
local function new_token()
  local pid = ngx.worker.pid()
  if tokens_of ~= pid then
    tokens, tokens_of = C.perigee_core_random() * 2 ^ 20, pid
  end
  tokens = tokens + 1
  return tokens
end

-- What a fill will compare.
local function begin(self, record)
  local space, key = space_of(record.cache), record.key
  record.name, record.hash = self:name_of(record.cache, key), self:hash(space, key)
  record.fence = self.board:fence(record.hash)
  record.wide = self.board:fence(self.wide)
  record.stamp, record.filled = self.tier:stamp(space), false
  -- A lease is that of loads which began after the same writes: of the key, of all, of known tags.
  local tags = record.spec and record.spec.tags
  record.number = record.fence + (tags and self.tier:stamp(space, tags) or record.stamp)
end

-- Lands what another worker has by now.
local function learn(self, record)
  local left, value, tags = self.tier:get(record.name, space_of(record.cache))
  if not left then return false end
  self.counters.shared_hits = self.counters.shared_hits + 1
  landing.land_found(record, value, left / 1000, tags, "shared")
  return true
end

-- Tries to become the worker that loads. Returns whether this one is to, and whose lease it is.
local function take_lease(self, record)
  if record.is_fresh then return true end
  local token = new_token()
  local taken, holder = self.board:take(record.hash, token, LEASE_S, record.number)
  if not taken then return false, holder end
  record.lease = token
  if self:has_just_looked(record) then return true end
  return not learn(self, record) -- it may have come just before
end

-- Whether a load is over, by the doing of the worker that had the lease.
local function has_ended(self, record, holder)
  if record.done or not holder then return record.done end
  if learn(self, record) then return true end
  local told, ok, value, err = self.tier:hear(record.name, holder, self.board:fence(record.hash),
    self.board:fence(self.wide))
  if told then landing.land_told(record, ok, value, err) end
  return told
end

-- Splits loads into those that are to run here and those that others have; `holders` are theirs.
local function take_leases(self, records, holders)
  local ours, others = {}, {}
  for _, record in ipairs(records) do
    if not has_ended(self, record, holders[record]) then
      local taken, holder = take_lease(self, record)
      holders[record] = holder
      if taken then ours[#ours + 1] = record end
      if holder then others[#others + 1] = record end
    end
  end
  return ours, others
end

-- Waits a moment; false: nothing can wait here, or it has lasted too long.
local function pause(seconds, ends)
  local port = context.port
  local ticket = port.can_wait()
  if not ticket or port.now() >= ends then return false end
  port.park(ticket, seconds)
  return true
end

local function go_down(self, records, load)
  if #records == 0 then return end
  if self.next then return self.next:run(records, load) end
  load(records)
end

--- Runs loads that memory and the dictionary have nothing for: those whose lease we get go on to
-- the levels below and to `load`, the others are waited for.
-- @tparam table self the level
-- @tparam table records the loads
-- @tparam function|nil load `load(records)` loads some of them and lands them; nil: only lower
--   levels are asked
function _M.run(self, records, load)
  for _, record in ipairs(records) do begin(self, record) end
  if not load then
    if self.next then return self.next:run(records) end
    for _, record in ipairs(records) do landing.land_absent(record) end
    return
  end
  local holders, seconds = {}, LOOK_FIRST_S
  local ends = context.port.now() + (records[1].outer ~= 0 and PATIENCE_INSIDE_S or PATIENCE_S)
  while #records > 0 do
    local ours, others = take_leases(self, records, holders)
    go_down(self, ours, load)
    if #others > 0 and not pause(seconds, ends) then return go_down(self, others, load) end
    seconds, records = LOOK_LAST_S, others
  end
end

local function load_one(records)
  landing.call(records[1])
end

local function run_one(record)
  local self = record.cache.below
  local ok, err = pcall(_M.run, self, { record }, record.loader and load_one or nil)
  if not ok then landing.fail(record, err) end
end

-- What comes before a load and what comes after it need more constants than one trace may have, if
-- the loader does not wait. LuaJIT ends a trace where it calls what it cannot compile, and goes on
-- with another one behind: measured, a load is a fifth faster so.
local end_trace = coroutine.running

-- The usual load: of one key, whose lease is free, with nothing below.
local function run_alone(record)
  local self = record.cache.below
  begin(self, record)
  local taken, holder = take_lease(self, record)
  if taken then
    end_trace()
    return landing.call(record)
  end
  if holder then run_one(record) end
end

--- Starts a load of one key.
-- @tparam table self the level
-- @tparam table record the load
function _M.start(self, record)
  flight.start(record, (self.next or not record.loader) and run_one or run_alone)
end

return _M

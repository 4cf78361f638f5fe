-- SPDX-License-Identifier: MIT

--- A remote backend of the user's as a second level: it sees keys and Lua values, and needs to know
-- nothing of versions and fences. So its entries are as good as its own order of things; tags that
-- it does not know are forgotten key by key, or all at once.
-- @module perigee.tier.users

local C = require("perigee.lib").core
local clock = require "perigee.runtime.clock"
local listed = require "perigee.tier.listed"
local tags_face = require "perigee.tags"
local trip_face = require "perigee.tier.trip"

local _M = {}
local mt = { __index = _M, __name = "perigee.tier.users" }

local NO_NUMBER = "its ttl_left is no number"
local TAGGED_MAX = 10000 -- keys whose tags are remembered

--- A share of a backend.
-- @tparam table backend see `perigee.contract.remote`
-- @treturn table the share, with the methods that `perigee.tier.redis` describes
function _M.new(backend)
  local self = setmetatable({
    backend = backend, tagged = {}, tagged_count = 0,
    complete = true, -- whether `tagged` has all keys that were written under a tag
  }, mt)
  if backend.subscribe then
    backend:subscribe(function(key)
      if key == nil then return self.on_clear() end
      local space, own = listed.read_key(key)
      if space then self.on_key(space, own) end
    end)
  end
  return self
end

local function learn(trip, i, found, value, left)
  trip_face.forget(trip, i)
  if found and left ~= nil and type(left) ~= "number" then return nil, NO_NUMBER end
  found = found and not trip.fresh[i] and not (left and not (left > 0))
  trip.found[i], trip.seen[i] = found or false, not found and {}
  if not found then return true end
  trip.values[i], trip.lefts[i] = listed.read_value(value), left or math.huge
  trip.own_tags[i] = trip.tags[i]
  return true
end

local function read_one(self, trip, i)
  local key = listed.key_of(trip.spaces[i], trip.keys[i])
  local found, value, left = self.backend:get(key, { tags = trip.tags[i] or nil })
  if found == nil and value ~= nil then return nil, value end
  return learn(trip, i, found, value, left)
end

local function read_many(self, trip)
  local keys = {}
  for i = 1, trip.n do keys[i] = listed.key_of(trip.spaces[i], trip.keys[i]) end
  local found, values, lefts = self.backend:get_many(keys)
  if not found then return nil, values end
  for i, key in ipairs(keys) do
    local ok, why = learn(trip, i, found[key], values[key], lefts and lefts[key])
    if not ok then return nil, why end
  end
  return true
end

--- Reads a trip's entries: see `perigee.tier.trip`.
function _M:read(trip)
  if trip.n > 1 and self.backend.get_many then return read_many(self, trip) end
  for i = 1, trip.n do
    local ok, why = read_one(self, trip, i)
    if not ok then return nil, why end
  end
  return true
end

-- Tags --------------------------------------------------------------------------------------

local function forget(self, key)
  if not self.tagged[key] then return end
  self.tagged[key] = nil
  self.tagged_count = self.tagged_count - 1
end

local function remember(self, key, tags)
  if not tags or #tags == 0 then return forget(self, key) end
  if self.tagged_count >= TAGGED_MAX then
    self.complete = false
    return
  end
  if not self.tagged[key] then self.tagged_count = self.tagged_count + 1 end
  self.tagged[key] = tags
end

local function result_of(ok, err)
  if ok == nil and err ~= nil then return tostring(err) end
end

local function is_under(tag, tags)
  for _, own in ipairs(tags) do
    if tags_face.conflict(tag, own) then return true end
  end
  return false
end

local function keys_under(self, tag)
  local list = {}
  local key, tags = next(self.tagged)
  while key ~= nil do
    if is_under(tag, tags) then list[#list + 1] = key end
    key, tags = next(self.tagged, key)
  end
  return list
end

-- Deletes what this process wrote under the tag; others may have written more: then all goes.
local function write_tag(self, tag)
  local err
  if not self.complete or self.backend.subscribe then
    err = result_of(self.backend:clear())
    if not err then self.tagged, self.tagged_count, self.complete = {}, 0, true end
    return err
  end
  for _, key in ipairs(keys_under(self, tag)) do -- a list: the backend may wait
    err = result_of(self.backend:delete(key)) or err
  end
  return err
end

-- Writing -----------------------------------------------------------------------------------

-- What a write is by now: one that is dead deletes, or does nothing.
local function kind_of(op)
  local is_over = op.is_dead and op.is_dead()
    or op.deadline and op.deadline <= C.perigee_clock_wall_ms(clock)
  if is_over then return op.kind == "set" and "delete" or "none" end
  return op.kind == "fill" and "set" or op.kind
end

local function entry_of(op)
  -- Rounded: milliseconds since 1970 leave a double few bits for their parts.
  local left_ms = math.floor(op.deadline - C.perigee_clock_wall_ms(clock) + 0.5)
  local left = math.max(left_ms, 1) / 1000
  return { key = op.listed, value = listed.value_of(op.value),
    ttl = left < math.huge and left or nil, meta = { tags = op.tags } }
end

local APPLY = {
  set = function(self, op)
    local entry = entry_of(op)
    remember(self, op.listed, op.tags)
    return result_of(self.backend:set(entry.key, entry.value, entry.ttl, entry.meta))
  end,
  delete = function(self, op)
    forget(self, op.listed)
    return result_of(self.backend:delete(op.listed))
  end,
  clear = function(self) return result_of(self.backend:clear()) end,
  tag = function(self, op) return write_tag(self, op.tag) end,
  release = function() end,
  none = function() end,
}

-- Many at once, where the backend has a method for that.
local MANY = {
  set = function(self, ops)
    local entries = {}
    for i, op in ipairs(ops) do
      remember(self, op.listed, op.tags)
      entries[i] = entry_of(op)
    end
    return result_of(self.backend:set_many(entries))
  end,
  delete = function(self, ops)
    local keys = {}
    for i, op in ipairs(ops) do
      keys[i] = op.listed
      forget(self, op.listed)
    end
    return result_of(self.backend:delete_many(keys))
  end,
}

local function apply_run(self, kind, ops)
  local called, err
  if #ops > 1 then
    called, err = pcall(MANY[kind], self, ops)
  else
    called, err = pcall(APPLY[kind], self, ops[1])
  end
  if not called and err == "cancelled" then error(err, 0) end
  for _, op in ipairs(ops) do
    if not called or err then op.err = tostring(err) end
  end
end

-- Whether the next write may go together with those before it.
local function goes_along(self, kind, op)
  return (kind == "set" or kind == "delete") and self.backend[kind .. "_many"] ~= nil
    and kind_of(op) == kind
end

function _M:apply(ops)
  local i = 1
  while i <= #ops do
    local kind, run = kind_of(ops[i]), {}
    repeat
      local op = ops[i]
      if op.key ~= nil then op.listed = listed.key_of(op.space, op.key) end
      run[#run + 1] = op
      i = i + 1
    until i > #ops or not goes_along(self, kind, ops[i])
    apply_run(self, kind, run)
  end
  return true
end

function _M:close()
  self.backend:close()
end

return _M

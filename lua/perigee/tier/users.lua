-- SPDX-License-Identifier: MIT

--- A remote backend of the user's as a second level: it sees keys and Lua values, and needs to know
-- nothing of versions and fences. So its entries are as good as its own order of things; tags that
-- it does not know are forgotten key by key, or all at once.
-- @module perigee.tier.users

local C = require("perigee.lib").core
local clock = require "perigee.runtime.clock"
local listed = require "perigee.tier.listed"

local _M = {}
local mt = { __index = _M, __name = "perigee.tier.users" }

local TAGGED_MAX = 10000 -- keys whose tags are remembered

--- A share of a backend.
-- @tparam table backend with the methods `get`, `set`, `delete`, `clear`, `close`
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

local function read_one(self, item)
  local key = listed.key_of(item.space, item.key)
  local found, value, left = self.backend:get(key, { tags = item.tags })
  if found == nil then return nil, value end
  item.seen = {}
  if found then
    item.entry = { value = listed.read_value(value),
      deadline = C.perigee_clock_wall_ms(clock) + (left or math.huge) * 1000, tags = item.tags }
  end
  return true
end

-- `get_many(self, keys)` -> found, values, ttls left: maps by key.
local function read_many(self, items)
  local keys = {}
  for i, item in ipairs(items) do keys[i] = listed.key_of(item.space, item.key) end
  local found, values, lefts = self.backend:get_many(keys, {})
  if not found then return nil, values end
  for i, item in ipairs(items) do
    item.seen = {}
    if found[keys[i]] then
      local left = lefts and lefts[keys[i]] or math.huge
      item.entry = { value = listed.read_value(values[keys[i]]),
        deadline = C.perigee_clock_wall_ms(clock) + left * 1000, tags = item.tags }
    end
  end
  return true
end

function _M:read(items)
  if #items > 1 and self.backend.get_many then return read_many(self, items) end
  for _, item in ipairs(items) do
    local ok, why = read_one(self, item)
    if not ok then return nil, why end
  end
  return true
end

-- Tags --------------------------------------------------------------------------------------

local function parts_of(tag)
  if type(tag) == "table" then return tag end
  local parts = {}
  for part in (tag .. ":"):gmatch "([^:]*):" do parts[#parts + 1] = part end
  return parts
end

local function conflict(one, other)
  one, other = parts_of(one), parts_of(other)
  for i = 1, math.min(#one, #other) do
    if one[i] ~= other[i] then return false end
  end
  return true
end

local function remember(self, key, tags)
  if not tags or #tags == 0 then return end
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

-- Deletes what this process wrote under the tag; others may have written more: then all goes.
local function write_tag(self, tag)
  local err
  if not self.complete or self.backend.subscribe then
    self.tagged, self.tagged_count, self.complete = {}, 0, true
    return result_of(self.backend:clear())
  end
  for key, tags in next, self.tagged do
    for _, own in ipairs(tags) do
      if conflict(tag, own) then
        err = result_of(self.backend:delete(key)) or err
        break
      end
    end
  end
  return err
end

local APPLY = {
  set = function(self, op, key, left)
    remember(self, key, op.tags)
    return result_of(self.backend:set(key, listed.value_of(op.value), left, { tags = op.tags }))
  end,
  delete = function(self, _, key) return result_of(self.backend:delete(key)) end,
  clear = function(self) return result_of(self.backend:clear()) end,
  tag = function(self, op) return write_tag(self, op.tag) end,
  release = function() end,
}
APPLY.fill = APPLY.set

function _M:apply(ops)
  for _, op in ipairs(ops) do
    local dead = op.is_dead and op.is_dead()
    local kind = dead and (op.kind == "set" and "delete" or "release") or op.kind
    local key = op.key ~= nil and listed.key_of(op.space, op.key) or nil
    local left = op.deadline and (op.deadline - C.perigee_clock_wall_ms(clock)) / 1000
    if left == math.huge then left = nil end
    local called, err = pcall(APPLY[kind], self, op, key, left)
    if not called or err then op.err = tostring(err) end
    op.stored = op.err == nil
  end
  return true
end

function _M:close()
  self.backend:close()
end

return _M

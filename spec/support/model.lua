-- SPDX-License-Identifier: MIT
--- What a cache must hold, told naively: a table of entries, time in whole milliseconds, tags
-- compared part by part, and for `lru` and `fifo` who goes next. For other policies any entry
-- may be gone once the cache was full, but what is there must be right.
--
-- Its loops are not over `pairs`: compiled by LuaJIT (2.1.0-beta3+git20220320) those leave out
-- fields now and then when some are cleared on the way. In some hundred million operations that
-- was seen a few times.
local _M = {}
_M.__index = _M

--- @tparam number maxsize entries
-- @tparam string|nil order `"lru"`, `"fifo"`, or nil when the order is not modelled
function _M.new(maxsize, order)
  return setmetatable({
    maxsize = maxsize, order = order, now_ms = 0, entries = {}, count = 0, stamp = 0,
    tag_dead = 0,
  }, _M)
end

local function split(tag)
  local parts = {}
  for part in (tag .. ":"):gmatch("([^:]*):") do
    parts[#parts + 1] = part
  end
  return parts
end

local function conflict(one, other)
  one, other = split(one), split(other)
  for i = 1, math.min(#one, #other) do
    if one[i] ~= other[i] then
      return false
    end
  end
  return true
end

function _M:drop(key)
  if self.entries[key] then
    self.entries[key] = nil
    self.count = self.count - 1
  end
end

function _M:next_stamp()
  self.stamp = self.stamp + 1
  return self.stamp
end

-- The entry that `lru` and `fifo` give up: the one with the oldest stamp.
function _M:oldest()
  local key, stamp = nil, math.huge
  local candidate, entry = next(self.entries)
  while candidate ~= nil do
    if entry.stamp < stamp then
      key, stamp = candidate, entry.stamp
    end
    candidate, entry = next(self.entries, candidate)
  end
  return key
end

function _M:make_room(places)
  while self.order and self.count > self.maxsize - places do
    self:drop(self:oldest())
  end
end

--- @tparam number|nil ttl_ms nil: for ever
function _M:set(key, value, ttl_ms, tags)
  if self.maxsize == 0 then
    return
  end
  local entry = self.entries[key]
  if entry then
    entry.stamp = self.order == "lru" and self:next_stamp() or entry.stamp
  else
    self:make_room(1)
    entry = { stamp = self:next_stamp() }
    self.entries[key] = entry
    self.count = self.count + 1
  end
  entry.value, entry.tags = value, tags
  entry.deadline = ttl_ms and self.now_ms + ttl_ms or math.huge
end

function _M:get(key)
  local entry = self.entries[key]
  if entry and self.order == "lru" then
    entry.stamp = self:next_stamp()
  end
  return entry
end

function _M:touch(key, ttl_ms)
  local entry = self.entries[key]
  if entry then
    entry.deadline = self.now_ms + ttl_ms
  end
  return entry ~= nil
end

function _M:clear()
  self.entries, self.count, self.tag_dead = {}, 0, 0
end

local function is_under(entry, tag)
  for _, own in ipairs(entry.tags or {}) do
    if conflict(tag, own) then return true end
  end
  return false
end

local function has_expired(entry, now_ms)
  return entry.deadline <= now_ms
end

-- Drops the entries that `is_gone(entry, ...)`; returns how many.
function _M:drop_those(is_gone, ...)
  local before = self.count
  local key, entry = next(self.entries)
  while key ~= nil do
    local following, its_entry = next(self.entries, key)
    if is_gone(entry, ...) then self:drop(key) end
    key, entry = following, its_entry
  end
  return before - self.count
end

function _M:invalidate(tag)
  local dead = self:drop_those(is_under, tag)
  self.tag_dead = self.tag_dead + dead
end

function _M:advance(ms)
  self.now_ms = self.now_ms + ms
  self:drop_those(has_expired, self.now_ms)
end

function _M:resize(maxsize)
  self.maxsize = maxsize
  self:make_room(0)
end

return _M

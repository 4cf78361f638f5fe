-- SPDX-License-Identifier: MIT

--- Writes of `perigee.redis` as commands: each is one transaction, or one script.
-- @module perigee.tier.redis_writes

local buffer = require "string.buffer"

local C = require("perigee.lib").core
local context = require "perigee.context"
local clock = require "perigee.runtime.clock"
local names = require "perigee.tier.redis_keys"
local place = require "perigee.tier.place"

local escape = place.escape
local fresh_version, path_of = names.fresh_version, names.path_of

local _M = {}

local FOR_EVER_MS = 1e14 -- what lives longer has no deadline at the server

local FILL = [[
local keys = #KEYS
for i = 2, keys do
  if (redis.call('GET', KEYS[i]) or '') ~= ARGV[i - 1] then return 0 end
end
if ARGV[keys + 1] == '' then
  redis.call('SET', KEYS[1], ARGV[keys])
else
  redis.call('SET', KEYS[1], ARGV[keys], 'PX', ARGV[keys + 1])
end
if ARGV[keys + 2] ~= '' then redis.call('DEL', ARGV[keys + 2]) end
return 1]]

-- Small writes that make something forgotten must be possible when the server's memory is full.
-- Redis before 7 does not know the flag, and refuses the script.
local WHEN_FULL = [[
#!lua flags=allow-oom
local at = 1
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  redis.call(unpack(ARGV, at + 1, at + n))
  at = at + n + 1
end
return 1]]

local RELEASE = [[
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0]]

local function add_transaction(self, commands, list, what)
  commands[#commands + 1] = { "MULTI" }
  for i = 1, #list do commands[#commands + 1] = list[i] end
  local notice = self.n .. self:writer() .. what
  commands[#commands + 1] = { "SET", notice, "" }
  commands[#commands + 1] = { "DEL", notice }
  commands[#commands + 1] = { "EXEC" }
end

local function fence(self, op)
  return { "SET", self.f .. op.at, fresh_version(), "PX", self.fence_ms }
end

-- The value as it travels: bytes and milliseconds left; or nil, why not, and whether it is the
-- value's fault.
local function seal(self, op, versions)
  local stamp = names.stamp_of(names.version_keys(self.v, op.space, op.tags), versions)
  local left = op.deadline - C.perigee_clock_wall_ms(clock)
  if left < 1 then return nil, "expired" end
  local bound, deadline = self.head .. op.at .. stamp, op.deadline + self.client.ahead_ms
  local out = self.out or buffer.new() -- a finalizer may write meanwhile
  self.out = false
  local ok, why = self.envelope:write(out, bound, #bound, op.value, deadline, op.tags, op.long)
  local bytes = ok and stamp .. out:tostring()
  self.out = out
  if not ok then return nil, why, true end
  return bytes, left < FOR_EVER_MS and ("%d"):format(left) or ""
end

local function add_delete(self, commands, op)
  add_transaction(self, commands, { fence(self, op), { "DEL", self.e .. op.at } }, "k" .. op.at)
end

local function add_set(self, commands, op, bytes, left)
  local set = { "SET", self.e .. op.at, bytes }
  if left ~= "" then set[4], set[5] = "PX", left end
  add_transaction(self, commands, { fence(self, op), set }, "k" .. op.at)
end

-- Whether all of some tags were known when the miss was read.
local function all_known(tags, known)
  local there = {}
  for i = 1, known and #known or 0 do there[names.path_of(known[i]).full] = true end
  for i = 1, #tags do
    if not there[names.path_of(tags[i]).full] then return false end
  end
  return true
end

-- Stores only if nothing was written since the miss was read: not the key, nor the cache or its
-- space, nor a tag. If the load has learned of tags, that is: no tag of the cache at all.
local function add_fill(self, commands, op, bytes, left)
  local seen = op.seen
  local keys, compared = { self.e .. op.at, self.f .. op.at }, { seen.fence }
  local function compare(key, value) keys[#keys + 1], compared[#compared + 1] = key, value end
  for _, key in ipairs(names.version_keys(self.v, op.space, seen.tags)) do
    compare(key, seen.versions[key])
  end
  if op.tags and not all_known(op.tags, seen.tags) then compare(self.v .. "g", seen.any_tag) end
  if op.token then compare(self.l .. op.at, op.token) end
  local command = { "EVAL", FILL, tostring(#keys) }
  for i = 1, #keys do command[#command + 1] = keys[i] end
  for i = 1, #compared do command[#command + 1] = compared[i] end
  command[#command + 1] = bytes
  command[#command + 1] = left
  command[#command + 1] = op.token and self.l .. op.at or ""
  commands[#commands + 1] = command
end

-- A new version; writes that come later in the same trip are made under it.
local function renew(versions, key)
  versions[key] = fresh_version()
  return versions[key]
end

local function add_clear(self, commands, op, versions)
  local key, what = self.v .. "c", "c"
  if op.space ~= nil then
    key, what = self.v .. "s" .. escape(op.space), "s" .. escape(op.space)
  end
  add_transaction(self, commands, { { "SET", key, renew(versions, key) } }, what)
end

local function add_tag(self, commands, op, versions)
  local path = path_of(op.tag)
  local set = { "MSET", self.v .. "g", fresh_version() }
  local function add(key) set[#set + 1], set[#set + 2] = key, renew(versions, key) end
  add(self.v .. "d" .. path.full)
  for i = 1, #path - 1 do add(self.v .. "u" .. path[i]) end
  add_transaction(self, commands, { set }, "t" .. path.full)
end

local function add_release(self, commands, op)
  commands[#commands + 1] = { "EVAL", RELEASE, "1", self.l .. op.at, op.token }
end

--- Whether a write depends on versions.
-- @tparam table op the write
-- @treturn boolean
function _M.needs_versions(op)
  return op.kind == "set" or op.kind == "fill"
end

local ADD = { delete = add_delete, clear = add_clear, tag = add_tag, release = add_release }

--- Adds the commands of one write; its last reply tells what became of it. Instead of what cannot
-- be carried, or is dead by now, what is there is deleted.
-- @tparam table self the share
-- @tparam table commands list to add to
-- @tparam table op the write: see `Share:apply`
-- @tparam table versions by key: all that the write depends on; those that it changes are changed
function _M.add(self, commands, op, versions)
  if ADD[op.kind] then return ADD[op.kind](self, commands, op, versions) end
  local bytes, left, is_value
  local is_late = op.seen and context.port.now() - op.seen.at >= self.fence_s
  if not is_late and not op.is_dead() then bytes, left, is_value = seal(self, op, versions) end
  if bytes then
    return (op.kind == "set" and add_set or add_fill)(self, commands, op, bytes, left)
  end
  op.unsaved = is_value and left
  if op.kind == "set" then return add_delete(self, commands, op) end
  if op.token then add_release(self, commands, op) end
end

--- Adds what makes up for a write that the server had no memory for: what it would have replaced
-- is forgotten.
-- @tparam table self the share
-- @tparam table commands list to add to
-- @tparam table op a write that is no fill
function _M.add_when_full(self, commands, op)
  local list = {}
  if op.kind == "set" then add_delete(self, list, op) else ADD[op.kind](self, list, op, {}) end
  local command = { "EVAL", WHEN_FULL, "0" }
  for i = 2, #list - 1 do -- without MULTI and EXEC
    command[#command + 1] = ("%d"):format(#list[i])
    for _, argument in ipairs(list[i]) do command[#command + 1] = argument end
  end
  if op.key ~= nil then commands[#commands + 1] = { "DEL", self.e .. op.at } end
  commands[#commands + 1] = command
end

return _M

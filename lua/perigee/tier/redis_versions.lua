-- SPDX-License-Identifier: MIT

--- The versions at a Redis server that entries depend on: of a cache, its spaces, its tags.
--
-- What was read is *held*: used again without asking, until a notice says that one has changed, for
-- `HELD_S` at most (the server may have evicted it, and others may have made another one). Without
-- coherence there are no notices, and nothing is held.
-- @module perigee.tier.redis_versions

local context = require "perigee.context"
local each = require("perigee.value.names").each
local names = require "perigee.tier.redis_keys"

local _M = {}
local mt = { __index = _M, __name = "perigee.tier.redis_versions" }

local HELD_S, HELD_MAX = 10, 10000

--- The versions of one cache.
-- @tparam table client asks the server
-- @param null what the client says where there is nothing
-- @tparam boolean coherent whether notices come
-- @treturn table
function _M.new(client, null, coherent)
  return setmetatable({ client = client, null = null, coherent = coherent, held = {}, count = 0,
    epoch = 0, until_s = 0 }, mt)
end

--- One of them has changed, or may have.
function _M:forget()
  self.held, self.count, self.epoch = {}, 0, self.epoch + 1
end

local function hold(self, read, epoch)
  if not self.coherent or epoch ~= self.epoch then return end
  for key, version in each(read) do
    if self.held[key] == nil then self.count = self.count + 1 end
    self.held[key] = version
  end
  if self.count > HELD_MAX then self:forget() end
end

local function let_go_of_old(self)
  local now = context.port.now()
  if now < self.until_s then return end
  self:forget()
  self.until_s = now + HELD_S
end

--- Reads versions: those not held yet in one trip. What is not there stays nil.
-- @tparam table keys their names
-- @tparam table versions is filled in, by name
-- @treturn true|nil
-- @treturn string|nil why they could not be read
function _M:read(keys, versions)
  let_go_of_old(self)
  local command, asked, epoch = { "MGET" }, {}, self.epoch
  for i = 1, #keys do
    local key = keys[i]
    versions[key] = versions[key] or self.held[key]
    if not versions[key] and not asked[key] then
      command[#command + 1], asked[key] = key, true
    end
  end
  if #command == 1 then return true end
  local replies, why = self.client:ask { command }
  if not replies then return nil, why end
  local values, read = replies[1], {}
  if names.error_of(values) then return nil, values.err end
  for i = 2, #command do
    local version = values[i - 1]
    if version ~= self.null then read[command[i]], versions[command[i]] = version, version end
  end
  hold(self, read, epoch)
  return true
end

--- Reads versions, and makes those that are not there.
-- @tparam table keys their names
-- @tparam table versions is filled in, by name
-- @treturn true|nil
-- @treturn string|nil why they could not be
function _M:ensure(keys, versions)
  local ok, why = self:read(keys, versions)
  if not ok then return nil, why end
  local commands, missing = {}, {}
  for i = 1, #keys do
    if not versions[keys[i]] then
      commands[#commands + 1] = { "SET", keys[i], names.fresh_version(), "NX" }
      missing[#missing + 1] = keys[i]
    end
  end
  if #commands == 0 then return true end
  local replies
  replies, why = self.client:ask(commands)
  if not replies then return nil, why end
  for i = 1, #replies do
    if names.error_of(replies[i]) then return nil, replies[i].err end
  end
  ok, why = self:read(missing, versions)
  if not ok then return nil, why end
  for i = 1, #missing do
    if not versions[missing[i]] then return nil, "a version is gone as soon as it is written" end
  end
  return true
end

--- A version was read elsewhere: if another one is held, so may others be.
-- @tparam string key its name
-- @tparam string|nil version what is there
function _M:saw(key, version)
  if self.held[key] and self.held[key] ~= version then self:forget() end
end

return _M

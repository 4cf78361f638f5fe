-- SPDX-License-Identifier: MIT

--- A disk backend of the user's as a backup: it is given, and gives, all entries as one list.
--
-- An entry is `{ key =, value =, ttl_left = }`: seconds, nil for ever. Keys are those of the direct
-- API; those of wrapped functions are strings that begin with a byte which no text has.
-- @module perigee.tier.listed

local C = require("perigee.lib").core
local clock = require "perigee.runtime.clock"
local place = require "perigee.tier.place"
local returns = require "perigee.value.returns"

local _M = {}
local mt = { __index = _M, __name = "perigee.tier.listed" }

local RESULTS = "perigee.returns"
local MARK = "\254@" -- stands in front of a place that is a key; no key made of values begins so

--- A share of a backend.
-- @tparam table backend with the methods `load`, `save` and `clear`
-- @treturn table the share, with the methods that `perigee.tier.disk` describes
function _M.new(backend)
  return setmetatable({ backend = backend, is_list = true, entries = {}, clears = false }, mt)
end

--- The key that a backend of the user's sees.
-- @tparam string space name of its space
-- @tparam string|number|boolean key the key
-- @treturn string|number|boolean
function _M.key_of(space, key)
  if space == "" and not (type(key) == "string" and key:sub(1, 2) == MARK) then return key end
  return MARK .. place.of(space, key)
end

--- The space and the key that such a key stands for.
-- @tparam string|number|boolean key from the backend
-- @treturn string|nil name of the space; nil: none
-- @treturn string|number|boolean the key
function _M.read_key(key)
  if type(key) == "string" and key:sub(1, 2) == MARK then return place.read(key:sub(3)) end
  return "", key
end

--- The value that a backend of the user's sees: several results travel as one table.
-- @param value of the cache
-- @return the value
function _M.value_of(value)
  local results = returns.to_table(value)
  if results then return { [RESULTS] = results } end
  return value
end

--- The value that such a value stands for.
-- @param value from the backend
-- @return the cache's
function _M.read_value(value)
  if type(value) ~= "table" or value[RESULTS] == nil then return value end
  return returns.from_table(value[RESULTS])
end

local function is_key(key)
  return type(key) == "string" or type(key) == "boolean" or type(key) == "number" and key == key
end

function _M:put(space, key, value, deadline)
  local left = (deadline - C.perigee_clock_wall_ms(clock)) / 1000
  self.entries[#self.entries + 1] = { key = _M.key_of(space, key),
    value = _M.value_of(value), ttl_left = left < math.huge and left or nil }
  return true
end

function _M.delete() return true end -- what is not in the list has gone

function _M:clear()
  self.clears = true
  return true
end

function _M.relieve() return true end

-- A method of the backend: what it raises is its `nil, err`.
local function call(self, method, ...)
  local ok, result, err = pcall(self.backend[method], self.backend, ...)
  if not ok then return nil, ("the backend's %s raised: %s"):format(method, tostring(result)) end
  if result == nil and err ~= nil then return nil, tostring(err) end
  return result == nil or result
end

function _M:commit()
  local entries, ok, why = self.entries, true, nil
  if self.clears and #entries == 0 then ok, why = call(self, "clear") end
  if ok then ok, why = call(self, "save", entries) end
  if not ok then return nil, why or "the backend's save failed" end
  self.entries, self.clears = {}, false
  return true
end

function _M:rollback()
  self.entries, self.clears = {}, false
end

function _M:read(take)
  local entries, why = call(self, "load")
  if entries == true then return true end -- there is nothing
  if not entries then return nil, why or "the backend's load failed" end
  if type(entries) ~= "table" then return nil, "the backend's load returned no list" end
  for i = 1, #entries do
    if take(entries[i]) == false then break end
  end
  return true
end

function _M.close() end

function _M:describe(entry) -- luacheck: ignore self
  return tostring(type(entry) == "table" and entry.key)
end

-- Gives what `Share:open` of the disk gives.
function _M:open(entry) -- luacheck: ignore self
  if type(entry) ~= "table" then return nil, "it is no table" end
  if not is_key(entry.key) then return nil, "its key is none" end
  local left = entry.ttl_left
  if left ~= nil and (type(left) ~= "number" or left ~= left) then
    return nil, "its ttl_left is no number"
  end
  local space, key = _M.read_key(entry.key)
  if not space then return nil, "its key is none" end
  local deadline = C.perigee_clock_wall_ms(clock) + (left or math.huge) * 1000
  return space, key, { value = _M.read_value(entry.value), deadline = deadline }
end

return _M

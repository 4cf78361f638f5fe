-- SPDX-License-Identifier: MIT

--- Entries of a cache in a `lua_shared_dict`, which the workers of one nginx share. Keys there,
-- after a prefix that holds the cache's name; `place` is the key's:
--
--     e place    the entry: a head of 24 bytes, its tags, its value
--     x place    what came of its last load that is not kept, for those who waited for it
--     v ...      versions of the cache, its spaces and its tags, as in `perigee.tier.redis_keys`
--     h, r       the journal (`perigee.tier.journal`)
--
-- An entry's stamp says under which versions it was written; under others it is none. Versions are
-- numbers of chance: one that the dictionary has thrown out cannot come back. What was read of them
-- is held until the journal tells of a change. Deadlines are nginx' monotonic milliseconds, which
-- all processes of a machine share. Bytes are taken for hostile all the same: what does not read is
-- a miss.
-- @module perigee.tier.shared

local bit = require "bit"
local each = require("perigee.value.names").each
local ffi = require "ffi"

local C = require("perigee.lib").core
local clock = require "perigee.runtime.clock"
local codec_face = require "perigee.value.codec"
local doubles = require "perigee.value.doubles"
local names = require "perigee.tier.redis_keys"
local place = require "perigee.tier.place"
local returns = require "perigee.value.returns"
local tags_face = require "perigee.tags"

local _M = {}
local mt = { __index = _M, __name = "perigee.tier.shared" }

-- Whole numbers of 64 bits are kept in two words: a double of anywhere may be a NaN in disguise.
local head_type = ffi.typeof [[struct {
  uint32_t deadline_ms[2], stamp[2], tags_length;
  uint8_t kind, spare[3];
}]]
local head_pointer = ffi.typeof("const $ *", head_type)
local bytes_pointer = ffi.typeof "const uint8_t *"
local WORD = 2 ^ 32
local HEAD = ffi.sizeof(head_type)
local NIL, STRING, NUMBER, FALSE, TRUE, CODED, BOXED = 0, 1, 2, 3, 4, 5, 6

local HELD_MAX = 10000
local LARGEST_PART = 0.25 -- of the dictionary: a larger value would throw all the others out
local NEVER_MS = 2 ^ 53 -- a deadline that is none

local tag_codec = codec_face.new("perigee.tier.shared", "buffer", 1)

--- The entries of a cache.
-- @tparam table dict a lua_shared_dict
-- @tparam string name of the cache
-- @tparam table codec see `perigee.value.codec`
-- @treturn table
function _M.new(dict, name, codec)
  local head = place.escape(name) .. "\0"
  return setmetatable({
    dict = dict, codec = codec,
    prefix = "\0" .. head,
    e = "\0e" .. head, v = "\0v" .. head,
    e_text = "\0e" .. head .. "\0s", -- in front of a key that is a string, of the direct API
    held = {}, held_count = 0, -- versions, by their keys
    stamps = {},               -- of entries without tags, by the name of their space
    on_new = function() end,   -- called when one was made: the others may hold an older one
    head = head_type(),
    largest = math.floor(dict:capacity() * LARGEST_PART),
  }, mt)
end

-- Versions ----------------------------------------------------------------------------------

local function fresh()
  return C.perigee_core_random() * 2 ^ 20 + bit.rshift(C.perigee_core_random(), 12) + 1
end

-- A version, as it is now; one that is missing is made.
local function version_of(self, key)
  local version = self.held[key]
  if version then return version end
  version = self.dict:get(key)
  if type(version) ~= "number" or version ~= version then
    if version then self.dict:delete(key) end
    local is_new = self.dict:add(key, fresh())
    version = self.dict:get(key) or fresh() -- no memory for it: then for nothing under it either
    if is_new then self.on_new() end
  end
  if self.held_count >= HELD_MAX then self:forget() end
  self.held[key], self.held_count = version, self.held_count + 1
  return version
end

--- Reads again what is held of the cache and its spaces: so the dictionary does not take them for
-- unused, and a worker that holds one which was thrown out meets the others again.
function _M:refresh()
  for space in each(self.stamps) do
    for _, key in ipairs(names.version_keys(self.v, space, nil)) do
      if self.dict:get(key) ~= self.held[key] then return self:forget() end
    end
  end
end

--- One of the versions has changed, or may have.
function _M:forget()
  self.held, self.held_count, self.stamps = {}, 0, {}
end

local function stamp_under(self, space, tags)
  local keys = names.version_keys(self.v, space, tags)
  if #keys == 1 then return version_of(self, keys[1]) end
  local versions = ffi.new("double[?]", #keys)
  for i = 1, #keys do versions[i - 1] = version_of(self, keys[i]) end
  local sum = C.perigee_checksum("", 0, ffi.cast("const char *", versions), 8 * #keys)
  return tonumber(bit.rshift(sum, 12))
end

--- The stamp of an entry that is written now.
-- @tparam string space name of its space
-- @tparam table|nil tags its tags
-- @treturn number
function _M:stamp(space, tags)
  if tags and #tags > 0 then return stamp_under(self, space, tags) end
  local stamp = self.stamps[space]
  if not stamp then
    stamp = stamp_under(self, space, nil)
    self.stamps[space] = stamp
  end
  return stamp
end

--- Everything, or a space, is forgotten.
-- @tparam string|nil space name of the space
function _M:clear(space)
  self.dict:set(space and self.v .. "s" .. place.escape(space) or self.v .. "c", fresh())
  self:forget()
end

--- A tag was written.
-- @tparam string|table tag the tag
-- @treturn string the tag as the journal has it
function _M:write_tag(tag)
  local path = names.path_of(tag)
  self.dict:set(self.v .. "d" .. path.full, fresh())
  for i = 1, #path - 1 do self.dict:set(self.v .. "u" .. path[i], fresh()) end
  self:forget()
  return path.full
end

-- Entries -----------------------------------------------------------------------------------

--- What a key's entry is called in the dictionary.
-- @tparam string space name of its space
-- @tparam string|number|boolean key the key
-- @treturn string
function _M:name(space, key)
  if space == "" and type(key) == "string" then return self.e_text .. key end
  return self.e .. place.of(space, key)
end

local function read_value(self, kind, bytes, length)
  if kind == STRING then return true, ffi.string(bytes, length) end
  if kind == NUMBER then
    local number = length == 8 and doubles.read(bytes)
    return number and true or false, number or nil
  end
  if kind == NIL then return true, nil end
  if kind == TRUE or kind == FALSE then return true, kind == TRUE end
  local ok, value = self.codec.read(bytes, length)
  if ok and kind == BOXED then
    value = type(value) == "table" and returns.from_table(value)
    ok = value and true or false
  end
  return ok, value
end

local function read_tags(bytes, length)
  local ok, tags = tag_codec.decode(ffi.string(bytes, length))
  return ok and tags_face.LIST[2](tags) and tags
end

local function number_of(words)
  return words[1] * WORD + words[0]
end

local function put_number(words, number)
  words[0], words[1] = number % WORD, math.floor(number / WORD)
end

--- An entry.
-- @tparam string name from `name`
-- @tparam string space name of its space
-- @treturn number|nil milliseconds left; nil: there is none
-- @return its value
-- @treturn table|nil its tags
function _M:get(name, space)
  local text = self.dict:get(name)
  if type(text) ~= "string" or #text < HEAD then return nil end
  local head = ffi.cast(head_pointer, text)
  local bytes = ffi.cast(bytes_pointer, text) + HEAD
  local length, tags_length, tags = #text - HEAD, head.tags_length, nil
  if tags_length > length then return nil end
  if tags_length > 0 then
    tags = read_tags(bytes, tags_length)
    if not tags then return nil end
  end
  if number_of(head.stamp) ~= self:stamp(space, tags) then return nil end
  local left = number_of(head.deadline_ms) - C.perigee_clock_now(clock)
  if left <= 0 then return nil end
  if left > NEVER_MS / 2 then left = math.huge end
  local ok, value = read_value(self, head.kind, bytes + tags_length, length - tags_length)
  if not ok then return nil end
  return left, value, tags, text -- the collector must not have the text before here
end

local function carried(self, value)
  local kind = type(value)
  if kind == "string" then return STRING, value end
  if kind == "nil" then return NIL, "" end
  if kind == "boolean" then return value and TRUE or FALSE, "" end
  if kind == "number" and value == value then
    return NUMBER, ffi.string(ffi.new("double[1]", value), 8)
  end
  local boxed = returns.to_table(value)
  local bytes, why = self.codec.encode(boxed or value)
  if not bytes then return nil, why end
  return boxed and BOXED or CODED, bytes
end

--- An entry as bytes.
-- @param value its value
-- @tparam number ttl seconds, or math.huge
-- @tparam number stamp from `stamp`
-- @tparam table|nil tags its tags
-- @treturn string|nil
-- @treturn string|nil why the value cannot be carried
function _M:seal(value, ttl, stamp, tags)
  local kind, bytes = carried(self, value)
  if not kind then return nil, bytes end
  local text = tags and #tags > 0 and tag_codec.encode(tags) or ""
  local head = self.head
  local deadline = C.perigee_clock_now(clock) + ttl * 1000
  put_number(head.deadline_ms, deadline < NEVER_MS and math.floor(deadline) or NEVER_MS)
  put_number(head.stamp, stamp)
  head.kind, head.tags_length = kind, #text
  return ffi.string(head, HEAD) .. text .. bytes
end

--- Writes an entry.
-- @tparam string name from `name`
-- @tparam string sealed from `seal`
-- @tparam number ttl seconds, or math.huge
-- @treturn boolean whether there was room
-- @treturn string|nil why not
function _M:put(name, sealed, ttl)
  if #sealed > self.largest then
    self.dict:delete(name)
    return false, ("%d bytes, of %d at most in this dictionary"):format(#sealed, self.largest)
  end
  local expires = ttl < 1e8 and math.max(ttl, 0.001) or 0
  local ok, why = self.dict:set(name, sealed, expires)
  if ok then return true end
  self.dict:delete(name)
  return false, why
end

--- Forgets an entry.
-- @tparam string name from `name`
function _M:delete(name)
  self.dict:delete(name)
end

-- Results -----------------------------------------------------------------------------------

local TOLD_S = 2

-- What is told of an entry's load is called like the entry, but for one letter.
local function told_of(name)
  return "\0x" .. name:sub(3)
end

--- Tells those who wait for a lease what came of the load under it.
-- @tparam table record the load
-- @tparam number token what it had the lease by
function _M:tell(record, token)
  local value = record.value
  local boxed = returns.to_table(value)
  local told = { token, record.fence, record.wide, record.ok, boxed ~= nil and boxed ~= false,
    boxed or value, record.err }
  local bytes = tag_codec.encode(told)
  if not bytes then -- an error object that cannot travel, or a value
    if record.ok and record.err == nil then return end
    told[6], told[7] = record.ok and nil or tostring(value), record.err and tostring(record.err)
    bytes = tag_codec.encode(told)
  end
  self.dict:set(told_of(record.name), bytes, TOLD_S)
end

--- What came of the load under somebody's lease, if nothing was written since that began.
-- @tparam string name from `name`
-- @tparam number holder his token
-- @tparam number fence of the key, as it is now
-- @tparam number wide the fence of all tags, as it is now
-- @treturn boolean whether it is known
-- @treturn boolean|nil whether the loader returned
-- @return its value, or what it raised
-- @return its err
function _M:hear(name, holder, fence, wide)
  local bytes = self.dict:get(told_of(name))
  if type(bytes) ~= "string" then return false end
  local ok, told = tag_codec.decode(bytes)
  if not ok or type(told) ~= "table" or told[1] ~= holder then return false end
  if told[2] ~= fence or told[3] ~= wide then return false end
  local value = told[6]
  if told[5] then value = type(value) == "table" and returns.from_table(value) or nil end
  return true, told[4] == true, value, told[7]
end

return _M

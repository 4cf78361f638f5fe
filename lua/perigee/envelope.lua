-- SPDX-License-Identifier: MIT

--- How an entry travels: to disk, to Redis, to a shared dictionary.
--
--     "PE"  version  flags  codec   5 bytes
--     deadline                      8 bytes: wall-clock milliseconds, a double; infinity: never
--     key                           length and bytes, if the flag says so: the key was hashed
--     tags                          length and bytes, if the flag says so
--     value                         what is left, by the codec; nothing for nil
--     checksum                      8 bytes, over all of the above
--     code                          32 bytes, if there is a secret: over the place that the
--                                   envelope is for, and all of the above
--
-- Whatever does not open is a miss with a reason, never an error.
-- @module perigee.envelope

local bit = require "bit"
local ffi = require "ffi"

local C = require("perigee.lib").core
local codec_face = require "perigee.codec"
local mac = require "perigee.mac"
local returns = require "perigee.returns"

local byte = string.byte

local _M = {}

local MAGIC, VERSION = "PE", 1
local HAS_KEY, HAS_TAGS, IS_NIL, IS_BOXED = 1, 2, 4, 8
local KNOWN_FLAGS = 15
local HEAD, CHECKSUM = 13, 8
local LENGTH_MAX = 2 ^ 24 -- of a key, and of tags

local little = ffi.abi "le"
assert(little, "perigee: envelopes are not made for big-endian machines")

local function eight(type_name, value)
  return ffi.string(ffi.new(type_name .. "[1]", value), 8)
end

local function double_at(bytes, at)
  local box = ffi.new "double[1]"
  ffi.copy(box, bytes:sub(at, at + 7), 8)
  return box[0]
end

local function with_length(bytes)
  return ffi.string(ffi.new("uint32_t[1]", #bytes), 4) .. bytes
end

-- The text whose length stands at `at`, and where the next thing is; nil if it is not there.
local function text_at(bytes, at, last)
  if at + 3 > last then return nil end
  local a, b, c, d = byte(bytes, at, at + 3)
  local length = a + b * 2 ^ 8 + c * 2 ^ 16 + d * 2 ^ 24
  if length > LENGTH_MAX or at + 3 + length > last then return nil end
  return bytes:sub(at + 4, at + 3 + length), at + 4 + length
end

local buffer = codec_face.new("perigee.envelope", "buffer", 1)

local function encode_value(codec, value)
  local boxed = returns.to_table(value)
  if boxed then
    local bytes, reason = codec.encode(boxed)
    return bytes, reason, IS_BOXED
  end
  if value == nil then return "", nil, IS_NIL end
  local bytes, reason = codec.encode(value)
  return bytes, reason, 0
end

local function is_list_of_tags(tags)
  if type(tags) ~= "table" then return false end
  for i = 1, #tags do
    local kind = type(tags[i])
    if kind ~= "string" and kind ~= "table" then return false end
  end
  return true
end

local function decode_value(codec, flags, bytes)
  if bit.band(flags, IS_NIL) ~= 0 then
    if bytes ~= "" then return false, "a nil with a value" end
    return true, nil
  end
  local ok, value = codec.decode(bytes)
  if not ok then return false, "its value does not decode: " .. tostring(value) end
  if bit.band(flags, IS_BOXED) == 0 then return true, value end
  value = returns.from_table(value)
  if not value then return false, "its results are no list" end
  return true, value
end

-- The parts of what was sealed: key, tags, value, deadline; or nil and why not.
local function read(self, bytes, last)
  local flags = byte(bytes, 4)
  if flags > KNOWN_FLAGS then return nil, "flags of a later version" end
  if bytes:sub(5, 5) ~= self.codec.id then return nil, "made by another codec" end
  local entry, at = { deadline = double_at(bytes, 6) }, HEAD + 1
  if entry.deadline ~= entry.deadline then return nil, "its deadline is no number" end
  if bit.band(flags, HAS_KEY) ~= 0 then
    entry.key, at = text_at(bytes, at, last)
    if not entry.key then return nil, "its key is cut off" end
  end
  if bit.band(flags, HAS_TAGS) ~= 0 then
    local text
    text, at = text_at(bytes, at, last)
    local ok, tags = buffer.decode(text or "")
    if not ok or not is_list_of_tags(tags) then return nil, "its tags do not decode" end
    entry.tags = tags
  end
  local ok, value = decode_value(self.codec, flags, bytes:sub(at, last))
  if not ok then return nil, value end
  entry.value = value
  return entry
end

--- Makes what seals and opens envelopes.
-- @tparam string where the function that got the options
-- @tparam table opts `codec` (`"buffer"`), `secret` (none), `max_value_bytes` (64 MiB)
-- @tparam number level as for `error`, counted from the caller
-- @treturn table with the methods `seal` and `open`
-- @raise when a module that an option needs is missing
function _M.new(where, opts, level)
  local self = {
    codec = codec_face.new(where, opts.codec or "buffer", level + 1),
    max_bytes = opts.max_value_bytes or 2 ^ 26,
    seal = _M.seal,
    open = _M.open,
  }
  if opts.secret then self.sign, self.verify = mac.new(where, opts.secret, level + 1) end
  return self
end

--- Seals an entry.
-- @tparam table self from `new`
-- @tparam string place what it is stored under: opened from elsewhere, a signed one is not taken
-- @param value anything
-- @tparam number deadline wall-clock milliseconds, or math.huge
-- @tparam[opt] table tags list of tags
-- @tparam[opt] string key the whole key, if it travels under a hash
-- @treturn string|nil the bytes
-- @treturn string|nil why not: the value cannot be carried, or is too large
function _M.seal(self, place, value, deadline, tags, key)
  local bytes, reason, flags = encode_value(self.codec, value)
  if not bytes then return nil, reason end
  if #bytes > self.max_bytes then
    return nil, ("%d bytes, of %d at most"):format(#bytes, self.max_bytes)
  end
  local key_part, tags_part = "", ""
  if key then key_part, flags = with_length(key), flags + HAS_KEY end
  if tags and #tags > 0 then
    tags_part, flags = with_length(buffer.encode(tags)), flags + HAS_TAGS
  end
  local sealed = MAGIC .. string.char(VERSION, flags) .. self.codec.id .. eight("double", deadline)
    .. key_part .. tags_part .. bytes
  sealed = sealed .. eight("uint64_t", C.perigee_checksum(sealed, #sealed))
  return self.sign and sealed .. self.sign(with_length(place) .. sealed) or sealed
end

--- Opens an envelope.
-- @tparam table self from `new`
-- @tparam string place what it was stored under
-- @tparam string bytes from anywhere
-- @treturn table|nil `value`, `deadline`, and if there are: `tags`, `key`
-- @treturn string|nil why it does not open
function _M.open(self, place, bytes)
  local coded = self.verify and mac.SIZE or 0
  local last = #bytes - coded - CHECKSUM
  if last < HEAD then return nil, "too short" end
  if last > self.max_bytes + 2 * LENGTH_MAX then return nil, "too long" end
  if bytes:sub(1, 2) ~= MAGIC then return nil, "not an envelope" end
  if byte(bytes, 3) ~= VERSION then return nil, "of another version" end
  if self.verify
    and not self.verify(with_length(place) .. bytes:sub(1, #bytes - coded), bytes:sub(-coded)) then
    return nil, "not signed with this secret, for this place"
  end
  local sum = eight("uint64_t", C.perigee_checksum(bytes, last))
  if sum ~= bytes:sub(last + 1, last + CHECKSUM) then return nil, "damaged" end
  return read(self, bytes, last)
end

return _M

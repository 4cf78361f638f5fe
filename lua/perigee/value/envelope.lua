-- SPDX-License-Identifier: MIT

--- How an entry travels: to disk, to Redis, to a shared dictionary.
--
--     "PE"  version  flags  codec   5 bytes
--     deadline                      8 bytes: wall-clock milliseconds, a double; infinity: never
--     key                           length and bytes, if the flag says so: the key was hashed
--     tags                          length and bytes, if the flag says so
--     value                         what is left, by the codec; nothing for nil
--     checksum                      8 bytes, over the place that the envelope is for, and all of
--                                   the above
--     code                          32 bytes, if there is a secret: over the same, and the checksum
--
-- Whatever does not open is a miss with a reason, never an error.
-- @module perigee.value.envelope

local bit = require "bit"
local buffer = require "string.buffer"
local ffi = require "ffi"

local C = require("perigee.lib").core
local codec_face = require "perigee.value.codec"
local doubles = require "perigee.value.doubles"
local mac = require "perigee.value.mac"
local returns = require "perigee.value.returns"
local tags_face = require "perigee.tags"

local _M = {}

local MAGIC, VERSION = "PE", 1
local MAGIC_1, MAGIC_2 = MAGIC:byte(1, 2)
local HAS_KEY, HAS_TAGS, IS_NIL, IS_BOXED = 1, 2, 4, 8
local KNOWN_FLAGS = 15
local HEAD, CHECKSUM = 13, 8
local LENGTH_MAX = 2 ^ 24 -- of a key, and of tags

local little = ffi.abi "le"
assert(little, "perigee: envelopes are not made for big-endian machines")

local pointer, chars = ffi.typeof "const uint8_t *", ffi.typeof "const char *"
local lengths, checksums = ffi.typeof "uint32_t[1]", ffi.typeof "uint64_t[1]"
local double = ffi.typeof "double[1]"

-- Numbers at any address.
local function read_number(array, bytes)
  local box = array()
  ffi.copy(box, bytes, ffi.sizeof(box))
  return box[0]
end

local function put_number(out, array, value)
  local box = array(value)
  out:putcdata(box, ffi.sizeof(box))
end

local function put_text(out, text)
  put_number(out, lengths, #text)
  out:put(text)
end

-- The text whose length stands at `at`, and where the next thing is; nil if it is not there.
local function text_at(bytes, at, last)
  if at + 4 > last then return nil end
  local length = read_number(lengths, bytes + at)
  if length > LENGTH_MAX or at + 4 + length > last then return nil end
  return ffi.string(bytes + at + 4, length), at + 4 + length
end

local tag_codec = codec_face.new("perigee.value.envelope", "buffer", 1)

local function decode_value(codec, flags, bytes, length)
  if bit.band(flags, IS_NIL) ~= 0 then
    if length > 0 then return false, "a nil with a value" end
    return true, nil
  end
  local ok, value = codec.read(bytes, length)
  if not ok then return false, "its value does not decode: " .. tostring(value) end
  if bit.band(flags, IS_BOXED) == 0 then return true, value end
  value = returns.from_table(value)
  if not value then return false, "its results are no list" end
  return true, value
end

-- What was sealed: deadline, value, tags, key; or nil and why not.
local function read_body(self, bytes, last)
  local flags = bytes[3]
  if flags > KNOWN_FLAGS then return nil, "flags of a later version" end
  if bytes[4] ~= self.id then return nil, "made by another codec" end
  local deadline, at, key, tags = doubles.read(bytes + 5), HEAD, nil, nil
  if not deadline then return nil, "its deadline is no number" end
  if bit.band(flags, HAS_KEY) ~= 0 then
    key, at = text_at(bytes, at, last)
    if not key then return nil, "its key is cut off" end
  end
  if bit.band(flags, HAS_TAGS) ~= 0 then
    local text, ok
    text, at = text_at(bytes, at, last)
    ok, tags = tag_codec.decode(text or "")
    if not ok or not tags_face.LIST[2](tags) then return nil, "its tags do not decode" end
  end
  local ok, value = decode_value(self.codec, flags, bytes + at, last - at)
  if not ok then return nil, value end
  return deadline, value, tags, key
end

--- Makes what seals and opens envelopes.
-- @tparam string where the function that got the options
-- @tparam table opts `codec` (`"buffer"`), `secret` (none), `max_value_bytes` (64 MiB)
-- @tparam number level as for `error`, counted from the caller
-- @treturn table with the methods `write`, `seal` and `open`
-- @raise when a module that an option needs is missing
function _M.new(where, opts, level)
  local self = {
    codec = codec_face.new(where, opts.codec or "buffer", level + 1),
    max_bytes = opts.max_value_bytes or 2 ^ 26,
    write = _M.write,
    seal = _M.seal,
    read = _M.read,
    open = _M.open,
  }
  self.id = self.codec.id:byte()
  if opts.secret then self.sign, self.verify = mac.new(where, opts.secret, level + 1) end
  return self
end

-- What a value is to the codec, and the flags that say so.
local function carried(value)
  if value == nil then return nil, IS_NIL end
  local boxed = returns.to_table(value)
  if boxed then return boxed, IS_BOXED end
  return value, 0
end

-- All but the checksum. The value is written last: it may fail.
local function write_body(self, out, value, deadline, tags, key)
  local given, flags = carried(value)
  if key then flags = flags + HAS_KEY end
  if tags and #tags > 0 then flags = flags + HAS_TAGS end
  out:put(MAGIC):putcdata(ffi.new("uint8_t[3]", VERSION, flags, self.id), 3)
  put_number(out, double, deadline)
  if key then put_text(out, key) end
  if tags and #tags > 0 then put_text(out, tag_codec.encode(tags)) end
  if value == nil then return true end
  local before = #out
  local ok, reason = self.codec.write(given, out)
  if not ok then return nil, reason end
  if #out - before > self.max_bytes then
    return nil, ("%d bytes, of %d at most"):format(#out - before, self.max_bytes)
  end
  return true
end

local function signed(place, place_length, bytes)
  return ffi.string(lengths(place_length), 4) .. ffi.string(place, place_length) .. bytes
end

--- Seals an entry.
-- @tparam table self from `new`
-- @tparam table out a `string.buffer`: gets the envelope in place of what is in it
-- @tparam string|cdata place what it is stored under: from elsewhere it does not open
-- @tparam number place_length its bytes
-- @param value anything
-- @tparam number deadline wall-clock milliseconds, or math.huge
-- @tparam[opt] table tags list of tags
-- @tparam[opt] string key the whole key, if it travels under a hash
-- @treturn true|nil
-- @treturn string|nil why not: the value cannot be carried, or is too large
function _M.write(self, out, place, place_length, value, deadline, tags, key)
  local ok, reason = write_body(self, out:reset(), value, deadline, tags, key)
  if not ok then return nil, reason end
  local bytes, length = out:ref()
  put_number(out, checksums, C.perigee_checksum(place, place_length, bytes, length))
  if self.sign then out:put(self.sign(signed(place, place_length, out:tostring()))) end
  return true
end

--- Seals an entry into a string: see `write`.
-- @treturn string|nil the bytes
-- @treturn string|nil why not
function _M.seal(self, place, value, deadline, tags, key)
  local out = buffer.new()
  local ok, reason = _M.write(self, out, place, #place, value, deadline, tags, key)
  if not ok then return nil, reason end
  return out:tostring()
end

--- Reads an envelope in memory.
-- @tparam table self from `new`
-- @tparam cdata place what it was stored under: a pointer to char
-- @tparam number place_length its bytes
-- @tparam cdata bytes from anywhere: a pointer to uint8_t
-- @tparam number length how many
-- @treturn number|nil deadline
-- @return the value, or why it does not open
-- @treturn table|nil its tags
-- @treturn string|nil the whole key, if it travelled under a hash
function _M.read(self, place, place_length, bytes, length)
  local coded = self.verify and mac.SIZE or 0
  local last = length - coded - CHECKSUM
  if last < HEAD then return nil, "too short" end
  if last > self.max_bytes + 2 * LENGTH_MAX then return nil, "too long" end
  if bytes[0] ~= MAGIC_1 or bytes[1] ~= MAGIC_2 then return nil, "not an envelope" end
  if bytes[2] ~= VERSION then return nil, "of another version" end
  if self.verify and not self.verify(signed(place, place_length, ffi.string(bytes, length - coded)),
    ffi.string(bytes + length - coded, coded)) then
    return nil, "not signed with this secret, for this place"
  end
  if C.perigee_checksum(place, place_length, ffi.cast(chars, bytes), last)
    ~= read_number(checksums, bytes + last) then
    return nil, "damaged"
  end
  return read_body(self, bytes, last)
end

--- Opens an envelope: as `read`, of a string or of memory.
-- @tparam table self from `new`
-- @tparam string|cdata place what it was stored under: from elsewhere it does not open
-- @tparam string|cdata bytes from anywhere
-- @tparam[opt] number place_length how many bytes, if they are pointers
-- @tparam[opt] number length the same
-- @treturn table|nil `value`, `deadline`, and if there are: `tags`, `key`
-- @treturn string|nil why it does not open
function _M.open(self, place, bytes, place_length, length)
  local deadline, value, tags, key = _M.read(self, ffi.cast(chars, place), place_length or #place,
    ffi.cast(pointer, bytes), length or #bytes)
  if not deadline then return nil, value end
  return { deadline = deadline, value = value, tags = tags, key = key }
end

return _M

-- SPDX-License-Identifier: MIT

--- Reading entries of `perigee.redis`, with what their fills will compare.
--
-- One MGET has the cache's version, and of each key its entry and its fence. Versions that entries
-- or fills depend on beside it, of spaces and tags, follow in a second one, unless they are held.
-- Entries are opened where the reply has them; nothing is made for one that has no tags.
-- @module perigee.tier.redis_reads

local buffer = require "string.buffer"
local ffi = require "ffi"

local C = require("perigee.lib").core
local context = require "perigee.context"
local clock = require "perigee.runtime.clock"
local names = require "perigee.tier.redis_keys"
local trip_face = require "perigee.tier.trip"

local STAMP, stamp_of, version_keys = names.STAMP, names.stamp_of, names.version_keys

local _M = {}

local ABSENT = ""
local HEAD = 2 -- replies before those of the first key
local SHORT = names.PLACE_MAX - 2

local bytes_of, chars_of = ffi.typeof "const uint8_t *", ffi.typeof "const char *"
local words_of = ffi.typeof "const uint32_t *"

-- What most places are: the key as it is, behind a head that all of them have.
local function is_plain(trip, i)
  local key = trip.keys[i]
  return trip.spaces[i] == "" and type(key) == "string" and #key <= SHORT
end

local function place_of(trip, i)
  return (names.place_of(trip.spaces[i], trip.keys[i]))
end

--- Sends the command that reads a trip's entries. Never waits.
-- @tparam table share the cache's share
-- @tparam table trip see `perigee.tier.trip`
-- @tparam[opt] table before what the client's `send` has taken, to be said before it
-- @treturn number|nil of the request; it goes on `trip.connection`
-- @treturn string|nil why it is not on its way
function _M.send(share, trip, before)
  local client, places = share.client, nil
  for i = 1, trip.n do -- nothing is made while the command is
    if not is_plain(trip, i) then
      places = places or {}
      places[i] = place_of(trip, i)
    end
  end
  local connection, why = client:begin(1 + HEAD + 2 * trip.n, before)
  if not connection then return nil, why end
  local argument, joined = client.argument, client.joined
  argument(connection, "MGET", 4)
  argument(connection, share.c, #share.c)
  argument(connection, share.g, #share.g)
  for i = 1, trip.n do
    local place, e, f, rest = places and places[i], share.e_text, share.f_text, trip.keys[i]
    if place then e, f, rest = share.e, share.f, place end
    joined(connection, e, #e, rest, #rest)
    joined(connection, f, #f, rest, #rest)
  end
  trip.connection = connection
  local number = client.submit(connection)
  if number == 0 then return nil, "too much is waiting" end
  return number
end

-- The stamp of entries that depend on nothing but the cache's version.
-- Two words, which stand in `share.stamp`.
local function plain_stamp(share, version)
  if share.stamped ~= version then
    share.stamped = version
    share.stamp = stamp_of({ share.c }, { [share.c] = version or "" })
  end
  return ffi.cast(words_of, share.stamp)
end

-- What is read of one trip beside what the trip says.
local function new_reading(share, reply)
  local client = share.client
  local version, any_tag = client.string(reply, 0), client.string(reply, 1)
  share.versions:saw(share.c, version)
  return {
    version = version, any_tag = any_tag or ABSENT, stamp = plain_stamp(share, version),
    now = C.perigee_clock_wall_ms(clock) + client.ahead_ms,
    late = false, -- entries whose stamps need more versions: { i =, stamp =, keys = }
    needed = {},  -- the names of those versions
  }
end

-- An entry that depends on more than the cache's version.
local function put_off(share, trip, i, stamp, reading)
  local keys = version_keys(share.v, trip.spaces[i], trip.own_tags[i] or nil)
  reading.late = reading.late or {}
  reading.late[#reading.late + 1] = { i = i, stamp = stamp, keys = keys }
  for j = 2, #keys do reading.needed[#reading.needed + 1] = keys[j] end
end

-- Opens what is there of one key.
local function open(share, trip, i, bytes, length, reading)
  if length < STAMP then
    trip.refused[i] = "too short"
    return
  end
  bytes = ffi.cast(bytes_of, bytes)
  local head, rest = share.head_text, trip.keys[i]
  if not is_plain(trip, i) then head, rest = share.head, place_of(trip, i) end
  local place = share.place or buffer.new() -- a finalizer may read meanwhile
  share.place = false
  local at, place_length = place:reset():put(head, rest):putcdata(bytes, STAMP):ref()
  local deadline, value, tags, key = share.envelope:read(ffi.cast(chars_of, at), place_length,
    bytes + STAMP, length - STAMP)
  share.place = place
  if not deadline then
    trip.refused[i] = value
    return
  end
  if key and key ~= select(2, names.place_of(trip.spaces[i], trip.keys[i])) then
    trip.refused[i] = "of another key"
    return
  end
  local left = (deadline - reading.now) / 1000
  if left <= 0 then return end
  trip.values[i], trip.lefts[i], trip.own_tags[i] = value, left, tags or false
  if tags or trip.spaces[i] ~= "" then
    put_off(share, trip, i, ffi.string(bytes, STAMP), reading)
  else
    local own, stamp = ffi.cast(words_of, bytes), reading.stamp
    trip.found[i] = own[0] == stamp[0] and own[1] == stamp[1] and reading.version ~= nil
  end
end

-- The entries whose versions were not in the reply.
local function open_late(share, trip, reading)
  local versions = { [share.c] = reading.version }
  local ok, why = share.versions:read(reading.needed, versions)
  if not ok then return nil, why end
  for _, late in ipairs(reading.late) do
    trip.found[late.i] = stamp_of(late.keys, versions) == late.stamp
  end
  return true
end

-- What a fill compares must be there before the load begins: a version that comes later may be that
-- of a clear in between.
local function complete(share, trip, reading, fences)
  local keys, versions = {}, { [share.c] = reading.version }
  for i = 1, trip.n do
    if not trip.found[i] then
      for _, key in ipairs(version_keys(share.v, trip.spaces[i], trip.tags[i] or nil)) do
        if not versions[key] then keys[#keys + 1] = key end
      end
    end
  end
  if #keys > 0 then
    local ok, why = share.versions:ensure(keys, versions)
    if not ok then return nil, why end
  end
  for i = 1, trip.n do
    if not trip.found[i] then
      trip.seen[i] = { at = context.port.now(), fence = fences[i], any_tag = reading.any_tag,
        versions = versions, tags = trip.tags[i] }
    end
  end
  return true
end

-- Reads the reply while it is there.
local function take_reply(share, trip, reply)
  local client, reading, fences = share.client, new_reading(share, reply), nil
  local text = client.text
  for i = 1, trip.n do
    local at = HEAD + 2 * (i - 1)
    local bytes, length = text(reply, at)
    trip_face.forget(trip, i)
    if bytes and not trip.fresh[i] then open(share, trip, i, bytes, length, reading) end
    if not trip.found[i] then
      fences = fences or {}
      fences[i] = client.string(reply, at + 1) or ABSENT
    end
  end
  return reading, fences
end

--- Waits for the reply to a trip, and fills in what is learned.
-- @tparam table share the cache's share
-- @tparam table trip the same as for `send`
-- @tparam number number of the request
-- @tparam[opt] number timeout seconds; default: those of the client
-- @treturn true|nil
-- @treturn string|nil why there is no answer
function _M.take(share, trip, number, timeout)
  local client, connection = share.client, trip.connection
  local reply, why = client:reply(connection, number, HEAD + 2 * trip.n, timeout)
  if not reply then return nil, why end
  local ok, reading, fences = pcall(take_reply, share, trip, reply)
  client.release(connection, number)
  if not ok then error(reading, 0) end
  if reading.late then
    ok, why = open_late(share, trip, reading)
    if not ok then return nil, why end
  end
  if not fences then return true end
  return complete(share, trip, reading, fences)
end

return _M

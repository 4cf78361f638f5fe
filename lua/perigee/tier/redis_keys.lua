-- SPDX-License-Identifier: MIT

--- What `perigee.redis` calls things at the server, and the versions that entries depend on.
-- @module perigee.tier.redis_keys

local bit = require "bit"
local ffi = require "ffi"

local C = require("perigee.lib").core
local clock = require "perigee.runtime.clock"
local place = require "perigee.tier.place"
local tags_face = require "perigee.tags"

local escape = place.escape

local _M = {}

--- Bytes of a place; a longer one travels as a hash.
_M.PLACE_MAX = 512

--- Bytes of a stamp.
_M.STAMP = 8

--- Tells one writer from another.
-- @treturn string 16 letters of chance
function _M.new_id()
  return bit.tohex(C.perigee_core_random()) .. bit.tohex(C.perigee_core_random())
end

--- A value that was never there before.
-- @treturn string time and chance
function _M.fresh_version()
  return ("%.0f-%s"):format(C.perigee_clock_wall_ms(clock), _M.new_id())
end

--- The error that a reply is.
-- @param reply what the client gave
-- @treturn string|nil
function _M.error_of(reply)
  return type(reply) == "table" and reply.err or nil
end

local function hash_of(text)
  local sums = ffi.new("uint64_t[2]", C.perigee_checksum("1", 1, text, #text),
    C.perigee_checksum("2", 1, text, #text))
  return "\1#" .. ffi.string(sums, 16) -- no escaped name begins so
end

--- The place of a key.
-- @tparam string space name of its space
-- @tparam string|number|boolean key the key
-- @treturn string the place
-- @treturn string|nil the whole of it, if that is too long to be one
function _M.place_of(space, key)
  local at = place.of(space, key)
  if #at <= _M.PLACE_MAX then return at, nil end
  return hash_of(at), at
end

--- A tag as text without ambiguity, and those above it.
-- @tparam string|table tag the tag
-- @treturn table texts, the topmost first, its own last and as `full`
function _M.path_of(tag)
  local parts = tags_face.parts(tag)
  local texts, text = {}, nil
  for i = 1, #parts do
    text = (text and text .. "\0" or "") .. escape(parts[i])
    texts[i] = text
  end
  texts.full = text
  return texts
end

--- The parts of a tag that was written so.
-- @tparam string text from `path_of`
-- @treturn table
function _M.parts_in(text)
  local parts = {}
  for part in (text .. "\0"):gmatch "(%Z*)%z" do parts[#parts + 1] = place.unescape(part) end
  return parts
end

--- The keys of the versions that an entry depends on: the cache's first, then the space's.
-- @tparam string v prefix of versions
-- @tparam string space name of its space
-- @tparam table|nil tags its tags
-- @treturn table list of keys
function _M.version_keys(v, space, tags)
  local keys = { v .. "c" }
  if space ~= "" then keys[2] = v .. "s" .. escape(space) end
  for i = 1, tags and #tags or 0 do
    local path = _M.path_of(tags[i])
    for j = 1, #path do keys[#keys + 1] = v .. "d" .. path[j] end
    keys[#keys + 1] = v .. "u" .. path.full
  end
  return keys
end

--- The stamp of some versions.
-- @tparam table keys of the versions
-- @tparam table versions by key
-- @treturn string|nil nil: one is missing
function _M.stamp_of(keys, versions)
  local list = {}
  for i = 1, #keys do
    local version = versions[keys[i]]
    if not version then return nil end
    list[i] = version
  end
  local text = table.concat(list, "\0")
  return ffi.string(ffi.new("uint64_t[1]", C.perigee_checksum("", 0, text, #text)), _M.STAMP)
end

return _M

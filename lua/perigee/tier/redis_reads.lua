-- SPDX-License-Identifier: MIT

--- Reading entries of `perigee.redis`, with what their fills will compare.
--
-- One MGET has the versions of the cache, and for each item its entry, its fence, and the versions
-- of its space and of the tags that are known beforehand. The versions of tags that only the
-- entries name follow in a second one, unless they are held.
-- @module perigee.tier.redis_reads

local names = require "perigee.tier.redis_keys"

local STAMP, stamp_of, version_keys = names.STAMP, names.stamp_of, names.version_keys

local _M = {}

local ABSENT = ""

--- The command that reads some items.
-- @tparam table share the cache's share
-- @tparam table items list of `{ space =, key =, tags = }`
-- @treturn table the command
function _M.command(share, items)
  local command = { "MGET", share.v .. "c", share.v .. "g" }
  for _, item in ipairs(items) do
    item.at, item.long = names.place_of(item.space, item.key)
    item.depends = version_keys(share.v, item.space, item.tags)
    command[#command + 1] = share.e .. item.at
    command[#command + 1] = share.f .. item.at
    for i = 2, #item.depends do command[#command + 1] = item.depends[i] end
  end
  return command
end

-- Gives each item `bytes` and `seen`, and collects versions that are missing.
local function sort_out(share, items, values, missing)
  local null = share.null
  local function value_at(i) return values[i] ~= null and values[i] or nil end
  share.versions:saw(share.v .. "c", value_at(1))
  local at = 3
  for _, item in ipairs(items) do
    local versions = { [item.depends[1]] = value_at(1) }
    item.bytes = value_at(at)
    item.seen = { versions = versions, tags = item.tags, fence = value_at(at + 1) or ABSENT,
      any_tag = value_at(2) or ABSENT }
    for i = 2, #item.depends do versions[item.depends[i]] = value_at(at + i) end
    for _, key in ipairs(item.depends) do
      if not versions[key] then missing[#missing + 1] = key end
    end
    at = at + 1 + #item.depends
  end
end

-- What a fill compares must be there before the load begins: a version that comes later may be that
-- of a clear in between.
local function complete(share, items, missing)
  if #missing == 0 then return true end
  local versions = {}
  share.versions:forget() -- they are gone there
  local ok, why = share.versions:ensure(missing, versions)
  if not ok then return nil, why end
  for _, item in ipairs(items) do
    for _, key in ipairs(item.depends) do
      item.seen.versions[key] = item.seen.versions[key] or versions[key]
    end
  end
  return true
end

-- Opens the envelopes; what is no entry of ours is told by `refused`.
local function open_all(share, items, keys)
  for _, item in ipairs(items) do
    local bytes = item.bytes
    if bytes and #bytes < STAMP then
      item.refused = "too short"
    elseif bytes then
      item.stamp = bytes:sub(1, STAMP)
      item.entry, item.refused = share.envelope:open(share.head .. item.at .. item.stamp,
        bytes:sub(STAMP + 1))
      if item.entry and item.long ~= nil and item.entry.key ~= item.long then
        item.entry, item.refused = nil, "of another key"
      end
      if item.entry and item.entry.tags then
        for _, key in ipairs(version_keys(share.v, item.space, item.entry.tags)) do
          keys[#keys + 1] = key
        end
      end
    end
    item.bytes = nil
  end
end

-- An entry whose stamp is of other versions is none.
local function check_stamps(share, items, versions)
  for _, item in ipairs(items) do
    local entry = item.entry
    if entry then
      local keys = version_keys(share.v, item.space, entry.tags)
      local all = item.seen.versions
      for _, key in ipairs(keys) do all[key] = all[key] or versions[key] end
      if stamp_of(keys, all) ~= item.stamp then item.entry = nil end
    end
  end
end

--- Gives each item what the server's reply says of it: `entry` (`value`, `deadline`, `tags`),
-- `refused`, `seen`.
-- @tparam table share the cache's share
-- @tparam table items the same as for `command`
-- @tparam table values its reply
-- @treturn true|nil
-- @treturn string|nil why there is no answer
function _M.take(share, items, values)
  if names.error_of(values) then return nil, values.err end
  local missing, keys, versions = {}, {}, {}
  for _, item in ipairs(items) do item.entry, item.refused = nil, nil end
  sort_out(share, items, values, missing)
  local ok, why = complete(share, items, missing)
  if not ok then return nil, why end
  open_all(share, items, keys)
  if #keys > 0 then
    ok, why = share.versions:read(keys, versions)
    if not ok then return nil, why end
  end
  check_stamps(share, items, versions)
  return true
end

return _M

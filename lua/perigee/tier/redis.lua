-- SPDX-License-Identifier: MIT

--- `perigee.redis`: a Redis server as the second level of caches, shared by many processes.
--
-- Keys at the server, after the prefix; `name` is the cache's, escaped, `place` the key's:
--
--     e name \0 place    the entry: a stamp of 8 bytes, and an envelope
--     f name \0 place    its fence: changed by each write and delete, gone after a while
--     l name \0 place    its lease: who loads it now
--     v name \0 c        version of the cache: changed by clear
--     v name \0 s space  version of a space of it
--     v name \0 g        changed by every write of a tag
--     v name \0 d tag    version of a tag, and of everything below it
--     v name \0 u tag    changed when something below it was written
--     n name \0 ...      notices: written and deleted at once, so that others hear of it
--
-- Versions are fresh values, never counters: a server that lost them cannot repeat one. An entry's
-- stamp is a hash of the versions that it was written under; if one is missing or another, the
-- entry is none. A load's value is stored by a script that compares what the miss had read: fence
-- and versions. The notices are the only keys that are tracked: a fill makes nobody forget.
-- @module perigee.tier.redis

local bit = require "bit"
local buffer = require "string.buffer"
local ffi = require "ffi"

local C = require("perigee.lib").core
local clock = require "perigee.runtime.clock"
local envelope = require "perigee.envelope"
local options = require "perigee.options"
local place = require "perigee.tier.place"

local kinds = options.kinds
local escape = place.escape

local _M = {}
local mt = { __index = _M, __name = "perigee.redis" }

local PLACE_MAX = 512 -- a longer one travels as a hash
local STAMP = 8
local FENCE_S = 60
local ABSENT = ""

local function is_port(v) return type(v) == "number" and v >= 1 and v <= 65535 and v % 1 == 0 end

local OPTIONS = {
  host = kinds.name,
  port = { "a port: a whole number from 1 to 65535", is_port },
  unix = kinds.name,
  db = { "the number of a database: a whole number >= 0",
    function(v) return type(v) == "number" and v >= 0 and v % 1 == 0 and v < 2 ^ 31 end },
  username = kinds.name,
  password = kinds.string,
  prefix = kinds.string,
  connect_timeout = kinds.duration,
  timeout = kinds.duration,
  coherence = kinds.boolean,
  secret = kinds.name,
  max_value_bytes = { "a whole number of bytes > 0, below 512 MB",
    function(v) return type(v) == "number" and v > 0 and v < 2 ^ 29 and v % 1 == 0 end },
  tls = { "a boolean, or a table", function(v) return type(v) == "boolean" or type(v) == "table" end },
}

local DEFAULTS = { host = "127.0.0.1", port = 6379, db = 0, prefix = "perigee:",
  connect_timeout = 1, timeout = 0.25, coherence = true, max_value_bytes = 2 ^ 26 }

--- Describes a server; it is connected to when a cache uses it. Caches may share the description,
-- and then share its connections.
-- @tparam[opt] table opts `host` ("127.0.0.1"), `port` (6379), `unix` (path of a socket, in place of
--   both), `db` (0), `username`, `password`, `prefix` ("perigee:"), `connect_timeout` (1 second),
--   `timeout` (0.25 seconds), `coherence` (true: hear of what other processes change), `secret`
--   (entries are signed with it, and others not taken), `max_value_bytes` (64 MiB)
-- @treturn table for option `remote_cache` of `perigee.new`
-- @raise on a mistake in the options
function _M.new(opts)
  opts = opts or {}
  options.argument("perigee.redis", "opts", kinds.list, opts, 2)
  options.check("perigee.redis", opts, OPTIONS, 2)
  if opts.tls then
    error("perigee.redis: option \"tls\" needs hiredis 1.0 or later built with SSL, and this build "
      .. "has none; let stunnel or a sidecar do it, and give option \"unix\" or \"host\"", 2)
  end
  if opts.secret then envelope.new("perigee.redis", { secret = opts.secret }, 2) end
  local all = {}
  for name, value in next, DEFAULTS do all[name] = value end
  for name, value in next, opts do all[name] = value end
  return setmetatable({ opts = all, client = false, shares = {} }, mt)
end

--- Whether a value came from `perigee.redis`.
-- @param value anything
-- @treturn boolean
function _M.is(value)
  return type(value) == "table" and getmetatable(value) == mt
end

local function fresh_version()
  return ("%.0f-%s"):format(C.perigee_clock_wall_ms(clock),
    bit.tohex(C.perigee_core_random()) .. bit.tohex(C.perigee_core_random()))
end

-- One cache's share of a server --------------------------------------------------------------

local Share = {}
local share_mt = { __index = Share, __name = "perigee.redis.share" }

-- Passes what the client hears on to the shares.
local function client_of(self)
  if self.client then return self.client end
  local redis_ev = require "perigee.client.redis_ev"
  local client = redis_ev.new(self.opts, self.opts.prefix .. "n")
  self.client, self.NULL = client, redis_ev.NULL
  client.on_notice = function(key)
    for _, share in next, self.shares do share:notice(key) end
  end
  client.on_lost = function(why)
    for _, share in next, self.shares do share:lost(why) end
  end
  client.on_open = function()
    for _, share in next, self.shares do share.on_open() end
  end
  return client
end

--- What a cache reads from and writes to. The caller sets `on_key(space, key)`, `on_long_key()`,
-- `on_tag(parts)`, `on_space(name)`, `on_clear()`, `on_lost(why)` and `on_open()`.
-- @tparam string name of the cache
-- @tparam string|table codec its option `codec`
-- @tparam number fence_s seconds that a fence stands at least
-- @tparam number level as for `error`, counted from the caller
-- @treturn table the share
function _M:share(name, codec, fence_s, level)
  local head = escape(name) .. "\0"
  local prefix = self.opts.prefix
  local share = setmetatable({
    redis = self,
    client = client_of(self),
    null = self.NULL,
    head = head,
    e = prefix .. "e" .. head, f = prefix .. "f" .. head, l = prefix .. "l" .. head,
    v = prefix .. "v" .. head, n = prefix .. "n" .. head,
    fence_ms = ("%d"):format(math.max(FENCE_S, fence_s) * 1000),
    envelope = envelope.new("perigee.new", { codec = codec, secret = self.opts.secret,
      max_value_bytes = self.opts.max_value_bytes }, level + 1),
    out = buffer.new(),
    held = {},       -- versions of tags, as long as nobody says otherwise
    held_count = 0,
    held_epoch = 0,
  }, share_mt)
  self.shares[name] = share
  return share
end

--- Ends the share.
-- @tparam string name of the cache
function _M:leave(name)
  self.shares[name] = nil
  if next(self.shares) == nil and self.client then
    self.client:close()
    self.client = false
  end
end

-- Places and versions ------------------------------------------------------------------------

local function hash_of(text)
  local sums = ffi.new("uint64_t[2]", C.perigee_checksum("1", 1, text, #text),
    C.perigee_checksum("2", 1, text, #text))
  return "\1#" .. ffi.string(sums, 16) -- no escaped name begins so
end

-- The place of a key, and the whole of it if that is too long to be one.
local function place_of(space, key)
  local at = place.of(space, key)
  if #at <= PLACE_MAX then return at, nil end
  return hash_of(at), at
end

-- A tag as text without ambiguity, and those above it.
local function path_of(tag)
  local parts = tag
  if type(tag) == "string" then
    parts = {}
    for part in (tag .. ":"):gmatch "([^:]*):" do parts[#parts + 1] = part end
  end
  local texts, text = {}, nil
  for i = 1, #parts do
    text = (text and text .. "\0" or "") .. escape(parts[i])
    texts[i] = text
  end
  return texts
end

-- The keys of the versions that an entry depends on: the cache's and the space's first.
local function version_keys(self, space, tags)
  local keys = { self.v .. "c" }
  if space ~= "" then keys[2] = self.v .. "s" .. escape(space) end
  for i = 1, tags and #tags or 0 do
    local path = path_of(tags[i])
    for j = 1, #path do keys[#keys + 1] = self.v .. "d" .. path[j] end
    keys[#keys + 1] = self.v .. "u" .. path[#path]
  end
  return keys
end

-- The stamp of some versions, or nil if one is missing.
local function stamp_of(keys, versions)
  local list = {}
  for i = 1, #keys do
    local version = versions[keys[i]]
    if not version then return nil end
    list[i] = version
  end
  local text = table.concat(list, "\0")
  return ffi.string(ffi.new("uint64_t[1]", C.perigee_checksum("", 0, text, #text)), STAMP)
end

local function drop_held(self)
  self.held, self.held_count, self.held_epoch = {}, 0, self.held_epoch + 1
end

local function hold(self, versions, epoch)
  if not self.redis.opts.coherence or epoch ~= self.held_epoch then return end
  for key, version in next, versions do
    if self.held[key] == nil then self.held_count = self.held_count + 1 end
    self.held[key] = version
  end
  if self.held_count > 10000 then drop_held(self) end
end

local function is_error(reply)
  return type(reply) == "table" and reply.err ~= nil
end

-- Reads versions that are not held into `versions`.
local function read_versions(self, keys, versions)
  local command, epoch = { "MGET" }, self.held_epoch
  for i = 1, #keys do
    local key = keys[i]
    versions[key] = versions[key] or self.held[key]
    if not versions[key] then command[#command + 1] = key end
  end
  if #command == 1 then return true end
  local replies, why = self.client:ask { command }
  if not replies then return nil, why end
  if is_error(replies[1]) then return nil, replies[1].err end
  local read = {}
  for i = 2, #command do
    local version = replies[1][i - 1]
    if version ~= self.null then read[command[i]], versions[command[i]] = version, version end
  end
  hold(self, read, epoch)
  return true
end

-- Makes sure that all of them exist.
local function ensure_versions(self, keys, versions)
  local ok, why = read_versions(self, keys, versions)
  if not ok then return nil, why end
  local commands, missing = {}, {}
  for i = 1, #keys do
    if not versions[keys[i]] then
      commands[#commands + 1] = { "SET", keys[i], fresh_version(), "NX" }
      missing[#missing + 1] = keys[i]
    end
  end
  if #commands == 0 then return true end
  local replies
  replies, why = self.client:ask(commands)
  if not replies then return nil, why end
  for i = 1, #replies do
    if is_error(replies[i]) then return nil, replies[i].err end
  end
  return read_versions(self, missing, versions)
end

-- Reading ------------------------------------------------------------------------------------

-- What stands at a key, if it is an entry of ours under these versions: entry; nil and why not.
local function open_entry(self, item, bytes, versions)
  if #bytes < STAMP then return nil, "too short" end
  local stamp = bytes:sub(1, STAMP)
  local entry, why = self.envelope:open(self.head .. item.at .. stamp, bytes:sub(STAMP + 1))
  if not entry then return nil, why end
  if item.long ~= nil and entry.key ~= item.long then return nil, "of another key" end
  if entry.tags then
    local ok
    ok, why = read_versions(self, version_keys(self, item.space, entry.tags), versions)
    if not ok then return nil, why end
  end
  if stamp_of(version_keys(self, item.space, entry.tags), versions) ~= stamp then return nil end
  return entry
end

-- The command that reads some items, with what their fills compare.
local function reading_of(self, items)
  local command = { "MGET", self.v .. "c", self.v .. "g" }
  for _, item in ipairs(items) do
    item.at, item.long = place_of(item.space, item.key)
    command[#command + 1] = self.e .. item.at
    command[#command + 1] = self.f .. item.at
    if item.space ~= "" then command[#command + 1] = self.v .. "s" .. escape(item.space) end
  end
  return command
end

-- What a fill compares must be there before the load begins: a version that comes later may be that
-- of a clear in between.
local function complete(self, item)
  local seen = item.seen
  if seen.cache and (item.space == "" or seen.space) then return true end
  local keys, versions = version_keys(self, item.space), {}
  local ok, why = ensure_versions(self, keys, versions)
  seen.cache, seen.space = versions[keys[1]], versions[keys[2]]
  return ok, why
end

--- Reads entries, and what their fills will compare.
-- @tparam table items list of `{ space =, key = }`; each gets `entry` if there is one (`value`,
--   `deadline`, `tags`), `refused` if there is something else, and `seen`
-- @treturn true|nil
-- @treturn string|nil why nothing could be read
function Share:read(items)
  local command = reading_of(self, items)
  local replies, why = self.client:ask { command }
  if not replies then return nil, why end
  local values, null = replies[1], self.null
  if is_error(values) then return nil, values.err end
  local function value_at(i) return values[i] ~= null and values[i] or nil end
  local at = 3
  for _, item in ipairs(items) do
    local versions = { [command[2]] = value_at(1) }
    local bytes = value_at(at)
    item.seen = { fence = value_at(at + 1) or ABSENT, cache = value_at(1),
      tags = value_at(2) or ABSENT }
    at = at + 2
    if item.space ~= "" then
      versions[command[at + 1]] = value_at(at)
      item.seen.space = value_at(at)
      at = at + 1
    end
    local ok
    ok, why = complete(self, item)
    if not ok then return nil, why end
    if bytes then item.entry, item.refused = open_entry(self, item, bytes, versions) end
  end
  return true
end

-- Writing ------------------------------------------------------------------------------------

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

local RELEASE = [[
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0]]

local function notice(self, commands, what)
  commands[#commands + 1] = { "SET", self.n .. what, "" }
  commands[#commands + 1] = { "DEL", self.n .. what }
end

-- The value as it travels: bytes and milliseconds left; or nil, why not, and whether it is the
-- value's fault.
local function seal(self, op, versions)
  local stamp = stamp_of(version_keys(self, op.space, op.tags), versions)
  local left = op.deadline - C.perigee_clock_wall_ms(clock)
  if left < 1 then return nil, "expired" end
  local bound = self.head .. op.at .. stamp
  local ok, why = self.envelope:write(self.out, bound, #bound, op.value, op.deadline, op.tags,
    op.long)
  if not ok then return nil, why, true end
  return stamp .. self.out:tostring(), left < math.huge and ("%d"):format(left) or ""
end

local function add_delete(self, commands, op)
  commands[#commands + 1] = { "MULTI" }
  commands[#commands + 1] = { "SET", self.f .. op.at, fresh_version(), "PX", self.fence_ms }
  commands[#commands + 1] = { "DEL", self.e .. op.at }
  notice(self, commands, "k" .. op.at)
  commands[#commands + 1] = { "EXEC" }
end

local function add_set(self, commands, op, bytes, left)
  commands[#commands + 1] = { "MULTI" }
  commands[#commands + 1] = { "SET", self.f .. op.at, fresh_version(), "PX", self.fence_ms }
  local set = { "SET", self.e .. op.at, bytes }
  if left ~= "" then set[4], set[5] = "PX", left end
  commands[#commands + 1] = set
  notice(self, commands, "k" .. op.at)
  commands[#commands + 1] = { "EXEC" }
end

-- Stores only if nothing was written since the miss was read.
local function add_fill(self, commands, op, bytes, left)
  local seen = op.seen
  local keys, compared = { self.e .. op.at, self.f .. op.at }, { seen.fence }
  local function compare(key, value) keys[#keys + 1], compared[#compared + 1] = key, value end
  compare(self.v .. "c", seen.cache)
  if seen.space then compare(self.v .. "s" .. escape(op.space), seen.space) end
  if op.tags and #op.tags > 0 then compare(self.v .. "g", seen.tags) end
  if op.token then compare(self.l .. op.at, op.token) end
  local command = { "EVAL", FILL, tostring(#keys) }
  for i = 1, #keys do command[#command + 1] = keys[i] end
  for i = 1, #compared do command[#command + 1] = compared[i] end
  command[#command + 1] = bytes
  command[#command + 1] = left
  command[#command + 1] = op.token and self.l .. op.at or ""
  commands[#commands + 1] = command
end

local function add_clear(self, commands, op)
  local key, what = self.v .. "c", "c"
  if op.space ~= nil then
    key, what = self.v .. "s" .. escape(op.space), "s" .. escape(op.space)
  end
  commands[#commands + 1] = { "MULTI" }
  commands[#commands + 1] = { "SET", key, fresh_version() }
  notice(self, commands, what)
  commands[#commands + 1] = { "EXEC" }
end

local function add_tag(self, commands, op)
  local path = path_of(op.tag)
  local command = { "MSET", self.v .. "g", fresh_version(), self.v .. "d" .. path[#path],
    fresh_version() }
  for i = 1, #path - 1 do
    command[#command + 1] = self.v .. "u" .. path[i]
    command[#command + 1] = fresh_version()
  end
  commands[#commands + 1] = { "MULTI" }
  commands[#commands + 1] = command
  notice(self, commands, "t" .. path[#path])
  commands[#commands + 1] = { "EXEC" }
  drop_held(self)
end

local function needs_versions(op)
  return op.kind == "set" or op.kind == "fill"
end

local ADD = { delete = add_delete, clear = add_clear, tag = add_tag }

-- Adds the commands of one write. What cannot be carried is deleted instead.
local function add_op(self, commands, op, versions)
  if ADD[op.kind] then return ADD[op.kind](self, commands, op) end
  if op.kind == "release" then
    commands[#commands + 1] = { "EVAL", RELEASE, "1", self.l .. op.at, op.token }
    return
  end
  local bytes, left, is_value = seal(self, op, versions)
  if not bytes then
    op.unsaved = is_value and left
    if op.kind == "set" then return add_delete(self, commands, op) end
    if not op.token then commands[#commands + 1] = { "PING" } return end
    commands[#commands + 1] = { "EVAL", RELEASE, "1", self.l .. op.at, op.token }
  elseif op.kind == "set" then
    add_set(self, commands, op, bytes, left)
  else
    add_fill(self, commands, op, bytes, left)
  end
end

--- Writes, in this order.
-- @tparam table ops list of `{ kind =, ... }`: `set`, `fill` (`space`, `key`, `value`, `deadline`,
--   `tags`; a fill: `seen`, `token`), `delete`, `release` (`space`, `key`; `token`), `clear`
--   (`space`, or nil for all), `tag` (`tag`). What the server refused gets `err`; a value that
--   cannot be carried, `unsaved`; `stored` says whether a fill was taken
-- @treturn true|nil nil: it is not known what was done
-- @treturn string|nil why
function Share:apply(ops)
  local keys, versions, commands, last = {}, {}, {}, {}
  for _, op in ipairs(ops) do
    if op.key ~= nil then op.at, op.long = place_of(op.space, op.key) end
    if needs_versions(op) then
      for _, key in ipairs(version_keys(self, op.space, op.tags)) do keys[#keys + 1] = key end
    end
  end
  if #keys > 0 then
    local ok, why = ensure_versions(self, keys, versions)
    if not ok then return nil, why end
  end
  for i, op in ipairs(ops) do
    if op.is_dead and op.is_dead() then op.kind = op.kind == "set" and "delete" or "none" end
    if op.kind ~= "none" then add_op(self, commands, op, versions) end
    last[i] = #commands
  end
  if #commands == 0 then return true end
  local replies, why = self.client:ask(commands)
  if not replies then return nil, why end
  for i, op in ipairs(ops) do
    local reply = replies[last[i]]
    if is_error(reply) then op.err = reply.err end
    op.stored = reply == 1
  end
  return true
end

--- Takes the lease of a key.
-- @tparam table item from `read`
-- @tparam number seconds how long it lasts
-- @treturn string|false|nil a token; false: somebody else has it; nil: not known
-- @treturn string|nil why
function Share:lease(item, seconds)
  local token = fresh_version()
  local replies, why = self.client:ask { { "SET", self.l .. item.at, token, "NX", "PX",
    ("%d"):format(seconds * 1000) } }
  if not replies then return nil, why end
  if is_error(replies[1]) then return nil, replies[1].err end
  return replies[1] == "OK" and token
end

-- Hearing ------------------------------------------------------------------------------------

local function unescape_parts(text)
  local parts = {}
  for part in (text .. "\0"):gmatch "(%Z*)%z" do parts[#parts + 1] = place.unescape(part) end
  return parts
end

local HEARD = {
  k = function(self, at)
    if at:sub(1, 2) == "\1#" then return self.on_long_key() end
    local space, key = place.read(at)
    if space then self.on_key(space, key) end
  end,
  t = function(self, text)
    drop_held(self)
    self.on_tag(unescape_parts(text))
  end,
  s = function(self, text)
    drop_held(self)
    self.on_space(place.unescape(text))
  end,
  c = function(self)
    drop_held(self)
    self.on_clear()
  end,
}

--- Somebody else changed something.
-- @tparam string|nil key the notice; nil: everything
function Share:notice(key)
  if not key then
    drop_held(self)
    return self.on_clear()
  end
  if key:sub(1, #self.n) ~= self.n then return end
  local hear = HEARD[key:sub(#self.n + 1, #self.n + 1)]
  if hear then hear(self, key:sub(#self.n + 2)) end
end

--- What others change may have gone unheard.
-- @tparam string why
function Share:lost(why)
  drop_held(self)
  self.on_lost(why)
end

return _M

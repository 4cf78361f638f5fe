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
--     n name \0 id ...   notices: written and deleted at once, so that others hear of it; `id` is
--                        the writer's, so that it knows its own (NOLOOP does not cover scripts, and
--                        Redis before 6.2.5 confuses writers of one key)
--
-- Versions are fresh values, never counters: a server that lost them cannot repeat one. An entry's
-- stamp is a hash of the versions that it was written under; if one is missing or another, the
-- entry is none. A load's value is stored by a script that compares what the miss had read: fence
-- and versions. The notices are the only keys that are tracked: a fill makes nobody forget.
--
-- Deadlines are told by the server's clock: those of the machines may differ.
-- @module perigee.tier.redis

local buffer = require "string.buffer"

local context = require "perigee.context"
local each = require("perigee.value.names").each
local envelope = require "perigee.value.envelope"
local options = require "perigee.options"
local names = require "perigee.tier.redis_keys"
local place = require "perigee.tier.place"
local reads = require "perigee.tier.redis_reads"
local versions_face = require "perigee.tier.redis_versions"
local writes = require "perigee.tier.redis_writes"

local kinds = options.kinds
local escape, error_of = place.escape, names.error_of

local _M = {}
local mt = { __index = _M, __name = "perigee.redis" }

local FENCE_S = 60
local DEAF_S = 1

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
  tls = { "a boolean, or a table",
    function(v) return type(v) == "boolean" or type(v) == "table" end },
}

local DEFAULTS = { host = "127.0.0.1", port = 6379, db = 0, prefix = "perigee:",
  connect_timeout = 1, timeout = 0.25, coherence = true, max_value_bytes = 2 ^ 26 }

--- Describes a server; it is connected to when a cache uses it. Caches may share the description,
-- and then share its connections.
-- @tparam[opt] table opts `host` ("127.0.0.1"), `port` (6379), `unix` (path of a socket, in place
--   of both), `db` (0), `username`, `password`, `prefix` ("perigee:"), `connect_timeout` (1
--   second), `timeout` (0.25 seconds), `coherence` (true: hear of what other processes change),
--   `secret` (entries are signed with it, and others not taken), `max_value_bytes` (64 MiB)
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
  for name, value in each(DEFAULTS) do all[name] = value end
  for name, value in each(opts) do all[name] = value end
  return setmetatable({ opts = all, client = false, shares = {} }, mt)
end

--- Whether a value came from `perigee.redis`.
-- @param value anything
-- @treturn boolean
function _M.is(value)
  return type(value) == "table" and getmetatable(value) == mt
end

-- One cache's share of a server --------------------------------------------------------------

local Share = {}
local share_mt = { __index = Share, __name = "perigee.redis.share" }

-- The client for what is around us.
local function face()
  if context.port.name == "openresty" then return require "perigee.client.redis_ngx" end
  return require "perigee.client.redis_ev"
end

-- Passes what the client hears on to the shares.
local function client_of(self)
  if self.client then return self.client end
  local redis = face()
  local client = redis.new(self.opts, self.opts.prefix .. "n")
  self.client, self.NULL = client, redis.NULL
  client.on_notice = function(key)
    for _, share in each(self.shares) do share:notice(key) end
  end
  client.on_lost = function(why)
    for _, share in each(self.shares) do share:lost(why) end
  end
  client.on_open = function(has_failed, was_down)
    for _, share in each(self.shares) do share.on_open(has_failed, was_down) end
  end
  return client
end

--- What a cache reads from and writes to. The caller sets `on_key(space, key)`, `on_long_key()`,
-- `on_tag(parts)`, `on_space(name)`, `on_clear()`, `on_lost(why)`, `on_open(has_failed, was_down)`.
-- @tparam string name of the cache
-- @tparam string|table codec its option `codec`
-- @tparam number fence_s seconds that a fence stands at least
-- @tparam number level as for `error`, counted from the caller
-- @treturn table the share
function _M:share(name, codec, fence_s, level)
  local head = escape(name) .. "\0"
  local prefix, client = self.opts.prefix, client_of(self)
  local share = setmetatable({
    client = client, knows_tags = true, gathers = client.gathers,
    null = self.NULL,
    head = head,
    e = prefix .. "e" .. head, f = prefix .. "f" .. head, l = prefix .. "l" .. head,
    v = prefix .. "v" .. head, n = prefix .. "n" .. head,
    c = prefix .. "v" .. head .. "c", g = prefix .. "v" .. head .. "g",
    -- in front of a key that is a string, of the direct API
    head_text = head .. "\0s", e_text = prefix .. "e" .. head .. "\0s",
    f_text = prefix .. "f" .. head .. "\0s",
    process = false, id = false, -- see `writer`
    sure_until = 0,
    fence_s = math.max(FENCE_S, fence_s),
    fence_ms = ("%d"):format(math.max(FENCE_S, fence_s) * 1000),
    envelope = envelope.new("perigee.new", { codec = codec, secret = self.opts.secret,
      max_value_bytes = self.opts.max_value_bytes }, level + 1),
    out = buffer.new(),   -- for entries on their way out
    place = buffer.new(), -- for places of entries that are read
    stamped = false, stamp = false, -- the cache's version, and the stamp of it alone
    versions = versions_face.new(client, self.NULL, self.opts.coherence),
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

--- What our notices are known by. Processes may be forked when a share is there already.
-- @treturn string 16 letters
function Share:writer()
  local process = self.client.process()
  if self.process ~= process then self.process, self.id = process, names.new_id() end
  return self.id
end

-- Reading ------------------------------------------------------------------------------------

--- Begins to read a trip's entries, and what their fills will compare. Never waits.
-- @tparam table trip see `perigee.tier.trip`
-- @treturn number|nil of the request; nil: it is not on its way
-- @treturn string|nil why not
function Share:send(trip)
  return reads.send(self, trip)
end

--- Writes at once what was sent, rather than at the end of the turn.
function Share:write()
  self.client:write()
end

--- Waits for what was sent.
-- @tparam table trip the same
-- @tparam number number of the request
-- @tparam[opt] number timeout seconds; default: those of the client
-- @treturn true|nil
-- @treturn string|nil why there is no answer
function Share:take(trip, number, timeout)
  return reads.take(self, trip, number, timeout)
end

--- Reads a trip's entries: `send`, once the server is connected, and `take`.
-- @tparam table trip see `perigee.tier.trip`
-- @treturn true|nil
-- @treturn string|nil why nothing could be read
function Share:read(trip)
  local ok, why = self.client:open()
  if not ok then return nil, why end
  local number
  number, why = reads.send(self, trip)
  if not number then return nil, why end
  return reads.take(self, trip, number)
end

--- Takes the leases of a trip's entries, and reads them again: who has the lease and still finds
-- no entry is the only one to load it.
-- @tparam table trip see `perigee.tier.trip`
-- @tparam number seconds how long they last
-- @treturn true|nil
-- @treturn string|nil why this is not known
function Share:lease(trip, seconds)
  local ok, why = self.client:open()
  if not ok then return nil, why end
  local commands, tokens, ms = {}, {}, ("%d"):format(math.max(1, seconds * 1000))
  for i = 1, trip.n do
    local lease = self.l .. names.place_of(trip.spaces[i], trip.keys[i])
    tokens[i] = names.fresh_version()
    trip.tokens[i] = tokens[i]
    commands[2 * i - 1] = { "SET", lease, tokens[i], "NX", "PX", ms }
    commands[2 * i] = { "GET", lease }
  end
  local request, number, replies
  request, why = self.client:send(commands)
  if not request then return nil, why end
  number, why = reads.send(self, trip, request)
  if number then ok, why = reads.take(self, trip, number) end
  replies = self.client:receive(request) -- they came before
  if not number or not ok or not replies then return nil, why or "timeout" end
  for i = 1, trip.n do
    local taken, holder = replies[2 * i - 1], replies[2 * i]
    why = error_of(taken) or error_of(holder)
    if why then return nil, why end
    trip.tokens[i], trip.holders[i] = taken == "OK" and tokens[i] or false, holder
  end
  return true
end

-- Writing ------------------------------------------------------------------------------------

-- The first error among replies, or else in the last of them.
local function first_error(replies, first, last)
  for i = first, last do
    if error_of(replies[i]) then return error_of(replies[i]) end
  end
  local done = replies[last]
  if type(done) == "table" then return first_error(done, 1, #done) end
end

-- The server's memory is full: what the writes would have replaced is forgotten at least.
local function forget_instead(self, ops)
  local commands, last = {}, {}
  for i, op in ipairs(ops) do
    writes.add_when_full(self, commands, op)
    last[i] = #commands
  end
  local replies, why = self.client:ask(commands)
  if not replies then return nil, why end
  for i, op in ipairs(ops) do
    op.forgotten = not error_of(replies[last[i]])
    if op.kind ~= "set" and op.forgotten then op.err = nil end
  end
  return true
end

-- What became of the writes, by their replies.
local function judge(self, ops, replies, first, last)
  local full = {}
  for i, op in ipairs(ops) do
    if last[i] >= first[i] then
      op.err = first_error(replies, first[i], last[i])
    end
    if op.err and op.err:find "^READONLY" then -- it is a replica now
      self.client:give_up(op.err)
    end
    local is_full = op.err and op.err:find "^OOM"
    if is_full and op.kind ~= "fill" and op.kind ~= "release" then full[#full + 1] = op end
  end
  return full
end

-- Fills in where the ops belong, and the versions that they depend on.
local function prepare(self, ops)
  local keys, versions = {}, {}
  for _, op in ipairs(ops) do
    if op.key ~= nil then op.at, op.long = names.place_of(op.space, op.key) end
    if writes.needs_versions(op) then
      for _, key in ipairs(names.version_keys(self.v, op.space, op.tags)) do
        keys[#keys + 1] = key
      end
    end
  end
  local ok, why = true, nil
  if #keys > 0 then ok, why = self.versions:ensure(keys, versions) end
  return ok and versions, why
end

--- Writes, in this order.
-- @tparam table ops list of `{ kind =, ... }`: `set`, `fill` (`space`, `key`, `value`, `deadline`,
--   `tags`, `is_dead()`; a fill: `seen`, `token`), `delete`, `release` (`space`, `key`; `token`),
--   `clear` (`space`, or nil for all), `tag` (`tag`). What the server refused gets `err`, and
--   `forgotten` if at least what was there is gone; a value that cannot be carried, `unsaved`
-- @treturn true|nil nil: it is not known what was done
-- @treturn string|nil why
function Share:apply(ops)
  local versions, why = prepare(self, ops)
  if not versions then return nil, why end
  local commands, first, last, renews = {}, {}, {}, false
  for i, op in ipairs(ops) do
    renews = renews or op.kind == "tag" or op.kind == "clear"
    first[i] = #commands + 1
    writes.add(self, commands, op, versions)
    last[i] = #commands
  end
  if #commands == 0 then return true end
  local replies
  if renews then self.versions:forget() end
  replies, why = self.client:ask(commands)
  if renews then self.versions:forget() end -- somebody may have read them before we were heard
  if not replies then return nil, why end
  local full = judge(self, ops, replies, first, last)
  if #full == 0 then return true end
  return forget_instead(self, full)
end

-- Hearing ------------------------------------------------------------------------------------

local HEARD = {
  k = function(self, at)
    if at:sub(1, 2) == "\1#" then return self.on_long_key() end
    local space, key = place.read(at)
    if space then self.on_key(space, key) end
  end,
  t = function(self, text)
    self.versions:forget()
    self.on_tag(names.parts_in(text))
  end,
  s = function(self, text)
    self.versions:forget()
    self.on_space(place.unescape(text))
  end,
  c = function(self)
    self.versions:forget()
    self.on_clear()
  end,
}

--- Somebody changed something.
-- @tparam string|nil key the notice; nil: everything
function Share:notice(key)
  if not key then
    self.versions:forget()
    return self.on_clear()
  end
  local head, writer = #self.n, self:writer()
  local id = #writer
  if key:sub(1, head) ~= self.n or key:sub(head + 1, head + id) == writer then return end
  local hear = HEARD[key:sub(head + id + 1, head + id + 1)]
  if hear then hear(self, key:sub(head + id + 2)) end
end

--- Takes in what others have changed, where no loop turns. In a process that hears nothing any
-- more, what is remembered is good for a second.
function Share:peek()
  local client = self.client
  client:peek()
  if not client.deaf then return end
  local now = context.port.now()
  if now < self.sure_until then return end
  self.sure_until = now + DEAF_S
  self:lost "nothing is heard"
end

--- What others change may have gone unheard.
-- @tparam string why
function Share:lost(why)
  self.versions:forget()
  self.on_lost(why)
end

return _M

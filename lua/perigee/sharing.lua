-- SPDX-License-Identifier: MIT

--- What a cache does with a `lua_shared_dict`, inside nginx: a level between its memory and the
-- remote cache, and the way by which the workers agree.
--
-- A hit there needs no load: memory takes it up. A miss takes the key's lease, so that one worker
-- loads; the others look every millisecond or two, one for each worker, until there is a value or
-- an error. What one worker changes, the others forget before their next answer: each call looks at
-- a word in shared memory first (`perigee.tier.board`), and reads the journal when it has moved.
--
-- No late result gets in: a load that was under way when its key was written does not fill (the
-- fence, compared under its lock), nor does one under a tag that was written meanwhile (the fence
-- of the cache), nor one from before a `clear` (the stamp).
-- @module perigee.sharing

local C = require("perigee.lib").core
local board_face = require "perigee.tier.board"
local codec_face = require "perigee.value.codec"
local context = require "perigee.context"
local each = require("perigee.value.names").each
local hearing = require "perigee.remote.hearing"
local journal_face = require "perigee.tier.journal"
local landing = require "perigee.load.landing"
local leases = require "perigee.sharing.leases"
local log = require "perigee.log"
local names = require "perigee.tier.redis_keys"
local ngx = require "perigee.runtime.nginx"
local options = require "perigee.options"
local place = require "perigee.tier.place"
local runtime = require "perigee.runtime"
local tier_face = require "perigee.tier.shared"
local workers = require "perigee.sharing.workers"

local _M = {}
local mt = { __index = _M, __name = "perigee.sharing" }

local FENCES = C.PERIGEE_FENCES
local end_trace = coroutine.running
local space_of = leases.space_of

local attached = {}

--- What option `shared` takes.
_M.KIND = options.kinds.name

local function count(self, counter)
  self.counters[counter] = self.counters[counter] + 1
end

-- Hearing -----------------------------------------------------------------------------------

local HEARD = {
  k = function(self, at)
    local space, key = place.read(at)
    if space then self.ears.on_key(space, key) end
  end,
  t = function(self, text)
    self.tier:forget()
    self.ears.on_tag(names.parts_in(text))
  end,
  s = function(self, text)
    self.tier:forget()
    self.ears.on_space(place.unescape(text))
  end,
  c = function(self)
    self.tier:forget()
    self.ears.on_clear()
  end,
}

-- A version was made, or changed for a reason that needs nothing more here.
function HEARD.v(self)
  self.tier:forget()
end

local function hear(self, what)
  if not what then
    self.tier:forget()
    return self.ears.on_lost()
  end
  local heard = HEARD[what:sub(1, 1)]
  if heard then heard(self, what:sub(2)) end
end

-- Apart from `look`, so that the usual look is compiled as one load.
local function catch_up(self)
  if self.looking then return end -- a finalizer, in the middle of it
  self.looking = true
  local ok, err = pcall(self.journal.catch_up, self.journal, self.hear)
  self.looking = false
  if not ok then error(err, 0) end
end

--- Takes in what other workers have changed.
function _M:look()
  if not self.journal:is_quiet() then catch_up(self) end
  if self.peeks then self.next:look() end
end

--- The hash of a key, which says where its fence and its lease are.
-- @tparam string space name of its space
-- @tparam string|number|boolean key the key
-- @treturn number
function _M:hash(space, key)
  if space ~= "" or type(key) ~= "string" then key = place.of(space, key) end
  return board_face.hash(key, self.wide)
end

-- Writing -----------------------------------------------------------------------------------

-- Calls `act(...)` so that no fill which began before it comes after it.
local function fenced(self, hash, act, ...)
  local locked = self.board:lock(hash)
  local ok, result = pcall(act, ...)
  if locked then self.board:unlock(hash, true) else self.board:move(hash) end
  if not ok then error(result, 0) end
  return result
end

local function warn_once(self, key, why)
  count(self, "shared_unsaved")
  if self.warned then return end
  self.warned = true
  log.warn(("%s: the value of key %s cannot be shared between workers, and stays in memory only: "
    .. "%s (this is said once; see the metric shared_unsaved)"):format(self.cache:describe(),
    tostring(key), why))
end

-- The entry as bytes; what cannot be carried, or is larger than the dictionary, is not shared.
local function seal(self, key, value, ttl, stamp, tags)
  local sealed, why = self.tier:seal(value, ttl, stamp, tags)
  if not sealed then warn_once(self, key, why) end
  return sealed
end

-- Whoever asks for the time sets the worker's timer, by which the others hear its numbers.
local function begin_to_tell() context.port.now() end

local function put(self, key, name, sealed, ttl)
  begin_to_tell()
  if not sealed then return self.tier:delete(name) end
  local ok, why = self.tier:put(name, sealed, ttl)
  if not ok then return warn_once(self, key, why) end
  count(self, "shared_writes")
  return true
end

--- Writes an entry, here and below.
-- @tparam string space name of its space
-- @param key its key
-- @param value its value
-- @tparam number ttl seconds
-- @tparam table|nil tags its tags
-- @tparam boolean more whether other writes follow at once
-- @tparam boolean alone whether the levels below are to be left alone
function _M:set(space, key, value, ttl, tags, more, alone)
  local at = place.of(space, key)
  local sealed = seal(self, key, value, ttl, self.tier:stamp(space, tags), tags)
  local name = self.tier:name(space, key)
  fenced(self, self:hash(space, key), put, self, key, name, sealed, ttl)
  self.journal:publish("k" .. at)
  if self.next and not alone then self.next:set(space, key, value, ttl, tags, more) end
end

--- Writes an entry of the direct API if no worker has one: as `set`. Of several workers that do so
-- at once, one succeeds.
-- @treturn boolean whether it was written
function _M:add(key, value, ttl, tags, alone)
  local hash = self:hash("", key)
  local sealed = seal(self, key, value, ttl, self.tier:stamp("", tags), tags)
  local locked = self.board:lock(hash)
  local name = self.tier:name("", key)
  local ok, is_free = pcall(function()
    if self.tier:get(name, "") ~= nil then return false end
    put(self, key, name, sealed, ttl)
    return true
  end)
  if locked then self.board:unlock(hash, is_free, false) else self.board:move(hash) end
  if not ok then error(is_free, 0) end
  if not is_free then return false end
  self.journal:publish("k" .. place.of("", key))
  if self.next and not alone then self.next:set("", key, value, ttl, tags) end
  return true
end

--- Deletes a key, here and below.
-- @tparam string space name of its space
-- @param key the key
-- @tparam boolean alone as for `set`
-- @treturn boolean true
-- @treturn string|nil why it is not known that the remote cache forgot it, too
function _M:delete(space, key, alone)
  local at = place.of(space, key)
  fenced(self, self:hash(space, key), self.tier.delete, self.tier, self.tier:name(space, key))
  self.journal:publish("k" .. at)
  if not self.next or alone then return true end
  return self.next:delete(space, key)
end

--- Clears the cache, or one space of it, here and below: as `delete`.
-- @tparam string|nil space name of the space
function _M:clear(space)
  fenced(self, self.wide, self.tier.clear, self.tier, space)
  self.journal:publish(space and "s" .. place.escape(space) or "c")
  if not self.next then return true end
  return self.next:clear(space)
end

--- Writes tags, here and below: as `delete`.
-- @tparam table list of tags
function _M:invalidate_tags(list)
  for i = 1, #list do
    local text = fenced(self, self.wide, self.tier.write_tag, self.tier, list[i])
    self.journal:publish("t" .. text)
  end
  if not self.next then return true end
  return self.next:invalidate_tags(list)
end

-- Whether what a load compares is as it was when it began.
local function is_unmoved(self, record, tags)
  local board = self.board
  if board:fence(record.hash) ~= record.fence then return false end
  return not tags or board:fence(self.wide) == record.wide
end

local function fill_locked(self, record, sealed, ttl, tags)
  if not is_unmoved(self, record, tags) then return false end
  return put(self, record.key, record.name, sealed, ttl) or false
end

-- The same under one lock, or two.
local function fill_under(self, record, sealed, ttl, tags, first, second)
  local board = self.board
  if not board:lock(first) then return false end
  local ok, filled
  if second then
    ok, filled = pcall(fill_under, self, record, sealed, ttl, tags, second)
  else
    ok, filled = pcall(fill_locked, self, record, sealed, ttl, tags)
  end
  board:unlock(first, false, true)
  if not ok then error(filled, 0) end
  return filled
end

-- Stores the value of a load, if its key was not written meanwhile, nor, if it has tags, any tag.
-- The lower fence's lock is taken first, so that no two wait for each other; both may be the same.
local function fill(self, record, ttl, tags)
  tags = tags and #tags > 0 and tags or nil
  local stamp = tags and self.tier:stamp(space_of(record.cache), tags) or record.stamp
  local sealed = seal(self, record.key, record.value, ttl, stamp, tags)
  if not sealed then return end
  local first, second = record.hash, tags and self.wide or nil
  if second and first % FENCES >= second % FENCES then
    first, second = second, first % FENCES > second % FENCES and first or nil
  end
  record.filled = fill_under(self, record, sealed, ttl, tags, first, second)
end

--- A load has ended: its value is shared, if memory keeps it.
-- @tparam table record the load
-- @tparam boolean keep whether memory keeps it
-- @tparam number|false ttl seconds
-- @tparam table|nil tags its tags
function _M:landed(record, keep, ttl, tags)
  local is_new = record.name and record.found ~= "shared"
  if keep and ttl and is_new then fill(self, record, ttl, tags) end
  if record.lease then self:release(record) end
end

--- The same, and the levels below get it, too: see `perigee.remote`.
function _M:after_load(record, keep, ttl, tags)
  end_trace() -- see `perigee.sharing.leases`
  if keep and ttl and record.name then fill(self, record, ttl, tags) end
  if self.next then self.next:after_load(record, keep, ttl, tags) end
end

--- Gives back what a load held, and tells who waits for it what came of it.
-- @tparam table record the load
function _M:release(record)
  if record.lease then leases.give_back(self, record) end
  if self.next and record.token then self.next:release(record) end
end

--- What an entry is called in the dictionary; that of the last miss is known.
-- @tparam table cache the cache, or a part of it
-- @param key the key
-- @treturn string
function _M:name_of(cache, key)
  if self.missed == key and self.missed_in == cache then return self.missed_name end
  return self.tier:name(space_of(cache), key)
end

--- Whether a load's key was looked for in vain, and nobody has filled it since.
-- @tparam table record the load
-- @treturn boolean
function _M:has_just_looked(record)
  return self.missed == record.key and self.missed_in == record.cache
    and self.fills ~= nil and self.board:fills(record.hash) == self.fills
end

--- Runs loads that memory and the dictionary have nothing for: see `perigee.sharing.leases`.
_M.run = leases.run

--- Starts a load of one key.
-- @tparam table record the load
_M.start = leases.start

-- Reading -----------------------------------------------------------------------------------

local function keep(cache, key, value, left, tags)
  if tags then cache.tagged = true end
  landing.keep(cache, key, value, left / 1000, tags, false)
  if cache.store.queued > 0 then cache.store:tell() end
end

--- The value of a key, which memory takes up.
-- @tparam table cache the cache, or a part of it
-- @param key the key
-- @treturn boolean whether there is one
-- @return the value
function _M:find(cache, key)
  begin_to_tell()
  local space = space_of(cache)
  local fills, name = self.board:fills(self:hash(space, key)), self.tier:name(space, key)
  local left, value, tags = self.tier:get(name, space)
  if not left then
    count(self, "shared_misses")
    self.missed_in, self.missed, self.missed_name, self.fills = cache, key, name, fills
    return false
  end
  count(self, "shared_hits")
  keep(cache, key, value, left, tags)
  return true, value
end

-- Life --------------------------------------------------------------------------------------

local function new_counters()
  return { shared_hits = 0, shared_misses = 0, shared_writes = 0, shared_unsaved = 0,
    shared_notices = 0 }
end

--- Checks that there is such a dictionary.
-- @tparam string where the function that got the option
-- @tparam string name option `shared`
-- @tparam number level as for `error`, counted from the caller
-- @raise when there is none
function _M.check(where, name, level)
  if ngx and ngx.shared[name] then return end
  error(("%s: option \"shared\" must be the name of a lua_shared_dict, and %s has none named %q")
    :format(where, ngx and "nginx.conf" or "plain Lua (outside nginx)", name), level + 1)
end

--- Gives a new cache its share of a dictionary.
-- @tparam perigee.cache cache the cache; its remote one, if it has one, is attached already
-- @tparam string dict_name option `shared`, checked before
-- @tparam string|table codec option `codec`
-- @tparam number level as for `error`, counted from the caller
function _M.attach(cache, dict_name, codec, level)
  local dict = ngx.shared[dict_name]
  local tier = tier_face.new(dict, cache.name, codec_face.new("perigee.new", codec, level + 1))
  local number = board_face.hash(tier.prefix, 0)
  local self = setmetatable({
    cache = cache, tier = tier, next = cache.remote or false,
    board = board_face.of(dict, number),
    wide = number, -- the fence of all tags
    counters = new_counters(),
    ears = {}, looking = false, warned = false,
    -- What was last looked for in vain:
    missed = nil, missed_in = false, missed_name = false, fills = nil,
    peeks = cache.remote and context.port.name == "none" or false,
  }, mt)
  self.journal = journal_face.new(dict, tier.prefix, self.board, number + 1)
  tier.on_new = function() self.journal:publish "v" end
  self.hear = function(what)
    count(self, "shared_notices")
    hear(self, what)
  end
  local function ignore() end
  hearing.listen(cache, self.ears, { noticed = ignore, cleared = ignore, opened = ignore })
  cache.shared, cache.below = self, self
  attached[self] = true
  workers.meet(dict)
end

--- What the remote cache told of a key, or of everything: the dictionary forgets it, too.
-- @tparam string kind `"key"`, `"space"`, `"tag"` or `"all"`
-- @param a the space, or the tag
-- @param b the key
function _M:drop(kind, a, b)
  if ngx.worker.exiting() then return end -- those who stay hear it, too
  if kind == "key" then
    return fenced(self, self:hash(a, b), self.tier.delete, self.tier, self.tier:name(a, b))
  elseif kind == "tag" then
    fenced(self, self.wide, self.tier.write_tag, self.tier, a)
  else
    fenced(self, self.wide, self.tier.clear, self.tier, kind == "space" and a or nil)
  end
  self.journal:publish "v"
end

--- Ends it.
function _M:close()
  attached[self] = nil
  if self.next then self.next:close() end
end

local UPKEEP_S = 1
local upkeep_at = 0

-- A worker that nobody asks keeps up all the same; versions that are held stay in use, and loads
-- that last keep their leases: for these once a second is enough, however often the worker turns.
local function keep_up()
  if not next(attached) then return end
  local now = context.port.now()
  local is_due = now >= upkeep_at
  for self in each(attached) do
    if not self.journal:is_quiet() then catch_up(self) end
    if is_due then self.tier:refresh() end
  end
  if not is_due then return end
  upkeep_at = now + UPKEEP_S
  leases.renew()
end

runtime.on_turn(keep_up)

return _M

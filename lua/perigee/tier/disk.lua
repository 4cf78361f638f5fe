-- SPDX-License-Identifier: MIT

--- `perigee.disk`: a SQLite file as the backup of caches (`csrc/disk/disk.h`).
--
-- Several caches may share a file by their names, and several processes may have it open. A row is
-- an envelope under the name of its cache and the place of its key.
-- @module perigee.tier.disk

local buffer = require "string.buffer"
local ffi = require "ffi"

local context = require "perigee.context"
local envelope = require "perigee.value.envelope"
local lib = require "perigee.lib"
local log = require "perigee.log"
local options = require "perigee.options"
local place = require "perigee.tier.place"

local kinds = options.kinds

local _M = {}
local mt = { __index = _M, __name = "perigee.disk" }

local SYNC = { off = 0, normal = 1, full = 2 } -- PERIGEE_DISK_SYNC_…
local POLL_S = 0.001
local POLL_IN_NGINX_S = 0.005
local READ_BYTES = 1024 * 1024
local BATCH_BYTES = 2 * 1024 * 1024 -- of one transaction

local OPTIONS = {
  path = { "a path: a string that is not empty, without NUL bytes",
    function(v) return type(v) == "string" and v ~= "" and not v:find("\0", 1, true) end },
  autosave = kinds.duration,
  sync = options.one_of { "full", "normal", "off" },
  load = kinds.boolean,
  secret = kinds.name,
  max_value_bytes = { "a whole number of bytes > 0, below 1 GB",
    function(v) return type(v) == "number" and v > 0 and v < 2 ^ 30 and v % 1 == 0 end },
}

--- Describes a file; it is opened when a cache uses it.
-- @tparam string|table opts the path, or `path`; `autosave` (seconds; nil: saved when asked, and
--   at the end), `sync` (`"full"`: a save survives a loss of power; `"normal"`: all but the last
--   ones; `"off"`: it survives the process only), `load` (true: begin loading when a cache is
--   made), `secret` (rows are signed with it, and others not taken), `max_value_bytes` (64 MiB)
-- @treturn table for option `backup` of `perigee.new`
-- @raise on a mistake in the options; when a library that an option needs is missing
function _M.new(opts)
  if type(opts) == "string" then opts = { path = opts } end
  options.argument("perigee.disk", "opts", { "a path or a table of options", kinds.list[2] }, opts,
    2)
  options.check("perigee.disk", opts, OPTIONS, 2)
  if opts.path == nil then
    options.fail("perigee.disk", "option \"path\"", OPTIONS.path[1], nil, 2)
  end
  if opts.secret then envelope.new("perigee.disk", { secret = opts.secret }, 2) end
  return setmetatable({
    path = opts.path,
    autosave = opts.autosave,
    load = opts.load ~= false,
    sync = opts.sync or "full",
    secret = opts.secret,
    max_value_bytes = opts.max_value_bytes or 2 ^ 26,
    handle = false,
    shares = 0, -- in use
  }, mt)
end

--- Whether a value came from `perigee.disk`.
-- @param value anything
-- @treturn boolean
function _M.is(value)
  return type(value) == "table" and getmetatable(value) == mt
end

local function handle_of(self)
  if not self.handle then
    local C = lib.disk
    local handle = C.perigee_disk_new(self.path, SYNC[self.sync], self.max_value_bytes + 2 ^ 20)
    if handle == nil then error("perigee.disk: out of memory", 0) end
    self.handle = ffi.gc(handle, function(freed)
      -- When the state closes, everything is finalized in any order: the last save is due now.
      if self.before_close then pcall(self.before_close) end
      self.handle = nil
      C.perigee_disk_free(freed)
    end)
  end
  return self.handle
end

local function owned(job)
  if job == nil then return nil, "out of memory" end
  return ffi.gc(job, lib.disk.perigee_disk_job_free)
end

-- Waits for a job: the loop turns meanwhile, if there is one that may.
local function wait(job)
  local C, port = lib.disk, context.port
  local turns = port.name ~= "none" and port.name ~= "virtual"
  local state = C.perigee_disk_state(job)
  while state == C.PERIGEE_DISK_WAITING do
    local ticket = turns and port.can_wait()
    if ticket then
      port.park(ticket, port.name == "openresty" and POLL_IN_NGINX_S or POLL_S)
      state = C.perigee_disk_state(job)
    else
      state = C.perigee_disk_wait(job)
    end
  end
  local notice = C.perigee_disk_notice(job)
  if notice ~= nil then log.error("perigee.disk: " .. ffi.string(notice)) end
  if state == C.PERIGEE_DISK_DONE then return true end
  return nil, "perigee.disk: " .. ffi.string(C.perigee_disk_error(job))
end

-- One cache's share of a file --------------------------------------------------------------

local Share = {}
local share_mt = { __index = Share, __name = "perigee.disk.share" }

--- What a cache saves to and loads from.
-- @tparam string name of the cache
-- @tparam string|table codec its option `codec`
-- @tparam number level as for `error`, counted from the caller
-- @treturn table the share
function _M:share(name, codec, level)
  self.shares = self.shares + 1
  return setmetatable({
    disk = self,
    name = name,
    prefix = place.escape(name) .. "\0", -- of places, for envelopes
    envelope = envelope.new("perigee.new",
      { codec = codec, secret = self.secret, max_value_bytes = self.max_value_bytes }, level + 1),
    batch = false,
    buffers = false,
    submitted = {},
  }, share_mt)
end

local function batch_of(self)
  if self.batch then return self.batch end
  local batch, why = owned(lib.disk.perigee_disk_batch(handle_of(self.disk), self.name, #self.name))
  if not batch then return nil, why end
  self.batch = batch
  return batch
end

local function added(result)
  if result == 0 then return true end
  return nil, "out of memory"
end

-- The two buffers that a write needs. A finalizer that writes in between gets its own.
local function take_buffers(self)
  local buffers = self.buffers or { key = buffer.new(), value = buffer.new() }
  self.buffers = false
  return buffers
end

--- Adds an entry to the batch.
-- @tparam string space name of its space
-- @param key its key
-- @param value its value
-- @tparam number deadline wall-clock milliseconds, or math.huge
-- @tparam table|nil tags its tags
-- @treturn true|nil nil: not added
-- @treturn string|nil why not
-- @treturn boolean|nil whether it is the value's fault
function Share:put(space, key, value, deadline, tags)
  local batch, why = batch_of(self)
  if not batch then return nil, why end
  local buffers, prefix = take_buffers(self), self.prefix
  local at, length = place.write(buffers.key:reset():put(prefix), space, key)
  local ok, reason = self.envelope:write(buffers.value, at, length, value, deadline, tags)
  if not ok then return nil, reason, true end
  local bytes, size = buffers.value:ref()
  local result = lib.disk.perigee_disk_put(batch, at + #prefix, length - #prefix, bytes, size)
  self.buffers = buffers
  return added(result)
end

--- Adds to the batch that a key has gone.
-- @tparam string space name of its space
-- @param key the key
-- @treturn true|nil, string
function Share:delete(space, key)
  local batch, why = batch_of(self)
  if not batch then return nil, why end
  local at = place.of(space, key)
  return added(lib.disk.perigee_disk_delete(batch, at, #at))
end

--- Adds to the batch that all entries have gone.
-- @treturn true|nil, string
function Share:clear()
  local batch, why = batch_of(self)
  if not batch then return nil, why end
  return added(lib.disk.perigee_disk_clear(batch))
end

local function submit(self)
  local batch = self.batch
  if not batch then return true end
  self.batch = false
  if lib.disk.perigee_disk_submit(batch) ~= 0 then return nil, "perigee.disk: no thread" end
  self.submitted[#self.submitted + 1] = batch
  return true
end

--- Sends the batch on its way when it is large; then it is written while the next one is made.
-- @treturn true|nil, string
function Share:relieve()
  if not self.batch or lib.disk.perigee_disk_batch_bytes(self.batch) < BATCH_BYTES then
    return true
  end
  local ok, why = submit(self)
  if ok and #self.submitted > 1 then ok, why = wait(table.remove(self.submitted, 1)) end
  return ok, why
end

--- Writes what was added, and waits until it is on the disk.
-- @treturn true|nil, string
function Share:commit()
  local ok, why = submit(self)
  while self.submitted[1] do
    local written, reason = wait(table.remove(self.submitted, 1))
    if not written then ok, why = nil, reason end
  end
  return ok, why
end

--- Gives up what was not written.
function Share:rollback()
  self.batch, self.submitted = false, {}
end

-- The read that goes on behind the last row of another; nil, or nil and why not, if there is none.
local function read_on(self, handle, job, row)
  local C = lib.disk
  if job and (C.perigee_disk_is_last(job) == 1 or C.perigee_disk_last_row(job, row) == 0) then
    return nil
  end
  return owned(C.perigee_disk_read(handle, self.name, #self.name, job and row.key or "",
    job and row.key_length or 0, READ_BYTES))
end

--- Reads all rows; while some are looked at, the next ones are on their way.
-- @tparam function take `take(row)` for each: a row for `open`; false: no more
-- @treturn true|nil, string
function Share:read(take)
  local handle = handle_of(self.disk) -- it is what loads the library
  local C, row = lib.disk, ffi.new "perigee_disk_row"
  local job, why = read_on(self, handle, nil, row)
  while job do
    local ok, reason = wait(job)
    if not ok then return nil, reason end
    local following
    following, why = read_on(self, handle, job, row)
    while C.perigee_disk_next_row(job, row) == 1 do
      if take(row) == false then return true end
    end
    job = following
  end
  if why then return nil, why end
  return true
end

--- Ends the share; the last one closes the file.
function Share:close()
  local disk = self.disk
  disk.shares = disk.shares - 1
  if disk.shares > 0 or not disk.handle then return end
  local job = owned(lib.disk.perigee_disk_close(disk.handle))
  if job then wait(job) end
end

--- How a row is called in messages.
-- @tparam cdata row the row
-- @treturn string
function Share:describe(row) -- luacheck: ignore self
  return ffi.string(row.key, math.min(row.key_length, 100))
end

--- Opens what `read` gave.
-- @tparam cdata row the row
-- @treturn string|nil name of its space; nil: it does not open
-- @treturn string|number|boolean its key, or why it does not open
-- @treturn table|nil `value`, `deadline` (wall-clock milliseconds), `tags`
function Share:open(row)
  local space, key = place.read(row.key, row.key_length)
  if not space then return nil, "its key is none" end
  if row.value == nil then return nil, "too large" end
  local buffers = take_buffers(self)
  local at, length = buffers.key:set(self.prefix):putcdata(row.key, row.key_length):ref()
  local entry, why = self.envelope:open(at, row.value, length, row.value_length)
  self.buffers = buffers
  if not entry then return nil, why end
  return space, key, entry
end

return _M

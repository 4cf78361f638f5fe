-- SPDX-License-Identifier: MIT

--- Writes to a second level, behind the caller's back: one queue per cache, in the order of the
-- calls, and one worker that sends what waits in one trip.
--
-- What could not be written is *owed*: for each key that a write was lost of, the second level may
-- have something older than memory had. Nobody reads such a key there, nor fills it, until it is
-- deleted there, which is tried each second and when the second level answers again. So the last
-- write wins, and no value travels late.
--
-- A finalizer may run between any two steps here, and push. Who is between steps that belong
-- together says `busy`, and what is pushed meanwhile follows behind. Finalizers never interrupt
-- each other.
-- @module perigee.remote.write_behind

local context = require "perigee.context"
local latch = require "perigee.runtime.latch"
local names = require "perigee.value.names"

local _M = {}
local mt = { __index = _M, __name = "perigee.remote.write_behind" }

local QUEUE_MAX = 10000 -- writes that wait
local OWED_MAX = 10000  -- keys; more: the whole cache
local AT_ONCE = 200     -- writes in one trip
local PAUSE_S = 1

local function no_debts()
  return { all = false, count = 0, keys = {}, tags = {}, spaces = {}, releases = {} }
end

--- A queue.
-- @tparam table share what applies the writes: see `perigee.tier.redis`
-- @tparam number timeout seconds that a caller waits for a confirmation
-- @tparam table tell `written()`, `failed(err)`, `unsaved(key, why)`: hears what happens
-- @treturn table
function _M.new(share, timeout, tell)
  return setmetatable({
    share = share, timeout = timeout, tell = tell,
    queue = {}, first = 1, last = 0, -- queue[first .. last] wait
    busy = false, behind = {},       -- see above
    current = false,                 -- what is being sent
    working = false, in_place = false, -- the worker, and whether it runs in plain code
    keys = {},                       -- how many writes of a key are on their way: by space, by key
    wide = 0,                        -- and how many of more than one key
    owed = no_debts(), has_debts = false, settle_at = 0,
  }, mt)
end

-- What is on its way -------------------------------------------------------------------------

local function is_wide(op) return op.kind == "clear" or op.kind == "tag" end

local function is_write(op) return op.kind == "set" or op.kind == "delete" end

local function count_key(self, op, by)
  local keys = self.keys[op.space] or {}
  local n = (keys[op.key] or 0) + by
  self.keys[op.space] = keys
  keys[op.key] = n > 0 and n or nil
end

local function count_op(self, op, by)
  if is_wide(op) then self.wide = self.wide + by end
  if is_write(op) then count_key(self, op, by) end
end

-- Debts --------------------------------------------------------------------------------------

local function owe(self, op)
  local owed = self.owed
  if op.kind == "release" and #owed.releases < OWED_MAX then
    owed.releases[#owed.releases + 1] = op
    self.has_debts, self.settle_at = true, context.port.now() + PAUSE_S
  end
  if op.kind == "fill" or op.kind == "release" or owed.all then return end
  if op.kind == "clear" and op.space == nil then
    local releases = owed.releases
    owed = no_debts()
    owed.all, owed.releases, self.owed = true, releases, owed
  elseif op.kind == "clear" then
    owed.spaces[op.space] = true
  elseif op.kind == "tag" then
    owed.tags[#owed.tags + 1] = op.tag
  else
    local keys = owed.keys[op.space] or {}
    if not keys[op.key] then owed.count = owed.count + 1 end
    owed.keys[op.space], keys[op.key] = keys, true
  end
  self.has_debts, self.settle_at = true, context.port.now() + PAUSE_S
  if self.owed ~= owed then return owe(self, op) end -- a finalizer has settled in between
  if owed.count + #owed.tags > OWED_MAX then owe(self, { kind = "clear" }) end
end

--- Whether a key's entry there is not to be trusted.
-- @tparam string space name of its space
-- @param key the key
-- @treturn boolean
function _M:owes(space, key)
  if not self.has_debts then return false end
  local owed = self.owed
  return owed.all or owed.spaces[space] or owed.keys[space] and owed.keys[space][key] or false
end

--- Whether tagged entries there are not to be trusted.
-- @treturn boolean
function _M:owes_tags()
  return #self.owed.tags > 0
end

--- Tries again to delete there what is owed, if it is time to.
-- @treturn number|nil seconds until it will be; nil: nothing is owed
function _M:settle_in_time()
  if not self.has_debts then return nil end
  local left = self.settle_at - context.port.now()
  if left > 0 then return left end
  self:settle()
  return PAUSE_S
end

--- Tries again to delete there what is owed.
function _M:settle()
  local owed = self.owed
  if not self.has_debts then return end
  self.owed, self.has_debts = no_debts(), false
  if owed.all then self:push { kind = "clear" } end
  for _, space in ipairs(names.of(owed.spaces)) do self:push { kind = "clear", space = space } end
  for _, tag in ipairs(owed.tags) do self:push { kind = "tag", tag = tag } end
  for _, space in ipairs(names.of(owed.keys)) do
    for _, key in ipairs(names.of(owed.keys[space])) do
      self:push { kind = "delete", space = space, key = key }
    end
  end
  for _, op in ipairs(owed.releases) do
    self:push { kind = "release", space = op.space, key = op.key, token = op.token }
  end
end

-- The worker ---------------------------------------------------------------------------------

-- The end of being busy: what was pushed meanwhile. Each is taken by one only, also when a
-- finalizer is here, too.
local function rest(self)
  self.busy = false
  while #self.behind > 0 do
    self.busy = true
    local behind = self.behind
    self.behind = {}
    self.busy = false
    for i = 1, #behind do self:push(behind[i]) end
  end
end

local function finish(self, op, failed)
  if op.done then return end
  op.done, op.why = true, failed
  self.busy = true
  count_op(self, op, -1)
  rest(self)
  if failed and not op.forgotten then owe(self, op) end
  if op.latch then op.latch:release() end
end

local function send(self, ops)
  local called, ok, err = pcall(self.share.apply, self.share, ops)
  if not called then ok, err = nil, ok end
  local failure = not ok and tostring(err)
  if failure and failure ~= "cancelled" then self.tell.failed(failure) end
  for _, op in ipairs(ops) do
    if op.unsaved then self.tell.unsaved(op.key, op.unsaved) end
    if not failure and op.err then self.tell.failed(op.err) end
    if not failure and not op.err then self.tell.written(op) end
    finish(self, op, failure or op.err)
  end
  if not called and err == "cancelled" then error(err, 0) end
end

local function take_some(self)
  local ops = {}
  while self.first <= self.last and #ops < AT_ONCE do
    ops[#ops + 1] = self.queue[self.first]
    self.queue[self.first] = nil
    self.first = self.first + 1
  end
  return ops
end

local function wait_for_company()
  local port = context.port
  local ticket = port.name ~= "none" and port.can_wait()
  if ticket then port.park(ticket, 0) end
end

-- The worker is no more, if nothing waits.
local function is_over(self)
  self.busy = true
  local over = self.first > self.last
  if over then self.working, self.current = false, false end
  rest(self)
  return over
end

local function work(self)
  local ok, err = pcall(function()
    wait_for_company()
    while not is_over(self) do
      self.current = take_some(self)
      send(self, self.current)
    end
  end)
  if not ok then _M.abandon(self, tostring(err)) end -- cut off with the run that it was in
end

--- The worker is no more: what became of its writes is not known.
-- @tparam[opt] string why
function _M:abandon(why)
  self.working = false
  for _, op in ipairs(self.current or {}) do finish(self, op, why or "cancelled") end
  self.current = false
end

--- Sends what waits.
function _M:start()
  if self.busy then return end
  self.busy = true
  local wanted = not self.working and self.first <= self.last
  if wanted then self.working, self.in_place = true, context.port.name == "none" end
  rest(self)
  if wanted then context.port.spawn(work, self) end
end

--- Queues a write: see `Share:apply` of `perigee.tier.redis`.
-- @tparam table op the write
-- @tparam[opt] boolean more whether others follow at once: the last of them, or `start`, sends them
function _M:push(op, more)
  if self.busy then
    self.behind[#self.behind + 1] = op
    return
  end
  self.busy = true
  count_op(self, op, 1)
  local has_room = self.last - self.first < QUEUE_MAX
  if has_room then
    self.last = self.last + 1
    self.queue[self.last] = op
  end
  rest(self)
  if not has_room then
    self.tell.failed "too many writes wait"
    finish(self, op, "too many writes wait")
  elseif not more then
    self:start()
  end
end

-- Waiting ------------------------------------------------------------------------------------

local function wait_for(self, op)
  if op.done then return true end
  local is_interrupted = self.busy or self.working and self.in_place
  if is_interrupted and context.port.name == "none" then
    return false, "the worker was interrupted by who waits for it" -- a finalizer, in plain code
  end
  op.latch = op.latch or latch.new()
  local ended, why = op.latch:wait(self.timeout)
  return ended, why or "timeout"
end

--- Waits until a write is done, `timeout` at most.
-- @tparam table op the write
-- @treturn boolean true
-- @treturn string|nil why it is not known to be
function _M:confirmed(op)
  local ended, why = wait_for(self, op)
  if not ended then return true, why end
  return true, op.why or nil
end

--- Waits until nothing waits, `timeout` at most.
-- @treturn boolean whether that is so
function _M:flush()
  self:start()
  local current = self.current
  local op = self.last >= self.first and self.queue[self.last] or current and current[#current]
  return not op or wait_for(self, op)
end

--- Whether writes of a key are on their way.
-- @tparam string space name of its space
-- @param key the key
-- @treturn boolean
function _M:is_under_way(space, key)
  return self.wide > 0 or self.keys[space] ~= nil and self.keys[space][key] ~= nil
end

--- Whether what is there of a key is as new as our own writes.
-- @tparam string space name of its space
-- @param key the key
-- @treturn boolean
function _M:is_quiet(space, key)
  return not self:is_under_way(space, key) and not self:owes(space, key)
end

return _M

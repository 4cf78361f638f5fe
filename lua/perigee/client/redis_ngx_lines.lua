-- SPDX-License-Identifier: MIT

--- The connections that ask a Redis server, inside nginx.
--
-- A *line* is one connection as we know it while it is in nginx' pools: the name of a pool that has
-- room for just one, and what the server calls it. A line that is in use by a request which is
-- killed is gone with it; nginx closes its connection.
--
-- A connection that was closed while commands were under way is *doomed*: the server may have them
-- to read yet, after what is said to it next. So that begins by ending those (CLIENT KILL), until
-- the server has answered.
-- @module perigee.client.redis_ngx_lines

local context = require "perigee.context"
local wire = require "perigee.client.redis_ngx_wire"

local _M = {}

--- Why there is no answer, when the worker itself had no time for it: it finds its timers expired
-- before it looks at its sockets.
_M.BLOCKED = "timeout: the worker was blocked"
local mt = { __index = _M, __name = "perigee.client.redis_ngx_lines" }

local IDLE_MS, IDLE_MAX = 10000, 100 -- of those in the pools
local DOOMED_MAX = 100

--- The connections of one client: none so far.
-- @tparam table opts options of `perigee.redis`
-- @tparam string name what the names of their pools begin with
-- @treturn table
function _M.new(opts, name)
  return setmetatable({ opts = opts, name = name, made = 0, idle = {}, doomed = {},
    closed = false }, mt)
end

local function new_line(self)
  self.made = self.made + 1
  return { pool = { pool = self.name .. self.made, pool_size = 1 }, id = nil, red = false }
end

-- What became of something that was to take `limit` seconds at most.
local function explained(why, began, limit)
  local is_late = context.port.now() - began > 1.5 * limit + 0.05
  return why == "timeout" and is_late and _M.BLOCKED or why
end

local function drop(self, line, why)
  line.red:close()
  if why:find "^timeout" and line.id and #self.doomed < DOOMED_MAX then
    self.doomed[#self.doomed + 1] = line.id
  end
end

-- A new connection says first whose it is.
local function greet(self, line)
  local opts, began = self.opts, context.port.now()
  line.id = nil
  local ok, id = wire.greet(line.red, opts)
  if ok then
    line.id = id
    return true
  end
  local why = explained(id, began, opts.connect_timeout)
  drop(self, line, why)
  return nil, why
end

local function take(self)
  local opts, began = self.opts, context.port.now()
  local line = table.remove(self.idle) or new_line(self)
  local red, why = wire.connect(opts, line.pool, opts.connect_timeout)
  if not red then return nil, explained(why, began, opts.connect_timeout) end
  line.red = red
  if red:get_reused_times() == 0 then
    local ok
    ok, why = greet(self, line)
    if not ok then return nil, why end
  end
  red:set_timeout(opts.timeout * 1000)
  return line
end

local function put_back(self, line)
  local red = line.red
  line.red = false
  if self.closed or #self.idle >= IDLE_MAX then return red:close() end
  if red:set_keepalive(IDLE_MS, 1) then self.idle[#self.idle + 1] = line end
end

-- It may not be ours to end them; then they are not.
local function with_ends(doomed, commands)
  local all = {}
  for i = 1, #doomed do all[i] = { "CLIENT", "KILL", "ID", ("%d"):format(doomed[i]) } end
  for i = 1, #commands do all[#all + 1] = commands[i] end
  return all
end

local function forget_ended(self, ended)
  local is_ended, left = {}, {}
  for i = 1, #ended do is_ended[ended[i]] = true end
  for _, id in ipairs(self.doomed) do
    if not is_ended[id] then left[#left + 1] = id end
  end
  self.doomed = left
end

local function say(self, red, commands)
  local doomed = { unpack(self.doomed) }
  if #doomed == 0 then return wire.converse(red, commands) end
  local all, why = wire.converse(red, with_ends(doomed, commands))
  if not all then return nil, why end
  forget_ended(self, doomed)
  local replies = {}
  for i = 1, #commands do replies[i] = all[#doomed + i] end
  return replies
end

--- Says commands and waits for the replies, on a line of its own.
-- @tparam table commands a list of lists of strings
-- @treturn table|nil the replies
-- @treturn string|nil why there are none
function _M:converse(commands)
  local line, reason = take(self)
  if not line then return nil, reason end
  local began = context.port.now()
  local replies, why = say(self, line.red, commands)
  if not replies then
    why = explained(why, began, self.opts.timeout)
    drop(self, line, why)
    return nil, why
  end
  put_back(self, line)
  return replies
end

--- Keeps no connection from now on; what is in the pools is closed by nginx, in a few seconds.
function _M:close()
  self.closed, self.idle = true, {}
end

return _M

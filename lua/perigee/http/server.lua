-- SPDX-License-Identifier: MIT

--- `perigee.http.listen`: an HTTP server whose handlers are tasks.
--
-- One task takes requests out of the queue of `http_server.h` and starts a task for each. They
-- belong to the run in which the server was made, and end with it.
-- @module perigee.http.server

if require "perigee.runtime.nginx" then
  return { listen = function()
    error("perigee.http.listen: not inside nginx, which is the server here: answer requests in its "
      .. "content_by_lua", 2)
  end }
end

local ffi = require "ffi"

local cancel = require "perigee.runtime.cancel"
local context = require "perigee.context"
local each = require("perigee.value.names").each
local exchanges = require "perigee.http.exchange"
local latch = require "perigee.runtime.latch"
local options = require "perigee.options"
local read_request = require("perigee.http.request").read
local scheduler = require "perigee.runtime.scheduler"
local task = require "perigee.task"
local C = require("perigee.lib").rt

local _M = {}
local Server = {}
local mt = { __index = Server, __name = "perigee.http.server" }

local min, huge = math.min, math.huge

local GRACE_S = 5
local FLUSH_S = 0.5 -- for what is cancelled to answer; within the grace of a cancelled task
local BYTES_MAX = 2 ^ 31 - 1

local BYTES = { "a whole number of bytes, at most 2^31 - 1",
  function(v) return type(v) == "number" and v >= 0 and v <= BYTES_MAX and v % 1 == 0 end }
local OPTIONS = {
  host = options.kinds.name,
  port = { "a whole number from 0 to 65535",
    function(v) return type(v) == "number" and v >= 0 and v <= 65535 and v % 1 == 0 end },
  handler = options.kinds.callable,
  max_header_bytes = options.kinds.count,
  max_body_bytes = BYTES,
  idle_timeout = options.kinds.duration,
  timeout = options.kinds.duration,
  max_connections = options.kinds.count,
}

-- Requests ----------------------------------------------------------------------------------------

local function accept(self, taken)
  local number, request = taken.exchange, read_request(taken)
  if not request then return exchanges.refuse(self, number, 400) end
  if self.is_cutting then return exchanges.refuse(self, number, 503) end
  local exchange = exchanges.new(self, number, request)
  local started = task.spawn(exchanges.run, exchange)
  if started.status then return end
  exchange.task = started
  exchange.ends = context.port.now() + self.timeout
  self.running[number] = exchange
  self.last = self.last + 1
  self.due[self.last] = exchange
end

local function take_all(self)
  local taken = self.taken
  while C.perigee_http_take(self.c, taken) == 1 do
    if taken.is_gone == 0 then
      accept(self, taken)
    else
      local exchange = self.running[taken.exchange]
      if exchange then exchanges.abandon(exchange) end
    end
  end
end

-- Answers for the handlers whose time is up; returns when that of the next one is.
local function time_out(self, now)
  local due = self.due
  while self.first <= self.last do
    local exchange = due[self.first]
    if not exchange.is_over and not exchange.is_streaming then
      if exchange.ends > now then return exchange.ends end
      exchanges.refuse(self, exchange.number, 503)
      exchanges.abandon(exchange)
    end
    due[self.first] = nil
    self.first = self.first + 1
  end
  self.first, self.last = 1, 0
  return huge
end

-- The end -----------------------------------------------------------------------------------------

-- What runs is cancelled, and has a moment to answer.
local function cut(self, now)
  self.is_cutting = true
  self.stops = now + FLUSH_S
  for _, exchange in each(self.running) do exchange.task:cancel() end
end

-- Whether it has stopped.
local function is_done(self, now)
  if not self.stops then return false end
  if C.perigee_http_exchanges(self.c) == 0 then return true end
  if now < self.stops then return false end
  if self.is_cutting then return true end
  cut(self, now)
  return false
end

local function serve(self)
  local port = context.port
  while true do
    take_all(self)
    local now = port.now()
    local due = time_out(self, now)
    if is_done(self, now) then return end
    if self.stops then due = min(due, self.stops) end
    local ticket = port.can_wait()
    self.ticket = ticket
    C.perigee_http_await(self.c, ticket)
    port.park(ticket, due < huge and due - now or nil)
  end
end

local function begin_stop(self, grace)
  local stops = context.port.now() + grace
  if not self.stops or stops < self.stops then self.stops = stops end
  C.perigee_http_quiesce(self.c)
  context.port.unpark(self.ticket)
end

local function close(self)
  begin_stop(self, 0)
  serve(self)
end

-- The task of the server.
local function run(self)
  local ok, err = pcall(serve, self)
  if not ok then cancel.shielded(close, self) end
  local c = self.c
  self.c = nil
  C.perigee_http_free(ffi.gc(c, nil))
  self.stopped:release()
  if not ok then error(err, 0) end
end

--- Stops: no more connections are accepted, and the requests that run have `grace` seconds to be
-- answered; then they are cancelled. Waits until that is done.
-- @tparam[opt=5] number grace seconds
-- @treturn boolean true
-- @raise `"cancelled"`
function Server:stop(grace)
  if grace ~= nil then options.argument("server:stop", "grace", options.kinds.grace, grace, 2) end
  if self.c then begin_stop(self, grace or GRACE_S) end
  return self:wait()
end

--- Waits until the server has stopped.
-- @treturn boolean true
-- @raise `"cancelled"`
function Server:wait()
  local done, why = self.stopped:wait(huge)
  if not done then error("server:wait: " .. why, 2) end
  return true
end

-- The beginning -----------------------------------------------------------------------------------

local function open(opts)
  local c_options = ffi.new("perigee_http_options")
  local host = opts.host or "127.0.0.1"
  local address = host == "localhost" and "127.0.0.1" or host
  c_options.host, c_options.port = address, opts.port or 8080
  c_options.connections_max = opts.max_connections or 1024
  c_options.header_bytes_max = opts.max_header_bytes or 16384
  c_options.body_bytes_max = opts.max_body_bytes or 1048576
  c_options.idle_timeout_s = opts.idle_timeout or 60
  local c = C.perigee_http_listen(scheduler.world().loop, c_options)
  if c == nil then return nil, "no memory" end
  local why = ffi.string(C.perigee_http_error(c))
  if why == "" then return ffi.gc(c, C.perigee_http_free) end
  C.perigee_http_free(c)
  return nil, ("perigee.http.listen: cannot listen at %s, port %d: %s")
    :format(host, opts.port or 8080, why)
end

--- Starts a server in the run around it: when that ends, the server does. A `handler(request)` runs
-- in a task of its own. It returns a string, or `{ status = 200, headers = {}, body = }`, whose
-- body is a string, or a function that is called with `write(chunk)`, which waits while the client
-- is slow. What else it returns, nil too, is a mistake; for that, and for an error, the answer is
-- 500, and the log has the traceback. When the client leaves, the task is cancelled.
--
-- The request has `method`, `path` (decoded), `query` (a table; of equal names the last),
-- `raw_query`, `headers` (names in lower case), `body` (nil: there is none), `peer`, `version`.
-- @tparam table opts `handler`; `host` (a numeric address, or localhost; default 127.0.0.1), `port`
-- (8080; 0: any), `max_header_bytes` (16384; more: 431), `max_body_bytes` (1 MiB; more: 413),
-- `idle_timeout` (seconds for a request to arrive, and between two of them; 60), `timeout` (seconds
-- for the handler to return; 30; then 503), `max_connections` (1024; more wait)
-- @treturn table|nil the server: `port`, `stop`, `wait`
-- @treturn string why not: the port is taken, or the address is none of ours
function _M.listen(opts)
  options.argument("perigee.http.listen", "opts", options.kinds.list, opts, 2)
  options.check("perigee.http.listen", opts, OPTIONS, 2)
  options.argument("perigee.http.listen", 'option "handler"', OPTIONS.handler, opts.handler, 2)
  if not scheduler.current() then
    error("perigee.http.listen: there is no loop that would serve: call it in perigee.run, or run "
      .. "the script with the perigee command", 2)
  end
  local c, why = open(opts)
  if not c then return nil, why end
  local self = setmetatable({
    c = c, port = C.perigee_http_port(c), handler = opts.handler, timeout = opts.timeout or 30,
    taken = ffi.new("perigee_http_request"),
    running = {},                  -- exchanges that wait, by number
    due = {}, first = 1, last = 0, -- the same and some that are over, in the order of their ends
    stops = false, is_cutting = false, ticket = 0,
    stopped = latch.new(),
  }, mt)
  task.spawn(run, self)
  return self
end

return _M

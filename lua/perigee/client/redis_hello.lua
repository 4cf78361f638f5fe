-- SPDX-License-Identifier: MIT

--- Connecting to a Redis server, and what is said first: who we are, which database, and which keys
-- we want to hear of.
--
-- RESP2 has no messages beside replies, so a second connection listens, and the first one asks the
-- server to tell that one (CLIENT TRACKING with REDIRECT). Tracking is switched on by the
-- connection that writes: so NOLOOP spares it the echo of its own writes.
-- @module perigee.client.redis_hello

local ffi = require "ffi"

local context = require "perigee.context"
local exec = require "perigee.exec"
local scheduler = require "perigee.runtime.scheduler"
local wire = require "perigee.client.redis_wire"

local C = require("perigee.lib").rt

local _M = {}

local CHANNEL = "__redis__:invalidate"
local BYTES_MAX = 128 * 1024 * 1024 -- of commands that wait

--- Ends a connection. It is freed when nobody looks at it any more.
-- @tparam cdata|boolean connection or false
-- @tparam string why
function _M.close(connection, why)
  if connection then C.perigee_redis_close(connection, why) end
end

local close = _M.close

-- The addresses of a host. Names are asked of the system's own resolver, in a process.
local function addresses_of(opts)
  if opts.unix then return { opts.unix }, 0 end
  local host = opts.host or "127.0.0.1"
  if host:find "^%d+%.%d+%.%d+%.%d+$" or host:find(":", 1, true) then return { host }, opts.port end
  local done, err = exec { "getent", "ahosts", host, timeout = opts.connect_timeout }
  if not done then return nil, err end
  local list = {}
  for address in done.stdout:gmatch "([^\n%s]+)%s+STREAM" do list[#list + 1] = address end
  if #list == 0 then return nil, ("cannot resolve %q"):format(host) end
  return list, opts.port
end

local function connect_to(loop, address, port_number, deadline)
  local port = context.port
  local connection = C.perigee_redis_connect(loop, address, port_number, BYTES_MAX)
  if connection == nil then return nil, "out of memory" end
  connection = ffi.gc(connection, C.perigee_redis_free)
  while C.perigee_redis_state(connection) == C.PERIGEE_REDIS_CONNECTING do
    local left = deadline - port.now()
    local ticket, why = port.can_wait()
    if left <= 0 or not ticket then
      close(connection, "given up")
      return nil, why or "timeout while connecting"
    end
    C.perigee_redis_await(connection, ticket)
    port.park(ticket, left)
  end
  if C.perigee_redis_state(connection) == C.PERIGEE_REDIS_OPEN then return connection end
  return nil, wire.failure_of(connection)
end

local function connect_to_any(loop, addresses, port_number, deadline)
  local connection, why
  for _, address in ipairs(addresses) do
    connection, why = connect_to(loop, address, port_number, deadline)
    if connection then return connection end
  end
  return nil, why
end

local function auth_of(opts)
  if not opts.password then return nil end
  if opts.username then return { "AUTH", opts.username, opts.password } end
  return { "AUTH", opts.password }
end

-- Says what has to be said first. Returns the replies; any error among them is ours, and the end.
local function greet(connection, commands, deadline)
  local first, replies, why
  first, why = wire.send_all(connection, commands)
  if first then
    local left = math.max(0, deadline - context.port.now())
    replies, why = wire.receive(connection, first, #commands, left)
  end
  for _, reply in ipairs(replies or {}) do
    why = why or type(reply) == "table" and reply.err
  end
  if not why then return replies end
  close(connection, why)
  return nil, why
end

-- The connection that listens, and its number at the server.
local function open_ears(loop, opts, addresses, port_number, deadline)
  local ears, why = connect_to_any(loop, addresses, port_number, deadline)
  if not ears then return nil, why end
  local auth = auth_of(opts)
  local hello = { { "CLIENT", "ID" }, { "SUBSCRIBE", CHANNEL } }
  if auth then table.insert(hello, 1, auth) end
  C.perigee_redis_listen(ears)
  local replies
  replies, why = greet(ears, hello, deadline)
  if not replies then return nil, why end
  return ears, replies[#replies - 1]
end

-- The connection that asks, and what the server says the time is.
local function open_data(loop, opts, addresses, port_number, deadline, listener, watches)
  local data, why = connect_to_any(loop, addresses, port_number, deadline)
  if not data then return nil, why end
  local hello = { { "TIME" } }
  if (opts.db or 0) > 0 then table.insert(hello, 1, { "SELECT", tostring(opts.db) }) end
  local auth = auth_of(opts)
  if auth then table.insert(hello, 1, auth) end
  local at_time = #hello
  if listener then
    hello[#hello + 1] = { "CLIENT", "TRACKING", "ON", "REDIRECT", ("%d"):format(listener), "BCAST",
      "PREFIX", watches, "NOLOOP" }
  end
  local replies
  replies, why = greet(data, hello, deadline)
  if not replies then return nil, why end
  return data, replies[at_time]
end

-- What the server calls this connection; nil: it does not say (Redis before 5).
local function id_of(connection, deadline)
  local first = wire.send_all(connection, { { "CLIENT", "ID" } })
  local left = math.max(0, deadline - context.port.now())
  local replies = first and wire.receive(connection, first, 1, left)
  return replies and type(replies[1]) == "number" and replies[1] or nil
end

-- Ends an earlier connection of ours at the server: what it may still have to read from there must
-- not be done after what we say now. It may not be ours to do; then it is not.
local function end_there(connection, id)
  local number = wire.send(connection, { "CLIENT", "KILL", "ID", ("%d"):format(id) })
  if number > 0 then wire.release(connection, number) end
end

--- Connects. Waits.
-- @tparam table opts options of `perigee.redis`
-- @tparam string watches prefix of the keys whose changes are to be heard
-- @tparam number|nil old what the server called our last connection, if that went silent
-- @treturn table|nil `data`, the connection that asks; `ears`, the one that listens, or false;
--   `time`, the server's answer to TIME; `loop`, whose they are; `id`, what the server calls `data`
-- @treturn string|nil why not
-- @raise `"cancelled"`
function _M.connect(opts, watches, old)
  local may_wait, reason = context.port.can_wait() -- makes the loop, if there is none yet
  if not may_wait then return nil, reason end
  local loop, deadline = scheduler.world().loop, context.port.now() + opts.connect_timeout
  local addresses, port_number = addresses_of(opts)
  if not addresses then return nil, port_number end
  local ears, listener = false, nil
  if opts.coherence then
    ears, listener = open_ears(loop, opts, addresses, port_number, deadline)
    if not ears then return nil, listener end
  end
  local data, time = open_data(loop, opts, addresses, port_number, deadline, listener, watches)
  if data then
    local id = id_of(data, deadline)
    -- Numbers grow as long as the server lives.
    if old and id and id > old then end_there(data, old) end
    return { data = data, ears = ears, time = time, loop = loop, id = id }
  end
  close(ears, time)
  return nil, time
end

return _M

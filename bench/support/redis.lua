-- SPDX-License-Identifier: MIT
--- A Redis server for a benchmark, and two ways of asking it that Perigee is measured beside:
-- `redis-benchmark`, and the least that a Lua program could do on the same connection.
-- @module bench.support.redis

local C = require("perigee.lib").rt
local context = require "perigee.context"
local ffi = require "ffi"
local perigee = require "perigee"
local redis_server = require "examples.support.redis_server"
local scheduler = require "perigee.runtime.scheduler"

local _M = {}

local OUTSTANDING_BYTES = 2 ^ 27
local BENCHMARK_COMMANDS = 200000

--- Why there are no figures on this machine: a text, or nil.
function _M.missing()
  for _, program in ipairs { "redis-server", "redis-benchmark" } do
    if os.execute("command -v " .. program .. " >/dev/null") ~= 0 then
      return program .. " is not installed"
    end
  end
end

--- Runs `work(unix)` in a run of its own, with the path of a new server's socket; the server is
-- stopped whatever happens.
-- @tparam function work what to do
-- @return what it returns
function _M.with_server(work)
  return perigee.run(function()
    local server = assert(redis_server.start())
    local result = work(server.unix)
    server:stop()
    return result
  end)
end

--- Seconds that `redis-benchmark` needs for `n` commands, fifty at a time on each of its fifty
-- connections. It counts milliseconds: so it is given more to do.
-- @tparam string unix path of the socket
-- @tparam string command "get" or "set", of one key
-- @tparam number bytes of its value
-- @tparam number n how many commands
-- @treturn number seconds
function _M.benchmark(unix, command, bytes, n)
  local pipe = assert(io.popen(("redis-benchmark -P 50 -s %s -t %s -d %d -n %d -q 2>&1")
    :format(unix, command, bytes, BENCHMARK_COMMANDS)))
  local said = pipe:read "*a"
  pipe:close()
  return n / assert(tonumber(said:match "([%d.]+) requests per second[^\r\n]*\n"), said)
end

-- The bare connection ------------------------------------------------------------------------

local Bare = {}
Bare.__index = Bare

-- Waits until the connection says that there is something new.
local function park(connection, announce)
  local port = context.port
  local ticket = assert(port.can_wait())
  announce(connection, ticket)
  port.park(ticket)
end

--- A connection with nothing around it. To be called in a run.
-- @tparam string unix path of the socket
-- @treturn table with the methods `get_all` and `close`
function _M.bare(unix)
  local connection = C.perigee_redis_connect(scheduler.world().loop, unix, 0, OUTSTANDING_BYTES)
  while C.perigee_redis_state(connection) == C.PERIGEE_REDIS_CONNECTING do
    park(connection, C.perigee_redis_await)
  end
  assert(C.perigee_redis_state(connection) == C.PERIGEE_REDIS_OPEN)
  return setmetatable({ connection = connection }, Bare)
end

local function send(connection, ...)
  local count = select("#", ...)
  C.perigee_redis_begin(connection, count)
  for i = 1, count do
    local argument = select(i, ...)
    C.perigee_redis_argument(connection, argument, #argument)
  end
  return C.perigee_redis_submit(connection, 0)
end

local function wait_for(connection, number)
  park(connection, function(_, ticket) C.perigee_redis_retarget(connection, number, ticket) end)
end

--- Sets a key, and waits for that.
function Bare:set(key, value)
  local number = send(self.connection, "SET", key, value)
  wait_for(self.connection, number)
  C.perigee_redis_release(self.connection, number)
end

--- Sends GET for keys, waits for the last reply, and makes a string of each.
-- @tparam table list strings
-- @tparam number first index of the first one
-- @tparam number last index of the last one
-- @tparam table values gets the strings, from 1 on
function Bare:get_all(list, first, last, values)
  local connection, number = self.connection, 0
  for i = first, last do number = send(connection, "GET", list[i]) end
  wait_for(connection, number)
  local at = number - (last - first)
  for i = 1, last - first + 1 do
    local reply = C.perigee_redis_reply(connection, at)
    values[i] = ffi.string(reply.text, reply.length)
    C.perigee_redis_release(connection, at)
    at = at + 1
  end
end

--- Ends it.
function Bare:close()
  C.perigee_redis_free(self.connection)
end

return _M

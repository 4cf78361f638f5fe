-- SPDX-License-Identifier: MIT

--- Connections to a Redis server inside nginx, by lua-resty-redis: each belongs to the request or
-- timer that took it.
--
-- Replies are strings, numbers, lists, `_M.NULL`, or `{ err = text }`.
-- @module perigee.client.redis_ngx_wire

local ngx = require "perigee.runtime.nginx"

local function find_driver()
  local found, driver = pcall(require, "resty.redis")
  if not found then found, driver = pcall(require, "nginx.redis") end
  if found then return driver end
  error("perigee.redis: inside nginx it needs lua-resty-redis, as module resty.redis (part of "
    .. "OpenResty; package lua-resty-redis of opm and LuaRocks) or nginx.redis (package "
    .. "lua-nginx-redis of Debian), and neither is on lua_package_path", 0)
end

local driver = find_driver()

local _M = { NULL = ngx.null }

-- A command's arguments are those of a function, which takes less than 8,000. An even number: what
-- is asked in pairs stays together.
local ARGUMENTS_MAX = 4000

-- What nginx takes for an address: it asks its own resolver, which knows no "localhost".
local function address_of(opts)
  local host = opts.host
  if not host or host == "localhost" then return "127.0.0.1" end
  if host:find(":", 1, true) and host:sub(1, 1) ~= "[" then return "[" .. host .. "]" end
  return host
end

local function explained(why)
  why = tostring(why)
  if not why:find("no resolver defined", 1, true) then return why end
  return why .. ": give nginx the directive \"resolver\", or perigee.redis a numeric address"
end

local function dial(opts, pool, timeout)
  local red, why = driver:new()
  if not red then return nil, why end
  red:set_timeout(timeout * 1000)
  local ok
  if opts.unix then
    ok, why = red:connect("unix:" .. opts.unix, pool)
  else
    ok, why = red:connect(address_of(opts), opts.port, pool)
  end
  return ok and red, why
end

--- Connects, or takes what is in the pool. Waits.
-- @tparam table opts options of `perigee.redis`
-- @tparam table pool `pool`, `pool_size`: as for `connect` of ngx_lua's sockets
-- @tparam number timeout seconds
-- @treturn table|nil the connection, an object of lua-resty-redis
-- @treturn string|nil why not
function _M.connect(opts, pool, timeout)
  local called, red, why = pcall(dial, opts, pool, timeout)
  if not called then return nil, tostring(red) end
  if not red then return nil, explained(why) end
  return red
end

-- Commands and replies ------------------------------------------------------------------------

-- An error is `{ false, text }` there.
local function to_lua(reply)
  if type(reply) ~= "table" then return reply end
  if reply[1] == false then return { err = tostring(reply[2]) } end
  for i = 1, #reply do
    local element = reply[i]
    if type(element) == "table" then reply[i] = to_lua(element) end
  end
  return reply
end

-- Says an MGET that is too long for one as several.
local function add_in_pieces(red, command)
  if command[1] ~= "MGET" then error("a command with too many arguments", 0) end
  local pieces = 0
  for i = 2, #command, ARGUMENTS_MAX do
    red.MGET(red, unpack(command, i, math.min(#command, i + ARGUMENTS_MAX - 1)))
    pieces = pieces + 1
  end
  return pieces
end

-- Makes one reply of several.
local function join(raw, first, pieces)
  local list = {}
  for i = first, first + pieces - 1 do
    local piece = raw[i]
    if type(piece) ~= "table" or piece[1] == false then return to_lua(piece) end
    for j = 1, #piece do list[#list + 1] = piece[j] end
  end
  return to_lua(list)
end

-- Names in capitals: lua-resty-redis does something of its own for some of the others.
local function converse(red, commands)
  local pieces, count = {}, #commands
  red:init_pipeline(count)
  for i = 1, count do
    local command = commands[i]
    if #command <= ARGUMENTS_MAX then
      red[command[1]](red, unpack(command, 2))
    else
      pieces[i] = add_in_pieces(red, command)
    end
  end
  local raw, why = red:commit_pipeline()
  if not raw then return nil, why end
  local replies, at = {}, 1
  for i = 1, count do
    replies[i] = pieces[i] and join(raw, at, pieces[i]) or to_lua(raw[at])
    at = at + (pieces[i] or 1)
  end
  return replies
end

--- Says commands, and waits for the replies. What is no Redis server may make the reader raise.
-- @tparam table red from `connect`
-- @tparam table commands a list of lists of strings
-- @treturn table|nil the replies
-- @treturn string|nil why there are none: the connection is of no use any more
function _M.converse(red, commands)
  local called, replies, why = pcall(converse, red, commands)
  if not called then return nil, "Protocol error: " .. tostring(replies) end
  if replies then return replies end
  return nil, tostring(why)
end

-- What is said first --------------------------------------------------------------------------

local function first_error(replies, last)
  for i = 1, last do
    if type(replies[i]) == "table" and replies[i].err then return replies[i].err end
  end
end

-- A server that has no CLIENT ID, or does not tell us, is none the worse for it.
local function is_refusal(err)
  return err:find "^NOPERM" or err:lower():find("unknown", 1, true)
end

--- Says on a new connection who we are and which database we mean.
-- @tparam table red from `connect`
-- @tparam table opts options of `perigee.redis`
-- @treturn boolean|nil
-- @treturn string|number|nil what the server calls the connection, if it tells; or why not
function _M.greet(red, opts)
  local commands = {}
  if opts.password then
    commands[1] = { "AUTH", opts.password }
    if opts.username then commands[1] = { "AUTH", opts.username, opts.password } end
  end
  if (opts.db or 0) > 0 then commands[#commands + 1] = { "SELECT", ("%d"):format(opts.db) } end
  local last = #commands
  commands[last + 1] = { "CLIENT", "ID" }
  local replies, why = _M.converse(red, commands)
  if not replies then return nil, why end
  why = first_error(replies, last)
  if why then return nil, why end
  local id = replies[last + 1]
  if type(id) == "number" then return true, id end
  if type(id) ~= "table" or not id.err then return nil, "Protocol error: no number" end
  if is_refusal(id.err) then return true, nil end
  return nil, id.err
end

return _M

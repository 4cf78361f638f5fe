-- SPDX-License-Identifier: MIT

--- One request and its answer, in a task of its own.
--
-- An *exchange* is over when it was answered as a whole, when its client has left, or when its time
-- was up; what its task does after that is nobody's business any more.
-- @module perigee.http.exchange

local context = require "perigee.context"
local failures = require "perigee.runtime.failures"
local options = require "perigee.options"
local response = require "perigee.http.response"
local scheduler = require "perigee.runtime.scheduler"
local C = require("perigee.lib").rt

local _M = {}

local type, xpcall = type, xpcall

--- A new exchange.
-- @tparam table server
-- @tparam number number its number in C
-- @tparam table request
-- @treturn table
function _M.new(server, number, request)
  return { server = server, number = number, request = request, task = false, is_over = false,
    is_streaming = false }
end

-- Answering -----------------------------------------------------------------------------------

local function send(server, number, status, headers, body)
  local c = server.c
  if not c then return end
  C.perigee_http_begin(c, number, status, body, body and #body or 0)
  for i = 1, #headers, 2 do C.perigee_http_field_of(c, number, headers[i], headers[i + 1]) end
  C.perigee_http_send(c, number)
end

local CLOSING = { "Content-Type", "text/plain; charset=utf-8", "Connection", "close" }
local PLAIN = { "Content-Type", "text/plain; charset=utf-8" }
local TEXTS = { [400] = "Bad Request\n", [500] = "Internal Server Error\n",
  [503] = "Service Unavailable\n" }

--- Answers with a status and a text that tells nothing.
-- @tparam table server
-- @tparam number number
-- @tparam number status 400, 500 or 503
function _M.refuse(server, number, status)
  send(server, number, status, status == 503 and CLOSING or PLAIN, TEXTS[status])
end

local LEFT = "the client has left"

-- An error on its way, with the place where it was raised.
local function note(err)
  return { err = err, text = failures.describe(err, debug.traceback("", 2)) }
end

-- Whether an error is what `write` told; LuaJIT's `assert` puts its own place before that.
local function is_of_write(err)
  return type(err) == "string" and err:sub(-#LEFT) == LEFT
end

-- Tells what went wrong. A task that was cancelled has no more to say, nor one that stopped because
-- of what `write` told it.
local function report(exchange, failure)
  local err = failure.err
  if is_of_write(err) or err == "cancelled" and scheduler.current().cancelled then return false end
  local request = exchange.request
  local what = ("%s %s"):format(request.method, request.path):gsub("%c", "?")
  failures.tell(failure.text, "perigee.http: the handler of " .. what)
  return true
end

-- Streams ---------------------------------------------------------------------------------------

local CHUNK = options.kinds.string
local function wait_for_room(c, number)
  local port = context.port
  local ticket, why = port.can_wait()
  if not ticket then error("write: " .. why, 0) end
  C.perigee_http_room(c, number, ticket)
  port.park(ticket)
end

local function new_write(exchange)
  local server, number = exchange.server, exchange.number
  return function(chunk)
    if type(chunk) ~= "string" then options.argument("write", "chunk", CHUNK, chunk, 2) end
    if exchange.is_over or not server.c then return nil, LEFT end
    local state = C.perigee_http_write(server.c, number, chunk, #chunk)
    while state == 0 do
      wait_for_room(server.c, number)
      if not server.c then return nil, LEFT end
      state = C.perigee_http_write(server.c, number, "", 0)
    end
    if state < 0 then return nil, LEFT end
    return true
  end
end

local function stream(exchange, body)
  local server, number = exchange.server, exchange.number
  exchange.is_streaming = true
  local ok, failure = xpcall(body, note, new_write(exchange))
  if not ok then report(exchange, failure) end
  if server.c then C.perigee_http_end(server.c, number, ok and 0 or 1) end
end

-- The task ----------------------------------------------------------------------------------------

local function answer(exchange, result)
  local server, number = exchange.server, exchange.number
  local ok, status, headers, body = xpcall(response.read, note, result)
  if not ok then
    report(exchange, status)
    _M.refuse(server, number, 500)
  elseif type(body) == "string" then
    send(server, number, status, headers, body)
  else
    send(server, number, status, headers, nil)
    if exchange.request.method ~= "HEAD" then return stream(exchange, body) end
    if server.c then C.perigee_http_end(server.c, number, 0) end -- else it stopped meanwhile
  end
end

--- Calls the handler and answers with what it returns.
-- @tparam table exchange
function _M.run(exchange)
  local server = exchange.server
  local ok, result = xpcall(server.handler, note, exchange.request)
  if not exchange.is_over then
    if ok then
      answer(exchange, result)
    else
      _M.refuse(server, exchange.number, report(exchange, result) and 500 or 503)
    end
  elseif not ok then
    report(exchange, result)
  end
  exchange.is_over = true
  server.running[exchange.number] = nil
end

--- Ends what nobody waits for any more.
-- @tparam table exchange
function _M.abandon(exchange)
  exchange.is_over = true
  exchange.server.running[exchange.number] = nil
  exchange.task:cancel()
end

return _M

-- SPDX-License-Identifier: MIT

--- Requests to HTTP servers, by libcurl, while other tasks go on.
--
-- Connections are kept per loop and used again. Servers are verified; redirects are not followed
-- unless asked for.
-- @module perigee.http.client

if require "perigee.runtime.nginx" then
  local function refuse()
    return nil, "perigee.http: not inside nginx, whose loop knows no connections of ours; use a "
      .. "library on its cosockets there, such as lua-resty-http"
  end
  return { request = refuse, stream = refuse }
end

local orders = require "perigee.http.client.order"
local transfers = require "perigee.http.client.transfer"

local _M = {}

local function has_ended(view) return view.ended == 1 end
local function has_head(view) return view.has_head == 1 or view.ended == 1 end
local function has_more(view) return view.body_bytes > 0 or view.ended == 1 end

local function begin(asked, level)
  transfers.ticket(asked.where)
  local order, kept = orders.new(asked)
  local transfer, why = transfers.begin(asked.where, order)
  if why == "url" then orders.fail_url(asked, level + 1) end
  return transfer, why, kept
end

local function head_of(transfer)
  local view = transfer.view
  return { status = view.status, headers = transfers.headers(view) }
end

-- What a transfer came to that has ended: its response, or nil and why.
local function outcome(transfer)
  local why = transfer:failure()
  if why then return nil, why end
  return head_of(transfer)
end

local function collect(transfer, asked)
  local ok, why = transfer:wait(has_ended, asked.timeout)
  if not ok then return nil, why end
  local response, err = outcome(transfer)
  if response then response.body = transfer:take() end
  return response, err
end

-- The same, but its body is given away as it comes. The time that `on_data` takes counts, too.
local function hand_over(transfer, asked)
  local time = transfer.world.time
  local ends = time() + asked.timeout
  while true do
    local ok, why = transfer:wait(has_more, ends - time())
    if not ok then return nil, why end
    local is_last = transfer.view.body_bytes == 0
    if is_last then return outcome(transfer) end
    asked.on_data(transfer:take())
  end
end

--- Asks a server and waits for its response.
-- @tparam string|table spec a url, or a table:
--
-- - `url`, with http or https;
-- - `method` (`"GET"`), `headers` (values by name; a list is sent line by line), `body` (a string);
-- - `timeout` of all of it (30 seconds) and `connect_timeout` (5), which includes finding the host;
-- - `max_body`: more bytes than these make it fail (16 MiB; with `on_data` there is no bound);
-- - `redirects`: how many are followed (0), to http and https; Authorization and Cookie go to the
--   first host only;
-- - `ca_file`: certificates of authorities (PEM) to believe instead of the system's; `insecure =
--   true`: whoever answers is believed;
-- - `compressed`: asks for a compressed body, and expands it (false);
-- - `on_data`: called with each part of the body, instead of keeping it; it may wait.
-- @treturn table|nil `{ status =, headers =, body = }`; names of headers are in small letters,
-- values of one name joined by `", "`; no `body` with `on_data`
-- @treturn string|nil why not: `"timeout"`, `"body too large"`, `"headers too large"`, or a text
-- @raise a mistake in the options; what `on_data` raises
function _M.request(spec)
  local asked = orders.check("perigee.http.request", spec, false, 2)
  local transfer, why = begin(asked, 2)
  if not transfer then return nil, why end
  local ok, response, err = pcall(asked.on_data and hand_over or collect, transfer, asked)
  transfer:close()
  if not ok then error(response, 0) end
  return response, err
end

-- Streams -----------------------------------------------------------------------------------

local Response = {}
Response.__index = Response
Response.__name = "perigee.http.response"

local function read(transfer, timeout)
  local ok, why = transfer:wait(has_more, timeout)
  if not ok then return nil, why end
  if transfer.view.body_bytes > 0 then return transfer:take() end
  why = transfer:failure()
  transfer:close()
  return nil, why
end

--- Waits for more of the body. What is not read is not fetched: the server waits.
-- @function response:read
-- @tparam[opt] number timeout seconds; the default is the stream's
-- @treturn string|nil a part of the body, not empty; nil: this was all
-- @treturn string|nil why it is not: `"timeout"` (it may be read again), `"closed"`, or a text
-- @raise `"cancelled"`
function Response:read(timeout)
  if timeout ~= nil and (type(timeout) ~= "number" or not (timeout >= 0)) then
    error("response:read: timeout must be a number of seconds >= 0, got " .. tostring(timeout), 2)
  elseif self.is_read then
    error("response:read: another task is reading this response already", 2)
  elseif self.is_at_end then
    return nil, self.why
  end
  self.is_read = true
  local ok, chunk, why = pcall(read, self.transfer, timeout or self.timeout)
  self.is_read = false
  if not ok then error(chunk, 0) end
  if not chunk and why ~= "timeout" then self.is_at_end, self.why = true, why end
  return chunk, why
end

--- Ends it; if there is more to come, the connection is closed.
-- @function response:close
function Response:close()
  self.transfer:close()
  if not self.is_at_end then self.is_at_end, self.why = true, "closed" end
end

local function open(transfer, asked)
  local ok, why = transfer:wait(has_head, asked.timeout)
  if not ok then return nil, why end
  if transfer.view.has_head == 0 then return outcome(transfer) end
  local response = head_of(transfer)
  response.transfer, response.timeout, response.is_at_end = transfer, asked.timeout, false
  return setmetatable(response, Response)
end

--- Asks a server and waits for the head of its response; its body is read bit by bit.
-- @tparam string|table spec as for `request`, without `on_data`; `timeout` is that of the head, and
-- of each `read`; `max_body` has no bound by default
-- @treturn table|nil a response: `status`, `headers`, `response:read`, `response:close`
-- @treturn string|nil why not
-- @raise a mistake in the options
function _M.stream(spec)
  local asked = orders.check("perigee.http.stream", spec, true, 2)
  local transfer, why = begin(asked, 2)
  if not transfer then return nil, why end
  local ok, response, err = pcall(open, transfer, asked)
  if not ok or not response then transfer:close() end
  if not ok then error(response, 0) end
  return response, err
end

return _M

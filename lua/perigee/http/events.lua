-- SPDX-License-Identifier: MIT

--- Server-sent events: a stream of texts that a browser's `EventSource` hears
-- (WHATWG HTML, section 9.2).
-- @module perigee.http.events

local options = require "perigee.options"

local _M = {}

local LINE = { "a string without line ends",
  function(v) return type(v) == "string" and not v:find "[%z\r\n]" end }
local EVENT = { event = LINE, id = LINE, data = options.kinds.string }

-- Each line of the data is a field of its own.
local function format(event)
  if type(event) == "string" then event = { data = event } end
  options.argument("send", "event", options.kinds.list, event, 3)
  options.check("send", event, EVENT, 3)
  local data = (event.data or ""):gsub("\r\n?", "\n"):gsub("\n", "\ndata: ")
  return (event.event and "event: " .. event.event .. "\n" or "")
    .. (event.id and "id: " .. event.id .. "\n" or "") .. "data: " .. data .. "\n\n"
end

--- A response that sends events for as long as `fn` runs.
-- @tparam function fn it is called with `send`, which takes a text or `{ event =, data =, id = }`,
-- waits while the client is slow, and returns true, or nil and why when the client has left
-- @treturn table the response
function _M.response(fn)
  options.argument("perigee.http.events", "fn", options.kinds.callable, fn, 2)
  return {
    headers = { ["Content-Type"] = "text/event-stream", ["Cache-Control"] = "no-cache" },
    body = function(write)
      return fn(function(event) return write(format(event)) end)
    end,
  }
end

return _M

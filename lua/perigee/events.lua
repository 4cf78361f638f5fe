-- SPDX-License-Identifier: MIT
--- What happens in the caches, told to whoever listens.
--
-- A handler gets one table that it may keep. Its errors are logged and go no further.
-- @module perigee.events

local log = require "perigee.log"
local options = require "perigee.options"

local _M = {}

--- Handlers by event; an event without handlers has `false`, so that asking is one look-up.
_M.handlers = {
  load = false,
  load_error = false,
  evict = false,
  invalidate = false,
  remote_error = false,
  loop = false,
}

local EVENT = options.one_of { "load", "load_error", "evict", "invalidate", "remote_error", "loop" }

-- A new list of an event's handlers: whoever goes through the old one is not disturbed.
local function without(event, left_out)
  local list = {}
  for _, handler in ipairs(_M.handlers[event] or {}) do
    if handler ~= left_out then list[#list + 1] = handler end
  end
  return list
end

--- Calls `fn(info)` whenever `event` happens.
--
-- | event | `info` |
-- |---|---|
-- | `load` | `cache`, `key`, `seconds` |
-- | `load_error` | `cache`, `key`, `seconds`, `err` |
-- | `evict` | `cache`, `key`, `value`, `reason` (as `on_evict`) |
-- | `invalidate` | `cache`, and `key`, `tags` or `all = true` |
--
-- `cache` is the cache's name, `""` if it has none.
-- @tparam string event its name
-- @tparam function fn the handler
-- @treturn function a function that takes the handler away again
-- @raise on an unknown event or a handler that cannot be called
function _M.on(event, fn)
  options.argument("perigee.on", "event", EVENT, event, 2)
  options.argument("perigee.on", "fn", options.kinds.callable, fn, 2)
  local function handler(info) return fn(info) end -- the same function may be given twice
  _M.handlers[event] = without(event, nil)
  table.insert(_M.handlers[event], handler)
  return function()
    local left = without(event, handler)
    _M.handlers[event] = #left > 0 and left or false
  end
end

--- Tells the handlers of an event.
-- @tparam string event its name
-- @tparam table info what happened
function _M.emit(event, info)
  local list = _M.handlers[event]
  if not list then return end
  for i = 1, #list do
    local ok, err = xpcall(list[i], debug.traceback, info)
    if not ok then log.error(("a handler of the event %q failed: %s"):format(event, err)) end
  end
end

return _M

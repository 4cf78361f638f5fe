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
  local list = _M.handlers[event] or {}
  local kept = { fn }
  list[#list + 1] = kept
  _M.handlers[event] = list
  return function()
    for i = #list, 1, -1 do
      if list[i] == kept then table.remove(list, i) end
    end
    if #list == 0 then _M.handlers[event] = false end
  end
end

--- Tells the handlers of an event.
-- @tparam string event its name
-- @tparam table info what happened
function _M.emit(event, info)
  local list = _M.handlers[event]
  if not list then return end
  for i = 1, #list do
    local ok, err = xpcall(list[i][1], debug.traceback, info)
    if not ok then log.error(("a handler of the event %q failed: %s"):format(event, err)) end
  end
end

return _M

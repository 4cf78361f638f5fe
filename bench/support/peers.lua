-- SPDX-License-Identifier: MIT
--- What Perigee is measured beside: a bare table, and the two caches of lua-resty-lrucache.
--
-- Those take the time from `ngx.now`, which outside nginx is not there: here it is a function
-- that returns a number which stands still, and so costs nothing.
-- @module bench.support.peers

local _M = {}

local now = 1e6

local function give_clock()
  if rawget(_G, "ngx") then return end
  rawset(_G, "ngx", {
    now = function() return now end,
    log = function() end,
    ALERT = 2,
  })
end

--- What to say beside each figure of those caches.
_M.CLOCK = "lrucache and pureffi: outside nginx, with a clock that costs nothing"

--- A `resty.lrucache` of so many entries.
function _M.lrucache(size)
  give_clock()
  return assert(require("resty.lrucache").new(size))
end

--- A `resty.lrucache.pureffi` of so many entries.
function _M.pureffi(size)
  give_clock()
  return assert(require("resty.lrucache.pureffi").new(size))
end

return _M

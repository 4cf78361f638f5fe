-- SPDX-License-Identifier: MIT
--- What each worker has in the specs of the shared tier: a cache, a wrapped function on it, and
-- loads that all workers count.
local ngx = require "perigee.runtime.nginx"
local perigee = require "perigee"

local counts = ngx.shared.counts
local _M = { perigee = perigee, counts = counts, dict = ngx.shared.perigee }

_M.cache = perigee.new { name = "c", shared = "perigee", maxsize = 1e5 }

_M.many = perigee.lru { cache = _M.cache, name = "many" } (function(a, b)
  counts:incr("many", 1, 0)
  return a, nil, b, counts:get("many")
end)

_M.change = perigee.lru_invalidator(_M.many)(function() return "changed" end)

-- A loader that takes a while and ends in any way.
function _M.loader(seconds, finish)
  return function(key)
    counts:incr("loads", 1, 0)
    if seconds > 0 then ngx.sleep(seconds) end
    if type(finish) == "function" then return finish(key) end
    return finish
  end
end

function _M.take_loads()
  local loads = counts:get("loads") or 0
  counts:set("loads", 0)
  return loads
end

-- Does what it is told by others, as long as this request lives.
function _M.serve()
  local answers = ngx.shared.answers
  for _ = 1, 30000 do
    local todo = answers:lpop("todo")
    if todo == "end" then return "ended" end
    if todo then
      local chunk = loadstring("local rig = require 'spec.support.shared_rig' " .. todo)
      answers:rpush("done", tostring((select(2, pcall(chunk)))))
    end
    ngx.sleep(0.002)
  end
end

function _M.tell(todo)
  local answers = ngx.shared.answers
  answers:rpush("todo", todo)
  for _ = 1, 15000 do
    local answer = answers:lpop("done")
    if answer then return answer end
    ngx.sleep(0.002)
  end
end

return _M

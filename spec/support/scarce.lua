-- SPDX-License-Identifier: MIT
--- Memory that runs out: a scenario is run again and again, and each time another allocation of a
-- C library fails, the first, the second, and so on, until it is over before its turn comes.
local ffi = require "ffi"
local lib = require "perigee.lib"

local _M = {}

local FAIL_AT = {
  core = function(n) return lib.core.perigee_core_fail_at(n) end,
  rt = function(n) return lib.rt.perigee_rt_fail_at(n) end,
  disk = function(n) return lib.disk.perigee_disk_fail_at(n) end,
}

-- What may be said when memory is out.
local SAID = { "out of memory", "no memory for another task", "not enough memory" }

local function is_said(err)
  for _, text in ipairs(SAID) do
    if tostring(err):find(text, 1, true) then return true end
  end
  return false
end

--- Fails unless the C half of a cache is in order.
function _M.verify(cache)
  local broken = lib.core.perigee_store_verify(cache.store.handle)
  if broken ~= nil then error(ffi.string(broken), 2) end
  assert(not cache.store.busy, "the store is still busy")
end

--- Calls `fn(...)`. If memory is out it must say so, and do what it should when called again.
-- @tparam table world `refusals` are counted in it; `cache` is looked at after each
-- @return what it returned
function _M.try(world, fn, ...)
  local function judge(ok, ...)
    if ok then return ok, ... end
    if not is_said((...)) then error(..., 0) end
    world.refusals = world.refusals + 1
    if world.cache then _M.verify(world.cache) end
    return false
  end
  local results = { n = 0, judge(pcall(fn, ...)) }
  if results[1] then return unpack(results, 2, table.maxn(results)) end
  return fn(...)
end

--- Runs a scenario until no allocation is left to fail.
-- @tparam string library `"core"`, `"rt"` or `"disk"`
-- @tparam function scenario `scenario(world, try)`: from `world.begin()` to `world.finish()` the
--   allocation may fail; `try(fn, ...)` calls what may be refused
-- @treturn number how many allocations failed, one after the other
-- @treturn number how many refusals there were
function _M.each(library, scenario)
  local fail_at = FAIL_AT[library]
  local nth, refusals, happened = 0, 0, false
  repeat
    nth = nth + 1
    local world = { refusals = 0, nth = nth }
    function world.begin() fail_at(nth) end
    function world.finish() happened = fail_at(0) == 0 end
    local ok, err = pcall(scenario, world, function(...) return _M.try(world, ...) end)
    if not ok then
      fail_at(0)
      error(("when allocation %d fails: %s"):format(nth, tostring(err)), 0)
    end
    if world.cache then _M.verify(world.cache) end
    refusals = refusals + world.refusals
  until not happened
  return nth - 1, refusals
end

return _M

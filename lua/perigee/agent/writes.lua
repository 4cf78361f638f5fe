-- SPDX-License-Identifier: MIT

--- What tools write, and what that makes old: in the caches of all tools, whoever loads meanwhile.
--
-- The caches of all tools share one registry of tags, so a write costs the depth of its path,
-- however many tools there are. A *plan* is what one call is about to write: `paths`, lists of
-- parts; `keys`, as { cache, key } in turn. It is written before the call and once more after it;
-- between the two it is *marked*: what is loaded meanwhile is handed out and not kept.
-- @module perigee.agent.writes

local C = require("perigee.lib").core
local atomic = require "perigee.atomic"
local each = require("perigee.value.names").each
local events = require "perigee.events"
local runtime = require "perigee.runtime"
local store_face = require "perigee.store"
local tags = require "perigee.tags"

local handlers = events.handlers
local insert, next, pcall = table.insert, next, pcall

local _M = {}

-- Through this store, which keeps nothing, the registry is written.
local anchor = store_face.new({ maxsize = 0, maxweight = math.huge, grace = 0, ttl_jitter = 0,
  policy = "fifo" }, runtime.clock)

--- The versions of all tools' tags, for `perigee.cache`.
_M.registry = anchor.tags

-- Tools that read, by resource; and all of them.
local by_resource = {}
local everybody = setmetatable({}, { __mode = "k" })
local weak = { __mode = "k" }

local marks = {} -- plans that are being written

--- Enters a tool that reads.
-- @tparam string resource its resource
-- @tparam table tool with `cache`
function _M.enter(resource, tool)
  local list = by_resource[resource]
  if not list or next(list) == nil then
    for name, tools in each(by_resource) do -- what nobody has any more
      if next(tools) == nil then by_resource[name] = nil end
    end
    list = setmetatable({}, weak)
    by_resource[resource] = list
  end
  list[tool], everybody[tool] = true, true
end

--- Calls `fn(tool, ...)` for each tool that reads a resource.
-- @tparam string resource its name
-- @tparam function fn what to call
-- @param ... what to call it with
function _M.each(resource, fn, ...)
  local list = by_resource[resource]
  local tool = list and next(list)
  while tool do
    if not tool.cache.closed then fn(tool, ...) end
    tool = next(list, tool)
  end
end

-- Loads in between --------------------------------------------------------------------------

local function is_in(plan, list, cache, key)
  for i = 1, #plan.paths do
    for k = 1, #list do
      if tags.conflict(plan.paths[i], list[k]) then return true end
    end
  end
  for i = 1, #plan.keys, 2 do
    if plan.keys[i] == cache and plan.keys[i + 1] == key then return true end
  end
  return false
end

--- Whether something that a result stands under is being written.
-- @tparam table list its paths
-- @tparam perigee.cache cache where it would be kept
-- @tparam string|number|boolean key under which key
-- @treturn boolean
function _M.are_marked(list, cache, key)
  for i = #marks, 1, -1 do -- backwards: what a finalizer's `unmark` moves is still to come
    local plan = marks[i]
    if plan and is_in(plan, list, cache, key) then return true end
  end
  return false
end

local function mark(plan)
  insert(marks, plan)
end

local unmark = atomic(function(plan)
  local last = #marks
  for i = 1, last do
    if marks[i] == plan then
      marks[i] = marks[last]
      marks[last] = nil
      return
    end
  end
end)

-- Writing -----------------------------------------------------------------------------------

-- What is dead is reclaimed. Which entries of other resources have learned the path, nobody knows.
-- Who listens may do anything: the tools are gone through first.
local function sweep()
  local stores, tool = {}, next(everybody)
  while tool do
    C.perigee_store_invalidate(tool.cache.store.handle)
    if handlers.evict then stores[#stores + 1] = tool.cache.store end
    tool = next(everybody, tool)
  end
  for i = 1, #stores do
    stores[i]:reclaim()
    if stores[i].queued > 0 then stores[i]:tell() end
  end
end

local function write_paths(plan)
  for i = 1, #plan.paths do anchor:write_tag(plan.paths[i]) end
  if #plan.paths == 0 then return end
  sweep()
  if handlers.invalidate then
    events.emit("invalidate", { cache = "", tool = plan.tool, tags = plan.paths })
  end
end

local function delete(cache, key)
  if not cache.closed then cache:delete(key) end
end

local function write_there(plan)
  local below, tool = {}, next(everybody)
  while tool do
    if not tool.cache.closed then below[#below + 1] = tool.cache.below end
    tool = next(everybody, tool)
  end
  for i = 1, #below do below[i]:invalidate_tags(plan.paths) end
end

-- Forgets all of a plan, whatever befalls one part of it. Returns what went wrong first.
local function write(plan)
  local ok, err = pcall(write_paths, plan)
  for i = 1, #plan.keys, 2 do
    local deleted, why = pcall(delete, plan.keys[i], plan.keys[i + 1])
    if ok then ok, err = deleted, why end
  end
  if plan.everywhere and #plan.paths > 0 then
    local told, why = pcall(write_there, plan)
    if ok then ok, err = told, why end
  end
  if not ok then return err end
end

--- A call is about to write: what it will make old is forgotten.
-- @tparam table plan `paths`, `keys`, `tool` (a name), and `everywhere`, if others share it
-- @raise what keeps it from being forgotten, such as `"cancelled"`
function _M.begin(plan)
  mark(plan)
  local err = write(plan)
  if err == nil then return end
  unmark(plan)
  error(err, 0)
end

--- The call has ended, however: what was loaded meanwhile is forgotten.
-- @tparam table plan the plan
-- @return what went wrong, or nil
function _M.finish(plan)
  unmark(plan) -- nothing waits in between
  return write(plan)
end

--- Forgets paths at once.
-- @tparam table plan as for `begin`
function _M.forget(plan)
  write_paths(plan)
  if plan.everywhere then write_there(plan) end
end

--- Whether the result of a load that began at some version may be kept.
-- @tparam table list its paths
-- @tparam number began version of the registry
-- @treturn boolean
function _M.may_keep(list, began)
  return anchor:may_keep(list, began)
end

return _M

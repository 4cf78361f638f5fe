-- SPDX-License-Identifier: MIT

--- Tags of a store: its entries', and the writes that make them invalid.
-- @module perigee.store.tagging

local C = require("perigee.lib").core

local _M = {}

--- A list of tags that nobody else has.
-- @tparam table list tags
-- @treturn table
function _M.copy(list)
  local copy = {}
  for i = 1, #list do copy[i] = list[i] end
  return copy
end

local holding = false -- a node, of a registry that several stores may share

--- What has to drain first, or makes a node, cannot be done by a finalizer that finds the store
-- busy.
-- @tparam table self the store
function _M.refuse_while_busy(self)
  if self.busy or holding then
    error("perigee: not in a finalizer, while the cache is being written", 0)
  end
end

-- The node of a tag: a path of parts split at `:`, or a list of parts; negative when memory is out.
-- Leaves the store busy, so that the node stays what it is until the caller has used it.
local function hold_node(self, path)
  local node
  _M.refuse_while_busy(self)
  self.busy, holding = true, true
  if type(path) == "string" then
    node = C.perigee_tags_path(self.tags, path, #path)
  else
    node = C.PERIGEE_TAG_ROOT
    for i = 1, #path do
      node = C.perigee_tags_part(self.tags, node, path[i], #path[i])
      if node < 0 then break end
    end
  end
  return node
end

--- Tags the entry just put.
-- @tparam table self the store
-- @tparam number slot its slot
-- @tparam table tags list of tags
-- @treturn boolean whether it has them all; if not, memory is out
function _M.tag(self, slot, tags)
  for i = 1, #tags do
    local node = hold_node(self, tags[i])
    local failed = node < 0 or C.perigee_store_tag(self.handle, slot, node) ~= 0
    self.busy, holding = false, false
    if failed then return false end
  end
  return true
end

--- Whether the result of a load that began at tag version `began` may be kept under these tags.
-- When memory is out nobody knows, and it may not.
-- @tparam table self the store
-- @tparam table tags list of tags
-- @tparam number began from `tag_version`
-- @treturn boolean
function _M.may_keep(self, tags, began)
  for i = 1, #tags do
    local node = hold_node(self, tags[i])
    local may = node >= 0 and C.perigee_tags_may_keep(self.tags, node, began) == 1
    self.busy, holding = false, false
    if not may then return false end
  end
  return true
end

--- The number of tag writes so far.
-- @tparam table self the store
-- @treturn number
function _M.tag_version(self)
  return C.perigee_tags_version(self.tags)
end

--- Invalidates everything under a tag; when memory is out, under all tags.
-- @tparam table self the store
-- @tparam string|table path the tag, checked before
function _M.write_tag(self, path)
  local node = hold_node(self, path)
  C.perigee_tags_write(self.tags, node >= 0 and node or C.PERIGEE_TAG_ROOT)
  C.perigee_store_invalidate(self.handle)
  self.busy, holding = false, false
end

return _M

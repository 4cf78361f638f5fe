-- SPDX-License-Identifier: MIT
--- What a tag is, for those who check arguments. Their versions are kept in C (`tags.h`).
-- @module perigee.tags

local _M = {}

local function is_tag(value)
  if type(value) == "string" then return value ~= "" end
  if type(value) ~= "table" or #value == 0 then return false end
  for i = 1, #value do
    if type(value[i]) ~= "string" then return false end
  end
  return true
end

--- The parts of a tag.
-- @tparam string|table tag the tag
-- @treturn table list of parts
function _M.parts(tag)
  if type(tag) == "table" then return tag end
  local parts = {}
  for part in (tag .. ":"):gmatch "([^:]*):" do parts[#parts + 1] = part end
  return parts
end

--- Whether one tag is a prefix of another, part by part: then writing one concerns the other.
-- @tparam string|table a a tag
-- @tparam string|table b a tag
-- @treturn boolean
function _M.conflict(a, b)
  a, b = _M.parts(a), _M.parts(b)
  for i = 1, math.min(#a, #b) do
    if a[i] ~= b[i] then return false end
  end
  return true
end

--- A tag: a path of parts split at `:`, or a list of parts (text with colons of its own).
_M.TAG = { "a tag: a string that is not empty, or a list of parts", is_tag }

--- A list of tags.
_M.LIST = { "a list of tags (strings that are not empty, or lists of parts)", function(value)
  if type(value) ~= "table" then return false end
  for i = 1, #value do
    if not is_tag(value[i]) then return false, value[i] end
  end
  return #value > 0 or next(value) == nil
end }

return _M

-- SPDX-License-Identifier: MIT

--- What a function returned, as one value that a cache can hold: one result stands for itself;
-- none, or several, go into a box.
--
-- A box has `n` and [1..n]. Those of `box` may also have `failed`: `"raised"` (and [1] is the
-- error) or `"returned"` (nil and an error); and `tags`, a list of tags that the call has learned.
-- @module perigee.value.returns

local tags = require "perigee.tags"

local select, type, getmetatable, setmetatable = select, type, getmetatable, setmetatable

local _M = {}

local box_mt = { __name = "perigee.returns" }
local failure_mt = { __name = "perigee.failure" }

--- Packs the results of a loader that is somebody's function.
-- @param ... its results
-- @return one value: the only result, or a box
-- @return err, if the first result is nil and the second is not: the second, or all in a box
function _M.pack(...)
  local n = select("#", ...)
  if n == 1 then return (...) end
  local first, second = ...
  if first ~= nil or second == nil then return setmetatable({ n = n, ... }, box_mt) end
  if n == 2 then return nil, second end
  return nil, setmetatable({ n = n, ... }, failure_mt)
end

--- Packs results into a box, however many there are.
-- @param ... the results
-- @treturn table the box
function _M.box(...)
  return setmetatable({ n = select("#", ...), ... }, box_mt)
end

--- Whether a value is a box.
-- @param value anything
-- @treturn boolean
function _M.is_box(value)
  return type(value) == "table" and getmetatable(value) == box_mt
end

local function unbox(box)
  if box.n == 1 then return box[1] end
  if box.n == 2 then return box[1], box[2] end
  if box.n == 3 then return box[1], box[2], box[3] end
  return unpack(box, 1, box.n)
end

--- The results that one value stands for.
-- @param value from `pack`
-- @return the results
function _M.unpack(value)
  if type(value) == "table" and getmetatable(value) == box_mt then return unbox(value) end
  return value
end

--- The results of a call that failed.
-- @param err from `pack`, or an error of the cache's own
-- @return nil, err, and whatever came after it
function _M.unpack_failure(err)
  if type(err) == "table" and getmetatable(err) == failure_mt then return unbox(err) end
  return nil, err
end

--- What others see of a value that a cache holds: the first result.
-- @param value any value of a cache
-- @return the first result
function _M.first(value)
  if type(value) == "table" and getmetatable(value) == box_mt then return value[1] end
  return value
end

--- A box as a table by names, for tiers: `n`, the results that are not nil, `failed` and `tags`.
-- @param value any value of a cache
-- @treturn table|nil nil: it is no box
function _M.to_table(value)
  if type(value) ~= "table" or getmetatable(value) ~= box_mt then return nil end
  local named = { n = value.n, failed = value.failed, tags = value.tags }
  for i = 1, value.n do named["r" .. i] = value[i] end
  return named
end

--- The box that such a table stands for.
-- @param named from outside
-- @treturn table|nil nil: it is nothing of the kind
function _M.from_table(named)
  local n = type(named) == "table" and named.n
  if type(n) ~= "number" or n < 0 or n > 65535 or n % 1 ~= 0 then return nil end
  local failed, learned = named.failed, named.tags
  if failed ~= nil and failed ~= "raised" and failed ~= "returned" then return nil end
  if learned ~= nil and not tags.LIST[2](learned) then return nil end
  local box = { n = n, failed = failed, tags = learned }
  for i = 1, n do box[i] = named["r" .. i] end
  return setmetatable(box, box_mt)
end

--- What others see of a load's error.
-- @param err any error of a load
-- @return the second result
function _M.reason(err)
  if type(err) == "table" and getmetatable(err) == failure_mt then return err[2] end
  return err
end

return _M

-- SPDX-License-Identifier: MIT

--- Small charts: series of numbers as paths of SVG.
--
-- A path is text that both the page and its script put into `<path d="...">`: what draws is here
-- only. A chart is 120 by 32 units, which the page stretches.
-- @module perigee.dashboard.chart

local _M = {}

local concat, max = table.concat, math.max

local WIDTH, HEIGHT = 120, 32
local TOP = 2 -- so that a line at the top is whole

--- A line over time; it is broken where a value is missing.
-- @tparam table points list of `{ x, y }`: x from 0 to 1 (now), y a number or false
-- @tparam[opt] number top the value at the upper edge; default: the largest
-- @treturn string a path
function _M.line(points, top)
  local parts, pen = {}, "M"
  if not top then
    top = 0
    for _, point in ipairs(points) do top = max(top, point[2] or 0) end
  end
  for _, point in ipairs(points) do
    if point[2] then
      local y = top > 0 and point[2] / top or 0
      parts[#parts + 1] = ("%s%.1f %.1f"):format(pen, point[1] * WIDTH,
        HEIGHT - 1 - y * (HEIGHT - 1 - TOP))
      pen = "L"
    else
      pen = "M"
    end
  end
  return concat(parts)
end

--- The area under a line.
-- @tparam table points as for `line`, none missing
-- @tparam[opt] number top as for `line`
-- @treturn string a path
function _M.area(points, top)
  local line = _M.line(points, top)
  if line == "" then return "" end
  return ("M%.1f %d%sV%dz"):format(points[1][1] * WIDTH, HEIGHT, line:gsub("^M", "L"), HEIGHT)
end

--- Bars side by side, the largest as high as the chart; what is not zero can be seen.
-- @tparam table values list of numbers
-- @treturn string a path
function _M.bars(values)
  local parts, top, step = {}, 0, WIDTH / #values
  for _, value in ipairs(values) do top = max(top, value) end
  for i, value in ipairs(values) do
    if value > 0 then
      local height = max(value / top * HEIGHT, 1.5)
      parts[#parts + 1] = ("M%.1f %dh%.1fv-%.1fh-%.1fz"):format((i - 1) * step + 0.5, HEIGHT,
        step - 1, height, step - 1)
    end
  end
  return concat(parts)
end

return _M

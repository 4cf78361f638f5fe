-- SPDX-License-Identifier: MIT
--- A line chart as SVG: percentages from 0 over a logarithmic axis of sizes.
--
-- Each line is named at its right end, in dark text beside a sample of it: whoever cannot tell it
-- by its colour (of Okabe and Ito's palette) can follow it.
-- @module bench.support.svg

local _M = {}

local WIDTH, HEIGHT = 640, 360
local LEFT, RIGHT, TOP, BOTTOM = 56, 500, 40, 308 -- of the plot
local LABEL_HEIGHT = 16

local INK, GRID = "#222222", "#dddddd"

local ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local function escape(text)
  return (text:gsub('[&<>"]', ESCAPES))
end

local function text_at(x, y, text, more)
  return ('<text x="%.1f" y="%.1f" fill="%s"%s>%s</text>')
    :format(x, y, INK, more and " " .. more or "", escape(text))
end

local function line_at(x1, y1, x2, y2, more)
  return ('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>'):format(x1, y1, x2, y2, more)
end

-- Scales --------------------------------------------------------------------------------------

-- The least and the greatest size; half and twice of it when there is only one.
local function domain_of(series)
  local least, greatest = math.huge, -math.huge
  for _, one in ipairs(series) do
    for _, point in ipairs(one.points) do
      least, greatest = math.min(least, point[1]), math.max(greatest, point[1])
    end
  end
  if least == greatest then return least / 2, least * 2 end
  return least, greatest
end

-- The end of the vertical axis and the step of its marks.
local function ceiling_of(series)
  local most = 0
  for _, one in ipairs(series) do
    for _, point in ipairs(one.points) do most = math.max(most, point[2]) end
  end
  for _, step in ipairs { 0.5, 1, 2, 5, 10, 20 } do
    if most <= step * 5 then return step * 5, step end
  end
  return 100, 20
end

local function scales_of(series)
  local least, greatest = domain_of(series)
  local top, step = ceiling_of(series)
  local low, span = math.log(least), math.log(greatest) - math.log(least)
  return {
    least = least, greatest = greatest, top = top, step = step,
    x = function(size) return LEFT + (RIGHT - LEFT) * (math.log(size) - low) / span end,
    y = function(percent) return BOTTOM - (BOTTOM - TOP) * percent / top end,
  }
end

-- 1, 2 and 5 times the powers of ten within the sizes, or those sizes themselves.
local function size_marks(scales)
  local marks, power = {}, 1
  while power <= scales.greatest do
    for _, factor in ipairs { 1, 2, 5 } do
      local size = factor * power
      if size >= scales.least and size <= scales.greatest then table.insert(marks, size) end
    end
    power = power * 10
  end
  return #marks >= 2 and marks or { scales.least, scales.greatest }
end

local function show_size(size)
  if size >= 1e6 then return ("%gM"):format(size / 1e6) end
  return size >= 1e3 and ("%gk"):format(size / 1e3) or ("%g"):format(size)
end

-- Parts ---------------------------------------------------------------------------------------

local function draw_axes(add, scales, chart)
  for percent = 0, scales.top, scales.step do
    local y = scales.y(percent)
    add(line_at(LEFT, y, RIGHT, y, ('stroke="%s"'):format(percent == 0 and INK or GRID)))
    add(text_at(LEFT - 6, y + 4, ("%g"):format(percent), 'text-anchor="end"'))
  end
  for _, size in ipairs(size_marks(scales)) do
    local x = scales.x(size)
    add(line_at(x, BOTTOM, x, BOTTOM + 4, ('stroke="%s"'):format(INK)))
    add(text_at(x, BOTTOM + 18, show_size(size), 'text-anchor="middle"'))
  end
  add(text_at(LEFT, 22, chart.title, 'font-size="14" font-weight="bold"'))
  add(text_at((LEFT + RIGHT) / 2, HEIGHT - 12, chart.x, 'text-anchor="middle"'))
  local middle = (TOP + BOTTOM) / 2
  add(text_at(14, middle, chart.y, ('text-anchor="middle" transform="rotate(-90 14 %.1f)"')
    :format(middle)))
end

local function stroke_of(one)
  return ('stroke="%s" stroke-width="%g"%s'):format(one.colour, one.width or 1.5,
    one.dash and (' stroke-dasharray="%s"'):format(one.dash) or "")
end

local function draw_series(add, scales, one)
  local places = {}
  for i, point in ipairs(one.points) do
    places[i] = ("%.1f,%.1f"):format(scales.x(point[1]), scales.y(point[2]))
  end
  if #places > 1 then
    add(('<polyline points="%s" fill="none" stroke-linejoin="round" %s/>')
      :format(table.concat(places, " "), stroke_of(one)))
  end
  for _, place in ipairs(places) do
    local x, y = place:match "(.*),(.*)"
    add(('<circle cx="%s" cy="%s" r="%g" fill="%s"/>'):format(x, y, (one.width or 1.5) / 2 + 1.2,
      one.colour))
  end
end

-- Moves labels apart, from the top downwards and then back from the bottom.
local function spread(labels)
  for i = 2, #labels do
    labels[i].y = math.max(labels[i].y, labels[i - 1].y + LABEL_HEIGHT)
  end
  local most = BOTTOM
  for i = #labels, 1, -1 do
    labels[i].y = math.min(labels[i].y, most)
    most = labels[i].y - LABEL_HEIGHT
  end
end

local function labels_of(series, scales)
  local labels = {}
  for i, one in ipairs(series) do
    local last = one.points[#one.points]
    local x, y = scales.x(last[1]), scales.y(last[2])
    labels[i] = { one = one, rank = i, x = x, from = y, y = y }
  end
  table.sort(labels, function(a, b)
    if a.from ~= b.from then return a.from < b.from end
    return a.rank < b.rank
  end)
  spread(labels)
  return labels
end

local function draw_labels(add, series, scales)
  for _, label in ipairs(labels_of(series, scales)) do
    local y = label.y
    add(line_at(label.x + 4, label.from, RIGHT + 18, y, ('stroke="%s"'):format(GRID)))
    add(line_at(RIGHT + 18, y, RIGHT + 40, y, stroke_of(label.one)))
    add(text_at(RIGHT + 46, y + 4, label.one.name, label.one.bold and 'font-weight="bold"'))
  end
end

--- A chart.
-- @tparam table chart `title`, `x` and `y` (what the axes show), and `series`: a list of
--   `{ name =, colour =, points = { { size, percent }, ... }, width = 1.5, dash = nil,
--   bold = nil }`, each drawn above those before it; one without points is left out
-- @treturn string
function _M.chart(chart)
  local series, parts = {}, {}
  for _, one in ipairs(chart.series) do
    if #one.points > 0 then table.insert(series, one) end
  end
  local scales = scales_of(series)
  local function add(part) table.insert(parts, part) end
  add(('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d"'
    .. ' role="img" font-family="sans-serif" font-size="12">'):format(WIDTH, HEIGHT, WIDTH, HEIGHT))
  add(("<title>%s</title>"):format(escape(chart.title)))
  add(('<rect width="%d" height="%d" fill="#ffffff"/>'):format(WIDTH, HEIGHT))
  draw_axes(add, scales, chart)
  draw_labels(add, series, scales)
  for _, one in ipairs(series) do draw_series(add, scales, one) end
  add "</svg>"
  return table.concat(parts, "\n") .. "\n"
end

return _M

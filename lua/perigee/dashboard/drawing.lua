-- SPDX-License-Identifier: MIT

--- The report of a scene, drawn: lanes over time, and the same events as a table.
--
-- Places in time are percentages, heights are pixels: the drawing is as wide as there is room, and
-- its texts keep their size.
-- @module perigee.dashboard.drawing

local template = require "perigee.dashboard.template"
local text = require "perigee.dashboard.text"

local _M = {}

local fill, each = template.fill, template.each
local min, max = math.min, math.max

local MOST_EVENTS, MOST_ROWS = 200, 8
local ROW, LABEL, FOOT, AXIS = 18, 24, 10, 22 -- heights
local POINT = 2.4                             -- percent that the mark of a moment takes up
local LONG, LETTER = 22, 0.75                 -- percent: a long bar, a letter where it is wide
local MOST_FACT = 60                          -- bytes of a fact that stands beside others

local KINDS = {
  call = "asks", wait = "waits", load = "load", hit = "from memory", stale = "old value",
  change = "change", error = "error", note = "note",
}
local ORDER = { "call", "wait", "load", "hit", "stale", "change", "error", "note" }

-- Places ------------------------------------------------------------------------------------------

local function clamp(value, least, most) return min(max(value, least), most) end

-- The first row of a lane that has room for an event; `rows` has where each row ends. The mark of a
-- moment, `marks` marks wide with its count, reaches out on both sides of it.
local function row_for(rows, from, to, marks)
  local row, begins = 1, marks and from - POINT / 2 or from + 0.1
  while row < MOST_ROWS and rows[row] and rows[row] > begins do row = row + 1 end
  rows[row] = marks and from + POINT * (marks - 0.5) or to
  return row
end

-- Events as they are drawn: `from` and `to` in percent, and the row of their lane.
local function place(report)
  local rows, placed, length = {}, {}, max(report.length, 1e-9)
  for i = 1, min(#report.events, MOST_EVENTS) do
    local event = report.events[i]
    local lane = event.lane
    local from = clamp(event.at / length * 100, 0, 100)
    local to = clamp((event.till or event.at) / length * 100, from, 100)
    local is_moment = to - from < POINT / 2
    rows[lane] = rows[lane] or {}
    placed[i] = { event = event, lane = lane, from = from, to = to, is_moment = is_moment,
      row = row_for(rows[lane], from, to, is_moment and (event.count and 4 or 1)),
      kind = KINDS[event.kind] and event.kind or "note" }
  end
  return placed, rows
end

-- The upper edge of each lane, and where the last one ends.
local function edges(report, rows)
  local tops, y = {}, 0
  for lane = 1, #report.lanes do
    tops[lane] = y
    y = y + LABEL + max(#(rows[lane] or {}), 1) * ROW + FOOT
  end
  return tops, y
end

-- Drawing -----------------------------------------------------------------------------------------

local LANE = [[<rect class="lane" x="0" y="$y" width="100%" height="$height"/>]]
  .. [[<text class="lane-name" x="0" y="$text_y">$name</text>]]

local function lanes(report, tops, bottom)
  local list = {}
  for i, name in ipairs(report.lanes) do
    list[i] = { y = tops[i], height = (tops[i + 1] or bottom) - tops[i] - 4,
      text_y = tops[i] + 16, name = name }
  end
  return each(LANE, list)
end

local TICK = [[<line class="tick" x1="$x%" x2="$x%" y1="0" y2="$bottom"/>]]
  .. [[<text class="tick-name" x="$x%" y="$y" text-anchor="$anchor">$name</text>]]

local function step_of(length)
  local step = 10 ^ math.floor(math.log10(length / 4))
  for _, factor in ipairs { 5, 2 } do
    if length / (step * factor) >= 3.9 then return step * factor end
  end
  return step
end

local function ticks(report, bottom)
  local list, length = {}, max(report.length, 1e-9)
  local step = step_of(length)
  for i = 0, math.floor(length / step + 1e-9) do
    local x = i * step / length * 100
    list[#list + 1] = { x = ("%.2f"):format(x), bottom = bottom, y = bottom + 15,
      anchor = i == 0 and "start" or x > 96 and "end" or "middle",
      name = i == 0 and "0" or text.span(i * step / 1000) }
  end
  return each(TICK, list)
end

local BAR = [[<g class="event $kind"><title>$hint</title>]]
  .. [[<rect x="$from%" y="$y" width="$width%" height="14" rx="4"/>]]
  .. [[<svg x="$from%" y="$y" width="$width%" height="14">]]
  .. [[<text class="$room" x="6" y="11">$label</text></svg></g>]]

-- A moment: a mark, whose shape tells an error too, and how many it stands for.
local MOMENT = [[<g class="event $kind"><title>$hint</title>]]
  .. [[<svg class="mark" x="$from%" y="$middle"><path d="$shape"/>]]
  .. [[<text x="$text_x" y="4" text-anchor="$anchor">$label</text></svg></g>]]

local SHAPES = {
  error = "M-5-5 5 5M-5 5 5-5", change = "M0-6 6 0 0 6-6 0z", load = "M-5-5h10v10h-10z",
  other = "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
}

local function time_of(event)
  local at = text.span(event.at / 1000)
  if event.at == 0 then at = "0" end
  return event.till and at .. " – " .. text.span(event.till / 1000) or at
end

local function times(count) return count and "×" .. text.count(count) or nil end

local function words_of(event)
  return event.count and event.text .. " " .. times(event.count) or event.text
end

-- What is written in a bar, if there is room for enough of it.
local function bar_label(event, width)
  local label = event.count and times(event.count) .. " " .. event.text or event.text
  return (width >= LONG or width > #label * LETTER) and label or ""
end

local function event_of(item, tops)
  local event = item.event
  local y = tops[item.lane] + LABEL + (item.row - 1) * ROW
  local values = { kind = item.kind, from = ("%.2f"):format(item.from), y = y,
    hint = time_of(event) .. ": " .. words_of(event) }
  if not item.is_moment then
    local width = item.to - item.from
    values.width, values.label = ("%.2f"):format(width), bar_label(event, width)
    values.room = width < LONG and "short" or "long"
    return fill(BAR, values)
  end
  local is_late = item.from > 85
  values.middle, values.label = y + 7, times(event.count) or ""
  values.shape = SHAPES[item.kind] or SHAPES.other
  values.text_x, values.anchor = is_late and -10 or 10, is_late and "end" or "start"
  return fill(MOMENT, values)
end

local FIGURE = [[
<figure class="timeline"><svg width="100%" height="$height" role="img" aria-label="$summary">
$!lanes$!ticks$!events</svg>
<figcaption>$!legend</figcaption></figure>
]]

local LEGEND = [[<span class="event $kind"><svg width="14" height="14" aria-hidden="true">]]
  .. [[<svg class="mark" x="7" y="7"><path d="$shape"/></svg></svg>$name</span>]]

local function legend(placed)
  local used, list = {}, {}
  for _, item in ipairs(placed) do used[item.kind] = true end
  for _, kind in ipairs(ORDER) do
    if used[kind] then
      list[#list + 1] = { kind = kind, name = KINDS[kind], shape = SHAPES[kind] or SHAPES.other }
    end
  end
  return each(LEGEND, list)
end

local function figure(report)
  local placed, rows = place(report)
  local tops, bottom = edges(report, rows)
  local events = {}
  for i, item in ipairs(placed) do events[i] = event_of(item, tops) end
  return fill(FIGURE, { height = bottom + AXIS, summary = report.summary,
    lanes = lanes(report, tops, bottom), ticks = ticks(report, bottom),
    events = table.concat(events), legend = legend(placed) })
end

-- The table ---------------------------------------------------------------------------------------

local EVENTS = [[
<details class="events"><summary>What happened, in order</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Events"><table>
<thead><tr><th scope="col">When</th><th scope="col">Where</th><th scope="col">What</th></tr></thead>
<tbody>$!rows</tbody></table></div></details>
]]

local EVENT = [[<tr><td class="when">$when</td><td>$lane</td><td>$what</td></tr>]]

local function events_table(report)
  local rows = {}
  for i = 1, min(#report.events, MOST_EVENTS) do
    local event = report.events[i]
    rows[i] = { when = time_of(event), lane = report.lanes[event.lane],
      what = words_of(event) }
  end
  return fill(EVENTS, { rows = each(EVENT, rows) })
end

-- The report --------------------------------------------------------------------------------------

local REPORT = [[
<article class="report">
<h3>$title</h3>
<p class="outcome">$summary</p>
<dl class="facts">$!facts</dl>
$!figure
$!told
$!events
</article>
]]

local TOLD = [[<details class="told"><summary>$label</summary><pre>$!value</pre></details>]]

--- A report as HTML.
-- @tparam table report of `perigee.dashboard.scenes`
-- @treturn string
function _M.draw(report)
  local facts, told = {}, {}
  for _, fact in ipairs(report.facts or {}) do
    local label, value = fact[1], tostring(fact[2])
    if #value > MOST_FACT then
      told[#told + 1] = fill(TOLD, { label = label, value = text.html(value) })
    else
      facts[#facts + 1] = { label = label, value = value }
    end
  end
  return fill(REPORT, { title = report.title, summary = report.summary,
    facts = each("<div><dt>$label</dt><dd>$value</dd></div>", facts),
    told = table.concat(told), figure = figure(report), events = events_table(report) })
end

return _M

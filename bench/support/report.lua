-- SPDX-License-Identifier: MIT
--- From the series of several processes to one line of text.
--
-- A process's figure is the median of its rounds, the figure printed is the median of the
-- processes. What is compared is compared round by round, since neighbours in time were disturbed
-- alike. Limits in nanoseconds hold where the yardstick takes 3.5 ns: they are scaled by it.
-- @module bench.support.report

local _M = {}

local YARDSTICK_NS = 3.5

local function median(list)
  local sorted = {}
  for i = 1, #list do sorted[i] = list[i] end
  table.sort(sorted)
  local middle = math.floor((#sorted + 1) / 2)
  if #sorted % 2 == 1 then return sorted[middle] end
  return (sorted[middle] + sorted[middle + 1]) / 2
end

-- The median over the processes of what `figure(series)` says of each.
local function of_all(processes, figure)
  local figures = {}
  for i = 1, #processes do figures[i] = figure(processes[i]) end
  return median(figures)
end

local function median_of(processes, name)
  return of_all(processes, function(series) return median(series[name]) end)
end

local function best_of(processes, name)
  local best = math.huge
  for i = 1, #processes do
    for _, value in ipairs(processes[i][name]) do best = math.min(best, value) end
  end
  return best
end

-- Median over the rounds of combine(a, b, ...), where a, b ... stand in the same round.
local function by_round(series, names, combine)
  local values, first = {}, series[names[1]]
  for i = 1, #first do
    local a, b, c = first[i], names[2] and series[names[2]][i], names[3] and series[names[3]][i]
    values[i] = combine(a, b, c)
  end
  return median(values)
end

local function ratio(a, b) return a / b end
local function scaled(a, yard) return a * YARDSTICK_NS / yard end
local function scaled_difference(a, b, yard) return (a - b) * YARDSTICK_NS / yard end

local function value_of(target, processes)
  local names, combine = { target[1] }, function(a) return a end
  if target.over then
    names, combine = { target[1], target.over }, ratio
  elseif target.minus then
    names, combine = { target[1], target.minus, "yardstick" }, scaled_difference
  elseif target.absolute then
    names, combine = { target[1], "yardstick" }, scaled
  end
  return of_all(processes, function(series) return by_round(series, names, combine) end)
end

local function with_commas(n)
  local text, changed = ("%.0f"):format(n), 1
  while changed > 0 do text, changed = text:gsub("^(-?%d+)(%d%d%d)", "%1,%2") end
  return text
end

local function show(value)
  local size = math.abs(value)
  if size >= 1000 then return with_commas(value) end
  return (size >= 100 and "%.0f" or size >= 10 and "%.1f" or "%.2f"):format(value)
end

local function name_of(target)
  if target.over then return ("%s / %s"):format(target[1], target.over) end
  if target.minus then
    return ("%s - %s, ns at yardstick %.1f"):format(target[1], target.minus, YARDSTICK_NS)
  end
  return target.absolute and ("ns at yardstick %.1f"):format(YARDSTICK_NS) or target[1]
end

-- A target as text, and whether it was met.
local function judge(target, processes)
  local value = value_of(target, processes)
  local met = value <= (target.at_most or math.huge) and value >= (target.at_least or -math.huge)
  local limit = target.at_most and "at most " .. show(target.at_most)
    or "at least " .. show(target.at_least)
  return ("%s = %s (%s: %s)"):format(name_of(target), show(value), limit,
    met and "met" or "MISSED"), met
end

local function figures_of(line, processes)
  local value, best = median_of(processes, line.figure), best_of(processes, line.figure)
  if line.unit then
    return ("%s %s (best %s)"):format(show(value), line.unit, show(best))
  end
  return ("%s ns/%s (best %s), %s/s"):format(show(value), line.per or "op", show(best),
    show(1e9 / value))
end

local function beside(names, processes)
  local texts = {}
  for i = 1, #names do
    texts[i] = ("%s %s"):format(names[i], show(median_of(processes, names[i])))
  end
  return table.concat(texts, ", ")
end

--- One line about one case.
-- @tparam table line of the case
-- @tparam table processes list of series, one per process
-- @tparam string circumstances seed, machine and the like
-- @treturn string
-- @treturn number how many targets were met
-- @treturn number how many were missed
function _M.line(line, processes, circumstances)
  local rounds = #processes[1][line.figure]
  local parts = {
    ("%s: %s; n = %s"):format(line.name, line.what, with_commas(line.entries)),
    figures_of(line, processes),
    "beside it " .. beside(line.beside, processes),
  }
  if line.notes then table.insert(parts, beside(line.notes, processes)) end
  local met, missed = 0, 0
  for _, target in ipairs(line.targets) do
    local text, good = judge(target, processes)
    table.insert(parts, text)
    if good then met = met + 1 else missed = missed + 1 end
  end
  if processes[1].yardstick then
    table.insert(parts, ("yardstick %s"):format(show(median_of(processes, "yardstick"))))
  end
  table.insert(parts, ("median of %d x %d"):format(#processes, rounds))
  table.insert(parts, circumstances)
  return table.concat(parts, " | "), met, missed
end

return _M

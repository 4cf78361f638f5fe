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

-- A target, what was reached, and whether that met it.
local function judge(target, processes)
  local value = value_of(target, processes)
  return {
    name = name_of(target),
    value = value,
    at_most = target.at_most,
    at_least = target.at_least,
    met = value <= (target.at_most or math.huge) and value >= (target.at_least or -math.huge),
  }
end

local function medians(names, processes)
  local list = {}
  for i = 1, names and #names or 0 do
    list[i] = { name = names[i], median = median_of(processes, names[i]) }
  end
  return list
end

--- All that was measured of one line, as numbers.
-- @tparam table line of the case
-- @tparam table processes list of series, one per process
-- @treturn table `name`, `what`, `entries`, `unit`, `figure` (the name of what is measured),
--   `median`, `best`, `rate` (per second, of what has no unit of its own), `beside` and `notes`
--   (lists of `{ name =, median = }`), `targets` (list of `{ name =, value =, at_most =,
--   at_least =, met = }`), `yardstick`, `processes`, `rounds`
function _M.results(line, processes)
  local value, targets = median_of(processes, line.figure), {}
  for i, target in ipairs(line.targets) do targets[i] = judge(target, processes) end
  return {
    name = line.name, what = line.what, entries = line.entries, figure = line.figure,
    unit = line.unit or "ns/" .. (line.per or "op"),
    median = value, best = best_of(processes, line.figure),
    rate = not line.unit and 1e9 / value or nil,
    beside = medians(line.beside, processes), notes = medians(line.notes, processes),
    targets = targets,
    yardstick = processes[1].yardstick and median_of(processes, "yardstick"),
    processes = #processes, rounds = #processes[1][line.figure],
  }
end

--- A number with three digits at least, and commas between thousands.
_M.show = show

--- A whole number, with commas between thousands.
_M.whole = with_commas

--- The limit of a target, as text.
-- @tparam table target of `results`
-- @treturn string
function _M.limit(target)
  return target.at_most and "at most " .. show(target.at_most)
    or "at least " .. show(target.at_least)
end

local function list(items)
  local texts = {}
  for i, item in ipairs(items) do texts[i] = ("%s %s"):format(item.name, show(item.median)) end
  return table.concat(texts, ", ")
end

local function figures_of(results)
  local text = ("%s %s (best %s)"):format(show(results.median), results.unit, show(results.best))
  return results.rate and ("%s, %s/s"):format(text, show(results.rate)) or text
end

--- One line about one case.
-- @tparam table line of the case
-- @tparam table processes list of series, one per process
-- @tparam string circumstances seed, machine and the like
-- @treturn string
-- @treturn number how many targets were met
-- @treturn number how many were missed
function _M.line(line, processes, circumstances)
  local results, met = _M.results(line, processes), 0
  local parts = {
    ("%s: %s; n = %s"):format(line.name, line.what, with_commas(line.entries)),
    figures_of(results),
    "beside it " .. list(results.beside),
  }
  if #results.notes > 0 then table.insert(parts, list(results.notes)) end
  for _, target in ipairs(results.targets) do
    table.insert(parts, ("%s = %s (%s: %s)"):format(target.name, show(target.value),
      _M.limit(target), target.met and "met" or "MISSED"))
    if target.met then met = met + 1 end
  end
  if results.yardstick then table.insert(parts, "yardstick " .. show(results.yardstick)) end
  table.insert(parts, ("median of %d x %d"):format(results.processes, results.rounds))
  table.insert(parts, circumstances)
  return table.concat(parts, " | "), met, #results.targets - met
end

return _M

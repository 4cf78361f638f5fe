-- SPDX-License-Identifier: MIT
--- From the hit ratios of cells to text. A cell is a trace at one size of the cache:
--
--    { trace = "corda-small", requests = 135702, distinct = 90468, size = 512,
--      measured = { auto = 29.1, ... }, references = { LRU = 28.8, OPT = 36.0, ... } }
--
-- All ratios are percentages. What lacks a reference is left out of the figure that needs it.
-- @module bench.support.trace_report

local _M = {}

--- The policies that are measured, the default one first.
_M.POLICIES = { "auto", "s3fifo", "lru", "wtinylfu", "sieve", "fifo" }

local BESIDE = { "LRU", "S3FIFO", "CAFFEINE", "OPT" }

local PEERS = {
  "FIFO", "LRU", "CLOCK", "SIEVE", "SLRU", "2Q", "S3FIFO", "ARC", "LIRS", "LFU", "LFUDA", "TLFU",
  "WTLFU1", "WTLFU20", "WTLFUH", "CAFFEINE",
}

-- What a program can have today, in one library or another.
local PRODUCTS = { "LRU", "S3FIFO", "SIEVE", "TLFU", "WTLFUH", "CAFFEINE" }

local NEAR = 0.5 -- points

-- A policy, the reference that it should agree with, and how far apart in points they may be.
local CHECKS = {
  { "fifo", "FIFO", 0.01 },
  { "lru", "LRU", 0.01 },
  { "sieve", "SIEVE", 0.1 },
  { "s3fifo", "S3FIFO", 0.1 },
  { "wtinylfu", "WTLFU1", 0.5 },
}

local PHASES = { trace = "stress-corda-loop5-corda", size = 512 }

-- Figures of a cell ---------------------------------------------------------------------------

local function best_of(references, names)
  local best
  for _, name in ipairs(names) do
    local value = references[name]
    if value and (not best or value > best) then best = value end
  end
  return best
end

local function to_optimum(cell)
  local optimum = cell.references.OPT
  return optimum and optimum > 0 and cell.measured.auto / optimum or nil
end

local function to_lru(cell)
  local lru = cell.references.LRU
  return lru and cell.measured.auto - lru
end

-- What was lost by not having the best peer of the cell; nothing where none is better.
local function regret(cell)
  local best = cell.references.best_peer_pct or best_of(cell.references, PEERS)
  return best and math.max(0, best - cell.measured.auto)
end

local function near_products(cell)
  local best = best_of(cell.references, PRODUCTS)
  return best and (cell.measured.auto >= best - NEAR and 1 or 0)
end

-- Figures of many cells -----------------------------------------------------------------------

local function lower(a, b) return a < b end
local function higher(a, b) return a > b end

-- The mean of a figure, and the worst value with its cell; nil when no cell has the figure.
local function over(cells, figure, is_worse)
  local sum, count, worst, at = 0, 0, nil, nil
  for _, cell in ipairs(cells) do
    local value = figure(cell)
    if value then
      sum, count = sum + value, count + 1
      if not at or is_worse(value, worst) then worst, at = value, cell end
    end
  end
  if count > 0 then return { mean = sum / count, worst = worst, at = at, count = count } end
end

--- What is to be said about `auto` in these cells. Each figure has `mean`, `worst`, `at` (the
-- worst cell) and `count`; one without references is nil.
-- @tparam table cells
-- @treturn table `cells` (how many), `optimum` (of Belady's), `lru` (points above), `regret`
--   (points below the best peer) and `near` (the share that is near the best product)
function _M.summary(cells)
  return {
    cells = #cells,
    optimum = over(cells, to_optimum, lower),
    lru = over(cells, to_lru, lower),
    regret = over(cells, regret, higher),
    near = over(cells, near_products, lower),
  }
end

--- How far a policy is from the reference of the same name.
-- @tparam table cells
-- @tparam string policy
-- @tparam string reference
-- @tparam number tolerance in points
-- @treturn table|nil a figure as those of `summary`, of absolute differences, and `within`, how
--   many are tolerated
function _M.check(cells, policy, reference, tolerance)
  local within = 0
  local figure = over(cells, function(cell)
    local expected = cell.references[reference]
    local apart = expected and math.abs(cell.measured[policy] - expected)
    if apart and apart <= tolerance + 1e-9 then within = within + 1 end
    return apart
  end, higher)
  if figure then figure.within = within end
  return figure
end

local function place(cell)
  return ("%s at %d"):format(cell.trace, cell.size)
end

local function at_worst(name, figure)
  return figure.at and ("%s (%s)"):format(name, place(figure.at)) or name
end

local function phases_of(cells)
  for _, cell in ipairs(cells) do
    if cell.trace == PHASES.trace and cell.size == PHASES.size then return cell.measured.auto end
  end
end

--- The targets that these cells can tell something about.
-- @tparam table cells
-- @treturn table list of `{ name =, value =, at_least = or at_most =, met = }`; the name of a worst
--   value says where that is
function _M.targets(cells)
  local of, list = _M.summary(cells), {}
  local function add(target)
    if not target.value then return end
    target.met = target.value >= (target.at_least or -math.huge)
      and target.value <= (target.at_most or math.huge)
    table.insert(list, target)
  end
  local optimum, lru, lost, near = of.optimum or {}, of.lru or {}, of.regret or {}, of.near or {}
  add { name = "mean hit/OPT", value = optimum.mean, at_least = 0.875 }
  add { name = at_worst("worst vs LRU", lru), value = lru.worst, at_least = -2 }
  add { name = "mean regret", value = lost.mean, at_most = 0.9 }
  add { name = at_worst("worst regret", lost), value = lost.worst, at_most = 5.5 }
  add { name = "% near the best product", value = near.mean and near.mean * 100, at_least = 70 }
  add { name = place(PHASES), value = phases_of(cells), at_least = 48 }
  return list
end

--- The family of a trace: what stands before the first "-" of its name.
-- @tparam string name
-- @treturn string
function _M.group_of(name)
  return name:match "^[^-]+" or name
end

--- Cells by family.
-- @tparam table cells
-- @treturn table list of `{ name =, cells = }` in the order in which families appear
function _M.groups(cells)
  local groups, by_name = {}, {}
  for _, cell in ipairs(cells) do
    local name = _M.group_of(cell.trace)
    if not by_name[name] then
      by_name[name] = { name = name, cells = {} }
      table.insert(groups, by_name[name])
    end
    table.insert(by_name[name].cells, cell)
  end
  return groups
end

-- Text ----------------------------------------------------------------------------------------

local function show(value, format)
  return value and (format or "%.2f"):format(value) or "-"
end

local CHECK = "check %-8s vs %-6s %3d of %d within %.2f; mean %.3f;\n      worst %.2f, %s"
local CELL, SUMMARY = "%-32s %8s %8s %8s %8s %8s %8s", "%-16s %6s %9s %8s %8s %8s %8s %8s"

--- What stands above the lines of cells.
-- @treturn string
function _M.cell_header()
  return CELL:format("hit ratio, %", "size", "auto", unpack(BESIDE))
end

--- One line about a cell.
-- @tparam table cell
-- @treturn string
function _M.cell_line(cell)
  local beside = {}
  for i, name in ipairs(BESIDE) do beside[i] = show(cell.references[name]) end
  return CELL:format(cell.trace, cell.size, show(cell.measured.auto), unpack(beside))
end

local function summary_line(name, cells)
  local of = _M.summary(cells)
  local function mean(figure, format) return show(of[figure] and of[figure].mean, format) end
  local function worst(figure, format) return show(of[figure] and of[figure].worst, format) end
  local near = of.near and show(of.near.mean * 100, "%.0f %%") or "-"
  return SUMMARY:format(name, of.cells, mean("optimum", "%.3f"), mean("lru", "%+.2f"),
    worst("lru", "%+.2f"), mean "regret", worst "regret", near)
end

--- A line per family, and one about all.
-- @tparam table cells
-- @treturn string
function _M.summary_text(cells)
  local lines = { SUMMARY:format("auto", "cells", "hit/OPT", "vs LRU", "worst", "regret", "worst",
    "near") }
  for _, group in ipairs(_M.groups(cells)) do
    table.insert(lines, summary_line(group.name, group.cells))
  end
  table.insert(lines, summary_line("all", cells))
  return table.concat(lines, "\n")
end

--- A line per policy that should agree with a reference.
-- @tparam table cells
-- @treturn string empty when there are no references
function _M.checks_text(cells)
  local lines = {}
  for _, check in ipairs(CHECKS) do
    local policy, reference, tolerance = unpack(check)
    local figure = _M.check(cells, policy, reference, tolerance)
    if figure then
      table.insert(lines, CHECK:format(policy, reference, figure.within, figure.count, tolerance,
        figure.mean, figure.worst, place(figure.at)))
    end
  end
  return table.concat(lines, "\n")
end

--- A line per target, and how many were met.
-- @tparam table cells
-- @treturn string
function _M.targets_text(cells)
  local lines, met, targets = {}, 0, _M.targets(cells)
  for _, target in ipairs(targets) do
    if target.met then met = met + 1 end
    table.insert(lines, ("%s = %.3f (%s %g: %s)"):format(target.name, target.value,
      target.at_least and "at least" or "at most", target.at_least or target.at_most,
      target.met and "met" or "MISSED"))
  end
  table.insert(lines, ("%d targets met, %d missed"):format(met, #targets - met))
  return table.concat(lines, "\n")
end

--- All cells as a table with tabs.
-- @tparam table cells
-- @treturn string
function _M.tsv(cells)
  local header = { "trace", "requests", "distinct", "cache_size", unpack(_M.POLICIES) }
  for _, name in ipairs(BESIDE) do table.insert(header, "reference_" .. name) end
  local lines = { table.concat(header, "\t") }
  for _, cell in ipairs(cells) do
    local fields = { cell.trace, cell.requests, cell.distinct, cell.size }
    for _, policy in ipairs(_M.POLICIES) do table.insert(fields, show(cell.measured[policy])) end
    for _, name in ipairs(BESIDE) do table.insert(fields, show(cell.references[name])) end
    table.insert(lines, table.concat(fields, "\t"))
  end
  return table.concat(lines, "\n") .. "\n"
end

return _M

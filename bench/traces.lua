-- SPDX-License-Identifier: MIT
--- Hit ratios of real traces: `luajit bench/traces.lua [--only NAME] [--out FOLDER] [folder]`, or
-- `./dev bench traces [folder]`.
--
-- `folder` (or the environment's PERIGEE_TRACES) holds `NAME.gz`, one key per line, and
-- `hit-ratios.tsv`, the ratios of other policies at the sizes that are to be measured; a trace
-- that is not in it is run at 1, 5 and 20 % of its keys. A request is what a program does: `get`,
-- and after a miss `set`.
--
-- What is said is printed; a chart per trace, a table of all and a page that sums it up go to
-- `--out` (docs/bench). With `--only` there is but the chart.
--
-- Perigee must be on LUA_PATH and LUA_CPATH (`eval "$(./dev env)"`).

local root = arg[0]:match "^(.*)/bench/[^/]*$" or arg[0]:match "^bench/" and "." or ".."
package.path = root .. "/?.lua;" .. package.path

local circumstances = require "bench.support.circumstances"
local clock = require "bench.support.clock"
local ffi = require "ffi"
local process = require "bench.support.process"
local report = require "bench.support.trace_report"
local svg = require "bench.support.svg"
local trace_file = require "bench.support.trace_file"

ffi.cdef "int isatty(int fd);"

local SHARES = { 0.01, 0.05, 0.2 }
local SIDE_BY_SIDE = 2
local USAGE = "usage: bench/traces.lua [--only NAME] [--out FOLDER] [folder]"

-- Okabe and Ito's colours; thin lines are seen upon the broad one.
local STYLES = {
  auto = { colour = "#d55e00", width = 5, bold = true },
  s3fifo = { colour = "#0072b2" },
  lru = { colour = "#e69f00" },
  wtinylfu = { colour = "#009e73" },
  sieve = { colour = "#cc79a7" },
  fifo = { colour = "#56b4e9" },
}
local DASHED = {
  { reference = "CAFFEINE", name = "Caffeine", colour = "#666666", dash = "6 3" },
  { reference = "OPT", name = "OPT", colour = "#000000", dash = "2 3" },
}

local function fail(text)
  io.stderr:write("bench: ", text, "\n")
  os.exit(1)
end

local interactive = ffi.C.isatty(2) == 1

local function show_progress(text)
  if interactive then io.stderr:write("\r\27[K", text) end
end

-- One trace, in a process of its own ------------------------------------------------------------

local function sizes_of(text, distinct)
  local sizes, last = {}, 0
  if text == "" then
    for _, share in ipairs(SHARES) do
      local size = math.max(1, math.floor(distinct * share + 0.5))
      if size ~= last then table.insert(sizes, size) end
      last = size
    end
  end
  for size in text:gmatch "%d+" do table.insert(sizes, tonumber(size)) end
  return sizes
end

local function hit_ratio(trace, policy, size)
  local cache = require("perigee").new { policy = policy, maxsize = size }
  local hits = trace_file.replay(trace, cache)
  cache:close()
  collectgarbage()
  return hits / trace.count * 100
end

-- Writes a line about the trace, and one per size and policy.
local function run_child(path, sizes)
  local trace, why = trace_file.open(path)
  if not trace then fail(why) end
  local distinct = trace_file.distinct(trace)
  collectgarbage()
  print(("trace\t%d\t%d"):format(trace.count, distinct))
  for i, size in ipairs(sizes_of(sizes, distinct)) do
    for _, policy in ipairs(report.POLICIES) do
      print(("cell\t%d\t%d\t%s\t%.9g"):format(i, size, policy, hit_ratio(trace, policy, size)))
      io.stdout:flush()
    end
  end
end

-- The runner ------------------------------------------------------------------------------------

local function start(job)
  local words = { process.interpreter(), arg[0], "--child", job.path, job.sizes }
  for i = 1, #words do words[i] = process.quote(words[i]) end
  job.pipe = assert(io.popen(table.concat(words, " ") .. " 2>&1; echo \"status=$?\""))
end

-- Takes over a line of a job's output; false when it is none of ours.
local function take_line(job, line)
  local requests, distinct = line:match "^trace\t(%d+)\t(%d+)$"
  if requests then
    job.requests, job.distinct = tonumber(requests), tonumber(distinct)
    return true
  end
  local i, size, policy, ratio = line:match "^cell\t(%d+)\t(%d+)\t(%w+)\t(%S+)$"
  if not i then return false end
  i = tonumber(i)
  job.cells[i] = job.cells[i] or {
    trace = job.trace, requests = job.requests, distinct = job.distinct, size = tonumber(size),
    measured = {}, references = job.rows[i] or {},
  }
  job.cells[i].measured[policy] = tonumber(ratio)
  return true
end

local function finish(job, done, count)
  local others, status = {}, nil
  for line in job.pipe:lines() do
    local ended = line:match "^status=(%d+)$"
    status = ended or status
    if not ended and not take_line(job, line) then table.insert(others, line) end
    show_progress(("%d of %d traces; %s: %d sizes"):format(done, count, job.trace, #job.cells))
  end
  job.pipe:close()
  if status ~= "0" then
    show_progress ""
    fail(("%s failed:\n%s"):format(job.trace, table.concat(others, "\n")))
  end
end

-- The longest ones first, so that none of them is left over at the end.
local function run_jobs(jobs)
  local queue = { unpack(jobs) }
  table.sort(queue, function(a, b)
    if a.cost ~= b.cost then return a.cost > b.cost end
    return a.trace < b.trace
  end)
  for i = 1, math.min(SIDE_BY_SIDE, #queue) do start(queue[i]) end
  for i, job in ipairs(queue) do
    finish(job, i - 1, #queue)
    if queue[i + SIDE_BY_SIDE] then start(queue[i + SIDE_BY_SIDE]) end
  end
  show_progress ""
end

-- What there is to run ------------------------------------------------------------------------

local function new_job(folder, trace, rows)
  local sizes, cost = {}, 0
  for i, row in ipairs(rows) do
    sizes[i], cost = row.cache_size, cost + (row.requests or 0)
  end
  return {
    trace = trace, rows = rows, cells = {}, cost = cost, sizes = table.concat(sizes, ","),
    path = folder .. "/" .. trace .. ".gz",
  }
end

local function rows_by_trace(folder)
  local by_trace = {}
  for _, row in ipairs(trace_file.references(folder) or {}) do
    by_trace[row.trace] = by_trace[row.trace] or {}
    table.insert(by_trace[row.trace], row)
  end
  return by_trace
end

local function jobs_of(folder, only)
  local names = trace_file.names(folder)
  if not names then fail(("there is no folder %s"):format(folder)) end
  if #names == 0 then fail(("no traces (NAME.gz) in %s"):format(folder)) end
  local jobs, by_trace = {}, rows_by_trace(folder)
  for _, name in ipairs(names) do
    if not only or only == name then
      table.insert(jobs, new_job(folder, name, by_trace[name] or {}))
    end
    by_trace[name] = nil
  end
  if #jobs == 0 then fail(("no trace is called %q"):format(only)) end
  return jobs, by_trace
end

-- What it says and writes -----------------------------------------------------------------------

local function points_of(cells, figure)
  local points = {}
  for _, cell in ipairs(cells) do
    local percent = figure(cell)
    if percent then table.insert(points, { cell.size, percent }) end
  end
  table.sort(points, function(a, b) return a[1] < b[1] end)
  return points
end

local function chart_of(job)
  local series = {}
  for _, policy in ipairs(report.POLICIES) do
    local style = STYLES[policy]
    table.insert(series, { name = policy, colour = style.colour, width = style.width,
      bold = style.bold,
      points = points_of(job.cells, function(cell) return cell.measured[policy] end) })
  end
  for _, style in ipairs(DASHED) do
    table.insert(series, { name = style.name, colour = style.colour, dash = style.dash,
      points = points_of(job.cells, function(cell) return cell.references[style.reference] end) })
  end
  return svg.chart { title = job.trace, x = "entries in the cache", y = "hit ratio, %",
    series = series }
end

local function write(path, text)
  local file, why = io.open(path, "w")
  if not file then fail(why) end
  file:write(text)
  file:close()
end

local function cells_of(jobs)
  local cells = {}
  for _, job in ipairs(jobs) do
    for _, cell in ipairs(job.cells) do table.insert(cells, cell) end
  end
  return cells
end

local function print_cells(cells)
  print(report.cell_header())
  for _, cell in ipairs(cells) do print(report.cell_line(cell)) end
end

-- What would make the references those of something else.
local function print_doubts(jobs, absent)
  for _, job in ipairs(jobs) do
    local expected = job.rows[1] and job.rows[1].requests
    if expected and expected ~= job.requests then
      print(("%s has %d requests, in hit-ratios.tsv %d"):format(job.trace, job.requests, expected))
    end
  end
  for name in pairs(absent) do print(name .. " is in hit-ratios.tsv, but not in the folder") end
end

local function report_of(cells)
  local checks = report.checks_text(cells)
  return report.summary_text(cells) .. "\n\n" .. (checks ~= "" and checks .. "\n\n" or "")
    .. report.targets_text(cells)
end

-- What `--out` shows to who opens it.
local function page_of(cells, jobs)
  local about = circumstances.get()
  local parts = { "# Hit ratios of traces", "", "<!-- Generated: do not edit. -->", "",
    "Made by `./dev bench traces FOLDER`, of the traces that are named below;",
    ("%s, Perigee %s, %s."):format(about.date, about.perigee, about.luajit),
    "Each process hashes with a seed of its own, so what hangs on samples and collisions (`auto`,",
    "`wtinylfu`) is a little different in each run: a third of a point per cell on average.", "",
    "```", report_of(cells), "```", "", "All figures: [traces.tsv](traces.tsv). Hit ratio by size:",
    "" }
  for _, job in ipairs(jobs) do
    table.insert(parts, ("![%s](%s.svg)"):format(job.trace, job.trace))
  end
  return table.concat(parts, "\n") .. "\n"
end

local function run_all(folder, out, only)
  local began = clock.wall()
  local jobs, absent = jobs_of(folder, only)
  if os.execute("mkdir -p -- " .. process.quote(out)) ~= 0 then fail("cannot make " .. out) end
  run_jobs(jobs)
  local cells = cells_of(jobs)
  for _, job in ipairs(jobs) do write(out .. "/" .. job.trace .. ".svg", chart_of(job)) end
  if not only then
    write(out .. "/traces.tsv", report.tsv(cells))
    write(out .. "/README.md", page_of(cells, jobs))
  end
  print_cells(cells)
  print_doubts(jobs, absent)
  print("\n" .. report_of(cells))
  print(("%d cells, %d policies, %.0f s; charts in %s"):format(#cells, #report.POLICIES,
    clock.wall() - began, out))
end

local function options_of(words)
  local options, i = { out = root .. "/docs/bench", folder = os.getenv "PERIGEE_TRACES" }, 1
  while words[i] do
    local name = words[i]:match "^%-%-(%l+)$"
    if name == "only" or name == "out" then
      i = i + 1
      options[name] = words[i] or fail(USAGE)
    elseif words[i]:find "^%-" then
      fail(USAGE)
    else
      options.folder = words[i]
    end
    i = i + 1
  end
  return options
end

local function main(first, ...)
  if first == "--child" then return run_child(...) end
  local options = options_of { first, ... }
  if not options.folder or options.folder == "" then
    fail "which folder holds the traces? Name it, or set PERIGEE_TRACES"
  end
  run_all(options.folder, options.out, options.only)
end

main(...)

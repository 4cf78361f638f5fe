-- SPDX-License-Identifier: MIT
--- The benchmarks: `luajit bench/run.lua [options] [name]`, or `./dev bench [options] [name]`.
--
-- `name` is a case (a file in bench/cases, "hits") or the beginning of the name of some lines
-- ("hits-1k"). Each line is measured in five processes of its own. Options:
--
--   --quick          measures in one process and with fewer rounds
--   --tiny           only shows that everything runs: its figures mean nothing
--   --iterations N   so many rounds in each process
--   --json FILE      writes all figures for programs; needs lua-cjson
--   --markdown FILE  writes all figures for people
--
-- Perigee must be on LUA_PATH and LUA_CPATH (`eval "$(./dev env)"`). The case "openresty" finds
-- lua-resty-mlcache and lua-resty-lock on LUA_PATH, too, or in `PERIGEE_MLCACHE`: folders into
-- which their sources have been unpacked, with ":" between them.

-- Lines of the interpreter: before anything else is run.
if arg[1] == "--child" and arg[2] == "interpreted" then jit.off() end

local root = arg[0]:match "^(.*)/bench/[^/]*$" or arg[0]:match "^bench/" and "." or ".."
package.path = root .. "/?.lua;" .. package.path

local CASES = {
  "hits", "functions", "evictions", "policies", "bytes", "misses", "herds", "batches", "expiry",
  "invalidation", "collector", "interpreter", "disk", "redis", "openresty", "http", "guard",
  "agent", "python",
}

local EFFORTS = {
  full = { processes = 5, rounds = 15, operations = 2 ^ 20, scale = 1 },
  quick = { processes = 1, rounds = 7, operations = 2 ^ 20, scale = 1 },
  tiny = { processes = 1, rounds = 2, operations = 2 ^ 12, scale = 2 ^ -9 },
}

local function fail(text)
  io.stderr:write("bench: ", text, "\n")
  os.exit(1)
end

-- The effort of that name, with as many rounds as were asked for.
local function effort_of(name, rounds)
  local effort = EFFORTS[name]
  effort.name = name
  effort.rounds = tonumber(rounds) or effort.rounds
  return effort
end

-- The lines of a case, with their sizes scaled; and in `missing`, of all or of one of them, why
-- this machine has no figures.
local function lines_of(case, effort)
  local lines = require("bench.cases." .. case)
  for _, line in ipairs(lines) do
    line.entries = math.max(16, math.floor(line.entries * effort.scale))
    line.missing = line.missing or lines.missing
  end
  return lines
end

local function begins_with(text, beginning)
  return text:sub(1, #beginning) == beginning
end

-- The lines that are asked for, by case; and how many of them this machine can measure.
local function select_lines(wanted, effort)
  local chapters, count = {}, 0
  for _, case in ipairs(CASES) do
    local chapter = { case = case, lines = {} }
    for _, line in ipairs(lines_of(case, effort)) do
      if not wanted or wanted == case or begins_with(line.name, wanted) then
        table.insert(chapter.lines, line)
        if not line.missing then count = count + 1 end
      end
    end
    if #chapter.lines > 0 then table.insert(chapters, chapter) end
  end
  return chapters, count
end

local function measure(case, line, effort)
  local process = require "bench.support.process"
  local processes, mode = {}, line.interpreted and "interpreted" or "compiled"
  for i = 1, effort.processes do
    local words = { "--child", mode, effort.name, tostring(effort.rounds), case, line.name }
    local series, why = process.run(words)
    if not series then fail(("%s failed:\n%s"):format(line.name, why)) end
    processes[i] = series
  end
  return processes
end

local function run_child(_, effort_name, rounds, case, name)
  local effort = effort_of(effort_name, rounds)
  for _, line in ipairs(lines_of(case, effort)) do
    if line.name == name then
      require("bench.support.process").write(line.measure(line, effort))
    end
  end
end

-- Measures a line and prints it. What the book has of it; how many targets are met, and missed.
local function run_line(case, line, effort, circumstances)
  local report = require "bench.support.report"
  if line.missing then
    print(("%s: skipped, %s"):format(line.name, line.missing))
    return { name = line.name, what = line.what, missing = line.missing }, 0, 0
  end
  local processes = measure(case, line, effort)
  local text, met, missed = report.line(line, processes, circumstances)
  print(text)
  io.stdout:flush()
  return report.results(line, processes), met, missed
end

-- The chapters of the book.
local function run_chapters(selected, count, effort, circumstances)
  local chapters, at, met, missed = {}, 0, 0, 0
  for i, chapter in ipairs(selected) do
    local text = require("bench.support.book").text_of(
      ("%s/bench/cases/%s.lua"):format(root, chapter.case))
    chapters[i] = { case = chapter.case, text = text, lines = {} }
    for k, line in ipairs(chapter.lines) do
      if not line.missing then
        at = at + 1
        io.stderr:write(("[%d/%d] %s\n"):format(at, count, line.name))
      end
      local results, good, bad = run_line(chapter.case, line, effort, circumstances)
      chapters[i].lines[k], met, missed = results, met + good, missed + bad
    end
  end
  print(("%d targets met, %d missed"):format(met, missed))
  return chapters
end

-- Opens what is to be written: that fails now rather than after an hour of measuring.
local function open(path)
  if not path then return end
  local file, why = io.open(path, "a")
  if not file then fail("cannot write " .. why) end
  file:close()
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  assert(file:write(text))
  assert(file:close())
end

local function load_cjson()
  local found, cjson = pcall(require, "cjson")
  if not found then fail "--json needs lua-cjson, which is missing (Debian: lua-cjson)" end
  return cjson
end

-- How to write the same book again.
local function command_of(options)
  local words = { "./dev bench" }
  if options.effort ~= "full" then table.insert(words, "--" .. options.effort) end
  if options.iterations then table.insert(words, "--iterations " .. options.iterations) end
  if options.markdown then table.insert(words, "--markdown " .. options.markdown) end
  if options.name then table.insert(words, options.name) end
  return table.concat(words, " ")
end

local function run_all(options)
  local book = require "bench.support.book"
  local circumstances = require "bench.support.circumstances"
  local effort = effort_of(options.effort, options.iterations)
  local selected, count = select_lines(options.name, effort)
  if #selected == 0 then fail(("no case is called %q"):format(options.name)) end
  local cjson = options.json and load_cjson()
  open(options.json)
  open(options.markdown)
  local about = circumstances.get()
  local chapters = run_chapters(selected, count, effort, circumstances.brief(about))
  local all = { about = about, effort = effort, command = command_of(options),
    chapters = chapters }
  if options.json then write(options.json, book.json(all, cjson)) end
  if options.markdown then write(options.markdown, book.markdown(all)) end
end

local function main(first, ...)
  if first == "--child" then return run_child(...) end
  local options, wrong = require("bench.support.options").parse { first, ... }
  if not options then fail(wrong) end
  run_all(options)
end

main(...)

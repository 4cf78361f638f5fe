-- SPDX-License-Identifier: MIT
--- The benchmarks: `luajit bench/run.lua [--quick | --tiny] [name]`, or `./dev bench [name]`.
--
-- `name` is a case (a file in bench/cases, "hits") or the beginning of the name of some lines
-- ("hits-1k"). Each line is measured in five processes of its own; `--quick` measures in one and
-- with fewer rounds; `--tiny` only shows that everything runs: its figures mean nothing.
--
-- Perigee must be on LUA_PATH and LUA_CPATH (`eval "$(./dev env)"`).

local root = arg[0]:match "^(.*)/bench/[^/]*$" or arg[0]:match "^bench/" and "." or ".."
package.path = root .. "/?.lua;" .. package.path

local CASES = {
  "hits", "functions", "evictions", "bytes", "misses", "herds", "batches", "expiry", "invalidation",
  "collector", "disk", "redis", "guard", "agent",
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

-- The lines of a case, with their sizes scaled; and in `missing` why this machine has no figures.
local function lines_of(case, effort)
  local lines = require("bench.cases." .. case)
  for _, line in ipairs(lines) do
    line.entries = math.max(16, math.floor(line.entries * effort.scale))
  end
  return lines
end

local function begins_with(text, beginning)
  return text:sub(1, #beginning) == beginning
end

-- The names of the lines that are asked for, and the case of each.
local function select_lines(wanted, effort)
  local selected = {}
  for _, case in ipairs(CASES) do
    local lines = lines_of(case, effort)
    for _, line in ipairs(lines) do
      if not wanted or wanted == case or begins_with(line.name, wanted) then
        table.insert(selected, { case = case, line = line, missing = lines.missing })
      end
    end
  end
  return selected
end

local function machine()
  local file = io.open "/proc/cpuinfo"
  local text = file and file:read "*a" or ""
  if file then file:close() end
  local model = text:match "model name%s*:%s*([^\n]+)" or jit.arch
  local _, processors = text:gsub("processor%s*:", "")
  return ("%s x%d, %s %s"):format(model, processors, jit.version, jit.os)
end

local function circumstances()
  local keys, peers = require "bench.support.keys", require "bench.support.peers"
  return ("seed %d; %s; %s"):format(keys.SEED, machine(), peers.CLOCK)
end

local function measure(case, line, effort_name)
  local process = require "bench.support.process"
  local processes = {}
  for i = 1, EFFORTS[effort_name].processes do
    local series, why = process.run { "--child", effort_name, case, line.name }
    if not series then fail(("%s failed:\n%s"):format(line.name, why)) end
    processes[i] = series
  end
  return processes
end

local function run_child(effort_name, case, name)
  local effort = EFFORTS[effort_name]
  for _, line in ipairs(lines_of(case, effort)) do
    if line.name == name then
      require("bench.support.process").write(line.measure(line, effort))
    end
  end
end

local function run_all(effort_name, wanted)
  local report = require "bench.support.report"
  local selected, circumstance = select_lines(wanted, EFFORTS[effort_name]), circumstances()
  if #selected == 0 then fail(("no case is called %q"):format(wanted)) end
  local met, missed = 0, 0
  for _, item in ipairs(selected) do
    local text, good, bad = ("%s: skipped, %s"):format(item.line.name, item.missing), 0, 0
    if not item.missing then
      local processes = measure(item.case, item.line, effort_name)
      text, good, bad = report.line(item.line, processes, circumstance)
    end
    print(text)
    io.stdout:flush()
    met, missed = met + good, missed + bad
  end
  print(("%d targets met, %d missed"):format(met, missed))
end

local function main(first, ...)
  if first == "--child" then return run_child(...) end
  if first == "--quick" or first == "--tiny" then return run_all(first:sub(3), (...)) end
  if first and first:find "^%-" then fail("usage: bench/run.lua [--quick | --tiny] [name]") end
  run_all("full", first)
end

main(...)

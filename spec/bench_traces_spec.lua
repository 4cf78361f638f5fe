-- SPDX-License-Identifier: MIT
-- suites: dev
-- Traces are run and told about. The traces here are small ones, their references simulated here.

local files = require "spec.support.files"
local report = require "bench.support.trace_report"
local svg = require "bench.support.svg"
local trace_file = require "bench.support.trace_file"

local read, write, shell = files.read, files.write, files.run

local folder

local function must(command)
  local output, status = shell(command)
  assert(status == 0, command .. "\n" .. output)
end

local function bench(arguments)
  return shell("env -u PERIGEE_TRACES luajit bench/traces.lua " .. arguments)
end

local function write_trace(name, text)
  write(folder .. "/" .. name, text)
  must(("gzip -- '%s/%s'"):format(folder, name))
end

local function write_keys(name, keys) write_trace(name, table.concat(keys, "\n") .. "\n") end

-- Some keys that are asked for often, some rarely, and a loop over all of them at the end.
local function some_keys(n, distinct)
  local keys = {}
  math.randomseed(7)
  for i = 1, n do keys[i] = "k" .. math.floor(distinct * math.random() ^ 3) end
  for i = 0, distinct - 1 do table.insert(keys, "k" .. i) end
  return keys
end

local function index_of(list, wanted)
  for i = 1, #list do
    if list[i] == wanted then return i end
  end
end

-- Hits in percent of a queue whose first key leaves; `moved` puts a key that is hit at its end.
local function simulate(keys, size, moved)
  local queue, hits = {}, 0
  for _, key in ipairs(keys) do
    local at = index_of(queue, key)
    if at then hits = hits + 1 end
    if at and moved then table.insert(queue, table.remove(queue, at)) end
    if not at then
      if #queue == size then table.remove(queue, 1) end
      table.insert(queue, key)
    end
  end
  return hits / #keys * 100
end

-- `hit-ratios.tsv` with FIFO and LRU of these traces, and what serves as the others.
local function write_references(rows)
  local lines = { "trace\trequests\tdistinct\tcache_size\tFIFO\tLRU\tOPT" }
  for _, row in ipairs(rows) do
    table.insert(lines, ("%s\t%d\t%d\t%d\t%.2f\t%.2f\t100.00"):format(row.trace, #row.keys,
      row.distinct, row.size, simulate(row.keys, row.size), simulate(row.keys, row.size, true)))
  end
  write(folder .. "/hit-ratios.tsv", table.concat(lines, "\n") .. "\n")
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "([^\n]*)\n" do table.insert(lines, line) end
  return lines
end

-- Every element that begins ends, in order, and no text has a bare "&" or "<".
local function assert_well_formed(text)
  local open = {}
  for closing, name, rest in text:gmatch "<(/?)(%a+)([^<>]*)>" do
    if closing == "/" then
      assert.equal(name, table.remove(open))
    elseif rest:sub(-1) ~= "/" then
      table.insert(open, name)
    end
  end
  assert.same({}, open)
  assert.is_nil(text:gsub("</?%a+[^<>]*>", ""):find "[<>]")
  assert.is_nil(text:gsub("&%a+;", ""):find "&")
  assert.is_nil(text:find "nan" or text:find "inf")
end

before_each(function()
  folder = os.tmpname()
  os.remove(folder)
  must(("mkdir '%s'"):format(folder))
end)

after_each(function()
  must(("rm -rf '%s'"):format(folder))
end)

describe("bench/traces.lua", function()
  local function prepare()
    local one, two = some_keys(3000, 200), some_keys(500, 40)
    write_keys("big-one", one)
    write_keys("small-2", two)
    write_references {
      { trace = "big-one", keys = one, distinct = 200, size = 10 },
      { trace = "big-one", keys = one, distinct = 200, size = 100 },
      { trace = "small-2", keys = two, distinct = 40, size = 8 },
    }
  end

  it("finds the hit ratios that a simulation finds", function()
    prepare()
    local output, status = bench(("--out '%s/out' '%s'"):format(folder, folder))
    assert.equal(0, status, output)
    assert.matches("check fifo     vs FIFO     3 of 3 within 0.01", output, 1, true)
    assert.matches("check lru      vs LRU      3 of 3 within 0.01", output, 1, true)
    assert.is_nil(output:find "check sieve")
    assert.matches("\nbig +2 ", output)
    assert.matches("\nsmall +1 ", output)
    assert.matches("\nall +3 ", output)
    assert.matches("%d+ targets met, %d+ missed\n", output)
  end)

  it("writes a table of all cells and a chart of each trace", function()
    prepare()
    local output, status = bench(("--out '%s/out' '%s'"):format(folder, folder))
    assert.equal(0, status, output)
    local lines = lines_of(read(folder .. "/out/traces.tsv"))
    assert.equal("trace\trequests\tdistinct\tcache_size\tauto\ts3fifo\tlru\twtinylfu\tsieve\tfifo"
      .. "\treference_LRU\treference_S3FIFO\treference_CAFFEINE\treference_OPT", lines[1])
    assert.equal(4, #lines)
    assert.matches("^big%-one\t3200\t200\t10\t[%d.]+\t", lines[2])
    assert.matches("^small%-2\t540\t40\t8\t.*\t%-\t%-\t100.00$", lines[4])
    for _, name in ipairs { "big-one", "small-2" } do
      local text = read(("%s/out/%s.svg"):format(folder, name))
      assert_well_formed(text)
      assert.is_truthy(text:find("<title>" .. name .. "</title>", 1, true))
    end
  end)

  it("runs one trace only, and then writes no table", function()
    prepare()
    local output, status = bench(("--only small-2 --out '%s/out' '%s'"):format(folder, folder))
    assert.equal(0, status, output)
    assert.is_nil(output:find "big%-one +%d")
    assert.same("small-2.svg\n", (shell(("ls '%s/out'"):format(folder))))
  end)

  it("runs a trace without references at shares of its keys", function()
    write_keys("plain", some_keys(2000, 300))
    local output, status = shell(("PERIGEE_TRACES='%s' luajit bench/traces.lua --out '%s/out'")
      :format(folder, folder))
    assert.equal(0, status, output)
    for _, size in ipairs { 3, 15, 60 } do
      assert.matches(("\nplain +%d +[%%d.]+ +%%- +%%- +%%- +%%-\n"):format(size), output)
    end
    assert.is_nil(output:find "check ")
    assert.matches("\n0 targets met, 0 missed\n", output)
  end)

  it("tells when the references are those of another trace", function()
    prepare()
    write_trace("small-3", "a\n")
    must(("mv '%s/small-3.gz' '%s/small-2.gz'"):format(folder, folder))
    must(("rm '%s/big-one.gz'"):format(folder))
    local output = bench(("--out '%s/out' '%s'"):format(folder, folder))
    assert.matches("small-2 has 1 requests, in hit-ratios.tsv 540\n", output, 1, true)
    assert.matches("big-one is in hit-ratios.tsv, but not in the folder\n", output, 1, true)
  end)

  it("says what it needs", function()
    local output, status = bench ""
    assert.equal(1, status)
    assert.equal("bench: which folder holds the traces? Name it, or set PERIGEE_TRACES\n", output)
    output, status = bench(folder)
    assert.equal(1, status)
    assert.equal(("bench: no traces (NAME.gz) in %s\n"):format(folder), output)
    output, status = bench(folder .. "/nowhere")
    assert.equal(1, status)
    assert.equal(("bench: there is no folder %s/nowhere\n"):format(folder), output)
  end)

  it("refuses what it does not know", function()
    prepare()
    for _, arguments in ipairs { "--fast", "--only", "-x" } do
      local output, status = bench(arguments)
      assert.equal(1, status)
      assert.is_truthy(output:find("usage: ", 1, true), output)
    end
    local output, status = bench(("--only nothing '%s'"):format(folder))
    assert.equal(1, status)
    assert.equal('bench: no trace is called "nothing"\n', output)
  end)

  it("says which trace cannot be decompressed", function()
    write(folder .. "/broken.gz", "nothing that gzip made")
    local output, status = bench(("--out '%s/out' '%s'"):format(folder, folder))
    assert.equal(1, status)
    assert.equal(("bench: broken failed:\nbench: %s/broken.gz cannot be decompressed\n")
      :format(folder), output)
  end)
end)

describe("references", function()
  it("are numbers by the name of their column", function()
    write(folder .. "/hit-ratios.tsv", "trace\tcache_size\tkind\tLRU\tOPT\n"
      .. "12\t50\t1%\t3.25\t-\n12\t\t\t1\t2\nb\t60\t\t\t7\n")
    assert.same({ { trace = "12", cache_size = 50, LRU = 3.25 },
      { trace = "b", cache_size = 60, OPT = 7 } }, trace_file.references(folder))
  end)

  it("may be missing", function()
    assert.is_nil(trace_file.references(folder))
  end)
end)

describe("a trace", function()
  local function keys_of(trace)
    local keys = {}
    trace_file.replay(trace, {
      get = function(_, key) table.insert(keys, key) end,
      set = function() end,
    })
    return keys
  end

  it("has a key per line, whatever is in it", function()
    write_trace("odd", "12\n\na b\nstatus=0\n\0\195\169\n12")
    local trace = assert(trace_file.open(folder .. "/odd.gz"))
    assert.same({ "12", "a b", "status=0", "\0\195\169", "12" }, keys_of(trace))
    assert.equal(5, trace.count)
    assert.equal(4, trace_file.distinct(trace))
  end)

  it("is nothing without a key", function()
    write_trace("none", "\n\n")
    local trace, why = trace_file.open(folder .. "/none.gz")
    assert.is_nil(trace)
    assert.matches("none.gz has no keys", why, 1, true)
  end)

  it("asks for each key and sets what is missing", function()
    write_trace("abca", "a\nb\nc\na\n")
    local set = {}
    local hits = trace_file.replay(assert(trace_file.open(folder .. "/abca.gz")), {
      get = function(_, key) return set[key] end,
      set = function(_, key, value) set[key] = value end,
    })
    assert.equal(1, hits)
    assert.same({ a = true, b = true, c = true }, set)
  end)
end)

-- The arithmetic of the report, with figures that can be checked by hand.
describe("a report of traces", function()
  local function cell(trace, size, auto, references)
    return { trace = trace, requests = 10, distinct = 5, size = size, references = references,
      measured = { auto = auto, s3fifo = auto, lru = auto, wtinylfu = auto, sieve = auto,
        fifo = auto } }
  end

  local cells = {
    cell("web-1", 10, 40, { LRU = 30, ARC = 42, OPT = 50, CAFFEINE = 40.4 }),
    cell("web-2", 10, 20, { LRU = 23, ARC = 10, OPT = 40, CAFFEINE = 20 }),
    cell("loop-x", 10, 60, { LRU = 0, ARC = 1, OPT = 60, CAFFEINE = 50, best_peer_pct = 55 }),
    cell("loop-x", 20, 9, {}),
  }

  it("takes means and finds the worst", function()
    local of = report.summary(cells)
    assert.equal(4, of.cells)
    assert.is_near((0.8 + 0.5 + 1) / 3, of.optimum.mean, 1e-12)
    assert.is_near((10 - 3 + 60) / 3, of.lru.mean, 1e-12)
    assert.same({ -3, "web-2" }, { of.lru.worst, of.lru.at.trace })
    assert.is_near((2 + 3 + 0) / 3, of.regret.mean, 1e-12)
    assert.same({ 3, "web-2", 3 }, { of.regret.worst, of.regret.at.trace, of.regret.count })
    assert.is_near(2 / 3, of.near.mean, 1e-12)
  end)

  it("has no figure where there is no reference", function()
    assert.same({ cells = 1 }, report.summary { cells[4] })
    assert.is_nil(report.check({ cells[4] }, "lru", "LRU", 1))
    assert.equal("", report.checks_text { cells[4] })
    assert.same({}, report.targets { cells[4] })
  end)

  it("counts what is within the tolerance", function()
    local check = report.check(cells, "lru", "LRU", 3)
    assert.same({ 1, 3 }, { check.within, check.count })
    assert.is_near((10 + 3 + 60) / 3, check.mean, 1e-12)
    assert.same({ 60, "loop-x" }, { check.worst, check.at.trace })
  end)

  it("puts traces of one family together", function()
    local groups = report.groups(cells)
    assert.same({ "web", 2, "loop", 2 },
      { groups[1].name, #groups[1].cells, groups[2].name, #groups[2].cells })
    assert.matches("\nweb +2 +0.650 +%+3.50 +%-3.00 +2.50 +3.00 +50 %%\n",
      report.summary_text(cells))
  end)

  it("judges its targets", function()
    local phases = cell("stress-corda-loop5-corda", 512, 48, { OPT = 50 })
    local text = report.targets_text { cells[1], cells[2], cells[3], phases }
    for _, line in ipairs {
      "mean hit/OPT = 0.815 (at least 0.875: MISSED)",
      "worst vs LRU (web-2 at 10) = -3.000 (at least -2: MISSED)",
      "mean regret = 1.667 (at most 0.9: MISSED)",
      "worst regret (web-2 at 10) = 3.000 (at most 5.5: met)",
      "% near the best product = 66.667 (at least 70: MISSED)",
      "stress-corda-loop5-corda at 512 = 48.000 (at least 48: met)",
      "2 targets met, 4 missed",
    } do
      assert.matches(line, text, 1, true)
    end
  end)

  it("shows a dash for what is not known", function()
    assert.matches("^loop%-x +20 +9.00 +%- +%- +%- +%-$", report.cell_line(cells[4]))
    assert.matches("\nloop%-x\t10\t5\t20\t9.00\t9.00\t9.00\t9.00\t9.00\t9.00\t%-\t%-\t%-\t%-\n$",
      report.tsv(cells))
  end)
end)

describe("a chart", function()
  local function chart(points, title)
    return svg.chart { title = title or "t", x = "size", y = "percent", series = {
      { name = "a & b", colour = "#000000", points = points },
      { name = "absent", colour = "#000000", points = {} },
    } }
  end

  it("has a line, a point per size, and names", function()
    local text = chart { { 10, 0 }, { 100, 50 }, { 1000, 100 } }
    assert_well_formed(text)
    assert.is_truthy(text:find('role="img"', 1, true))
    assert.is_truthy(text:find("a &amp; b", 1, true))
    assert.is_nil(text:find "absent")
    assert.matches('points="56.0,308.0 278.0,174.0 500.0,40.0"', text, 1, true)
    local _, circles = text:gsub("<circle", "")
    assert.equal(3, circles)
  end)

  it("of one size has points and no line", function()
    local text = chart({ { 7, 3 } }, "<one>")
    assert_well_formed(text)
    assert.is_nil(text:find "<polyline")
    assert.matches('<circle cx="278.0"', text, 1, true)
    assert.matches("<title>&lt;one&gt;</title>", text, 1, true)
  end)

  it("of nothing but misses stands on its axis", function()
    local text = chart { { 1, 0 }, { 2, 0 } }
    assert_well_formed(text)
    assert.matches('points="56.0,308.0 500.0,308.0"', text, 1, true)
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev
-- The benchmarks run and say what they measured. Nothing is asserted about time.

local function run(arguments)
  local pipe = assert(io.popen("luajit bench/run.lua " .. arguments .. " 2>&1; echo status=$?"))
  local output = pipe:read "*a"
  pipe:close()
  local text, status = output:match "^(.*)status=(%d+)\n$"
  return text, tonumber(status)
end

local CASES = {
  hits = { "hits-1k", "hits-tagged-1M", "hits-plain-100k" },
  functions = { "functions-one", "functions-two" },
  evictions = { "evictions-1023", "evictions-65536" },
  bytes = { "bytes-1000", "bytes-1000000" },
  misses = { "misses", "misses-plain" },
  herds = { "herds" },
  batches = { "batches-of-10000", "batches-of-100" },
  expiry = { "expiry" },
  invalidation = { "invalidate-tag", "clear" },
  collector = { "collector-idle", "collector-writes" },
  redis = { "redis-hits-50", "redis-hits-500", "redis-get-many", "redis-memory", "redis-set" },
}

-- What a case needs of the machine.
local NEEDS = { redis = "redis-benchmark" }

local function lacks(program)
  return program and os.execute("command -v " .. program .. " >/dev/null") ~= 0
end

describe("bench/run.lua", function()
  for case, names in pairs(CASES) do
    it("measures " .. case .. " and tells everything about it in one line each", function()
      if lacks(NEEDS[case]) then return pending("this machine cannot: no " .. NEEDS[case]) end
      local output, status = run("--tiny " .. case)
      assert.equal(0, status, output)
      for _, name in ipairs(names) do
        local line = ("\n" .. output):match("\n(" .. name:gsub("%-", "%%-") .. ": [^\n]*)")
        assert.is_string(line, output)
        for _, part in ipairs {
          "n = ", "(best ", "beside it ", "at most ", "median of 1 x ", "seed ", "LuaJIT",
        } do
          local said = line:find(part, 1, true) or line:find(part:gsub("most", "least"), 1, true)
          assert.is_truthy(said, line .. " does not say " .. part)
        end
      end
      assert.is_truthy(output:find "%d+ targets met, %d+ missed\n$")
    end)
  end

  it("says why it skips what this machine cannot measure", function()
    local luajit = io.popen("command -v luajit"):read()
    local pipe = io.popen("PATH=/nowhere " .. luajit .. " bench/run.lua --tiny redis 2>&1")
    local output = pipe:read "*a"
    pipe:close()
    assert.matches("^redis%-hits%-50: skipped, redis%-server is not installed\n", output)
    assert.matches("\n0 targets met, 0 missed\n$", output)
  end)

  it("says when it knows no case of that name", function()
    local output, status = run("--tiny nonsense")
    assert.equal(1, status)
    assert.equal('bench: no case is called "nonsense"\n', output)
  end)

  it("refuses options that it does not know", function()
    local output, status = run("--fast")
    assert.equal(1, status)
    assert.is_truthy(output:find("usage: ", 1, true), output)
  end)
end)

-- The arithmetic of the report, with figures that can be checked by hand.
describe("a line of the report", function()
  local report = require "bench.support.report"

  local function line(targets)
    return {
      name = "reads", what = "reading", entries = 1000, figure = "ours", beside = { "theirs" },
      targets = targets,
    }
  end

  local processes = {
    { ours = { 10, 12, 30 }, theirs = { 20, 24, 60 }, yardstick = { 7, 7, 7 } },
    { ours = { 8, 8, 8 }, theirs = { 20, 20, 20 }, yardstick = { 3.5, 3.5, 3.5 } },
    { ours = { 100, 14, 14 }, theirs = { 200, 14, 14 }, yardstick = { 7, 7, 7 } },
  }

  it("prints the median of the processes' medians, and the best round of all", function()
    local text = report.line(line {}, processes, "here")
    assert.is_truthy(text:find("reads: reading; n = 1,000 | 12.0 ns/op (best 8.00)", 1, true), text)
    assert.is_truthy(text:find("beside it theirs 20.0", 1, true), text)
    assert.is_truthy(text:find("median of 3 x 3 | here", 1, true), text)
  end)

  it("compares round by round", function()
    local text, met, missed = report.line(line {
      { "theirs", over = "ours", at_least = 2 },
      { "theirs", over = "ours", at_least = 2.5 },
    }, processes, "here")
    assert.is_truthy(text:find("theirs / ours = 2.00 (at least 2.00: met)", 1, true), text)
    assert.is_truthy(text:find("theirs / ours = 2.00 (at least 2.50: MISSED)", 1, true), text)
    assert.same({ 1, 1 }, { met, missed })
  end)

  it("scales limits in nanoseconds by the yardstick", function()
    local text = report.line(line {
      { "ours", at_most = 8, absolute = true },
      { "theirs", minus = "ours", at_most = 5 },
    }, processes, "here")
    assert.is_truthy(text:find("ns at yardstick 3.5 = 7.00 (at most 8.00: met)", 1, true), text)
    assert.is_truthy(text:find("theirs - ours, ns at yardstick 3.5 = 6.00 (at most 5.00: MISSED)",
      1, true), text)
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev
-- The benchmarks run and say what they measured. Nothing is asserted about time.

local files = require "spec.support.files"

local read = files.read

local function run(arguments)
  return files.run("luajit bench/run.lua " .. arguments)
end

-- Calls `work(path)` with the name of a file that is gone afterwards.
local function with_file(work)
  local path = os.tmpname()
  work(path)
  os.remove(path)
end

local CASES = {
  hits = { "hits-1k", "hits-tagged-1M", "hits-plain-100k" },
  functions = { "functions-one", "functions-two" },
  evictions = { "evictions-1023", "evictions-65536" },
  policies = { "policies-hits-1000000", "policies-evicting-1000", "policies-get-else-set-128",
    "policies-bytes-786433", "policies-extra-bytes-1000", "policies-idle-bytes" },
  bytes = { "bytes-1000", "bytes-1000000" },
  misses = { "misses", "misses-plain" },
  herds = { "herds" },
  batches = { "batches-of-10000", "batches-of-100" },
  expiry = { "expiry" },
  invalidation = { "invalidate-tag", "clear" },
  collector = { "collector-idle", "collector-writes" },
  interpreter = { "interpreter-hits", "interpreter-get-else-set", "interpreter-functions-one",
    "interpreter-functions-two" },
  disk = { "disk-save", "disk-load-turn", "disk-hits" },
  redis = { "redis-hits-50", "redis-hits-500", "redis-get-many", "redis-memory", "redis-set" },
  openresty = { "openresty-hits-with-shared", "openresty-requests" },
  http = { "http-cached", "http-slow-clients", "http-memory" },
  guard = { "guard", "guard-bytes" },
  agent = { "agent", "agent-bytes" },
  python = { "python-functools-hits", "python-functools-get-else-set",
    "python-functools-functions" },
}

-- What a case needs of the machine.
local NEEDS = { redis = "redis-benchmark", python = "python3", openresty = "/usr/sbin/nginx wrk",
  http = "/usr/sbin/nginx wrk" }

local function lacks(programs)
  for program in (programs or ""):gmatch "%S+" do
    if os.execute("command -v " .. program .. " >/dev/null") ~= 0 then return true end
  end
end

describe("bench/run.lua", function()
  local function check_output(output, names)
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
  end

  local function check_markdown(text, command, case, names)
    assert.matches("^# Benchmarks\n", text)
    assert.is_truthy(text:find("\nThis file is generated. ", 1, true), text)
    assert.is_truthy(text:find("\n./dev bench " .. command .. "\n", 1, true), text)
    assert.is_truthy(text:find("\n## " .. case .. "\n", 1, true), text)
    for _, name in ipairs(names) do
      assert.is_truthy(text:find("\n- `" .. name .. "`: ", 1, true), text)
    end
    for row in text:gmatch "[^\n]+" do assert.is_true(#row <= 100, row) end
  end

  for case, names in pairs(CASES) do
    it("measures " .. case .. ", tells all about it in a line each, and writes pages", function()
      if lacks(NEEDS[case]) then return pending("this machine cannot: no " .. NEEDS[case]) end
      with_file(function(path)
        local command = ("--tiny --iterations 1 --markdown %s %s"):format(path, case)
        local output, status = run(command)
        assert.equal(0, status, output)
        check_output(output, names)
        check_markdown(read(path), command, case, names)
      end)
    end)
  end

  it("says why it skips what this machine cannot measure", function()
    local luajit = io.popen("command -v luajit"):read()
    for case, said in pairs {
      redis = "^redis%-hits%-50: skipped, redis%-server is not installed\n",
      python = "^python%-functools%-hits: skipped, python3 is not installed\n",
    } do
      local pipe = io.popen(("PATH=/nowhere %s bench/run.lua --tiny %s 2>&1"):format(luajit, case))
      local output = pipe:read "*a"
      pipe:close()
      assert.matches(said, output)
      assert.matches("\n0 targets met, 0 missed\n$", output)
    end
  end)

  it("says on stderr which line it measures, of how many", function()
    local pipe = io.popen "luajit bench/run.lua --tiny misses 2>&1 >/dev/null"
    local output = pipe:read "*a"
    pipe:close()
    assert.equal("[1/2] misses\n[2/2] misses-plain\n", output)
  end)

  it("measures as many rounds as it is told", function()
    local output, status = run "--tiny --iterations 3 hits-1k"
    assert.equal(0, status, output)
    assert.is_truthy(output:find("median of 1 x 3 ", 1, true), output)
  end)

  it("says when it knows no case of that name", function()
    local output, status = run("--tiny nonsense")
    assert.equal(1, status)
    assert.equal('bench: no case is called "nonsense"\n', output)
  end)

  it("refuses options that it does not know", function()
    for _, words in ipairs { "--fast", "--json=x", "-q", "hits misses" } do
      local output, status = run(words)
      assert.equal(1, status)
      assert.matches("^bench: usage: bench/run.lua [^\n]+\n$", output)
    end
  end)

  it("refuses values that make no sense", function()
    for _, value in ipairs { "0", "-1", "2.5", "many", "nan", "inf", "100001" } do
      local output, status = run("--tiny --iterations " .. value .. " hits")
      assert.equal(1, status)
      assert.equal(('bench: --iterations: a whole number from 1 to 100000, not "%s"\n')
        :format(value), output)
    end
    for _, option in ipairs { "--iterations", "--json", "--markdown" } do
      for _, words in ipairs { option, option .. " ''", option .. " --tiny" } do
        local output, status = run(words)
        assert.equal(1, status)
        assert.equal("bench: " .. option .. " needs a value\n", output)
      end
    end
  end)
end)

describe("what bench/run.lua writes", function()
  it("is JSON with --json", function()
    local cjson = require "cjson"
    with_file(function(path)
      local output, status = run("--tiny hits-1k --json " .. path)
      assert.equal(0, status, output)
      local book = cjson.decode(read(path))
      assert.equal(20240229, book.seed)
      assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$", book.date)
      assert.equal(require "perigee.version", book.versions.perigee)
      assert.matches("^LuaJIT", book.versions.luajit)
      assert.is_string(book.versions.os)
      assert.is_string(book.machine.model)
      assert.same({ "tiny", 1, 2 }, { book.effort.name, book.effort.processes,
        book.effort.rounds })
      local line = book.lines[1]
      assert.equal(1, #book.lines)
      assert.same({ "hits", "hits-1k", "perigee", "ns/op" },
        { line.case, line.name, line.figure.name, line.figure.unit })
      assert.is_true(line.figure.best <= line.figure.median)
      assert.is_number(line.peers.table)
      assert.is_number(line.peers.lrucache)
      assert.same({ "perigee / table", "at_most", 1.7 },
        { line.targets[1].name, line.targets[1].bound, line.targets[1].limit })
      assert.equal("at_least", line.targets[2].bound)
      local met = 0
      for _, target in ipairs(line.targets) do met = met + (target.met and 1 or 0) end
      assert.same({ met = met, missed = 2 - met }, book.targets)
    end)
  end)

  it("is nothing, and nothing is measured, where it cannot be written", function()
    for _, option in ipairs { "--json", "--markdown" } do
      local output, status = run("--tiny hits " .. option .. " /nowhere/book")
      assert.equal(1, status)
      assert.equal("bench: cannot write /nowhere/book: No such file or directory\n", output)
    end
  end)

  it("is nothing, and nothing is measured, for want of lua-cjson", function()
    with_file(function(path)
      local file = io.open(path, "w")
      file:write "package.preload.cjson = function() error 'not here' end\n"
      file:close()
      local pipe = io.popen(("luajit -e 'dofile(\"%s\")' bench/run.lua --tiny --json /nowhere/book"
        .. " hits 2>&1"):format(path))
      local output = pipe:read "*a"
      pipe:close()
      assert.matches("^bench: %-%-json needs lua%-cjson, which is missing[^\n]*\n$", output)
    end)
  end)
end)

-- The book, of figures that stand here.
describe("the book", function()
  local book = require "bench.support.book"

  local function book_of(targets)
    local line = { name = "reads-1", what = "reading", entries = 1000, figure = "perigee",
      unit = "ns/op", median = 12.3, best = 10, beside = { { name = "table", median = 6.15 } },
      notes = { { name = "hit ratio", median = 0.5 } }, targets = targets, processes = 1,
      rounds = 2 }
    local skipped = { name = "reads-2", what = "reading", missing = "there is no book" }
    return {
      about = { machine = "a machine", processors = 2, os = "an OS", arch = "x64", luajit = "LJ",
        perigee = "1.2", seed = 3, clock = "no clock", date = "2024-02-29T00:00:00Z" },
      effort = { name = "tiny", processes = 1, rounds = 2, operations = 16 },
      command = "./dev bench", chapters = { { case = "reads", text = "Reading.",
        lines = { line, skipped } } },
    }
  end

  local MET = { name = "perigee / table", value = 2, at_most = 2.5, met = true }
  local MISSED = { name = "perigee / table", value = 2, at_most = 1.5, met = false }

  it("says plainly which targets are missed", function()
    local text = book.markdown(book_of { MET, MISSED })
    assert.is_truthy(text:find("1 of 2 targets are met; 1 missed:", 1, true), text)
    assert.is_truthy(text:find("- `reads-1`: perigee / table is 2.00, and should be at most 1.50",
      1, true), text)
    assert.is_truthy(text:find("|  | target: perigee / table at most 1.50 | 2.00, **MISSED** |",
      1, true), text)
    assert.is_truthy(text:find("|  | target: perigee / table at most 2.50 | 2.00, met |", 1, true))
  end)

  it("has a row for what is measured and for each that stands beside it", function()
    local text = book.markdown(book_of { MET })
    assert.is_truthy(text:find("All 1 targets are met.", 1, true), text)
    assert.is_truthy(text:find("| `reads-1` | **Perigee** | **12.3 ns/op** |\n"
      .. "|  | table | 6.15 ns/op |\n|  | hit ratio | 0.50 |\n", 1, true), text)
  end)

  it("says why a line has no figures", function()
    local text = book.markdown(book_of { MET })
    assert.is_truthy(text:find("- `reads-2`: skipped, there is no book\n", 1, true), text)
    local cjson = require "cjson"
    local line = cjson.decode(book.json(book_of { MET }, cjson)).lines[2]
    assert.same({ case = "reads", name = "reads-2", what = "reading",
      skipped = "there is no book" }, line)
  end)

  it("has null in JSON for what is no number there", function()
    local cjson = require "cjson"
    local none = { name = "perigee / table", value = 0 / 0, at_most = 1, met = false }
    local line = cjson.decode(book.json(book_of { none }, cjson)).lines[1]
    assert.equal(cjson.null, line.targets[1].value)
  end)
end)

-- Packages of Python that this machine may lack, in as few lines as have the same use.
describe("the case of Python", function()
  local FAKES = {
    cachetools = [[
class LRUCache(dict):
    def __init__(self, maxsize):
        self.maxsize = maxsize
    def __setitem__(self, key, value):
        if key not in self and len(self) >= self.maxsize:
            del self[next(iter(self))]
        super().__setitem__(key, value)
class TTLCache(LRUCache):
    def __init__(self, maxsize, ttl):
        super().__init__(maxsize)
def cached(cache):
    def decorate(function):
        def call(key):
            if key not in cache:
                cache[key] = function(key)
            return cache[key]
        return call
    return decorate
]],
    cache = [[
class AsyncLRU:
    def __init__(self, maxsize=128):
        self.kept = {}
    def __call__(self, function):
        async def call(key):
            if key not in self.kept:
                self.kept[key] = await function(key)
            return self.kept[key]
        return call
class AsyncTTL(AsyncLRU):
    def __init__(self, time_to_live=60, maxsize=1024):
        super().__init__(maxsize)
]],
    aiocache = "class SimpleMemoryCache: pass\n", -- of another version
  }

  it("measures what python3 has, and says what it has not or cannot use", function()
    if lacks "python3" then return pending "this machine cannot: no python3" end
    local folder = io.popen("mktemp -d"):read()
    for name, text in pairs(FAKES) do
      local file = assert(io.open(("%s/%s.py"):format(folder, name), "w"))
      file:write(text)
      file:close()
    end
    local pipe = io.popen(("PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=%s luajit bench/run.lua --tiny"
      .. " python 2>&1"):format(folder))
    local output = pipe:read "*a"
    pipe:close()
    os.execute("rm -r " .. folder)
    for _, loop in ipairs { "hits", "get%-else%-set", "functions" } do
      assert.matches("\npython%-cachetools%-" .. loop .. ": [^\n]+ beside it cachetools%.LRUCache"
        .. " [%d.,]+, cachetools%.TTLCache [%d.,]+ ", output)
      assert.matches("\npython%-async%-cache%-" .. loop .. ": [^\n]+ beside it AsyncLRU [%d.,]+,"
        .. " AsyncTTL [%d.,]+ ", output)
    end
    assert.matches("\npython%-aiocache%-hits: skipped, python3 has no aiocache\n", output)
  end)
end)

-- lua-resty-mlcache and what it needs, in as few lines as have the same use.
describe("the case of OpenResty", function()
  local FAKES = {
    lock = "return {}\n",
    mlcache = [[
local _M = {}
_M.__index = _M
function _M.new(_, dict, options)
  return setmetatable({ memory = options.lru, dict = ngx.shared[dict] }, _M)
end
function _M:get(key, _, load, ...)
  local value, level = self.memory:get(key), 1
  if value == nil then value, level = self.dict:get(key), 2 end
  if value == nil then
    local ttl
    value, _, ttl = load(...)
    level = 3
    if ttl then return value, nil, level end
    self.dict:set(key, value)
  end
  if level > 1 then self.memory:set(key, value) end
  return value, nil, level
end
return _M
]],
  }

  it("measures lua-resty-mlcache where it is found", function()
    if lacks(NEEDS.openresty) then return pending("this machine cannot: no " .. NEEDS.openresty) end
    local folder = io.popen("mktemp -d"):read()
    os.execute(("mkdir -p %s/lib/resty"):format(folder))
    for name, text in pairs(FAKES) do
      files.write(("%s/lib/resty/%s.lua"):format(folder, name), text)
    end
    local output, status = files.run(("PERIGEE_MLCACHE=%s luajit bench/run.lua --tiny"
      .. " --iterations 1 openresty"):format(folder))
    os.execute("rm -r " .. folder)
    assert.equal(0, status, output)
    for _, line in ipairs { "hits%-1k", "hits%-100k", "shared%-1k", "shared%-100k", "misses",
      "shared%-misses" } do
      assert.matches("\nopenresty%-" .. line .. ": [^\n]+ beside it mlcache [%d.,]+", output)
    end
    assert.matches("\nopenresty%-requests: [^\n]+, mlcache [%d.,]+ ", output)
  end)

  it("says what is missing where it is not found", function()
    if lacks(NEEDS.openresty) then return pending("this machine cannot: no " .. NEEDS.openresty) end
    local output, status = files.run "PERIGEE_MLCACHE= luajit bench/run.lua --tiny openresty-misses"
    assert.equal(0, status, output)
    if output:find "beside it mlcache" then return pending "LUA_PATH has lua-resty-mlcache" end
    assert.matches("^openresty%-misses: skipped, resty%.%w+ is neither on LUA_PATH nor below a"
      .. " folder in PERIGEE_MLCACHE\n", output)
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

-- SPDX-License-Identifier: MIT
-- suites: dev hard asan long
-- Readers and writers of all kinds at random, with waits everywhere, cancels, and sessions that
-- come and go: who reads after a write has ended sees nothing older, and nothing is left behind.
-- PERIGEE_FUZZ_ROUNDS sets how many lives are lived.
local agent = require "perigee.agent"
local perigee = require "perigee"
local random = require "spec.support.random"
local tasks = require "spec.support.tasks"
local testing = require "perigee.testing"

local ROWS = { "a", "b", "a:b" }
local LIVES = tonumber(os.getenv "PERIGEE_FUZZ_ROUNDS") or 12

-- Rows by their versions, and the tools that read and write them. What a reader sees is a table of
-- versions by row.
local function world(source)
  local self = { version = {}, wrote = {}, readers = {}, writers = {} }
  for _, row in ipairs(ROWS) do self.version[row] = 1 end

  local function nap()
    if source(4) > 0 then perigee.sleep(source(30) / 1000) end
  end
  local function look(row)
    nap()
    local seen = { [row] = self.version[row] }
    nap()
    return seen
  end
  local function both(one, other)
    local seen = {}
    for _, from in ipairs { one, other } do
      for row, version in pairs(from) do seen[row] = math.min(seen[row] or version, version) end
    end
    return seen
  end
  local function read(opts, fn)
    opts.resource = opts.resource or "row"
    local tool = agent.cache(opts)(fn or look)
    table.insert(self.readers, tool)
    return tool
  end

  read { name = "plain" }
  read { kind = "poll", maxsize = 2, name = "small" }
  local tagged = read { tags = { "row:{1}" }, name = "tagged" }
  local own = read { tags = { "row:{1}" }, scope = "session", name = "own" }
  local learned = read({ tags = { "row:z:{1}" }, ttl = 0.5, name = "learned" }, function(row)
    return look(row), nil, { tags = { { "row", row, "deep" }, { "row", "all" } } }
  end)
  local failing = read({ tags = { "row:{1}" }, neg_errors = 5, name = "failing" }, function(row)
    local seen = look(row)
    if source(3) == 0 then error(seen, 0) end
    return seen
  end)
  local sum = read({ resource = "sum", name = "sum" }, function(row)
    nap()
    local seen = tagged(row)
    nap()
    return seen
  end)
  local total = read({ resource = "sum", name = "total" }, function(row)
    local seen = learned(row)
    nap()
    return both(seen, sum(source(2) == 0 and row or "b"))
  end)
  read({ resource = "sum", scope = "session", name = "own total" }, function(row)
    local seen = total(row)
    nap()
    return both(seen, own(row))
  end)
  read({ resource = "sum", name = "of all" }, function(row) return total(row) end)
  read({ resource = "sum", name = "private" }, function(row) return own(row) end)
  read({ resource = "sum", name = "caught" }, function(row)
    local _, seen = pcall(failing, row)
    nap()
    if type(seen) ~= "table" then error(seen, 0) end
    return seen
  end)

  local function put(row, mark)
    nap()
    self.version[row] = self.version[row] + 1
    self.wrote[mark] = self.version[row]
    nap()
    if source(6) == 0 then error("the write failed", 0) end
  end
  for _, opts in ipairs { {}, { tags = { "row:{1}", "row:z:{1}" } }, { clear_all = false },
    { key_fn = function(row) return row end } } do
    opts.resource = "row"
    table.insert(self.writers, agent.invalidator(opts)(put))
  end
  return self
end

local function live(seed)
  local source = random.generator(seed)
  local rows, sessions, jobs, wrong = world(source), {}, {}, {}
  local ended = {}
  for _, row in ipairs(ROWS) do ended[row] = 1 end
  local function open(i) sessions[i] = agent.open { loop_detection = false } end
  for i = 1, 4 do open(i) end

  local function in_some(fn, ...)
    local session = sessions[source(7)]
    if session then return session:run(fn, ...) end
    return fn(...)
  end
  local function read_one()
    local tool, row, floor = rows.readers[1 + source(#rows.readers)], ROWS[1 + source(3)], {}
    for name, version in pairs(ended) do floor[name] = version end
    local is_fresh, patience = source(8) == 0, source(8) == 0 and source(40) / 1000 or math.huge
    local ok, seen = pcall(perigee.timeout, patience, in_some, function()
      if is_fresh then return tool:refresh(row) end
      return tool(row)
    end)
    if type(seen) == "table" then
      for name, version in pairs(seen) do
        if version < floor[name] then wrong[#wrong + 1] = ("%s(%s)"):format(tool.name, row) end
      end
    elseif not ok and seen ~= "cancelled" and not tostring(seen):find "is closed" then
      wrong[#wrong + 1] = tostring(seen)
    end
  end
  local function write_one()
    local mark, row = {}, ROWS[1 + source(3)]
    pcall(in_some, rows.writers[1 + source(#rows.writers)], row, mark)
    ended[row] = math.max(ended[row], rows.wrote[mark] or 0)
  end

  for _ = 1, 300 do
    local what = source(100)
    if what < 70 then
      jobs[#jobs + 1] = tasks.start(read_one)
    elseif what < 85 then
      jobs[#jobs + 1] = tasks.start(write_one)
    elseif what < 88 and #jobs > 0 then
      jobs[1 + source(#jobs)].task:cancel()
    elseif what < 90 then
      local i = 1 + source(4)
      sessions[i]:close()
      open(i)
    else
      testing.advance(source(40) / 1000)
      perigee.sleep(0)
    end
  end
  tasks.finish(jobs)
  tasks.pass(1) -- loads go on when those who began them were cancelled
  for i = 1, 4 do
    local pending = sessions[i].pending
    if pending ~= 0 then wrong[#wrong + 1] = pending .. " calls in flight" end
  end
  for _, row in ipairs(ROWS) do
    local first, second = rows.readers[1](row), rows.readers[1](row)
    if first ~= second then wrong[#wrong + 1] = "nothing is kept any more" end
  end
  return wrong
end

describe("tools", function()
  for seed = 1, LIVES do
    it("show nothing older than a write that has ended, life " .. seed, tasks.virtual(function()
      assert.are.same({}, live(seed))
    end))
  end
end)

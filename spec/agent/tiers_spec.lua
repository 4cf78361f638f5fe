-- SPDX-License-Identifier: MIT
-- suites: dev hard asan
-- Tools whose answers outlive the process, or are shared by several: a backup, a real Redis.
local agent = require "perigee.agent"
local disk = require "spec.support.disk"
local perigee = require "perigee"
local redis = require "spec.support.redis"
local returns = require "perigee.value.returns"
local tasks = require "spec.support.tasks"

local opened = {}

-- A tool whose calls are counted; closed after the test.
local function reader(opts, fn)
  local count = { calls = 0 }
  opts.resource = opts.resource or "r"
  local tool = agent.cache(opts)(function(...)
    count.calls = count.calls + 1
    return fn(...)
  end)
  opened[#opened + 1] = tool
  return tool, count
end

local function close_all()
  for _, tool in ipairs(opened) do
    if not tool.cache.closed then tool.cache:close() end
  end
  opened = {}
end

describe("a tool with a backup", function()
  local path

  before_each(function() path = disk.path() end)
  after_each(function()
    close_all()
    disk.clean()
  end)

  it("says where a second one of its name was made", function()
    local opts = { name = "kept", backup = perigee.disk(path) }
    reader(opts, function() end)
    local ok, message = pcall(reader, opts, function() end)
    assert.is_false(ok)
    assert.is_truthy(message:find "^[^ ]*tiers_spec.lua:%d+: perigee.new: there is a cache named",
      message)
  end)

  local function open(fn, more)
    local opts = { name = "tool", backup = perigee.disk(path), tags = { "r:{1}" } }
    for name, value in pairs(more or {}) do opts[name] = value end
    return reader(opts, fn)
  end

  local function reopen(tool, ...)
    tool.cache:close()
    return open(...)
  end

  it("has answers of any shape after a restart: several results, nil, errors that are kept",
    function()
      local function fn(how)
        if how == "many" then return 1, nil, 3 end
        if how == "none" then return end
        if how == "raise" then error("absent", 0) end
        if how == "table" then return { deep = { 1, 2 } } end
        return nil, "no"
      end
      local tool, count = open(fn, { neg_errors = 1000 })
      local function all(which)
        assert.are.same({ n = 3, 1, nil, 3 }, { n = select("#", which "many"), which "many" })
        assert.equal(0, select("#", which "none"))
        assert.are.same({ deep = { 1, 2 } }, which "table")
        assert.are.same({ nil, "no" }, { which "fail" })
        local ok, err = pcall(which, "raise")
        assert.is_false(ok)
        assert.equal("absent", err)
      end
      all(tool)
      assert.equal(5, count.calls)
      tool, count = reopen(tool, fn, { neg_errors = 1000 })
      all(tool)
      assert.equal(0, count.calls)
    end)

  it("has its tags after a restart, those that were learned and handed up among them", function()
    local inner = reader({ resource = "inner" }, function() return 1 end)
    local function fn(k)
      if k == "nested" then return inner() end
      return k, nil, { tags = { "learned:" .. k } }
    end
    local tool = open(fn)
    tool "nested"
    tool "x"
    tool "y"
    local count
    tool, count = reopen(tool, fn)
    agent.invalidator { resource = "inner" } (function() end)()
    agent.invalidator { resource = "learned", tags = { "learned:x" } } (function() end)()
    tool "y"
    assert.equal(0, count.calls)
    tool "x"
    tool "nested"
    assert.equal(2, count.calls)
    local outer = reader({ resource = "outer" }, function() return tool "y" end)
    outer()
    agent.invalidator { resource = "learned" } (function() end)()
    tool "y"
    assert.equal(3, count.calls)
  end)

  it("forgets in the backup what was written", function()
    local tool, count = open(function(k) return k end)
    tool "x"
    assert.equal(1, count.calls)
    tool:save_to_backup()
    agent.invalidator { resource = "r" } (function() end)()
    tool, count = reopen(tool, function(k) return k end)
    tool "x"
    assert.equal(1, count.calls)
  end)

  it("takes nothing for an answer that is none", function()
    local cache = perigee.new { name = "tool", backup = perigee.disk(path) }
    cache:set("x", "not a box")
    cache:set("y", { n = 1, r1 = "nor this" })
    cache:close()
    local tool, count = open(function(k) return k end)
    assert.equal("x", tool "x")
    assert.equal("y", tool "y")
    assert.equal("x", tool "x")
    assert.equal(2, count.calls)
    agent.session(function() assert.equal("y", tool "y") end)
  end)
end)

describe("a box from a tier", function()
  it("is one only with results, a failure and tags as they should be", function()
    local good = { n = 2, r1 = 1, failed = "returned", tags = { "a:b", { "c" } } }
    assert.is_true(returns.is_box(returns.from_table(good)))
    for name, wrong in pairs { n = -1, failed = "odd", tags = { 1 } } do
      local bad = {}
      for field, value in pairs(good) do bad[field] = value end
      bad[name] = wrong
      assert.is_nil(returns.from_table(bad), name)
    end
  end)
end)

describe("tools with a remote cache", function()
  local server

  setup(function() server = redis.start() end)
  before_each(function() server:cli "flushall" end)
  after_each(close_all)
  teardown(redis.clean)

  -- The tool of this process, and of another one: equal names, caches of their own.
  local function pair(fn, more)
    local tools, counts = {}, {}
    for i = 1, 2 do
      local opts = { name = "tool" .. i, tags = { "r:{1}" } }
      for name, value in pairs(more or {}) do opts[name] = value end
      opts.remote_cache = perigee.redis(server:opts())
      tools[i], counts[i] = reader(opts, fn)
    end
    return tools, counts
  end

  local function written(tool) assert.is_true(tool.cache.remote.writes:flush()) end

  -- Memory forgets, the server does not.
  local function forget_here(tool) tool.cache.store:clear() end

  it("gets its answers from there", tasks.real(function()
    local tools, counts = pair(function(k) return k, "second" end)
    local tool, count = tools[1], counts[1]
    tool "x"
    written(tool)
    forget_here(tool)
    assert.are.same({ "x", "second" }, { tool "x" })
    assert.equal(1, count.calls)
    assert.equal(1, tool:get_metrics().hits_remote)
    agent.session(function(session)
      forget_here(tool)
      tool "x"
      assert.equal(1, session:get_metrics().hits_remote)
    end)
  end))

  it("forgets there what was written, by tags and by keys", tasks.real(function()
    for _, opts in ipairs { { resource = "r", tags = { "r:{1}" } }, { resource = "r" },
      { resource = "r", key_fn = function(k) return k end } } do
      server:cli "flushall"
      local tools, counts = pair(function(k) return k end)
      local write = agent.invalidator(opts)(function(k) return k end)
      tools[1] "x"
      tools[2] "x"
      written(tools[1])
      written(tools[2])
      write "x"
      for i = 1, 2 do
        forget_here(tools[i])
        tools[i] "x"
        assert.equal(2, counts[i].calls)
      end
      close_all()
    end
  end))

  it("executes afresh when a session doubts, and shares what it learned", tasks.real(function()
    local state = "old"
    local tools, counts = pair(function() return state end)
    local tool, count = tools[1], counts[1]
    tool "x"
    written(tool)
    state = "new"
    agent.session(function()
      tool "x"
      tool "x"
      assert.equal("new", tool "x")
    end)
    assert.equal(2, count.calls)
    written(tool)
    forget_here(tool)
    assert.equal("new", tool "x")
    assert.equal(2, count.calls)
  end))

  it("keeps what is read after a write that was given up before it began", tasks.real(function()
    local tools, counts = pair(function(k) return k end)
    local written_count = 0
    local write = agent.invalidator { resource = "r" } (function()
      written_count = written_count + 1
    end)
    local job
    job = tasks.start(function()
      perigee.sleep(0)
      job.task:cancel()
      write()
    end)
    tasks.finish(job)
    assert.equal("cancelled", job[1])
    assert.equal(0, written_count)
    tools[1] "x"
    tools[1] "x"
    assert.equal(1, counts[1].calls)
  end))

  it("works without the server", tasks.real(function()
    local opts = server:opts()
    opts.unix = "/nonexistent/redis.sock"
    local tool, count = reader({ name = "lone", remote_cache = perigee.redis(opts) },
      function(k) return k end)
    require "spec.support.logged"(function()
      agent.session(function() assert.equal("x", tool "x") end)
      agent.invalidator { resource = "r" } (function() end)()
      assert.equal("x", tool "x")
      tool "x"
    end)
    assert.equal(2, count.calls)
  end))

  it("is coherent in plain code, too", function()
    local tools, counts = pair(function(k) return k end)
    tools[1] "x"
    written(tools[1])
    agent.invalidator { resource = "r" } (function() end)()
    tools[1] "x"
    assert.equal(2, counts[1].calls)
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev host asan
-- The scenes of the dashboard, on our own loop: what they report, and that it is so.
local lfs = require "lfs"

local events = require "perigee.events"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local reports = require "spec.support.scene_report"
local scenes = require "perigee.dashboard.scenes"

local count, fact, find = reports.count, reports.fact, reports.events

local NAMES = { "herd", "batch", "expiry", "race", "outage", "agent" }

local function played(name)
  local report = perigee.run(function() return assert(scenes.run(name)) end)
  reports.check(report)
  return report
end

-- The caches of scenes that are open.
local function caches()
  local list = {}
  for name in pairs(perigee.metrics()) do
    if name:find "^scene: " then list[#list + 1] = name end
  end
  return list
end

-- The Redis servers that this process has begun, and which have not ended.
local function servers()
  local pipe = assert(io.popen "ps -o args= --ppid $PPID | grep -c '[r]edis-server'")
  local n = tonumber(pipe:read "*a")
  pipe:close()
  return n
end

local function has_redis()
  return os.execute "command -v redis-server >/dev/null && command -v setpriv >/dev/null" == 0
end

-- Nothing of a scene is left: no cache, no process, nobody who listens to events.
local function assert_clean()
  assert.same({}, caches())
  assert.equal(0, servers())
  for event, handlers in pairs(events.handlers) do assert.is_false(handlers, event) end
end

-- Runs `fn`; the folders that were asked for meanwhile are gone afterwards.
local function without_folders(fn)
  local names, tmpname = {}, os.tmpname
  rawset(os, "tmpname", function()
    names[#names + 1] = tmpname()
    return names[#names]
  end)
  local ok, err = pcall(fn)
  rawset(os, "tmpname", tmpname)
  if not ok then error(err, 0) end
  for _, name in ipairs(names) do assert.is_nil(lfs.attributes(name), name) end
end

-- What was logged, but for what a scene brings about.
local function unexpected(lines)
  local list = {}
  for _, line in ipairs(lines) do
    if not line.text:find('^cache "scene: outage": the remote cache does not answer') then
      list[#list + 1] = line.text
    end
  end
  return list
end

describe("the scenes", function()
  it("are listed in order, each with a title and a sentence", function()
    local names = {}
    for i, scene in ipairs(scenes.list) do
      names[i] = scene.name
      assert.is_string(scene.title)
      assert.matches("[.?]$", scene.about)
    end
    assert.same(NAMES, names)
  end)

  it("are played by name: another one is told so", function()
    local report, err = scenes.run "opera"
    assert.same({ nil, 'there is no scene called "opera"' }, { report, err })
    assert.is_nil((scenes.run(nil)))
  end)
end)

describe("the scene", function()
  after_each(assert_clean)

  it("herd has one load for a thousand callers, and a thousand without the cache", function()
    local report = played "herd"
    assert.equal("1,000 callers, 1 load; with a plain table 1,000 loads", report.summary)
    assert.equal(1, count(report, "cache", "load"))
    assert.equal(1001, count(report, "database", "load"))
    assert.equal(1, count(report, "callers", "call"))
    assert.equal(999, count(report, "callers", "wait"))
    assert.equal(999, fact(report, "callers who joined the running load"))
    assert.equal(1000, fact(report, "right answers"))
    local load, wait = find(report, "cache", "load")[1], find(report, "callers", "wait")[1]
    assert.is_true(load.till - load.at >= 99) -- the database takes a tenth of a second
    assert.is_true(wait.till >= load.till - 1 and wait.at >= load.at - 1)
  end)

  it("batch asks for a hundred rows at once, and one fails for itself", function()
    local report = played "batch"
    local queries = fact(report, "queries")
    assert.is_true(queries >= 1 and queries <= 3, queries .. " queries")
    assert.equal(100, fact(report, "rows in them"))
    assert.equal(99, fact(report, "callers who got their row"))
    assert.equal("row 13: it is locked", fact(report, "errors"))
    assert.equal(queries + 1, count(report, "database", "load"))
    assert.equal(100, count(report, "cache", "load"))
    assert.equal(1, count(report, "cache", "error"))
    assert.equal(1, count(report, "callers", "error"))
    assert.equal(99, count(report, "callers", "hit"))
    assert.equal(1, fact(report, "asked once more: rows from the database"))
    assert.equal(100, fact(report, "asked once more: callers who got their row"))
  end)

  it("expiry serves old values while it loads, and while the database is down", function()
    local report = played "expiry"
    assert.matches("; no reader got an error", report.summary)
    local reads = count(report, "reader", "hit") + count(report, "reader", "stale")
      + count(report, "reader", "call") + count(report, "reader", "wait")
    assert.equal(fact(report, "reads"), reads)
    assert.equal(fact(report, "expired values served"), count(report, "reader", "stale"))
    assert.equal(0, count(report, "reader", "error"))
    local loads = count(report, "database", "load")
    assert.is_true(loads >= 3)
    assert.equal(fact(report, "loads that failed"), count(report, "database", "error"))
    assert.is_true(fact(report, "loads that failed") >= 2)
    local down, up = unpack(find(report, "database", "change"))
    for _, event in ipairs(find(report, "database", "error")) do
      assert.is_true(event.till >= down.at and event.at <= up.at)
    end
    local last = report.events[#report.events]
    assert.matches("gets version " .. loads .. "%f[^%d]", last.text)
  end)

  it("race leaves the old row in the plain table, and not in the cache", function()
    local report = played "race"
    assert.equal("afterwards Perigee has the new row, and the plain table keeps the old row",
      report.summary)
    assert.equal("the new row", fact(report, "Perigee: who asked just after it got"))
    assert.equal("the new row", fact(report, "Perigee: who asked late got"))
    assert.equal("the old row", fact(report, "plain table: who asked late got"))
    assert.equal(2, count(report, "cache", "load"))
    local loads = count(report, "database", "load")
    assert.is_true(loads >= 3)
    local change, first = find(report, "database", "change")[1], find(report, "cache", "load")[1]
    assert.is_true(first.at < change.at and change.at <= first.till)
  end)

  -- What is so of any second level.
  local function check_outage(report)
    assert.equal(0, fact(report, "old rows served"))
    assert.matches("no old row was served$", report.summary)
    assert.is_true(fact(report, "before: reads that it answered") > 0)
    assert.matches("^not confirmed: ", fact(report, "a change during the outage"))
    assert.equal("yes", fact(report, "afterwards: it has the new row"))
    assert.is_true(fact(report, "afterwards: reads that it answered") >= 5)
    local reads = fact(report, "during the outage: reads")
    assert.is_true(reads > 1)
    assert.equal(reads, fact(report, "during the outage: reads answered by the loader"))
    local away = find(report, "second level", "error")[1]
    for _, event in ipairs(find(report, "readers", "hit")) do
      assert.is_true(event.at <= away.at or event.at >= away.till - 0.1)
    end
    for _, event in ipairs(find(report, "readers", "call")) do
      assert.is_true((event.till or event.at) - event.at < 2000) -- nobody hangs
    end
    assert.equal(0, count(report, "readers", "error"))
  end

  it("outage freezes a Redis server, and reads go on", function()
    if not has_redis() then return pending "this machine cannot: no redis-server" end
    without_folders(function()
      local report
      local lines = logged(function() report = played "outage" end)
      check_outage(report)
      assert.matches("redis%-server", fact(report, "the second level"))
      assert.is_true(fact(report, "during the outage: reads that waited for it") >= 1)
      assert.equal(1, #lines)
      assert.same({}, unexpected(lines))
    end)
  end)

  it("outage has a table switched off where there is no Redis", function()
    local exec = perigee.exec
    rawset(perigee, "exec", function() return nil, "there are no programs" end)
    local report
    local ok, err = pcall(logged, function() report = played "outage" end)
    rawset(perigee, "exec", exec)
    assert.is_true(ok, err)
    check_outage(report)
    assert.matches("a table in this process, switched off %(redis%-server is not installed",
      fact(report, "the second level"))
  end)

  -- The rules are in docs/design/0012-guard.md: the 5th equal call is refused; and so is a circle,
  -- when its answers, which come from the cache, have been fetched again and were the same.
  it("agent stops at the fifth equal call, and at the ninth of a circle", function()
    local report = played "agent"
    assert.equal("one call, repeated, was stopped at call 5; two calls in turn, was stopped at "
      .. "call 9", report.summary)
    local ran = fact(report, "one call: times that a tool ran")
      + fact(report, "two calls in turn: times that a tool ran")
    assert.equal(ran, count(report, "tools", "load"))
    assert.equal(ran, count(report, "agent", "call"))
    assert.equal(4 + 8 - ran, count(report, "agent", "hit"))
    assert.equal(4, count(report, "agent", "error")) -- the refusals, and a retry of each
    assert.equal(2, count(report, "guard", "error"))
    assert.is_true(count(report, "guard", "note") > 0)
    assert.equal("refused again", fact(report, "one call: tried once more"))
    assert.matches("^Refused: search was called 5 times in a row",
      fact(report, "one call: the agent was told"))
    assert.matches("Cycle detected: open_page %-> search",
      fact(report, "two calls in turn: the agent was told"))
    assert.matches('session "scene: agent, two calls in turn": 9 calls',
      fact(report, "two calls in turn: the session says"))
  end)
end)

describe("a scene", function()
  after_each(assert_clean)

  it("is played in plain code, too, on a loop of its own", function()
    reports.check(assert(scenes.run "race"))
  end)

  it("is in the metrics while it is played", function()
    perigee.run(function()
      local task = perigee.spawn(scenes.run, "race")
      perigee.sleep(0.02)
      assert.same({ "scene: race" }, caches())
      reports.check((task:wait()))
    end)
  end)

  it("is the only one: who wants another hears that it is busy", function()
    perigee.run(function()
      local task = perigee.spawn(scenes.run, "herd")
      assert.same({ nil, "busy" }, { scenes.run "batch" })
      perigee.sleep(0.02)
      assert.same({ nil, "busy" }, { scenes.run "herd" })
      reports.check((task:wait()))
      reports.check((scenes.run "race"))
    end)
  end)

  for _, name in ipairs(NAMES) do
    it(name .. " leaves nothing behind when its caller is cancelled midway", function()
      without_folders(function()
        local lines = logged(function()
          for _, seconds in ipairs { 0, 0.01, 0.04, 0.12, 0.2 } do
            perigee.run(function()
              local report, err = perigee.timeout(seconds, scenes.run, name)
              if report then return reports.check(report) end
              assert.equal("timeout", err)
              assert_clean()
            end)
          end
        end)
        assert.same({}, unexpected(lines))
      end)
      reports.check(perigee.run(scenes.run, name == "race" and "batch" or "race"))
    end)
  end

  it("leaves nothing behind when its run ends", function()
    local lines = logged(function()
      perigee.run(function()
        perigee.spawn(scenes.run, "outage")
        perigee.sleep(0.15)
      end)
    end)
    assert.same({}, unexpected(lines))
  end)

  it("can be played again and again: the metrics do not grow", function()
    local function registered()
      local n = 0
      for _ in pairs(perigee.metrics()) do n = n + 1 end
      return n
    end
    collectgarbage()
    local before = registered()
    logged(function()
      for _ = 1, 3 do
        for _, name in ipairs(NAMES) do
          played(name)
          assert.equal(before, registered())
        end
      end
    end)
  end)
end)

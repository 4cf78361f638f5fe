-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan
-- perigee.agent.guard: what it refuses, what it does not, and what it says.
local guard = require "perigee.agent.guard"
local mistake = require "spec.support.mistake"
local scenarios = require "spec.support.scenarios"

-- Plays calls given as { tool, args, result, how }; returns the verdicts.
local function play(g, calls)
  local verdicts = {}
  for i, call in ipairs(calls) do
    local v = g:check { tool = call[1], args = call[2], kind = call.kind, cached = call.cached,
      round = call.round }
    verdicts[i] = v
    if v.action == "block" or v.action == "stop" then
      g:refuse(v)
    else
      g:record(v, call[3], call.how)
    end
  end
  return verdicts
end

local function times(n, call)
  local list = {}
  for i = 1, n do list[i] = call end
  return list
end

local function actions(verdicts)
  local list = {}
  for i, v in ipairs(verdicts) do list[i] = v.action end
  return table.concat(list, " ")
end

describe("stories", function()
  for _, story in ipairs(scenarios.STORIES) do
    local expected = story.label == "legit" and "go on: " or "are halted: "
    it(expected .. story.title, function()
      local halted = scenarios.play(story)
      if story.label == "legit" then
        assert.is_nil(halted, halted and halted.message)
      else
        assert.is_table(halted)
        assert.matches("^%u%l+: .+ Instead: .+%.$", halted.message)
      end
    end)
  end

  -- More of them, from a folder of JSON lines: what is used to tune must not be all that is tried.
  local folder = os.getenv "PERIGEE_CORPUS"
  if folder then
    it("of " .. folder .. " are told apart", function()
      local cjson = require "cjson"
      local pipe, count = io.popen(("cat %s/*.jsonl; zcat %s/*.jsonl.gz"):format(folder, folder)), 0
      for line in pipe:lines() do
        local story = cjson.decode(line)
        local halted = scenarios.play(story)
        assert.equal(story.label == "loop", halted ~= nil, story.id)
        count = count + 1
      end
      pipe:close()
      assert.is_true(count > 0)
    end)
  end
end)

describe("a guard", function()
  local g, now

  before_each(function()
    now = 0
    g = guard.new { clock = function() now = now + 1 return now end }
  end)

  it("warns, blocks and stops a call that teaches nothing", function()
    local verdicts = play(g, times(8, { "search", "x", "nothing" }))
    assert.equal("ok ok warn warn block block block stop", actions(verdicts))
    assert.equal("cycle", verdicts[5].kind)
    assert.equal(1, verdicts[5].period)
    assert.equal(5, verdicts[5].count)
    assert.equal(verdicts[3].loop_id, verdicts[8].loop_id)
    assert.equal("Refused: search was called 5 times in a row with the same arguments and gave the "
      .. "same result. Instead: use what is known, change the plan, or say what is missing.",
      verdicts[5].message)
  end)

  it("finds loops of every period up to sixteen within four rounds", function()
    for period = 1, 16 do
      local fresh = guard.new { clock = function() return 0 end, stall_block = math.huge,
        stall_warn = math.huge, stag_block = math.huge, stag_warn = math.huge }
      local calls = {}
      for i = 1, 6 * period do calls[i] = { "step", i % period, "result " .. i % period } end
      local blocked
      for i, v in ipairs(play(fresh, calls)) do
        if v.action == "block" then blocked = blocked or { i, v.period } end
      end
      assert.are.same({ math.max(3 * period + 1, 5), period }, blocked)
    end
  end)

  it("takes the calls in flight together for one round, in any order", function()
    local calls = {}
    for round = 1, 6 do
      for i = 1, 3 do
        local name = ("abc"):sub((i + round) % 3 + 1, (i + round) % 3 + 1)
        calls[#calls + 1] = { "read", name, "text " .. name, round = round }
      end
    end
    local verdicts = play(g, calls)
    for i = 1, 12 do assert.is_true(verdicts[i].action == "ok" or verdicts[i].action == "warn") end
    assert.equal("block", verdicts[13].action)
    assert.equal(1, verdicts[13].period)
  end)

  it("takes equal calls of one round for one", function()
    assert.equal("ok ok ok ok ok ok ok ok ok ok",
      actions(play(g, times(10, { "weather", "Bonn", "rain", round = 7 }))))
  end)

  it("wants fresh evidence before it refuses what a cache has answered", function()
    local verdicts = {}
    for i = 1, 7 do
      local v = g:check { tool = "config", args = {}, kind = "read", cached = i > 1 }
      verdicts[i] = v
      if v.action == "block" then g:refuse(v) else
        g:record(v, "v", { cached = i > 1 and v.action ~= "refresh" })
      end
    end
    assert.equal("ok ok refresh refresh block block block", actions(verdicts))
  end)

  it("goes on when the fresh answer is another one", function()
    for i = 1, 12 do
      local v = g:check { tool = "order", args = 1, kind = "read", cached = i > 1 }
      assert.is_true(v.action == "ok" or v.action == "refresh", v.message)
      g:record(v, v.action == "refresh" and "state " .. i or "state", { cached = i > 1
        and v.action ~= "refresh" })
    end
  end)

  it("keeps refusing until something new was learned", function()
    play(g, times(5, { "search", "x", "nothing" }))
    local v = g:check { tool = "search", args = "x" }
    assert.equal("block", v.action)
    play(g, { { "read", "file", "news" } })
    assert.are_not.equal("sticky", g:check({ tool = "search", args = "x" }).kind)
  end)

  it("stops who is refused again and again", function()
    local verdicts = play(g, times(30, { "search", "x", "nothing" }))
    assert.equal("stop", verdicts[30].action)
  end)

  it("lets repeats and calls be limited, whatever they bring", function()
    local strict = guard.new { max_tool_repeats = 3, max_execution_depth = 6 }
    local calls = {}
    for i = 1, 4 do calls[i] = { "roll", {}, i } end
    local verdicts = play(strict, calls)
    assert.equal("ok ok ok block", actions(verdicts))
    assert.equal("repeat", verdicts[4].kind)
    assert.equal(4, verdicts[4].count)
    verdicts = play(strict, { { "a", 1, 1 }, { "a", 2, 2 }, { "a", 3, 3 } })
    assert.equal("ok ok block", actions(verdicts))
    assert.equal("depth", verdicts[3].kind)
    strict:progress()
    assert.equal("ok", strict:check({ tool = "roll", args = {} }).action)
  end)

  it("by calls alone takes two rounds of anything for a loop", function()
    local literal = guard.new { evidence = "calls" }
    local verdicts = play(literal, { { "check", 1, 1 }, { "act", 1, 2 }, { "check", 1, 3 },
      { "act", 1, 4 } })
    assert.equal("ok ok ok block", actions(verdicts))
    assert.equal("cycle", verdicts[4].kind)
    assert.equal(2, verdicts[4].period)
    local repeats = guard.new { evidence = "calls" }
    assert.equal("ok ok ok ok", actions(play(repeats, times(4, { "check", 1, 1 }))))
  end)

  it("ends a session that is too long", function()
    local short = guard.new { max_calls = 10 }
    local calls = {}
    for i = 1, 11 do calls[i] = { "read", i, i } end
    local verdicts = play(short, calls)
    assert.equal("stop", verdicts[11].action)
    assert.equal("budget", verdicts[11].kind)
  end)

  it("may be told what stands for a call and for a result", function()
    local lossy = guard.new {
      clock = function() return 0 end,
      loop_key = function(_, args) return args.path end,
      result_key = function(_, result) return #result end,
    }
    local calls = {}
    for i = 1, 6 do
      calls[i] = { "read", { path = "p", at = i }, ("x"):rep(3) .. i % 10 }
    end
    assert.equal("block", play(lossy, calls)[5].action)
  end)

  it("never refuses for results that nothing stands for", function()
    for _, result in ipairs { print, io.stdout, setmetatable({}, {}), { f = print }, 0 / 0 } do
      local unsure = guard.new()
      for _ = 1, 20 do
        local v = unsure:check { tool = "t", args = 1 }
        assert.equal("ok", v.action)
        unsure:record(v, result)
      end
    end
    local cyclic = {}
    cyclic.self = cyclic
    local v = g:check { tool = "t", args = 1 }
    g:record(v, cyclic)
    assert.equal(1, g:stats().calls)
  end)

  it("tells every kind of argument and result apart", function()
    local values = { 1, "1", true, "true", false, { 1 }, { "1" }, {}, { a = 1 }, "", 0, 1.5 }
    local calls = {}
    for i, value in ipairs(values) do calls[i] = { "t", value, value } end
    calls[#calls + 1] = { "t", nil, nil }
    play(g, calls)
    assert.equal(0, g:stats().stall)
  end)

  it("refuses calls with a dot, and verdicts that are none", function()
    local own = guard.new()
    for _, method in ipairs {
      "check", "record", "refuse", "progress", "reset", "stats", "snapshot",
    } do
      for _, self in ipairs { {}, io.stdout, "x", 1, true } do
        local ok, message = pcall(own[method], self, { tool = "t" })
        assert.is_false(ok)
        assert.equal("guard:" .. method .. ": call it with a colon, on a guard", message)
      end
    end
    for _, call in ipairs { true, io.stdout, {} } do
      assert.has_error(function() own:refuse { call = call } end)
      assert.has_error(function() own:record({ call = call }, 1) end)
    end
  end)

  it("says what is wrong with a call", function()
    local cyclic = {}
    cyclic.self = cyclic
    mistake(function() g:check {} end, { "check", "tool" })
    mistake(function() g:check { tool = "" } end, { "check", "tool" })
    mistake(function() g:check { tool = "t", kind = "reads" } end, { "check", "kind", "reads" })
    mistake(function() g:check { tool = "t", round = "one" } end, { "check", "round", "one" })
    mistake(function() g:check "t" end, { "check", "call" })
    assert.has_error(function() g:check { tool = "t", args = cyclic } end)
    assert.has_error(function() g:check { tool = "t", args = { print } } end)
    assert.equal(0, g:stats().calls)
  end)

  it("says what is wrong with its options", function()
    mistake(function() guard.new { wran = 3 } end, { "new", "wran" })
    mistake(function() guard.new { warn = 0 } end, { "new", "warn", "0" })
    mistake(function() guard.new { warn = 0 / 0 } end, { "new", "warn" })
    mistake(function() guard.new { evidence = "none" } end, { "new", "evidence", "none" })
    mistake(function() guard.new(7) end, { "new", "opts", "7" })
    mistake(function() guard.restore(7) end, { "restore", "bytes", "7" })
  end)

  it("is restored from a snapshot, and from nothing else", function()
    play(g, times(4, { "search", "x", "nothing" }))
    local twin = assert(guard.restore(g:snapshot(), { clock = function() return now end }))
    assert.equal("block", twin:check({ tool = "search", args = "x" }).action)
    assert.are.same(g:stats(), twin:stats())
    local restored, why = guard.restore(g:snapshot():sub(1, -2))
    assert.is_nil(restored)
    assert.matches("damaged", why)
  end)

  it("forgets by reset", function()
    play(g, times(5, { "search", "x", "nothing" }))
    g:reset()
    assert.equal("ok", g:check({ tool = "search", args = "x" }).action)
    assert.equal(0, g:stats().calls)
  end)
end)

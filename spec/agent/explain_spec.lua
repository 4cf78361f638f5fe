-- SPDX-License-Identifier: MIT
-- agent.explain, and the numbers of sessions, tools and all.
local agent = require "perigee.agent"
local legible = require "perigee.agent.legible"
local perigee = require "perigee"
local keys = require "perigee.value.keys"
local tasks = require "spec.support.tasks"

describe("agent.explain", function()
  local read, write

  before_each(function()
    read = agent.cache { resource = "r", name = "read" } (function(k, more)
      if k == "bad" then error("no " .. k, 0) end
      return k, more
    end)
    write = agent.invalidator { resource = "r", name = "write" } (function() return true end)
  end)

  it("tells the calls, their arguments, answers and what came of them", function()
    local session = agent.open { session_id = "S" }
    session:run(function()
      read "a"
      read "a"
      pcall(read, "bad")
      write()
      read("a", { deep = { 1, 2 } })
    end)
    local explained = agent.explain(session)
    assert.equal("S", explained.session_id)
    local told = {}
    for i, call in ipairs(explained.calls) do
      assert.equal(i, call.number)
      assert.equal("ok", call.action)
      told[i] = { call.tool, call.arguments, call.outcome, call.answer }
    end
    assert.are.same({
      { "read", '"a", nil', "load", '"a", nil' },
      { "read", '"a", nil', "hit", '"a", nil' },
      { "read", '"bad", nil', "load", 'the error "no bad"' },
      { "write", "", "executed", "true" },
      { "read", '"a", { deep = { 1, 2 } }', "load", '"a", { deep = { 1, 2 } }' },
    }, told)
    assert.equal(5, explained.metrics.calls)
  end)

  it("tells verdicts and their evidence, and why it was stopped", function()
    local session = agent.open { session_id = "S" }
    local _, err = pcall(session.run, session, function() while true do read "a" end end)
    local explained = agent.explain(session)
    local last = explained.calls[#explained.calls]
    assert.equal("refused", last.outcome)
    assert.are.same({ "block", "cycle", 5, 1 }, { last.action, last.kind, last.count, last.period })
    assert.equal(err, explained.stopped)
    assert.equal(err.message, last.message)
    assert.equal("refresh", explained.calls[4].outcome)
    local text = tostring(explained)
    assert.matches(
      '^session "S": 5 calls, 2 hits, 2 executed, 1 loops found, 1 calls refused\n', text)
    assert.matches('\n   1  read%("a", nil%)  load: "a", nil\n', text)
    assert.matches("\n      Refused: read was called", text)
    assert.matches("\nstopped: Refused: ", text)
  end)

  it("keeps the last 25 calls", function()
    local session = agent.open { max_execution_depth = 1000 }
    session:run(function() for i = 1, 60 do read(i) end end)
    local calls = agent.explain(session).calls
    assert.equal(25, #calls)
    assert.equal(36, calls[1].number)
    assert.equal("60, nil", calls[25].arguments)
  end)

  it("tells of a closed session, and of one without calls", function()
    local session = agent.open()
    assert.are.same({}, agent.explain(session).calls)
    session:run(read, "x")
    session:close()
    assert.equal(1, #agent.explain(session).calls)
  end)
end)

describe("a legible value", function()
  it("is short, and never fails", function()
    assert.equal('"a\\nb"', legible.value "a\nb")
    assert.is_true(#legible.value(("x"):rep(10000)) < 220)
    local wide = {}
    for i = 1, 1000 do wide[i] = i end
    assert.matches("15, 16, %.%.%. }$", legible.value(wide))
    assert.equal("{ { { {...} } } }", legible.value { { { { 1 } } } })
    local cyclic = {}
    cyclic.me = cyclic
    assert.is_string(legible.value(cyclic))
    assert.equal("{ [true] = 1, b = 2 }", legible.value { b = 2, [true] = 1 })
    local evil = setmetatable({}, { __tostring = function() error "no" end })
    assert.equal("table", legible.value(evil))
    local odd = setmetatable({}, { __tostring = function() return 7 end })
    assert.is_string(legible.value(odd))
  end)

  it("reads the arguments back from a key", function()
    for expected, list in pairs {
      ['"plain"'] = { "plain" }, ["7.5"] = { 7.5 }, ["true"] = { true },
      ['"a", 2, false'] = { "a", 2, false },
      ["5LL, 6ULL"] = { 5LL, 6ULL },
      ['{ 1, "two", x = { y = true } }'] = { { 1, "two", x = { y = true } } },
      ['{ ["odd key"] = 1 }'] = { { ["odd key"] = 1 } },
      ["order#7, {}"] = { setmetatable({}, { __cachekey = function() return "order#7" end }), {} },
      [""] = {},
    } do
      assert.equal(expected, legible.key(keys.list("f", #list, unpack(list))))
    end
    assert.equal("nil, nil", legible.key(keys.list("f", 2)))
  end)
end)

describe("metrics", function()
  it("tell what a cache saved", tasks.virtual(function()
    local read = agent.cache { resource = "r" } (function(k)
      perigee.sleep(2)
      return k
    end)
    local before = agent.get_metrics()
    local metrics = agent.session(function(session)
      for k = 1, 3 do read(k) end
      for k = 1, 3 do read(k) end
      return session:get_metrics()
    end)
    assert.equal(3, metrics.saved_calls)
    assert.is_near(6, metrics.saved_seconds, 0.01)
    assert.is_near(6, metrics.executed_seconds, 0.01)
    local after = agent.get_metrics()
    assert.is_near(6, after.saved_seconds - before.saved_seconds, 0.01)
    assert.is_near(6, read:get_metrics().saved_seconds, 0.01)
    assert.equal(3, read:get_metrics().size)
  end))

  it("count who joined a load", tasks.virtual(function()
    local read = agent.cache { resource = "r" } ((tasks.slow(1, "x")))
    local metrics = agent.session(function(session)
      tasks.together(4, function() return read "k" end)
      return session:get_metrics()
    end)
    assert.are.same({ 4, 4, 3, 1, 3 }, { metrics.calls, metrics.misses, metrics.coalesced,
      metrics.executed, metrics.saved_calls })
  end))

  it("count loops by kind, refusals, errors", function()
    local act = agent.cache { resource = "r", kind = "exec" } (function() error("x", 0) end)
    local metrics = agent.session({ max_tool_repeats = 2 }, function(session)
      for _ = 1, 5 do pcall(act) end
      return session:get_metrics()
    end)
    assert.are.same({ ["repeat"] = 1 }, metrics.loops)
    assert.equal(1, metrics.loop_detections)
    assert.equal(3, metrics.refusals)
    assert.equal(2, metrics.errors)
    assert.equal(0, metrics.hit_rate)
  end)

  it("of all are those outside sessions, too", function()
    local read = agent.cache { resource = "r" } (function() return 1 end)
    local before = agent.get_metrics()
    read()
    read()
    local after = agent.get_metrics()
    assert.equal(2, after.calls - before.calls)
    assert.equal(1, after.hits - before.hits)
    assert.equal(1, after.misses - before.misses)
  end)

  it("of a session without calls are zero", function()
    local metrics = agent.open():get_metrics()
    for name, value in pairs(metrics) do
      if name ~= "loops" then assert.equal(0, value, name) end
    end
  end)
end)

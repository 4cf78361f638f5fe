-- SPDX-License-Identifier: MIT
-- What a session refuses, when it executes afresh, and what the one who called is told.
local agent = require "perigee.agent"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local ENDLESS = { max_tool_repeats = math.huge, max_execution_depth = math.huge }

local function with(more)
  local opts = {}
  for name, value in pairs(ENDLESS) do opts[name] = value end
  for name, value in pairs(more or {}) do opts[name] = value end
  return opts
end

local function reader(answer, opts)
  local count = { calls = 0 }
  opts = opts or {}
  opts.resource, opts.name = opts.resource or "r", opts.name or "read"
  return agent.cache(opts)(function(...)
    count.calls = count.calls + 1
    if type(answer) == "function" then return answer(count.calls, ...) end
    return answer
  end), count
end

local function raised(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "nothing was raised")
  return err
end

describe("a cached answer that repeats", function()
  it("is confirmed by an execution before anything is refused", function()
    local read, count = reader "same"
    read "x"
    agent.session(with {}, function(session)
      read "x"
      read "x"
      assert.equal(1, count.calls)
      read "x" -- the third identical hit
      assert.equal(2, count.calls)
      assert.equal(1, session:get_metrics().refreshes_confirmed)
      read "x"
    end)
    assert.equal(2, count.calls)
  end)

  it("never is a reason to refuse when it was old", function()
    local state = 0
    local read, count = reader(function() return state end, { ttl = 1000 })
    agent.session(with {}, function(session)
      for i = 1, 40 do
        state = i -- the world goes on; the cache does not know
        assert.is_true(read "x" <= i)
      end
      assert.equal(0, session:get_metrics().loop_detections)
      assert.is_true(session:get_metrics().refreshes_changed > 5)
      assert.is_true(count.calls < 20)
    end)
  end)

  it("is replaced for everybody by the fresh one", function()
    local state = "old"
    local read = reader(function() return state end)
    read "x"
    state = "new"
    agent.session(with {}, function()
      local answers = {}
      for i = 1, 4 do answers[i] = read "x" end
      assert.are.same({ "old", "old", "new", "new" }, answers)
    end)
    assert.equal("new", read "x")
  end)

  it("is executed once for all who ask at once", tasks.virtual(function()
    local read, count = reader(function()
      perigee.sleep(0.1)
      return "same"
    end)
    read "x"
    agent.session(with {}, function()
      read "x"
      read "x"
      perigee.gather { function() read "x" end, function() read "x" end, function() read "x" end }
    end)
    assert.equal(2, count.calls)
  end))

  it("that fails to be confirmed shows the failure, and stays for the others", function()
    local broken = false
    local read = reader(function()
      if broken then error("down", 0) end
      return "kept"
    end)
    read "x"
    broken = true
    agent.session(with {}, function()
      read "x"
      read "x"
      assert.equal("down", raised(read, "x"))
    end)
    assert.equal("kept", read "x")
  end)
end)

describe("a refusal", function()
  it("says what repeated, how often, what the last answer was, and what to do", function()
    local read = reader({ total = 3, items = { "a", "b" } })
    agent.session(with {}, function()
      local err = raised(function() for _ = 1, 20 do read("x", 1) end end)
      assert.equal("cycle", err.kind)
      assert.equal("Refused: read was called 5 times in a row with the same arguments and gave the "
        .. 'same result. The last answer was { items = { "a", "b" }, total = 3 }. Instead: use '
        .. "what is known, change the plan, or say what is missing.", err.message)
      assert.equal(5, err.count)
      assert.equal(1, err.period)
      assert.equal("block", err.action)
      assert.matches("^%x+$", err.loop_id)
    end)
  end)

  it("of a cycle names its steps", function()
    local a = reader("A", { name = "a", kind = "exec" })
    local b = reader("B", { name = "b", kind = "exec" })
    local c = reader("C", { name = "c", kind = "exec" })
    agent.session(with {}, function()
      local err = raised(function()
        for _ = 1, 9 do
          a()
          b()
          c()
        end
      end)
      assert.equal("cycle", err.kind)
      assert.equal(3, err.period)
      assert.matches("Cycle detected: b %-> c %-> a%. It comes round for the 4th time", err.message)
    end)
  end)

  it("of an error says what the error was", function()
    local fail = reader(function() error("no such table: users", 0) end, { kind = "exec" })
    agent.session(with {}, function()
      local err = raised(function() for i = 1, 20 do pcall(fail, i) end fail(21) end)
      assert.equal("error", err.kind)
      assert.matches("read has failed 6 times in a row with the same error", err.message)
      assert.matches('The last answer was the error "no such table: users"', err.message)
    end)
  end)

  it("is told to whoever listens", function()
    local read = reader "same"
    local heard = {}
    local off = perigee.on("loop", function(info) heard[#heard + 1] = info end)
    agent.session(with { session_id = "L" }, function() pcall(function()
      for _ = 1, 9 do read "x" end
    end) end)
    off()
    local last = heard[#heard]
    assert.equal("block", last.action)
    assert.equal("L", last.session_id)
    assert.equal("read", last.tool)
    assert.equal("cycle", last.kind)
    assert.is_string(last.message)
  end)

  it("of another session never reaches who joined its load", tasks.virtual(function()
    local inner = reader("i", { resource = "inner", name = "inner" })
    local outer = reader(function()
      perigee.sleep(0.1)
      return inner "x"
    end, { resource = "outer", name = "outer" })
    local stopped = agent.open { max_tool_repeats = 1 }
    stopped:run(inner, "x")
    local first = tasks.start(function() return stopped:run(outer) end)
    tasks.settle()
    local second = tasks.start(function()
      return agent.session(function() return outer() end)
    end)
    local third = tasks.start(outer)
    tasks.finish { first, second, third }
    assert.is_true(agent.is_loop_error(first[1]))
    assert.equal("i", second[1])
    assert.equal("i", third[1])
  end))

  it("inside a tool that has a session of its own is that tool's error", function()
    local inner = reader("i", { resource = "inner", kind = "exec" })
    local outer = agent.cache { resource = "outer" } (function()
      return agent.session({ max_tool_repeats = 1 }, function()
        inner()
        return inner()
      end)
    end)
    agent.session(function()
      assert.is_true(agent.is_loop_error(raised(outer)))
    end)
    assert.is_true(agent.is_loop_error(raised(outer)))
  end)
end)

describe("rounds", function()
  it("a fan-out is one, however many equal calls it makes", tasks.virtual(function()
    local work = reader(function()
      perigee.sleep(0.1)
      return "same"
    end, { kind = "exec" })
    agent.session(with {}, function(session)
      local calls = {}
      for i = 1, 20 do calls[i] = function() return work "x" end end
      perigee.gather(calls)
      assert.equal(0, session:get_metrics().loop_detections)
      perigee.gather(calls)
      assert.equal(0, session:get_metrics().loop_detections)
    end)
  end))

  it("fan-outs that repeat are a loop", tasks.virtual(function()
    local work = reader(function(_, k)
      perigee.sleep(0.1)
      return k
    end, { kind = "exec" })
    agent.session(with {}, function()
      local turns = 0
      local err = raised(function()
        for _ = 1, 20 do
          turns = turns + 1
          perigee.gather { function() work(1) end, function() work(2) end }
        end
      end)
      assert.equal("cycle", err.kind)
      assert.equal(5, turns)
    end)
  end))

  it("tasks side by side that never pause together are found, too", tasks.virtual(function()
    local work = reader(function(_, k)
      perigee.sleep(0.1 + k / 100)
      return k
    end, { kind = "exec" })
    agent.session(with {}, function(session)
      local turns = 0
      raised(perigee.gather, {
        function() while true do turns = turns + 1 work(1) end end,
        function() while true do turns = turns + 1 work(2) end end,
      })
      assert.is_true(turns < 30, turns .. " turns")
      assert.is_true(session:get_metrics().loop_detections > 0)
    end)
  end))

  it("calls in flight count for max_execution_depth", tasks.virtual(function()
    local work, count = reader(function() perigee.sleep(0.1) end, { kind = "exec" })
    agent.session({ max_execution_depth = 5 }, function()
      local calls = {}
      for i = 1, 20 do calls[i] = function() work(i) end end
      assert.equal("depth", raised(perigee.gather, calls).kind)
    end)
    assert.equal(5, count.calls)
  end))

  it("a cancelled call is no evidence, and is not in flight any more", tasks.virtual(function()
    local work = reader(function() perigee.sleep(10) end, { kind = "exec" })
    agent.session(with { max_execution_depth = 3 }, function(session)
      for _ = 1, 30 do perigee.timeout(0.1, work, "x") end
      assert.equal(0, session.pending)
      assert.equal(0, session:get_metrics().loop_detections)
    end)
  end))
end)

describe("on_loop", function()
  it("\"warn\" logs each rung of each loop once, and executes", function()
    local work, count = reader("same", { kind = "exec", name = "work" })
    local lines = logged(function()
      agent.session(with { on_loop = "warn" }, function()
        for _ = 1, 12 do work "x" end
        for _ = 1, 2 do work "y" end
      end)
    end)
    assert.equal(14, count.calls)
    local counts = {}
    for i, line in ipairs(lines) do
      counts[i] = tonumber(line.text:match "Careful: work was called (%d+) times in a row")
    end
    assert.are.same({ 3, 5, 8 }, { counts[1], counts[2], counts[3] })
    assert.is_true(#lines < 8)
  end)

  it("\"short_circuit\" gives the last answer of that call, or nil and why", function()
    local work, count = reader(function(n) return "answer", n end, { kind = "exec" })
    agent.session(with { on_loop = "short_circuit",
      max_tool_repeats = 2, warn = 99, block = 99, stop = 99 }, function(session)
      work "x"
      work "x"
      assert.are.same({ "answer", 2 }, { work "x" })
      assert.are.same({ "answer", 2 }, { work "x" })
      assert.equal(2, count.calls)
      assert.is_false(session.stopped)
      session:progress()
      assert.are.same({ "answer", 3 }, { work "x" })
    end)
  end)
end)

describe("arguments of any type", function()
  it("make calls the same that are", function()
    local act = agent.invalidator { resource = "r", name = "act" } (function(_) return "same" end)
    for _, argument in ipairs { false, true, 0, "", { {} } } do
      agent.session(with {}, function()
        local made = 0
        local err = raised(function()
          for _ = 1, 20 do
            act(argument)
            made = made + 1
          end
        end)
        assert.equal("cycle", err.kind)
        assert.equal(4, made)
      end)
    end
  end)
end)

describe("keys of a tool's own", function()
  it("loop_key makes calls the same that the cache tells apart", function()
    local read, count = reader("same", { loop_key = function(q) return q:lower() end })
    agent.session(with { block = 3, warn = 2 }, function()
      read "Query"
      read "query"
      assert.equal("cycle", raised(read, "QUERY").kind)
    end)
    assert.equal(2, count.calls)
  end)

  it("result_key makes results the same that differ in what does not matter", function()
    local function work(n) return { time = n, rows = 3 } end
    local plain = reader(work, { kind = "exec" })
    local keyed = reader(work, { kind = "exec", result_key = function(r) return r.rows end })
    agent.session(with {}, function() for _ = 1, 20 do plain "x" end end)
    agent.session(with {}, function()
      assert.is_true(agent.is_loop_error(raised(function() for _ = 1, 20 do keyed "x" end end)))
    end)
  end)

  it("that raise lose no answer, and leave nothing in flight", function()
    local read = reader("same", { result_key = function() error("mine", 0) end })
    agent.session(with {}, function(session)
      local lines = logged(function() for _ = 1, 4 do assert.equal("same", read "x") end end)
      assert.matches('the tool "read": mine', lines[1].text)
      assert.equal(0, session.pending)
    end)
    local other = reader("same", { loop_key = function() error("mine", 0) end })
    assert.equal("mine", raised(agent.session, function() other "x" end))
  end)

  it("of arguments that cannot be compared make each call another", function()
    local act = agent.invalidator { resource = "r", name = "act" } (function(_) return "same" end)
    local cyclic = {}
    cyclic.self = cyclic
    agent.session(with { stag_block = math.huge, stall_block = math.huge }, function(session)
      for _ = 1, 30 do
        act(cyclic)
        act(function() end)
      end
      assert.equal(0, session:get_metrics().loop_detections)
    end)
  end)
end)

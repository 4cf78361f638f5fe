-- SPDX-License-Identifier: MIT
-- suites: dev
-- The runtime inside nginx: its port, its tasks, what it holds of whom.
local contract = require "spec.support.port_contract"
local files = require "spec.support.files"
local nginx = require "spec.support.nginx"

local TRAITS = [[{ name = "openresty", soon = true, light = true }]]

-- Runs the test of the contract that has this title, in the request.
local RUN_TEST = [[
local wanted, found = ..., false
require "spec.support.port_contract" (function(title, body)
  if title == wanted then found = true body() end
end, function(body) body() end, ]] .. TRAITS .. [[)
return found
]]

-- What a chunk may use.
local HEAD = [[
local context, perigee = require "perigee.context", require "perigee"
local log = {}
local function note(what) log[#log + 1] = what end
local function noted() return table.concat(log, " ") end
]]

if nginx.missing() then
  describe("the runtime inside nginx", function() pending(nginx.missing()) end)
  return
end

describe("the port inside nginx", function()
  after_each(nginx.clean)

  contract(function(title)
    it(title, function()
      local server = nginx.start()
      assert.is_true(server:lua(RUN_TEST, title))
      assert.same({}, server:errors())
    end)
  end, nil, loadstring("return " .. TRAITS)())
end)

describe("tasks inside nginx", function()
  local server
  setup(function()
    server = nginx.start {
      http = "lua_check_client_abort on; lua_max_pending_timers 20000;",
      locations = [[
        location = /killed { content_by_lua_block {
          local perigee = require "perigee"
          for _ = 1, 100 do perigee.spawn(perigee.sleep, 1000) end
          ngx.exit(200)
        } }
        location = /log {
          return 204;
          log_by_lua_block {
            local perigee, context = require "perigee", require "perigee.context"
            local seen = { ngx.get_phase() }
            package.loaded.seen = seen
            local function add(what) seen[#seen + 1] = what or "nothing" end
            context.load, context.session = 42, "logger"
            perigee.spawn(function(phase_of)
              add(phase_of())
              perigee.sleep(0.001)
              add(context.load) add(context.session) add(phase_of())
            end, ngx.get_phase)
            context.load, context.session = 0, nil
          }
        }
        location = /left {
          return 204;
          log_by_lua_block {
            local context = require "perigee.context"
            package.loaded.met = { context.load, context.session }
            context.load, context.session = 42, "logger"
            package.loaded.had = { context.load, context.session }
          }
        }
        location = /sleep { content_by_lua_block { require("perigee").sleep(1000) } }
      ]],
    }
  end)
  teardown(nginx.clean)

  local function run(chunk, ...) return server:lua(HEAD .. chunk, ...) end

  -- What a chunk raises.
  local function raised(chunk)
    local ok, err = pcall(run, chunk)
    assert.is_false(ok)
    return err
  end

  it("are of the runtime openresty", function()
    assert.equal("openresty", run "return perigee.runtime()")
  end)

  it("run calls its main with the arguments, and returns what that does", function()
    assert.same({ 1, nil, 3 }, {
      run "return perigee.run(function(...) return ... end, 1, nil, 3)" })
    assert.equal("x", run "return perigee.run({ main = function(a) return a end }, 'x')")
    assert.matches("^mine\n", raised "perigee.run(function() error('mine', 0) end)")
    assert.matches("perigee.run: main must be", raised "perigee.run(7)", 1, true)
    assert.matches("main", raised "perigee.run {}", 1, true)
  end)

  it("start at once and run until they wait", function()
    assert.equal("task spawned woken 1 2", run [[
      local task = perigee.spawn(function(a, b)
        note "task"
        perigee.sleep(0.005)
        note "woken"
        return a, b
      end, 1, 2)
      note "spawned"
      local a, b = task:wait()
      note(a) note(b)
      return noted()
    ]])
  end)

  it("give each who waits their results, nils included, or their error unchanged", function()
    assert.same({ 3, true, true }, { run [[
      local task = perigee.spawn(function() perigee.sleep(0.01) return nil, 2, nil end)
      local counts = perigee.gather { function() return select("#", task:wait()) end,
        function() return select("#", task:wait()) end }
      local mine = {}
      local failed = perigee.spawn(function() perigee.sleep(0.005) error(mine) end)
      local _, first = pcall(failed.wait, failed)
      local _, second = pcall(failed.wait, failed)
      return counts[1], first == mine, second == mine
    ]] })
  end)

  it("are waited for no longer than is said", function()
    local value, err, later = run [[
      local task = perigee.spawn(function() perigee.sleep(0.05) return "done" end)
      local value, err = task:wait(0.01)
      return value, err, task:wait(5)
    ]]
    assert.is_nil(value)
    assert.equal("timeout", err)
    assert.equal("done", later)
  end)

  it("that are cancelled raise at each of their waits, but in a shield", function()
    assert.equal("cancelled cancelled shielded cancelled", run [[
      local task = perigee.spawn(function()
        note(select(2, pcall(perigee.sleep, 10)))
        note(select(2, pcall(perigee.sleep, 10)))
        perigee.shield(function() perigee.sleep(0.001) note "shielded" end)
        perigee.sleep(10)
      end)
      task:cancel()
      note(select(2, pcall(task.wait, task)))
      return noted()
    ]])
  end)

  it("cancelling one that has ended changes nothing", function()
    assert.equal(5, run [[
      local task = perigee.spawn(function() return 5 end)
      task:cancel()
      return task:wait()
    ]])
  end)

  it("cannot wait for their own end", function()
    assert.matches("its own end", (run [[
      local task
      task = perigee.spawn(function()
        perigee.sleep(0.001)
        return select(2, pcall(task.wait, task))
      end)
      return task:wait()
    ]]))
  end)

  it("gather returns first results in order, whoever ends first", function()
    assert.same({ 1, 2, 3 }, run [[
      local fns = {}
      for i = 1, 3 do fns[i] = function() perigee.sleep(0.01 * (4 - i)) return i, "x" end end
      return perigee.gather(fns)
    ]])
    assert.same({}, run "return perigee.gather {}")
  end)

  it("gather raises the first error when the rest have been cancelled", function()
    local err, order, seconds = run [[
      local began = perigee.now()
      local _, err = pcall(perigee.gather, {
        function()
          local _, why = pcall(perigee.sleep, 100)
          note(why)
        end,
        function() perigee.sleep(0.01) error("mine", 0) end,
      })
      return err, noted(), perigee.now() - began
    ]]
    assert.equal("mine", err)
    assert.equal("cancelled", order)
    assert.is_true(seconds < 30)
  end)

  it("timeout ends what takes too long, and returns what does not", function()
    local a, b, value, err, seen = run [[
      local a, b = perigee.timeout(5, function(x) perigee.sleep(0.001) return x, "b" end, "a")
      local value, err = perigee.timeout(0.01, function()
        local _, why = pcall(perigee.sleep, 10)
        note(why)
      end)
      return a, b, value, err, noted()
    ]]
    assert.same({ "a", "b", nil, "timeout", "cancelled" }, { a, b, value, err, seen })
    assert.matches("^mine\n", raised "perigee.timeout(5, function() error('mine', 0) end)")
  end)

  it("sleep as long as they say, and let the others run", function()
    local seconds, order = run [[
      local began = perigee.now()
      perigee.spawn(function() for i = 1, 2 do perigee.sleep(0) note(i) end end)
      perigee.sleep(0.03)
      return perigee.now() - began, noted()
    ]]
    assert.is_true(seconds >= 0.029)
    assert.equal("1 2", order)
  end)

  it("wait within generators", function()
    assert.same({ 1, 2, 3 }, run [[
      local list = {}
      for i in perigee.wrap(function()
        for i = 1, 3 do perigee.sleep(0.001) coroutine.yield(i) end
      end) do list[#list + 1] = i end
      return list
    ]])
  end)

  it("begin in a timer where nginx allows none, with load and session", function()
    server:get "/log"
    assert.same({ "log", "timer", 42, "logger", "timer" }, run [[
      local seen
      repeat
        perigee.sleep(0.005)
        seen = package.loaded.seen
      until seen and #seen == 5
      return seen
    ]])
  end)

  it("whose error nobody hears of are told of in the log", function()
    run "perigee.spawn(function() error('nobody hears', 0) end)"
    local text
    for _ = 1, 1000 do
      text = server:log()
      if text:find("nobody hears", 1, true) then break end
      run "perigee.sleep(0.05)"
    end
    assert.matches("a task that nobody waited for failed: nobody hears", text, 1, true)
  end)

  it("keep their load and session while requests interleave", function()
    local chunk = [[
      local name = ...
      for i = 1, 20 do
        context.load, context.session = i, name
        local inner = perigee.spawn(function()
          if context.session ~= name or context.load ~= i then return "inherited wrongly" end
          context.session = name .. "'s"
          perigee.sleep(0.001)
          return context.session == name .. "'s" or "lost its own"
        end)
        perigee.sleep(0.001)
        if context.session ~= name or context.load ~= i then return "met another's" end
        local fine = inner:wait()
        if fine ~= true then return fine end
      end
      context.load, context.session = 0, nil
      return "fine"
    ]]
    local requests = {}
    for i = 1, 10 do requests[i] = server:begin_lua(nil, HEAD .. chunk, "session " .. i) end
    for i = 1, 10 do assert.equal("fine", requests[i]:values()) end
  end)

  it("leave nothing of a request's load and session to the next", function()
    run "context.load, context.session = 9, 'old'"
    for _ = 1, 20 do
      assert.same({ 0, nil }, { run "return context.load, context.session" })
    end
  end)

  -- nginx logs when it has called the clean-ups of a request, and uses its address again.
  it("leave nothing of a request that was logged to the next", function()
    for _ = 1, 20 do
      server:get "/left"
      assert.same({ 42, "logger" }, run "return package.loaded.had")
      assert.same({ 0, nil }, run "return package.loaded.met")
      run "context.load, context.session = 9, 'old'"
      assert.same({ 0, nil }, { run "return context.load, context.session" })
    end
  end)

  it("are known to have ended with their request, after others were logged", function()
    for _ = 1, 20 do
      server:get "/left"
      local life = run "return context.port.life()"
      assert.is_true(life > 0)
      assert.is_true(run("return context.port.is_over(...)", life))
    end
  end)

  -- A ticket names its slot.
  local function slot() return run "return context.port.can_wait() % 2 ^ 24" end

  it("that are killed while they wait leave no tickets behind", function()
    run [[
      for _ = 1, 100 do
        local threads = {}
        for i = 1, 100 do threads[i] = ngx.thread.spawn(perigee.sleep, 1000) end
        for i = 1, 100 do assert(ngx.thread.kill(threads[i])) end
      end
    ]]
    assert.is_true(slot() < 1000)
  end)

  it("that end with their request leave no tickets behind", function()
    for _ = 1, 100 do assert.equal(200, (select(2, server:get "/killed"))) end
    assert.is_true(slot() < 1000)
  end)

  it("of a client who goes leave no tickets behind", function()
    for _ = 1, 50 do server:abort("/sleep", 0.002) end
    assert.is_true(slot() < 1000)
    assert.equal("fine", run "perigee.sleep(0.01) return 'fine'")
  end)

  it("need neither libev nor hiredis", function()
    local pid = run [[
      local cache = perigee.new()
      cache:get("k", function() perigee.sleep(0.001) return 1 end)
      return ngx.worker.pid()
    ]]
    local maps = files.read("/proc/" .. pid .. "/maps")
    assert.matches("perigee/core.so", maps, 1, true)
    for _, library in ipairs { "perigee/rt.so", "libev", "hiredis" } do
      assert.is_nil(maps:find(library, 1, true))
    end
  end)
end)

describe("what init_worker begins", function()
  after_each(nginx.clean)

  it("keeps its load and session, and leaves none to the timers", function()
    local server = nginx.start { http = [[
      init_worker_by_lua_block {
        local context = require "perigee.context"
        local seen = {}
        package.loaded.seen = seen
        local function see()
          seen[#seen + 1] = { context.load, context.session }
        end
        local function in_timer()
          see()
          context.load, context.session = 9, "old"
          if #seen < 20 then ngx.timer.at(0, in_timer) end
        end
        context.load, context.session = 42, "starter"
        see()
        ngx.timer.at(0, in_timer)
      }
    ]] }
    local seen = server:lua [[
      repeat require("perigee").sleep(0.005) until #package.loaded.seen == 20
      return package.loaded.seen
    ]]
    assert.same({ 42, "starter" }, seen[1])
    for i = 2, 20 do assert.same({ 0, nil }, seen[i]) end
    assert.same({}, server:errors())
  end)
end)

describe("PERIGEE_RUNTIME inside nginx", function()
  after_each(nginx.clean)

  local function runtime_with(main, http)
    local server = nginx.start { main = main, http = http }
    local name, value = server:lua [[
      local perigee = require "perigee"
      local cache = perigee.new()
      return perigee.runtime(), cache:get("k", function() return "v" end)
    ]]
    assert.equal("v", value)
    assert.same({}, server:errors())
    return name
  end

  it("may say openresty, or nothing", function()
    assert.equal("openresty", runtime_with "env PERIGEE_RUNTIME=openresty;")
    assert.equal("openresty", runtime_with "env PERIGEE_RUNTIME=;")
  end)

  it("none makes a worker plain code", function()
    assert.equal("none", runtime_with "env PERIGEE_RUNTIME=none;")
  end)

  it("none does so also where init_by_lua requires Perigee", function()
    assert.equal("none", runtime_with("env PERIGEE_RUNTIME=none;",
      [[init_by_lua_block { require "perigee" }]]))
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev hard asan
-- csrc/core/flight_wait.c: who is woken, in which order, and which waits would never end.
local ffi = require "ffi"
local C = require("perigee.lib").core
local flight_model = require "spec.support.flight_model"

local flight

local function begin(key, group)
  local load = C.perigee_flight_begin(flight, 1, 0, key, 0, 0, group or 0)
  assert.is_true(load > 0)
  return load
end

local function land(load)
  return C.perigee_flight_land(flight, load, 0, 1)
end

local last_ticket = 0

-- Returns the waiter's id and its ticket.
local function wait(load, runs_for)
  last_ticket = last_ticket + 1
  return C.perigee_flight_wait(flight, load, last_ticket, runs_for or 0), last_ticket
end

local function must_wait(load, runs_for)
  local waiter, ticket = wait(load, runs_for)
  assert.is_true(waiter > 0)
  return waiter, ticket
end

local function leave(waiter)
  return C.perigee_flight_leave(flight, waiter)
end

local function tasks(load, delta)
  C.perigee_flight_tasks(flight, load, delta)
end

local function pull()
  return C.perigee_flight_pull(flight)
end

local function pull_all()
  local tickets = {}
  repeat
    tickets[#tickets + 1] = pull()
  until tickets[#tickets] == 0
  tickets[#tickets] = nil
  return tickets
end

local function chain()
  local loads = {}
  repeat
    loads[#loads + 1] = C.perigee_flight_chain(flight, #loads)
  until loads[#loads] == 0
  loads[#loads] = nil
  return loads
end

local function new_flight()
  flight = ffi.gc(C.perigee_flight_new(), C.perigee_flight_free)
end

local function verify()
  local broken = C.perigee_flight_verify(flight)
  assert.is_nil(broken ~= nil and ffi.string(broken) or nil)
end

describe("waiters of a load", function()
  before_each(new_flight)
  after_each(verify)

  it("are woken in the order they came, when it lands and not before", function()
    local load, tickets = begin "a", {}
    for i = 1, 100 do
      local _, ticket = must_wait(load)
      tickets[i] = ticket
    end
    assert.equal(100, C.perigee_flight_waiting(flight))
    assert.equal(0, pull())
    land(load)
    assert.same(tickets, pull_all())
    assert.equal(100, C.perigee_flight_waiting(flight))
  end)

  it("are woken whether the load succeeded, failed or was fenced", function()
    local failed, fenced = begin "a", begin "b"
    local _, first = must_wait(failed)
    local _, second = must_wait(fenced)
    C.perigee_flight_land(flight, failed, 0, 0)
    C.perigee_flight_fence(flight, 1, 0, "b", 0)
    land(fenced)
    assert.same({ first, second }, pull_all())
  end)

  it("of several loads are woken in the order of the landings", function()
    local a, b = begin "a", begin "b"
    local _, for_a = must_wait(a)
    local _, for_b = must_wait(b)
    local _, also_for_a = must_wait(a)
    land(b)
    assert.equal(for_b, pull())
    land(a)
    assert.same({ for_a, also_for_a }, pull_all())
  end)

  it("do not disturb each other when one leaves", function()
    local load = begin "a"
    local first, first_ticket = must_wait(load)
    local middle = must_wait(load)
    local last, last_ticket_of_it = must_wait(load)
    assert.equal(0, leave(middle))
    land(load)
    assert.same({ first_ticket, last_ticket_of_it }, pull_all())
    assert.equal(0, leave(first))
    assert.equal(0, leave(last))
    assert.equal(0, C.perigee_flight_waiting(flight))
  end)

  it("are not woken when they left between the landing and the pull", function()
    local load = begin "a"
    local first = must_wait(load)
    local _, second_ticket = must_wait(load)
    land(load)
    leave(first)
    assert.same({ second_ticket }, pull_all())
  end)

  it("cannot come after the landing", function()
    local load = begin "a"
    land(load)
    assert.equal(0, (wait(load)))
    assert.equal(0, C.perigee_flight_waiting(flight))
  end)

  it("cannot wait for a head that has landed, though its group lives", function()
    local head = begin "a"
    begin("b", head)
    land(head)
    assert.equal(0, (wait(head)))
  end)

  it("may leave twice: the second time is ignored, also when the record is reused", function()
    local load = begin "a"
    local waiter = must_wait(load)
    leave(waiter)
    local other, ticket = must_wait(load)
    assert.not_equal(waiter, other)
    assert.equal(0, leave(waiter))
    land(load)
    assert.same({ ticket }, pull_all())
  end)

  it("may all leave: the load goes on", function()
    local load = begin "a"
    leave((must_wait(load)))
    assert.equal(1, C.perigee_flight_is_running(flight, load))
    assert.equal(1, land(load))
    assert.equal(0, pull())
  end)
end)

describe("a wait that would never end", function()
  before_each(new_flight)
  after_each(verify)

  it("is refused for a load's own key", function()
    local a = begin "a"
    assert.equal(-1, (wait(a, a)))
    assert.same({ a }, chain())
    assert.equal(0, C.perigee_flight_waiting(flight))
  end)

  it("is refused for two loads that need each other", function()
    local a, b = begin "a", begin "b"
    must_wait(b, a)
    assert.equal(-1, (wait(a, b)))
    assert.same({ b, a }, chain())
  end)

  it("is refused for a longer chain, which is told from the waiting task's own load", function()
    local a, b, c, d = begin "a", begin "b", begin "c", begin "d"
    must_wait(b, a)
    must_wait(c, b)
    must_wait(d, c)
    assert.equal(-1, (wait(a, d)))
    assert.same({ d, a, b, c }, chain())
    assert.equal(0, C.perigee_flight_chain(flight, -1))
    assert.equal(0, C.perigee_flight_chain(flight, 4))
    land(d)
    assert.equal(1, #pull_all())
  end)

  it("is refused wherever the chain is closed: the chain begins there", function()
    local a, b, c = begin "a", begin "b", begin "c"
    must_wait(a, c)
    must_wait(c, b)
    assert.equal(-1, (wait(b, a)))
    assert.same({ a, b, c }, chain())
  end)

  it("is refused without a change: the same wait is refused again, others are not", function()
    local a, b, free = begin "a", begin "b", begin "free"
    must_wait(b, a)
    for _ = 1, 3 do assert.equal(-1, (wait(a, b))) end
    local waiter = must_wait(free, b)
    leave(waiter)
    assert.equal(-1, (wait(a, b)))
  end)

  it("is not refused to a task that runs for no load, or for one that has landed", function()
    local a, b = begin "a", begin "b"
    must_wait(b, a)
    must_wait(a)
    local gone = begin "gone"
    land(gone)
    must_wait(a, gone)
    must_wait(b, gone)
  end)

  it("is not refused when it leads to a cycle from outside only", function()
    local a, b, outside = begin "a", begin "b", begin "outside"
    tasks(b, 1)
    must_wait(b, a)
    must_wait(a, b)
    must_wait(a, outside)
  end)

  it("is refused for keys of one batch: a batch is one node", function()
    local head = begin "a"
    local second = begin("b", head)
    assert.equal(-1, (wait(second, head)))
    assert.same({ second }, chain())

    local other = begin "other"
    must_wait(other, head)
    assert.equal(-1, (wait(second, other)))
    assert.same({ other, second }, chain())
    assert.equal(-1, (wait(head, other)))
    assert.same({ other, head }, chain())
  end)

  it("is refused for a batch whose head has landed already", function()
    local head = begin "a"
    local second = begin("b", head)
    land(head)
    assert.equal(-1, (wait(second, head)))
    assert.same({ second }, chain())
    tasks(head, 1)
    must_wait(second, head)
  end)

  it("is refused to a task known by any load of its batch", function()
    local head = begin "a"
    local second = begin("b", head)
    assert.equal(-1, (wait(head, second)))
    assert.same({ head }, chain())
  end)

  it("is refused even when there is no memory to tell the cycle", function()
    local a, b = begin "a", begin "b"
    must_wait(b, a)
    must_wait(b, 0)
    leave((must_wait(b, 0)))
    C.perigee_core_fail_at(1)
    local waiter = wait(a, b)
    C.perigee_core_fail_at(0)
    assert.equal(-1, waiter)
    assert.same({}, chain())
    assert.equal(-1, (wait(a, b)))
    assert.same({ b, a }, chain())
  end)
end)

describe("a load with a second task that can move", function()
  before_each(new_flight)
  after_each(verify)

  it("is not a cycle, even if it waits for its own key", function()
    local a, b = begin "a", begin "b"
    tasks(a, 1)
    must_wait(a, a)
    leave((must_wait(b, a)))
    tasks(b, 1)
    must_wait(b, a)
    must_wait(a, b)
  end)

  it("becomes one when that task ends: the youngest waiter is woken and told", function()
    local a, b = begin "a", begin "b"
    tasks(a, 1)
    local old = must_wait(b, a)
    local young, young_ticket = must_wait(a, b)
    assert.equal(0, pull())
    tasks(a, -1)
    assert.same({ young_ticket }, pull_all())
    assert.equal(1, leave(young))
    assert.same({ b, a }, chain())
    assert.equal(0, leave(young))
    land(a)
    land(b)
    assert.equal(1, #pull_all())
    assert.equal(0, leave(old))
  end)

  it("becomes one when that task waits too: that wait is the one refused", function()
    local a, b = begin "a", begin "b"
    tasks(a, 1)
    must_wait(b, a)
    must_wait(a, b)
    assert.equal(-1, (wait(b, a)))
    assert.same({ a, b }, chain())
    tasks(a, -1)
    assert.equal(1, #pull_all())
  end)

  it("wakes the youngest waiter of the cycle, not one that hangs on it", function()
    local a, b, c = begin "a", begin "b", begin "c"
    tasks(b, 1)
    local _, young_ticket
    must_wait(b, a)
    _, young_ticket = must_wait(a, b)
    must_wait(a, c)
    must_wait(b)
    tasks(b, -1)
    assert.same({ young_ticket }, pull_all())
  end)

  it("wakes the younger of two waiters for the same load", function()
    local a = begin "a"
    tasks(a, 2)
    local first, first_ticket = must_wait(a, a)
    local second, second_ticket = must_wait(a, a)
    tasks(a, -1)
    assert.same({ second_ticket }, pull_all())
    assert.equal(1, leave(second))
    tasks(a, -1)
    assert.same({ first_ticket }, pull_all())
    assert.equal(1, leave(first))
  end)

  it("is no cycle while it also waits for a load that can move", function()
    local a, b, moving = begin "a", begin "b", begin "moving"
    tasks(a, 1)
    must_wait(b, a)
    local last = must_wait(moving, a)
    must_wait(a, b)
    land(moving)
    assert.equal(1, #pull_all())
    leave(last)
    assert.equal(0, pull())
    tasks(a, -1)
    assert.equal(1, #pull_all())
  end)

  it("can move again from the landing on, before the woken task has left", function()
    local a, b, c = begin "a", begin "b", begin "c"
    local waiter = must_wait(c, a)
    land(c)
    must_wait(a, b)
    leave(waiter)
    assert.equal(-1, (wait(b, a)))
  end)

  it("can move again when a waiter runs out of patience", function()
    local a, b = begin "a", begin "b"
    leave((must_wait(b, a)))
    must_wait(a, b)
    assert.equal(-1, (wait(b, a)))
  end)

  it("counts a batch's tasks together", function()
    local head = begin "a"
    local second, other = begin("b", head), begin "other"
    tasks(second, 1)
    must_wait(other, head)
    local _, ticket = must_wait(second, other)
    tasks(head, -1)
    assert.same({ ticket }, pull_all())
  end)
end)

describe("a woken victim", function()
  before_each(new_flight)
  after_each(verify)

  -- Two loads that need each other and are found out only when a task ends.
  local function deadlock(name)
    local a, b = begin(name .. "a"), begin(name .. "b")
    tasks(a, 1)
    must_wait(b, a)
    local victim = must_wait(a, b)
    tasks(a, -1)
    return victim, { b, a }
  end

  it("is told its own cycle, though others were found in between", function()
    local first, first_chain = deadlock "1"
    local second, second_chain = deadlock "2"
    local self_waiting = begin "self"
    assert.equal(-1, (wait(self_waiting, self_waiting)))
    assert.equal(1, leave(first))
    assert.same(first_chain, chain())
    assert.equal(1, leave(second))
    assert.same(second_chain, chain())
  end)

  it("is told nothing rather than a wrong cycle when memory was out", function()
    local a = begin "a"
    assert.equal(-1, (wait(a, a)))
    tasks(a, 1)
    local victim = must_wait(a, a)
    C.perigee_core_fail_at(1)
    tasks(a, -1)
    C.perigee_core_fail_at(0)
    assert.equal(1, #pull_all())
    assert.equal(1, leave(victim))
    assert.same({}, chain())
  end)

  it("may leave before it is pulled", function()
    local victim = deadlock "1"
    assert.equal(1, leave(victim))
    assert.equal(0, pull())
  end)

  it("is freed with the registry when it never leaves", function()
    deadlock "1"
    deadlock "2"
    C.perigee_flight_free(ffi.gc(flight, nil))
    new_flight()
  end)
end)

describe("tasks that run for a load", function()
  before_each(new_flight)
  after_each(verify)

  it("may outlive it: nothing is counted any more", function()
    local a, b = begin "a", begin "b"
    tasks(a, 1)
    land(a)
    tasks(a, -1)
    tasks(a, -1)
    must_wait(b, a)
    tasks(0, -1)
    local again = begin "a"
    assert.equal(-1, (wait(again, again)))
  end)

  it("run for nothing once their load has landed, also those that wait", function()
    local a, b = begin "a", begin "b"
    tasks(a, 1)
    local waiter, ticket = must_wait(b, a)
    land(a)
    local again = begin "a"
    must_wait(again, b)
    assert.equal(0, pull())
    land(b)
    assert.same({ ticket }, pull_all())
    assert.equal(0, leave(waiter))
  end)

  it("never number less than none", function()
    local a, b = begin "a", begin "b"
    tasks(a, -5)
    tasks(a, 1)
    tasks(b, 1)
    must_wait(b, a)
    must_wait(a, b)
    tasks(b, -2147483648)
    assert.equal(1, #pull_all())
    tasks(b, 2147483647)
    tasks(b, 2147483647)
  end)
end)

describe("long chains", function()
  before_each(new_flight)
  after_each(verify)

  it("of 5,000 loads are searched without depth, and told in full", function()
    local loads = {}
    for i = 1, 5000 do
      loads[i] = C.perigee_flight_begin(flight, 1, 0, nil, i, 0, 0)
      if i > 1 then must_wait(loads[i], loads[i - 1]) end
    end
    assert.equal(-1, (wait(loads[1], loads[5000])))
    assert.equal(loads[5000], C.perigee_flight_chain(flight, 0))
    for i = 1, 4999 do
      assert(loads[i] == C.perigee_flight_chain(flight, i), i)
    end
    assert.equal(0, C.perigee_flight_chain(flight, 5000))
  end)
end)

describe("random graphs of waiting loads", function()
  local KEYS = {}
  for i = 1, 30 do KEYS[i] = { cache = 1, space = 0, n = i } end

  local function begin_loads(model, random, count)
    for i = 1, count do
      local group = random(3) == 1 and #model.groups > 0 and model:pick(model.groups).id or 0
      model:begin(KEYS[i], 0, group)
    end
  end

  -- Only waits, ends of tasks and a few landings: cycles are everywhere.
  local function step(model, random)
    local choice, load, group = random(20), model:pick(model.loads), model:pick(model.groups)
    if #model.loads < 3 then
      begin_loads(model, random, 8)
    elseif choice <= 11 then
      model:wait(load, random(10) > 1 and group.id or 0)
    elseif choice <= 14 then
      model:tasks(group.id, random(4) == 1 and 1 or -1)
    elseif choice <= 16 then
      model:pull()
    elseif choice <= 18 and #model.waiters > 0 then
      model:leave(model:pick(model.waiters))
    elseif choice == 19 then
      model:land(load, 0, true)
    end
  end

  it("are refused or broken exactly when a naive search finds no way out", function()
    local refused, victims = 0, 0
    for seed = 1, 400 do
      local random = flight_model.generator(seed)
      local model = flight_model.new(random)
      model.failing = seed % 4 == 0
      begin_loads(model, random, 2 + random(12))
      for i = 1, 100 do
        local ok, message = pcall(step, model, random)
        if ok then ok, message = pcall(model.verify, model) end
        assert(ok, ("seed %d, step %d: %s"):format(seed, i, tostring(message)))
      end
      refused = refused + model.seen.refused
      victims = victims + model.seen.victims
    end
    assert.is_true(refused > 1000 and victims > 100, ("%d refused, %d victims"):format(refused,
      victims))
  end)
end)

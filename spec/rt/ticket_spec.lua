-- SPDX-License-Identifier: MIT
local ffi = require "ffi"
local C = require("perigee.lib").rt

local SLOTS = C.PERIGEE_TICKET_SLOTS

local function new()
  local loop = ffi.gc(C.perigee_loop_new(), C.perigee_loop_free)
  return C.perigee_loop_tickets(loop), loop
end

local function check(tickets)
  local broken = C.perigee_tickets_verify(tickets)
  assert.is_true(broken == nil, broken ~= nil and ffi.string(broken) or nil)
end

-- All tickets in the ring, as { ticket, slot, unparked }.
local function pull_all(tickets)
  local pulled, chunk = {}, C.perigee_tickets_chunk(tickets)
  repeat
    local n = C.perigee_tickets_pull(tickets, 2 ^ 31)
    for i = 0, n - 1 do
      pulled[#pulled + 1] = { chunk[i].ticket, chunk[i].slot, chunk[i].unparked }
    end
  until n == 0
  return pulled
end

describe("a ticket", function()
  it("is a positive number that names its slot", function()
    local tickets, loop = new()
    for slot = 0, 9 do
      local ticket = C.perigee_tickets_hold(tickets)
      assert.is_true(ticket > 0)
      assert.equal(slot, ticket % SLOTS)
    end
    assert.equal(10, C.perigee_tickets_held(tickets))
    assert.is_truthy(loop)
  end)

  it("is fired once; then it is stale and the slot's next one is good", function()
    local tickets, loop = new()
    local ticket = C.perigee_tickets_hold(tickets)
    assert.equal(0, C.perigee_tickets_unpark(tickets, ticket))
    assert.equal(-1, C.perigee_tickets_unpark(tickets, ticket))
    assert.same({ { ticket, 0, 1 } }, pull_all(tickets))
    assert.equal(0, C.perigee_tickets_unpark(tickets, ticket + SLOTS))
    assert.same({ { ticket + SLOTS, 0, 1 } }, pull_all(tickets))
    assert.is_truthy(loop)
  end)

  it("tells the newest when it is fired again before it was pulled", function()
    local tickets, loop = new()
    local ticket = C.perigee_tickets_hold(tickets)
    C.perigee_tickets_unpark(tickets, ticket)
    C.perigee_tickets_unpark(tickets, ticket + SLOTS)
    assert.same({ { ticket + SLOTS, 0, 1 } }, pull_all(tickets))
    assert.is_truthy(loop)
  end)

  it("is stale once renewed or released", function()
    local tickets, loop = new()
    local first, second = C.perigee_tickets_hold(tickets), C.perigee_tickets_hold(tickets)
    C.perigee_tickets_deadline(tickets, first, 1)
    C.perigee_tickets_renew(tickets, first)
    C.perigee_tickets_release(tickets, second)
    assert.equal(-1, C.perigee_tickets_unpark(tickets, first))
    assert.equal(-1, C.perigee_tickets_unpark(tickets, second))
    assert.equal(-1, C.perigee_tickets_unpark(tickets, second + SLOTS))
    assert.equal(0, C.perigee_tickets_expire(tickets, 10))
    local again = C.perigee_tickets_hold(tickets)
    assert.equal(second % SLOTS, again % SLOTS)
    assert.is_true(again > second)
    assert.is_truthy(loop)
  end)

  it("goes on at the first generation after the last", function()
    local tickets, loop = new()
    local ticket = C.perigee_tickets_hold(tickets)
    -- Nothing lets a spec count to two thousand million; the bounds refuse what lies beyond.
    assert.equal(-1, C.perigee_tickets_unpark(tickets, ticket + SLOTS * 0x7fffffff))
    for _, junk in ipairs { 0, -1, SLOTS - 1, 2 ^ 53, 1 / 0, -1 / 0, 0 / 0, 1e300 } do
      assert.equal(-1, C.perigee_tickets_unpark(tickets, junk))
      C.perigee_tickets_renew(tickets, junk)
      C.perigee_tickets_release(tickets, junk)
      C.perigee_tickets_deadline(tickets, junk, 1)
    end
    assert.equal(0, C.perigee_tickets_unpark(tickets, ticket))
    check(tickets)
    assert.is_truthy(loop)
  end)

  it("whose holder rests is nobody else's; who came to rest last is roused first", function()
    local tickets, loop = new()
    local first, second = C.perigee_tickets_hold(tickets), C.perigee_tickets_hold(tickets)
    assert.equal(-1, C.perigee_tickets_rouse(tickets))
    assert.equal(1, C.perigee_tickets_rest(tickets, first % SLOTS))
    assert.equal(0, C.perigee_tickets_rest(tickets, first % SLOTS))
    assert.equal(1, C.perigee_tickets_rest(tickets, second % SLOTS))
    C.perigee_tickets_release(tickets, first)
    assert.equal(2, C.perigee_tickets_hold(tickets) % SLOTS)
    check(tickets)
    assert.equal(second % SLOTS, C.perigee_tickets_rouse(tickets))
    assert.equal(first % SLOTS, C.perigee_tickets_rouse(tickets))
    assert.equal(0, C.perigee_tickets_unpark(tickets, first))
    for _, junk in ipairs { -1, 3, 2 ^ 31 - 1 } do
      assert.equal(0, C.perigee_tickets_rest(tickets, junk))
    end
    check(tickets)
    assert.is_truthy(loop)
  end)

  it("costs nothing but an answer when memory is out", function()
    local tickets, loop = new()
    local held = 0
    for n = 1, 200 do
      C.perigee_rt_fail_at(n % 4 + 1)
      local ticket = C.perigee_tickets_hold(tickets)
      C.perigee_rt_fail_at(0)
      if ticket ~= 0 then held = held + 1 end
      check(tickets)
    end
    assert.equal(held, C.perigee_tickets_held(tickets))
    assert.is_true(held > 100 and held < 200)
    assert.is_truthy(loop)
  end)
end)

-- So many slots may rest in any build; where limits are made small (the hard one), no more.
local LEAST_RESTING = 3

-- The same in plain Lua: a list of slots, the ring as a list, deadlines searched one by one.
local function new_model()
  return { slots = {}, ring = {}, resting = {}, order = 0 }
end

local function model_fire(model, slot, unparked)
  local s = model.slots[slot]
  s.fired, s.unparked, s.deadline = s.ticket, unparked, nil
  s.ticket = s.ticket + SLOTS
  if not s.queued then
    s.queued = true
    table.insert(model.ring, slot)
  end
end

local function model_expire(model, now)
  while true do
    local due
    for slot, s in pairs(model.slots) do
      local best = due and model.slots[due]
      if s.deadline and s.deadline <= now and (not best or s.deadline < best.deadline
        or s.deadline == best.deadline and s.order < best.order) then
        due = slot
      end
    end
    if not due then return #model.ring end
    model_fire(model, due, 0)
  end
end

local function model_pull(model)
  local pulled = {}
  for i, slot in ipairs(model.ring) do
    local s = model.slots[slot]
    s.queued = false
    pulled[i] = { s.fired, slot, s.unparked }
  end
  model.ring = {}
  return pulled
end

describe("tickets", function()
  it("do what a naive model does, through random operations", function()
    local seed = os.time() % 2 ^ 31
    math.randomseed(seed)
    local tickets, loop = new()
    local model, now, old = new_model(), 0, {}
    local function any()
      if #old == 0 then return 0 end
      return old[math.random(math.max(1, #old - 40), #old)]
    end
    local function good(ticket)
      local s = model.slots[ticket % SLOTS]
      return s and s.held and s.ticket == ticket and s
    end
    local operations = {
      hold = function()
        local ticket = C.perigee_tickets_hold(tickets)
        local slot = ticket % SLOTS
        local s = model.slots[slot] or { ticket = ticket, queued = false }
        assert.is_not_true(s.held)
        assert.equal(s.ticket, ticket)
        s.held = true
        model.slots[slot] = s
        old[#old + 1] = ticket
      end,
      release = function()
        local ticket = any()
        local s = model.slots[ticket % SLOTS]
        C.perigee_tickets_release(tickets, ticket)
        if s and s.held and not s.rests then
          s.held, s.deadline, s.ticket = false, nil, s.ticket + SLOTS
        end
      end,
      rest = function()
        local slot = any() % SLOTS
        local s, resting = model.slots[slot], model.resting
        local rests = C.perigee_tickets_rest(tickets, slot)
        if not s or not s.held or s.rests then return assert.equal(0, rests) end
        if rests == 0 then return assert.is_true(#resting >= LEAST_RESTING) end
        s.rests, resting[#resting + 1] = true, slot
      end,
      rouse = function()
        local slot = table.remove(model.resting) or -1
        assert.equal(slot, C.perigee_tickets_rouse(tickets))
        if slot >= 0 then model.slots[slot].rests = false end
      end,
      unpark = function()
        local ticket = any()
        local s = good(ticket)
        assert.equal(s and ticket % SLOTS or -1, C.perigee_tickets_unpark(tickets, ticket))
        if s then
          model_fire(model, ticket % SLOTS, 1)
          old[#old + 1] = s.ticket
        end
      end,
      renew = function()
        local ticket = any()
        local s = good(ticket)
        C.perigee_tickets_renew(tickets, ticket)
        if s then
          s.ticket, s.deadline = s.ticket + SLOTS, nil
          old[#old + 1] = s.ticket
        end
      end,
      deadline = function()
        local ticket, at = any(), now + math.random(0, 20)
        local s = good(ticket)
        C.perigee_tickets_deadline(tickets, ticket, at)
        model.order = model.order + 1
        if s then s.deadline, s.order = at, model.order end
      end,
      turn = function()
        now = now + math.random(0, 5)
        assert.equal(model_expire(model, now), C.perigee_tickets_expire(tickets, now))
        assert.equal(#model.ring, C.perigee_tickets_ready(tickets))
        local expected = model_pull(model)
        assert.same(expected, pull_all(tickets), "seed " .. seed)
        for _, s in pairs(model.slots) do
          if s.held then old[#old + 1] = s.ticket end
        end
      end,
    }
    local names = { "hold", "hold", "release", "unpark", "unpark", "renew", "deadline", "deadline",
      "rest", "rest", "rouse", "turn" }
    for step = 1, 20000 do
      operations[names[math.random(#names)]]()
      if C.perigee_tickets_held(tickets) > 60 then operations.release() end
      if step % 7 == 0 then check(tickets) end
    end
    assert.is_truthy(loop)
  end)

  it("all have a place in the ring: none is lost when thousands are fired at once", function()
    local tickets, loop = new()
    local held = {}
    for i = 1, 5000 do held[i] = C.perigee_tickets_hold(tickets) end
    for i = 5000, 1, -1 do C.perigee_tickets_unpark(tickets, held[i]) end
    check(tickets)
    local pulled = pull_all(tickets)
    assert.equal(5000, #pulled)
    for i = 1, 5000 do assert.equal(held[5001 - i], pulled[i][1]) end
    assert.is_truthy(loop)
  end)

  it("fired while a turn's are pulled wait for the next", function()
    local tickets, loop = new()
    local first, second = C.perigee_tickets_hold(tickets), C.perigee_tickets_hold(tickets)
    C.perigee_tickets_unpark(tickets, first)
    local left = C.perigee_tickets_expire(tickets, 0)
    C.perigee_tickets_unpark(tickets, second)
    assert.equal(1, C.perigee_tickets_pull(tickets, left))
    assert.equal(first, C.perigee_tickets_chunk(tickets)[0].ticket)
    assert.equal(1, C.perigee_tickets_ready(tickets))
    assert.is_truthy(loop)
  end)
end)

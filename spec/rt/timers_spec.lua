-- SPDX-License-Identifier: MIT
local ffi = require "ffi"
local C = require("perigee.lib").rt

local SLOTS = C.PERIGEE_TICKET_SLOTS

local function new()
  local loop = ffi.gc(C.perigee_loop_new(), C.perigee_loop_free)
  return C.perigee_loop_tickets(loop), loop
end

local function due(tickets, now)
  local slots, chunk = {}, C.perigee_tickets_chunk(tickets)
  local left = C.perigee_tickets_expire(tickets, now)
  while left > 0 do
    local n = C.perigee_tickets_pull(tickets, left)
    for i = 0, n - 1 do
      assert.equal(0, chunk[i].unparked)
      slots[#slots + 1] = chunk[i].slot
    end
    left = left - n
  end
  return slots
end

describe("deadlines", function()
  it("come earliest first, and among equals first come first", function()
    local tickets, loop = new()
    for _, at in ipairs { 3, 1, 2, 1, 3, 1 } do
      C.perigee_tickets_deadline(tickets, C.perigee_tickets_hold(tickets), at)
    end
    assert.equal(1, C.perigee_tickets_next(tickets))
    assert.same({ 1, 3, 5 }, due(tickets, 1))
    assert.equal(2, C.perigee_tickets_next(tickets))
    assert.same({ 2, 0, 4 }, due(tickets, 3))
    assert.equal(math.huge, C.perigee_tickets_next(tickets))
    assert.is_truthy(loop)
  end)

  it("are replaced by a later call, and go with an unpark", function()
    local tickets, loop = new()
    local first, second = C.perigee_tickets_hold(tickets), C.perigee_tickets_hold(tickets)
    C.perigee_tickets_deadline(tickets, first, 1)
    C.perigee_tickets_deadline(tickets, first, 5)
    C.perigee_tickets_deadline(tickets, second, 1)
    assert.same({ 1 }, due(tickets, 4))
    C.perigee_tickets_unpark(tickets, first)
    assert.equal(math.huge, C.perigee_tickets_next(tickets))
    assert.is_truthy(loop)
  end)

  it("of thousands in random order come sorted, whatever is taken out between", function()
    local tickets, loop = new()
    local at = {}
    for slot = 0, 2999 do
      local ticket = C.perigee_tickets_hold(tickets)
      at[slot] = math.random(1000)
      C.perigee_tickets_deadline(tickets, ticket, at[slot])
    end
    for slot = 0, 2999, 3 do
      C.perigee_tickets_renew(tickets, SLOTS + slot)
      at[slot] = nil
    end
    assert.is_true(C.perigee_tickets_verify(tickets) == nil)
    local slots = due(tickets, 1000)
    assert.equal(2000, #slots)
    for i = 2, #slots do
      local before, after = slots[i - 1], slots[i]
      assert.is_true(at[before] < at[after] or at[before] == at[after] and before < after)
    end
    assert.is_truthy(loop)
  end)
end)

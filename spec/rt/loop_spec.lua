-- SPDX-License-Identifier: MIT
local ffi = require "ffi"
local perigee = require "perigee"
local processes = require "spec.support.processes"
local C = require("perigee.lib").rt

local function new()
  return ffi.gc(C.perigee_loop_new(), C.perigee_loop_free)
end

local function verify(loop)
  local broken = C.perigee_loop_verify(loop)
  assert.is_true(broken == nil, broken ~= nil and ffi.string(broken) or nil)
end

local function time(fn)
  local before = C.perigee_loop_now()
  fn()
  return C.perigee_loop_now() - before
end

-- The least of some times: the machine may have been busy with something else.
local function least_time(fn)
  local least = math.huge
  for _ = 1, 10 do least = math.min(least, time(fn)) end
  return least
end

describe("the loop", function()
  it("waits as long as it is asked to", function()
    local loop = new()
    assert.is_true(least_time(function() C.perigee_loop_poll(loop, 0, math.huge) end) < 0.01)
    assert.is_true(least_time(function() C.perigee_loop_poll(loop, -1, math.huge) end) < 0.01)
    local passed = least_time(function() C.perigee_loop_poll(loop, 0.03, math.huge) end)
    assert.is_true(passed >= 0.029 and passed < 0.5)
  end)

  it("counts the wait from now, however long ago it was last asked", function()
    local loop = new()
    C.perigee_loop_poll(loop, 0.001, math.huge)
    local start = C.perigee_loop_now()
    while C.perigee_loop_now() - start < 0.03 do end
    assert.is_true(time(function() C.perigee_loop_poll(loop, 0.02, math.huge) end) >= 0.019)
  end)

  it("returns at once from a wait that nothing could end", function()
    local loop = new()
    assert.equal(0, C.perigee_loop_pending(loop))
    assert.is_true(least_time(function() C.perigee_loop_poll(loop, math.huge, math.huge) end) < 0.1)
  end)

  it("lives beside others of its kind, and answers NULL when memory is out", function()
    local loops = {}
    for i = 1, 5 do loops[i] = new() end
    for i = 1, 5 do
      C.perigee_loop_poll(loops[i], 0, math.huge)
      verify(loops[i])
    end
    for n = 1, 2 do
      C.perigee_rt_fail_at(n)
      assert.is_true(C.perigee_loop_new() == nil)
    end
    C.perigee_rt_fail_at(0)
  end)

  it("fires a ticket when a descriptor can be read", function()
    local loop = new()
    local tickets = C.perigee_loop_tickets(loop)
    local file = assert(io.popen "sleep 0.05; echo text")
    local fd = processes.descriptor_of(file)
    local ticket = C.perigee_tickets_hold(tickets)
    assert.equal(0, C.perigee_loop_readable(loop, fd, ticket))
    assert.equal(1, C.perigee_loop_pending(loop))
    verify(loop)
    C.perigee_loop_poll(loop, 0, math.huge)
    assert.equal(0, C.perigee_tickets_ready(tickets))
    C.perigee_loop_poll(loop, 5, math.huge)
    assert.equal(1, C.perigee_tickets_ready(tickets))
    assert.equal(0, C.perigee_loop_pending(loop))
    local buffer = ffi.new "char[16]"
    assert.equal(5, C.perigee_loop_read(fd, buffer, 16))
    assert.equal("text\n", ffi.string(buffer, 5))
    assert.equal(0, C.perigee_loop_read(fd, buffer, 16))
    assert.is_true(C.perigee_loop_read(-1, buffer, 16) < 0)
    verify(loop)
    file:close()
    local next_ticket = ticket + C.PERIGEE_TICKET_SLOTS
    assert.equal(0, C.perigee_loop_readable(loop, fd, next_ticket))
    assert.equal(0, C.perigee_loop_pending(loop))
    assert.equal(-1, C.perigee_tickets_unpark(tickets, next_ticket))
  end)

  it("does not lose a sleeping task in a busy one's turns", function()
    perigee.run(function()
      local woken = 0
      for _ = 1, 50 do
        perigee.spawn(function()
          for _ = 1, 20 do perigee.sleep(0.001) end
          woken = woken + 1
        end)
      end
      while woken < 50 do perigee.sleep(0) end
    end)
  end)

  it("goes on after a wait was tried across a C function", function()
    perigee.run(function()
      local ok, err = pcall(table.sort, { 3, 1, 2 }, function(a, b)
        perigee.sleep(0.01)
        return a < b
      end)
      assert.is_false(ok)
      assert.matches("C%-call boundary", err)
      local before = perigee.now()
      perigee.sleep(0.02)
      assert.is_true(perigee.now() - before >= 0.0199)
    end)
    perigee.run(function()
      local function wait_in_sort()
        pcall(table.sort, { 2, 1 }, function() perigee.sleep(0.001) end)
      end
      for _ = 1, 3 do
        perigee.spawn(wait_in_sort)
        perigee.sleep(0.005)
      end
    end)
  end)

  it("works two at a time, one after the other, and again after an error", function()
    for i = 1, 20 do
      assert.is_false((pcall(perigee.run, function()
        perigee.spawn(perigee.sleep, 10)
        perigee.sleep(0)
        error "ends it"
      end)))
      assert.equal(i, perigee.run(function() perigee.sleep(0) return i end))
    end
  end)
end)

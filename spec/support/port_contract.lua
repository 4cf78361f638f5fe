-- SPDX-License-Identifier: MIT
--- What every runtime port must do, as specs: `describe` a runtime, then call this inside it.
local assert = require "luassert"
local context = require "perigee.context"
local perigee = require "perigee"

--- @tparam function it busted's
-- @tparam function inside runs a test body under the runtime
-- @tparam table traits `name`; `blocks`: internal work runs in place and waiting blocks the
-- caller, so that nothing else can unpark it meanwhile but a timer; `soon`: internal work begins in
-- a later turn; `light`: coroutines of the user's may wait, and C functions on the stack go unseen
return function(it, inside, traits)
  local function test(title, body)
    it(title, function() inside(body) end)
  end

  -- Lets spawned work run until it waits.
  local function let_begin()
    local port = context.port
    if traits.soon then port.park(port.can_wait(), 0.05) end
  end

  test("has a name", function()
    assert.equal(traits.name, context.port.name)
  end)

  test("gives a positive ticket for the next park, the same until it parks", function()
    local ticket = context.port.can_wait()
    assert.is_true(ticket > 0)
    assert.equal(ticket, context.port.can_wait())
    context.port.park(ticket, 0)
    assert.not_equal(ticket, context.port.can_wait())
  end)

  test("park returns false when its time is up, and time has passed then", function()
    local port = context.port
    local before = port.now()
    assert.is_false(port.park(port.can_wait(), 0.02))
    assert.is_true(port.now() - before >= 0.0199)
  end)

  test("wait returns what park would, and what it would raise", function()
    local port = context.port
    assert.is_false(port.wait(port.can_wait(), 0.02))
    local ticket = port.can_wait()
    port.unpark(ticket)
    assert.is_true(port.wait(ticket, 5))
    if port.name == "none" then return end
    local task = perigee.spawn(function()
      local inner = context.port
      return inner.wait(inner.can_wait(), 3600)
    end)
    task:cancel()
    local woken, why = task:wait()
    assert.is_nil(woken)
    assert.equal("cancelled", why)
  end)

  test("says that code behind a C function cannot wait, and goes on", function()
    if traits.blocks or traits.light then return end
    local why
    table.sort({ 2, 1 }, function(a, b)
      local ticket
      ticket, why = context.port.can_wait()
      assert.is_nil(ticket)
      return a < b
    end)
    assert.matches("across a C%-call boundary", why)
    local port = context.port
    assert.is_false(port.park(port.can_wait(), 0.01))
  end)

  test("an unpark before the park makes it return true at once", function()
    local port = context.port
    local ticket, before = port.can_wait(), port.now()
    port.unpark(ticket)
    assert.is_true(port.park(ticket, 5))
    assert.is_true(port.now() - before < 1)
  end)

  test("an unpark that nobody parked for does not wake the next wait", function()
    local port = context.port
    port.unpark(port.can_wait())
    assert.is_false(port.park(port.can_wait(), 0.01))
  end)

  test("a stale ticket wakes nobody", function()
    local port = context.port
    local stale = port.can_wait()
    port.park(stale, 0)
    port.unpark(stale)
    assert.is_false(port.park(port.can_wait(), 0.01))
    port.unpark(stale)
    assert.is_false(port.park(port.can_wait(), 0.01))
  end)

  test("a wait with a stale ticket ends at once: its caller looks again", function()
    local port = context.port
    local stale = port.can_wait()
    port.park(stale, 0)
    assert.is_true(port.park(stale, 3600))
    assert.is_false(port.park(port.can_wait(), 0.01))
  end)

  test("numbers that never were tickets are ignored", function()
    local port = context.port
    local mine = port.can_wait()
    for _, junk in ipairs { 0, -1, 0.5, 1, 2 ^ 53, 2 ^ 60, math.huge, -math.huge, 0 / 0 } do
      port.unpark(junk)
    end
    assert.equal(mine, port.can_wait())
    assert.is_false(port.park(mine, 0.01))
  end)

  test("spawn runs its work, with both arguments", function()
    local got
    context.port.spawn(function(a, b) got = { a, b } end, 1, "two")
    let_begin()
    assert.same({ 1, "two" }, got)
  end)

  test("spawned work inherits load and session as they are at the call", function()
    local port, seen = context.port, nil
    context.load, context.session = 77, "s"
    port.spawn(function() seen = { context.load, context.session, context.port } end)
    context.load, context.session = 0, nil
    let_begin()
    assert.same({ 77, "s" }, { seen[1], seen[2] })
    assert.equal(port, seen[3])
  end)

  if traits.blocks then return end

  test("unpark wakes in a later turn, never within the call", function()
    local port, order = context.port, {}
    local ticket
    port.spawn(function()
      ticket = port.can_wait()
      port.park(ticket)
      order[#order + 1] = "woken"
    end)
    let_begin()
    port.unpark(ticket)
    order[#order + 1] = "unparked"
    port.park(port.can_wait(), 0.01)
    assert.same({ "unparked", "woken" }, order)
  end)

  test("two that unpark each other do not keep others from their time", function()
    local port, going = context.port, true
    local tickets = {}
    for i = 1, 2 do
      port.spawn(function()
        while going do
          tickets[i] = port.can_wait()
          port.unpark(tickets[3 - i] or 0)
          port.park(tickets[i], 0.001)
        end
      end)
    end
    let_begin()
    assert.is_false(port.park(port.can_wait(), 0.02))
    going = false
    port.park(port.can_wait(), 0.01)
  end)

  test("each finds its own load and session again after a wait", function()
    local port, seen = context.port, {}
    for i = 1, 3 do
      context.load, context.session = i, "s" .. i
      port.spawn(function()
        port.park(port.can_wait(), 0.01 * (4 - i))
        seen[i] = context.load .. context.session
      end)
    end
    context.load, context.session = 0, nil
    let_begin()
    port.park(port.can_wait(), 0.05)
    assert.same({ "1s1", "2s2", "3s3" }, seen)
    assert.equal(0, context.load)
  end)

  test("those whose time is up together are woken in the order they parked", function()
    local port, order = context.port, {}
    for i = 1, 5 do
      port.spawn(function()
        port.park(port.can_wait(), 0)
        order[#order + 1] = i
      end)
    end
    let_begin()
    port.park(port.can_wait(), 0.01)
    assert.same({ 1, 2, 3, 4, 5 }, order)
  end)

  test("waiting in a coroutine the user made says so, and names perigee.wrap", function()
    if traits.light then return end
    local ticket, why = coroutine.wrap(function() return context.port.can_wait() end)()
    assert.is_nil(ticket)
    assert.matches("perigee.wrap", why, 1, true)
  end)
end

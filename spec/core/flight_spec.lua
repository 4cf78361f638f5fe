-- SPDX-License-Identifier: MIT
-- suites: dev hard asan
-- csrc/core/flight.h: loads, their keys and fences; and everything at once against a model.
-- Waiting and deadlocks: flight_wait_spec.lua.
local ffi = require "ffi"
local C = require("perigee.lib").core
local flight_model = require "spec.support.flight_model"

describe("a registry of loads", function()
  local flight

  local function begin(key, options)
    options = options or {}
    local s = type(key) == "string" and key or nil
    local id = C.perigee_flight_begin(flight, options.cache or 1, options.space or 0, s,
      s and 0 or key, options.version or 0, options.group or 0)
    assert.is_true(id > 0)
    return id
  end

  local function find(key, options)
    options = options or {}
    local s = type(key) == "string" and key or nil
    return C.perigee_flight_find(flight, options.cache or 1, options.space or 0, s,
      s and 0 or key, options.version or 0)
  end

  local function fence(key)
    local s = type(key) == "string" and key or nil
    return C.perigee_flight_fence(flight, 1, 0, s, s and 0 or key)
  end

  local function land(load, version, succeeded)
    return C.perigee_flight_land(flight, load, version or 0, succeeded == false and 0 or 1)
  end

  before_each(function()
    flight = ffi.gc(C.perigee_flight_new(), C.perigee_flight_free)
  end)

  after_each(function()
    local broken = C.perigee_flight_verify(flight)
    assert.is_nil(broken ~= nil and ffi.string(broken) or nil)
  end)

  it("finds a load from its beginning to its landing", function()
    assert.equal(0, find "a")
    local load = begin "a"
    assert.equal(load, find "a")
    assert.equal(1, C.perigee_flight_is_running(flight, load))
    assert.equal(1, C.perigee_flight_running(flight))
    assert.equal(1, land(load))
    assert.equal(0, find "a")
    assert.equal(0, C.perigee_flight_is_running(flight, load))
    assert.equal(0, C.perigee_flight_running(flight))
  end)

  it("keeps caches, spaces and kinds of keys apart", function()
    local loads = {
      begin "1", begin(1), begin(1, { cache = 2 }), begin(1, { space = 3 }),
      begin(1, { cache = 3 }), begin(1, { cache = 0, space = 1 }),
    }
    assert.equal(loads[1], find "1")
    assert.equal(loads[2], find(1))
    assert.equal(loads[3], find(1, { cache = 2 }))
    assert.equal(loads[4], find(1, { space = 3 }))
    assert.equal(loads[5], find(1, { cache = 3 }))
    assert.equal(loads[6], find(1, { cache = 0, space = 1 }))
  end)

  it("takes 0 and -0 for one key, and NaN for one", function()
    local zero, nan = begin(0), begin(0 / 0)
    assert.equal(zero, find(-0))
    assert.equal(zero, find(0 * -1))
    assert.equal(nan, find(-(0 / 0)))
    assert.equal(nan, find(math.huge - math.huge))
  end)

  it("does not take a number with the bits of an address for the string there", function()
    local box = ffi.new("union { const char *s; double n; uint64_t bits; }")
    box.bits = 0
    box.s = "a string"
    begin "a string"
    assert.equal(0, find(box.n))
    box.bits = box.bits + 0xFFF8000000000000ULL
    assert.equal(0, find(box.n))
  end)

  it("finds every number, also those that differ in few bits", function()
    local loads, numbers = {}, {}
    for i = 1, 2000 do
      numbers[#numbers + 1] = i
      numbers[#numbers + 1] = -i / 8
      numbers[#numbers + 1] = i * 2 ^ 40
    end
    for i, number in ipairs(numbers) do loads[i] = begin(number) end
    for i, number in ipairs(numbers) do assert.equal(loads[i], find(number)) end
    for i = 1, #numbers, 2 do land(loads[i]) end
    for i, number in ipairs(numbers) do
      assert.equal(i % 2 == 0 and loads[i] or 0, find(number))
    end
  end)

  it("neither joins nor keeps a load that began before the cache was cleared", function()
    local load = begin("a", { version = 1 })
    assert.equal(0, find("a", { version = 2 }))
    assert.equal(load, find("a", { version = 1 }))
    assert.equal(0, land(load, 2))
  end)

  it("keeps a superseded load unless the newer one succeeded first", function()
    local old, new = begin "a", begin "a"
    assert.equal(new, find "a")
    assert.equal(1, land(old))
    assert.equal(new, find "a")
    assert.equal(1, land(new))

    old, new = begin "a", begin "a"
    assert.equal(1, land(new))
    assert.equal(0, find "a")
    assert.equal(0, land(old))
  end)

  it("keeps an older load when the newer one failed, but lets nobody join it again", function()
    local old, new = begin "a", begin "a"
    land(new, 0, false)
    assert.equal(0, find "a")
    assert.equal(1, land(old))
  end)

  it("tells of a failed load whether what it brought may be kept", function()
    assert.equal(1, land(begin "a", 0, false))
    local fenced = begin "a"
    fence "a"
    assert.equal(0, land(fenced, 0, false))
  end)

  it("fences every load of a written key, and no load that begins later", function()
    local older, newer, other = begin "a", begin "a", begin "b"
    assert.equal(2, fence "a")
    assert.equal(0, fence "a")
    assert.equal(0, find "a")
    local later = begin "a"
    assert.equal(later, find "a")
    assert.equal(0, land(newer))
    assert.equal(0, land(older))
    assert.equal(1, land(later))
    assert.equal(1, land(other))
  end)

  it("does not let a fenced load that lands outrun anyone", function()
    local fenced = begin "a"
    fence "a"
    local later = begin "a"
    assert.equal(0, land(fenced))
    assert.equal(later, find "a")
    assert.equal(1, land(later))
  end)

  it("lets nobody join a detached load, but keeps it", function()
    local load = begin "a"
    C.perigee_flight_detach(flight, load)
    assert.equal(0, find "a")
    assert.equal(1, C.perigee_flight_is_running(flight, load))
    assert.equal(1, land(load))
  end)

  it("fences a detached load when its key is written", function()
    local load = begin "a"
    C.perigee_flight_detach(flight, load)
    assert.equal(1, fence "a")
    assert.equal(0, land(load))
  end)

  it("never takes a stale id for the load that reuses its record", function()
    local stale = begin "a"
    land(stale)
    for _ = 1, 10 do
      local load = begin "a"
      assert.not_equal(stale, load)
      assert.equal(0, C.perigee_flight_is_running(flight, stale))
      assert.equal(0, land(stale))
      assert.equal(1, C.perigee_flight_is_running(flight, load))
      land(load)
    end
  end)

  it("gives ids from which the record's number can be read", function()
    local seen = {}
    for i = 1, 100 do
      local slot = begin(i) % C.PERIGEE_FLIGHT_SLOTS
      assert.is_nil(seen[slot])
      assert.is_true(slot < 100)
      seen[slot] = true
    end
  end)

  it("lands the loads of a group one by one, in any order", function()
    local head = begin "a"
    local second = begin("b", { group = head })
    local third = begin("c", { group = head })
    assert.equal(1, land(head))
    assert.equal(0, land(head))
    assert.equal(0, C.perigee_flight_is_running(flight, head))
    assert.equal(second, find "b")
    local fourth = begin("d", { group = head })
    assert.equal(1, land(third))
    assert.equal(1, land(second))
    assert.equal(1, land(fourth))
    assert.equal(0, C.perigee_flight_running(flight))
  end)

  it("begins a load of its own when the group is stale", function()
    local head = begin "a"
    land(head)
    local load = begin("b", { group = head })
    assert.equal(1, land(load))
  end)
end)

describe("a registry of loads without memory", function()
  local function keys_of(flight, n)
    local found = 0
    for i = 1, n do
      if C.perigee_flight_find(flight, 1, 0, nil, i, 0) ~= 0 then found = found + 1 end
    end
    return found
  end

  it("is not made", function()
    for n = 1, 2 do
      C.perigee_core_fail_at(n)
      assert.is_true(C.perigee_flight_new() == nil)
    end
    C.perigee_core_fail_at(0)
  end)

  it("loses nothing wherever an allocation fails", function()
    local nth, failures = 0, 0
    repeat
      nth = nth + 1
      local flight = ffi.gc(C.perigee_flight_new(), C.perigee_flight_free)
      local refused, first = 0, 0
      C.perigee_core_fail_at(nth)
      for i = 1, 200 do
        local load = C.perigee_flight_begin(flight, 1, 0, nil, i, 0, 0)
        if load == 0 then
          refused = refused + 1
          assert.is_true(C.perigee_flight_verify(flight) == nil)
          load = C.perigee_flight_begin(flight, 1, 0, nil, i, 0, 0)
        end
        assert.is_true(load > 0)
        local waiter = C.perigee_flight_wait(flight, load, i, first)
        if waiter == 0 then
          refused = refused + 1
          assert.is_true(C.perigee_flight_verify(flight) == nil)
          waiter = C.perigee_flight_wait(flight, load, i, first)
        end
        assert.is_true(waiter > 0)
        if i == 1 then first = load end
      end
      C.perigee_core_fail_at(0)
      assert.equal(200, keys_of(flight, 200))
      assert.equal(200, C.perigee_flight_running(flight))
      assert.equal(200, C.perigee_flight_waiting(flight))
      assert.is_true(C.perigee_flight_verify(flight) == nil)
      failures = failures + refused
    until refused == 0
    assert.equal(nth - 1, failures)
    assert.is_true(failures >= 4)
  end)
end)

describe("random loads and waiters", function()
  local STEPS, REGISTRIES = 200000, 500
  local keys = {}
  for cache = 1, 2 do
    for space = 0, 1 do
      for _, value in ipairs { "a", "b", 0, -0, 1, 2.5 } do
        local s = type(value) == "string" and value or nil
        table.insert(keys, { cache = cache, space = space, s = s, n = not s and value or nil })
      end
    end
  end

  local function step(model, random, versions)
    local key, choice = model:pick(keys), random(100)
    local load, waiter = model:pick(model.loads), model:pick(model.waiters)
    local any = random(8) == 1 and model:wrong_id() or load and load.id or 0
    if choice <= 15 then
      model:find(key, versions[key.cache])
    elseif choice <= 32 then
      if #model.loads < 40 then
        model:begin(key, versions[key.cache], random(3) == 1 and any or 0)
      end
    elseif choice <= 36 then
      model:fence(key)
    elseif choice == 37 then
      versions[key.cache] = versions[key.cache] + 1
    elseif choice <= 39 and load then
      model:detach(load)
    elseif choice <= 53 and load then
      model:land(load, versions[load.key.cache], random(3) > 1)
    elseif choice <= 73 and load then
      model:wait(load, random(4) > 1 and any or 0)
    elseif choice <= 82 and waiter then
      model:leave(waiter)
    elseif choice <= 90 then
      model:pull()
    elseif choice <= 97 then
      model:tasks(any, random(3) == 1 and 1 or -1)
    else
      model:wrong_calls()
      model:wrong_leave()
    end
  end

  it("behave like the model, also when memory runs out", function()
    local seen = { refused = 0, victims = 0, kept = 0, dropped = 0, failures = 0 }
    for seed = 1, REGISTRIES do
      local random = flight_model.generator(seed)
      local model, versions = flight_model.new(random), { 0, 0 }
      model.failing = seed % 2 == 0
      for i = 1, STEPS / REGISTRIES do
        local ok, message = pcall(step, model, random, versions)
        if ok and random(8) == 1 then ok, message = pcall(model.verify, model) end
        assert(ok, ("seed %d, step %d: %s"):format(seed, i, tostring(message)))
      end
      for name, count in pairs(model.seen) do seen[name] = seen[name] + count end
    end
    for name, count in pairs(seen) do
      assert.is_true(count > 50, ("only %d %s: the run proves little"):format(count, name))
    end
  end)
end)

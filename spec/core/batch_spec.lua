-- SPDX-License-Identifier: MIT
-- suites: dev hard asan
-- csrc/core/batch.h: keys that wait for company.
local ffi = require "ffi"
local C = require("perigee.lib").core

local batches

local function begin(loader, max, due_ms)
  local batch = C.perigee_batch_begin(batches, loader, max or 100, due_ms or 5)
  assert.is_true(batch > 0)
  return batch
end

local function open(loader)
  return C.perigee_batch_open(batches, loader)
end

local function add(batch, load)
  return C.perigee_batch_add(batches, batch, load)
end

-- The loads of a batch as a list, or nil when there is none (an empty batch, a stale id).
local function take(batch)
  local loads = {}
  local load = C.perigee_batch_take(batches, batch)
  while load ~= 0 do
    loads[#loads + 1] = load
    load = C.perigee_batch_take(batches, batch)
  end
  return loads[1] and loads
end

local function new_batches()
  batches = ffi.gc(C.perigee_batch_new(), C.perigee_batch_free)
end

local function verify()
  local broken = C.perigee_batch_verify(batches)
  assert.is_nil(broken ~= nil and ffi.string(broken) or nil)
end

describe("a batch", function()
  before_each(new_batches)
  after_each(verify)

  it("is found by its loader from its beginning until it is taken", function()
    assert.equal(0, open(7))
    local batch = begin(7)
    assert.equal(batch, open(7))
    assert.equal(0, open(8))
    add(batch, 1)
    assert.equal(batch, open(7))
    take(batch)
    assert.equal(0, open(7))
  end)

  it("lends its loads in the order they came", function()
    local batch, loads = begin(7, 1000), {}
    for i = 1, 500 do
      loads[i] = (i * 7919) % 1000
      assert.equal(i, add(batch, loads[i]))
    end
    assert.same(loads, take(batch))
  end)

  it("closes when it is full, and still is to be taken", function()
    local batch = begin(7, 3)
    assert.equal(1, add(batch, 11))
    assert.equal(2, add(batch, 12))
    assert.equal(batch, open(7))
    assert.equal(3, add(batch, 13))
    assert.equal(0, open(7))
    assert.equal(0, add(batch, 14))
    local following = begin(7, 3)
    assert.equal(following, open(7))
    assert.same({ 11, 12, 13 }, take(batch))
    assert.equal(following, open(7))
  end)

  it("holds at least one load", function()
    local batch = begin(7, 0)
    assert.equal(1, add(batch, 11))
    assert.equal(0, open(7))
    assert.same({ 11 }, take(batch))
  end)

  it("knows when it must leave", function()
    local batch = begin(7, 100, 1234.5)
    assert.equal(1234.5, C.perigee_batch_due_ms(batches, batch))
    take(batch)
    assert.equal(math.huge, C.perigee_batch_due_ms(batches, batch))
  end)

  it("of no loader is never found, and there may be many", function()
    local first, second = begin(0), begin(0)
    assert.equal(0, open(0))
    add(first, 1)
    add(second, 2)
    assert.same({ 1 }, take(first))
    assert.same({ 2 }, take(second))
  end)

  it("gives way to a newer one of its loader, but stays valid", function()
    local older, newer = begin(7, 3), begin(7, 3)
    assert.equal(newer, open(7))
    add(older, 1)
    add(newer, 2)
    assert.same({ 1 }, take(older))
    assert.equal(newer, open(7))
    assert.same({ 2 }, take(newer))
  end)

  it("is not confused with the one that reuses its record", function()
    local stale = begin(7)
    take(stale)
    for i = 1, 10 do
      local batch = begin(7)
      assert.not_equal(stale, batch)
      assert.equal(0, add(stale, 1))
      assert.is_nil(take(stale))
      assert.equal(1, add(batch, i))
      assert.same({ i }, take(batch))
    end
  end)

  it("is named by no odd number", function()
    begin(7)
    for _, id in ipairs { 0, -1, 0.5, 1, 2 ^ 53, 2 ^ 70, -2 ^ 70, 1 / 0, -1 / 0, 0 / 0 } do
      assert.equal(0, add(id, 1))
      assert.is_nil(take(id))
      assert.equal(math.huge, C.perigee_batch_due_ms(batches, id))
    end
  end)

  it("gives its loads one by one, whatever happens to others in between", function()
    local first, second = begin(7), begin(8)
    add(first, 1)
    add(second, 2)
    add(first, 3)
    assert.equal(1, C.perigee_batch_take(batches, first))
    assert.equal(0, add(first, 4))
    assert.equal(2, C.perigee_batch_take(batches, second))
    assert.equal(3, C.perigee_batch_take(batches, first))
    assert.equal(0, C.perigee_batch_take(batches, first))
    assert.equal(0, C.perigee_batch_take(batches, first))
  end)
end)

describe("batches without memory", function()
  it("are not made", function()
    for n = 1, 2 do
      C.perigee_core_fail_at(n)
      assert.is_true(C.perigee_batch_new() == nil)
    end
    C.perigee_core_fail_at(0)
  end)

  it("lose nothing wherever an allocation fails", function()
    local nth, failures = 0, 0
    repeat
      nth = nth + 1
      new_batches()
      local refused, ids = 0, {}
      local function again(call, ...)
        local result = call(batches, ...)
        if result ~= 0 then return result end
        refused = refused + 1
        verify()
        return call(batches, ...)
      end
      C.perigee_core_fail_at(nth)
      for i = 1, 70 do
        ids[i] = again(C.perigee_batch_begin, i, 100, i)
        for k = 1, i % 20 do assert(again(C.perigee_batch_add, ids[i], k) == k) end
      end
      C.perigee_core_fail_at(0)
      verify()
      for i = 1, 70 do
        assert(open(i) == ids[i])
        assert(#(take(ids[i]) or {}) == i % 20)
      end
      failures = failures + refused
    until refused == 0
    assert.equal(nth - 1, failures)
    assert.is_true(failures > 60)
  end)
end)

describe("random batches", function()
  local function generator(seed)
    local state = seed
    return function(n)
      state = state * 16807 % 2147483647 -- Park and Miller 1988
      return state % n + 1
    end
  end

  -- `model.live` holds every batch that was not taken, `model.open` those found by loader.
  local function step(model, random)
    local batch, choice = model.live[random(math.max(#model.live, 1))], random(20)
    if choice == 1 then
      local loader, max = random(12) - 1, random(20)
      batch = { loader = loader, max = max, due_ms = random(1000), loads = {} }
      batch.id = begin(loader, max, batch.due_ms)
      table.insert(model.live, batch)
      if loader > 0 then model.open[loader] = batch end
    elseif choice == 2 and batch then
      assert.same(batch.loads, take(batch.id) or {})
      assert.is_nil(take(batch.id))
      for i, other in ipairs(model.live) do
        if other == batch then table.remove(model.live, i) break end
      end
      if model.open[batch.loader] == batch then model.open[batch.loader] = nil end
    elseif choice <= 6 then
      local loader = random(12) - 1
      assert.equal(model.open[loader] and model.open[loader].id or 0, open(loader))
    elseif batch then
      local full, load = #batch.loads == batch.max, random(2 ^ 30)
      if not full then table.insert(batch.loads, load) end
      assert.equal(full and 0 or #batch.loads, add(batch.id, load))
      if #batch.loads == batch.max and model.open[batch.loader] == batch then
        model.open[batch.loader] = nil
      end
      assert.equal(batch.due_ms, C.perigee_batch_due_ms(batches, batch.id))
    end
  end

  it("behave like a naive model", function()
    for seed = 1, 20 do
      new_batches()
      local random, model = generator(seed), { live = {}, open = {} }
      for i = 1, 2500 do
        local ok, message = pcall(step, model, random)
        assert(ok, ("seed %d, step %d: %s"):format(seed, i, tostring(message)))
        if random(16) == 1 then verify() end
      end
    end
  end)
end)

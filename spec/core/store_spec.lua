-- SPDX-License-Identifier: MIT
-- The C store on its own: its index, its slots, its memory. What it promises to users is in
-- spec/cache and spec/store.
local bit = require "bit"
local ffi = require "ffi"
local C = require("perigee.lib").core

local POLICIES = {
  fifo = C.PERIGEE_POLICY_FIFO, lru = C.PERIGEE_POLICY_LRU,
  sieve = C.PERIGEE_POLICY_SIEVE, s3fifo = C.PERIGEE_POLICY_S3FIFO,
  wtinylfu = C.PERIGEE_POLICY_WTINYLFU, auto = C.PERIGEE_POLICY_AUTO,
}

local function new_clock(now_ms)
  local clock = ffi.new("perigee_clock")
  clock.held, clock.now_ms = 1, now_ms or 1000
  return clock
end

-- A store with the Lua half that the protocol asks for, as small as it can be.
local function new_store(opts, clock, tags)
  local config = ffi.new("perigee_store_config", {
    max_entries = opts.max_entries or math.huge,
    max_weight = opts.max_weight or math.huge,
    grace_ms = opts.grace_ms or 0,
    jitter = opts.jitter or 0,
    policy = opts.policy or POLICIES.auto,
  })
  local handle = C.perigee_store_new(config, clock, tags)
  if handle == nil then return nil end
  return {
    handle = ffi.gc(handle, C.perigee_store_free), view = C.perigee_store_get_view(handle),
    keys = {}, clock = clock, tags = tags,
  }
end

local function drain(store, told)
  while store.view.gone_count > 0 do
    local slot = C.perigee_store_pop(store.handle)
    if told then told(store.keys[slot], store.view.reason) end
    store.keys[slot] = nil
    C.perigee_store_release(store.handle, slot)
  end
end

local function identity(key)
  if type(key) == "number" then return nil, 0, key end
  return key, #key, 0
end

local function put(store, key, ttl_ms, weight)
  local s, length, n = identity(key)
  local slot
  repeat
    drain(store)
    slot = C.perigee_store_put(store.handle, 0, s, length, n, ttl_ms or math.huge, weight or 0)
  until slot ~= C.PERIGEE_AGAIN
  if slot >= 0 then store.keys[slot] = key end
  return slot
end

local function get(store, key)
  local s, _, n = identity(key)
  return C.perigee_store_get(store.handle, s, n)
end

local function verify(store)
  local broken = C.perigee_store_verify(store.handle)
  if broken ~= nil then error(ffi.string(broken), 2) end
end

describe("the index of the store", function()
  local function mean_probes(keys)
    local store = new_store({}, new_clock())
    for i = 1, #keys do put(store, keys[i]) end
    verify(store)
    return C.perigee_store_mean_probes(store.handle)
  end

  local N = os.getenv("PERIGEE_PRESET") == "hard" and 2000 or 200000

  local function family(make)
    local keys = {}
    for i = 1, N do keys[i] = make(i) end
    return keys
  end

  local families = {
    ["whole numbers"] = function(i) return i end,
    ["multiples of 2^20"] = function(i) return i * 2 ^ 20 end,
    ["eighths"] = function(i) return i / 8 end,
    ["negative numbers"] = function(i) return -i end,
    ["strings that differ at their end"] = function(i) return "a:common:prefix:" .. i end,
  }
  for name, make in pairs(families) do
    it("finds " .. name .. " in few looks", function()
      assert.is_true(mean_probes(family(make)) < 3)
    end)
  end

  it("finds random numbers in few looks", function()
    math.randomseed(11)
    assert.is_true(mean_probes(family(function() return math.random() * 2 ^ 40 end)) < 3)
  end)

  it("is not led astray by numbers whose bits collide without the seed", function()
    -- Without a seed, the high half of bits * K names the group: these share its upper bits.
    local union = ffi.new("union { double number; uint64_t bits; }")
    local inverse, K = 1ULL, 0x9E3779B97F4A7C15ULL
    for _ = 1, 6 do inverse = inverse * (2ULL - K * inverse) end
    local keys = family(function(i)
      union.bits = bit.band((0x123456ULL * 2 ^ 40 + i) * inverse, 0x7FEFFFFFFFFFFFFFULL)
      return union.number
    end)
    assert.is_true(mean_probes(keys) < 3)
  end)

  it("takes 0 and -0 for one key, and tells numbers, strings and booleans apart", function()
    local store = new_store({}, new_clock())
    local zero = put(store, 0)
    assert.equal(zero, get(store, -0))
    assert.equal(C.PERIGEE_MISS, get(store, "0"))
    assert.equal(C.PERIGEE_MISS, C.perigee_store_get(store.handle, C.perigee_core_bool(0), 0))
    assert.not_equal(C.perigee_core_bool(0), C.perigee_core_bool(1))
  end)

  it("keeps equal keys of different spaces apart", function()
    local store = new_store({}, new_clock())
    local here = C.perigee_store_put(store.handle, 0, "key", 3, 0, math.huge, 0)
    local space = C.perigee_store_new_space(store.handle)
    local other = C.perigee_store_new_space(store.handle)
    local there = C.perigee_store_put(store.handle, space, "key", 3, 0, math.huge, 0)
    assert.not_equal(here, there)
    assert.equal(here, C.perigee_store_find(store.handle, 0, "key", 0))
    assert.equal(there, C.perigee_store_find(store.handle, space, "key", 0))
    assert.equal(C.PERIGEE_MISS, C.perigee_store_find(store.handle, other, "key", 0))
  end)
end)

describe("a space of the store", function()
  local function put_in(store, space, key, ttl)
    local slot
    repeat
      slot = C.perigee_store_put(store.handle, space, nil, 0, key, ttl or math.huge, 0)
      drain(store, function() end)
    until slot ~= C.PERIGEE_AGAIN
    return slot
  end

  local function reclaim(store)
    repeat
      local more = C.perigee_store_step(store.handle, 16)
      drain(store, function() end)
    until more == 0
  end

  it("counts apart, and the whole counts all", function()
    local clock = new_clock()
    local store = new_store({ max_entries = 4, policy = POLICIES.lru }, clock)
    local space = C.perigee_store_new_space(store.handle)
    put_in(store, space, 1)
    put_in(store, space, 2, 5)
    put_in(store, 0, 1)
    assert.equal(C.PERIGEE_MISS, C.perigee_store_get_in(store.handle, space, nil, 3))
    assert.is_true(C.perigee_store_get_in(store.handle, space, nil, 1) >= 0)
    assert.is_true(C.perigee_store_get(store.handle, nil, 1) >= 0)
    assert.equal(2, C.perigee_store_space_size(store.handle, space))
    clock.now_ms = clock.now_ms + 10
    assert.equal(1, C.perigee_store_space_size(store.handle, space))
    reclaim(store)
    for key = 10, 13 do put_in(store, 0, key) end
    local counters = C.perigee_store_get_space(store.handle, space)
    assert.equal(1, tonumber(counters.hits))
    assert.equal(1, tonumber(counters.misses))
    assert.equal(1, tonumber(counters.expirations))
    assert.equal(1, tonumber(counters.evictions))
    assert.equal(2, tonumber(store.view.hits))
    assert.equal(2, tonumber(store.view.evictions))
    verify(store)
  end)

  it("is cleared alone, as often as one likes", function()
    local store = new_store({ max_entries = 100 }, new_clock())
    local space = C.perigee_store_new_space(store.handle)
    put_in(store, 0, 1)
    for round = 1, 200000 do
      if round % 1000 == 0 then put_in(store, space, 1) end
      local cleared = C.perigee_store_clear_space(store.handle, space)
      if cleared == 0 then
        reclaim(store)
        cleared = C.perigee_store_clear_space(store.handle, space)
      end
      assert(cleared ~= 0 and cleared ~= space, "the space was not cleared")
      space = cleared
      assert(C.perigee_store_find(store.handle, space, nil, 1) < 0, "an earlier life came back")
    end
    assert.is_true(C.perigee_store_find(store.handle, 0, nil, 1) >= 0)
    reclaim(store)
    assert.equal(1, C.perigee_store_size(store.handle))
    verify(store)
  end)

  it("is used again when it was dropped and there are no others, and is empty then", function()
    local store = new_store({ max_entries = 100 }, new_clock())
    local first = C.perigee_store_new_space(store.handle)
    put_in(store, first, 1)
    local count, space = 1, C.perigee_store_new_space(store.handle)
    while space ~= 0 do
      count, space = count + 1, C.perigee_store_new_space(store.handle)
    end
    assert.is_true(count == 65535 or count == 64) -- in the hard build
    C.perigee_store_drop_space(store.handle, first)
    local again = C.perigee_store_new_space(store.handle)
    assert.not_equal(0, again)
    assert.not_equal(first, again)
    assert.equal(C.PERIGEE_MISS, C.perigee_store_find(store.handle, again, nil, 1))
    assert.equal(0, C.perigee_store_new_space(store.handle))
    verify(store)
  end)
end)

describe("the slots of the store", function()
  for name, policy in pairs(POLICIES) do
    it("are handed out again only after Lua has released them (" .. name .. ")", function()
      local clock = new_clock()
      local store = new_store({ max_entries = 100, policy = policy }, clock)
      for i = 1, 100 do put(store, "key" .. i, 50) end
      clock.now_ms = clock.now_ms + 60
      C.perigee_store_step(store.handle, 1000)
      assert.is_true(store.view.gone_count > 0)
      assert.equal(C.PERIGEE_AGAIN, C.perigee_store_put(store.handle, 0, "new", 3, 0, 1, 0))
      drain(store, function(key) assert.is_string(key) end)
      verify(store)
    end)
  end

  it("come back after a clear, a bounded number per step", function()
    local store = new_store({ max_entries = 10000 }, new_clock())
    for i = 1, 10000 do put(store, i) end
    assert.equal(0, C.perigee_store_clear(store.handle))
    assert.equal(0, C.perigee_store_size(store.handle))
    local steps, told = 0, 0
    repeat
      local more = C.perigee_store_step(store.handle, 16)
      local before = told
      drain(store, function(_, reason)
        assert.equal(C.PERIGEE_GONE_CLEARED, reason)
        told = told + 1
      end)
      assert.is_true(told - before <= 16)
      steps = steps + 1
    until more == 0
    assert.equal(10000, told)
    assert.is_true(steps >= 10000 / 16)
    verify(store)
  end)

  it("survive more clears than there are epochs, step or no step", function()
    local store = new_store({ max_entries = 50 }, new_clock())
    for round = 1, 2000 do
      put(store, "key" .. round % 60)
      while C.perigee_store_clear(store.handle) == C.PERIGEE_AGAIN do
        C.perigee_store_step(store.handle, 1000)
        drain(store)
      end
      assert.equal(C.PERIGEE_MISS, get(store, "key" .. round % 60))
      assert.equal(0, C.perigee_store_size(store.handle))
    end
    verify(store)
  end)
end)

describe("expiry in the store", function()
  it("looks at no more entries per step than it is allowed to", function()
    local clock = new_clock()
    local store = new_store({}, clock)
    for i = 1, 5000 do put(store, i, 100000) end
    clock.now_ms = clock.now_ms + 200000
    assert.equal(0, C.perigee_store_size(store.handle))
    local expired = 0
    repeat
      local more = C.perigee_store_step(store.handle, 32)
      local before = expired
      drain(store, function() expired = expired + 1 end)
      assert.is_true(expired - before <= 32)
    until more == 0
    assert.equal(5000, expired)
    assert.equal(5000, tonumber(store.view.expirations))
  end)

  it("never expires early and never late, whatever the lifetime", function()
    math.randomseed(5)
    local clock = new_clock(123456789)
    local store = new_store({}, clock)
    local deadlines = {}
    for i = 1, 2000 do
      local ttl = math.floor(2 ^ (math.random() * 40)) + 1
      deadlines[i] = tonumber(clock.now_ms) + ttl
      put(store, i, ttl)
    end
    verify(store)
    local sorted = { unpack(deadlines) }
    table.sort(sorted)
    for at = 1, #sorted, 40 do
      for _, now in ipairs { sorted[at] - 1, sorted[at] } do
        now = math.max(now, tonumber(clock.now_ms))
        clock.now_ms = now
        local alive = 0
        for i = 1, #deadlines do
          local there = C.perigee_store_find(store.handle, 0, nil, i) >= 0
          assert.equal(deadlines[i] > now, there)
          if there then alive = alive + 1 end
        end
        assert.equal(alive, C.perigee_store_size(store.handle))
        while C.perigee_store_step(store.handle, 100) == 1 do drain(store) end
        drain(store)
        assert.equal(alive, C.perigee_store_size(store.handle))
      end
      verify(store)
    end
  end)

  it("says when it wants to be asked again", function()
    local clock = new_clock(0)
    local store = new_store({}, clock)
    assert.equal(math.huge, C.perigee_store_due_ms(store.handle))
    put(store, "soon", 20)
    put(store, "late", 1e6)
    assert.equal(20, C.perigee_store_due_ms(store.handle))
    clock.now_ms = 20
    C.perigee_store_step(store.handle, 100)
    drain(store)
    local due = C.perigee_store_due_ms(store.handle)
    assert.is_true(due > 20 and due <= 1e6)
  end)

  it("shortens lifetimes by the jitter, within its bound", function()
    local store = new_store({ jitter = 0.5 }, new_clock())
    local least, most = math.huge, 0
    for i = 1, 1000 do
      local left = C.perigee_store_ttl(store.handle, put(store, i, 100000))
      least, most = math.min(least, left), math.max(most, left)
    end
    assert.is_true(least >= 50000 and least < 60000)
    assert.is_true(most <= 100000 and most > 90000)
  end)
end)

describe("weights in the store", function()
  it("bound the sum, and an entry heavier than the bound is not stored", function()
    math.randomseed(3)
    local store = new_store({ max_weight = 1000 }, new_clock())
    for i = 1, 20000 do
      put(store, math.random(300), math.random(2) == 1 and 50 or math.huge, math.random(120))
      assert.is_true(C.perigee_store_weight(store.handle) <= 1000)
      if i % 100 == 0 then
        store.clock.now_ms = store.clock.now_ms + 20
        verify(store)
      end
    end
    assert.equal(C.PERIGEE_MISS, put(store, "too heavy", nil, 1001))
  end)
end)

describe("a store that runs out of memory", function()
  local function is_unharmed(store, present)
    verify(store)
    for key in pairs(present) do assert.is_true(get(store, key) >= 0) end
  end

  it("is not made, whichever allocation fails", function()
    local clock, made = new_clock(), false
    for n = 1, 20 do
      C.perigee_core_fail_at(n)
      made = new_store({ max_entries = 10, max_weight = 5 }, clock) ~= nil
      C.perigee_core_fail_at(0)
      if made then break end
    end
    assert.is_true(made)
  end)

  it("refuses the entry, keeps the others, and goes on when there is memory again", function()
    local refused = 0
    for n = 1, 60 do
      local tags = ffi.gc(C.perigee_tags_new(), C.perigee_tags_free)
      local store, present = new_store({}, new_clock(), tags), {}
      C.perigee_core_fail_at(n)
      for i = 1, 3000 do
        local slot = put(store, i, i % 2 == 0 and 1000 or nil)
        if slot >= 0 then
          present[i] = true
          local node = C.perigee_tags_path(tags, "a:" .. i, #("a:" .. i))
          if node >= 0 then C.perigee_store_tag(store.handle, slot, node) end
        else
          assert.equal(C.PERIGEE_NO_MEMORY, slot)
          refused = refused + 1
        end
      end
      C.perigee_core_fail_at(0)
      is_unharmed(store, present)
      assert.is_true(put(store, "after") >= 0)
    end
    assert.is_true(refused > 0)
  end)
end)

-- SPDX-License-Identifier: MIT
-- The policy that adapts. Hit ratios of real traces are in the benchmarks; here are requests made
-- to need one thing or the other, beside the fixed policies that are good or bad at it.
local ffi = require "ffi"
local C = require("perigee.lib").core
local perigee = require "perigee"
local policies = require "spec.support.policies"
local random = require "spec.support.random"

local HARD = os.getenv "PERIGEE_PRESET" == "hard" -- shadows of four entries choose at random

local function verify(cache)
  local broken = C.perigee_store_verify(cache.store.handle)
  if broken ~= nil then error(ffi.string(broken), 2) end
end

-- Asks for `n` keys, `key_of(i)` each; what is missing is set. Returns the hit ratio.
local function ask(cache, n, key_of)
  local hits = 0
  for i = 1, n do
    local key = key_of(i)
    if cache:get(key) then hits = hits + 1 else cache:set(key, true) end
  end
  return hits / n
end

local function ratio_of(policy, maxsize, n, key_of)
  local cache = perigee.new { policy = policy, maxsize = maxsize }
  local ratio = ask(cache, n, key_of)
  verify(cache)
  return ratio
end

local function loop_of(length)
  return function(i) return "loop " .. i % length end
end

-- Each key is asked for four times, a short while apart, and then no more.
local function recent(i)
  return "row " .. math.floor(i / 200) * 50 + i % 50
end

-- Between requests of some popular keys, each other key is asked for once.
local function scanned()
  local popular = random.zipf(300, 1, 5)
  return function(i) return i % 2 == 0 and "popular " .. popular() or "scan " .. i end
end

local function native_bytes(cache)
  return C.perigee_store_bytes(cache.store.handle)
end

describe("the policy auto", function()
  it("is the default", function()
    local function ratio(opts)
      return ask(perigee.new(opts), 40000, loop_of(200))
    end
    assert.is_true(ratio { maxsize = 100 } > ratio { maxsize = 100, policy = "s3fifo" } + 0.2)
  end)

  it("keeps a part of a loop that is longer than the cache", function()
    assert.equal(0, ratio_of("lru", 100, 50000, loop_of(150)))
    local got = ratio_of("auto", 100, 50000, loop_of(150))
    assert.is_true(HARD or got > 0.45, "hit ratio " .. got)
  end)

  it("keeps what is recent, where nothing else counts", function()
    local best = ratio_of("lru", 100, 50000, recent)
    local got = ratio_of("auto", 100, 50000, recent)
    assert.is_true(best > 0.7)
    assert.is_true(HARD or got > best - 0.03, ("hit ratio %g, of lru %g"):format(got, best))
  end)

  it("keeps what is popular while others are scanned", function()
    local worst = ratio_of("lru", 100, 100000, scanned())
    local got = ratio_of("auto", 100, 100000, scanned())
    assert.is_true(HARD or got > worst + 0.05, ("hit ratio %g, of lru %g"):format(got, worst))
  end)

  it("turns when the requests do", function()
    local cache = perigee.new { maxsize = 100 }
    for round = 1, 3 do
      ask(cache, 50000, loop_of(150))
      local looping = ask(cache, 20000, loop_of(150))
      assert.is_true(HARD or looping > 0.5, ("round %d: %g of a loop"):format(round, looping))
      ask(cache, 50000, recent)
      local recently = ask(cache, 20000, recent)
      assert.is_true(HARD or recently > 0.7, ("round %d: %g of recent"):format(round, recently))
    end
    verify(cache)
  end)

  it("knows a key by its text, wherever its string is", function()
    local function with(make, collect)
      local cache = perigee.new { maxsize = 200, default_ttl = 60 }
      local popular = random.zipf(3000, 0.8, 23)
      return ask(cache, 60000, function(i)
        if collect and i % 500 == 0 then collectgarbage() end
        return make(popular())
      end)
    end
    local strings = {}
    for i = 0, 3000 do strings[i] = "key " .. i end
    local kept = with(function(n) return strings[n] end, false)
    strings = nil -- luacheck: ignore
    local rebuilt = with(function(n) return "key " .. n end, true)
    assert.is_true(HARD or math.abs(kept - rebuilt) < 0.02, ("%g and %g"):format(kept, rebuilt))
  end)

  it("keeps weighed entries in bounds, few heavy or many light ones", function()
    local weight = 100
    local cache = perigee.new { maxsize = math.huge, maxweight = 1000,
      weigh = function() return weight end }
    for round = 1, 6 do
      weight = round % 2 == 0 and 1 or 100
      ask(cache, 5000, loop_of(round % 2 == 0 and 1500 or 15))
      verify(cache)
      assert.is_true(C.perigee_store_weight(cache.store.handle) <= 1000)
    end
  end)

  it("survives another size, a clear and deletions on the way", function()
    local cache, next_random = perigee.new { maxsize = 300 }, random.generator(3)
    for i = 1, 20000 do
      local key = "key " .. next_random(900)
      if not cache:get(key) then cache:set(key, i, next_random(3) == 0 and 60 or nil) end
      if i % 97 == 0 then cache:delete("key " .. next_random(900)) end
      if i % 4001 == 0 then cache:clear() end
      if i % 1009 == 0 then cache:resize(next_random(400) + 1) end
      if i % 101 == 0 then verify(cache) end
    end
    assert.is_true(cache:get_metrics().size > 0)
  end)

  it("takes memory when it first evicts, and little", function()
    assert.is_true(native_bytes(perigee.new()) <= 4096)
    for _, maxsize in ipairs { 1, 10, 128, 1000, 1024 } do
      local cache = perigee.new { maxsize = maxsize }
      for i = 1, maxsize do cache:set(i, i) end
      local before = native_bytes(cache)
      ask(cache, 10, function(i) return i % maxsize + 1 end)
      assert.equal(before, native_bytes(cache))
      cache:set("one more", 1)
      assert.is_true(native_bytes(cache) > before)
      assert.is_true(native_bytes(cache) - before <= 24576, maxsize .. " entries")
    end
    local cache = perigee.new { maxsize = 10000 }
    ask(cache, 10001, function(i) return i end)
    assert.is_true(native_bytes(cache) / 10000 <= 96 - 16) -- 16 in the Lua heap
  end)

  it("works on when there is no memory for that", function()
    for fail_at = 1, 6 do
      local cache = perigee.new { maxsize = 100 }
      for i = 1, 100 do cache:set(i, i) end
      for i = 101, 130 do
        if i == 101 or i == 120 then C.perigee_core_fail_at(fail_at) end
        cache:set(i, i)
        assert.equal(100, cache:get_metrics().size)
        verify(cache)
      end
      C.perigee_core_fail_at(0)
      assert.is_true(ask(cache, 20000, scanned()) > 0.1)
    end
  end)
end)

describe("the policy wtinylfu", function()
  for _, capacity in ipairs { 300, 600 } do
    it(("hits about as often as its paper says, with %d places"):format(capacity), function()
      local reference = policies.wtinylfu(capacity)
      local cache = perigee.new { policy = "wtinylfu", maxsize = capacity }
      local popular, other, expected = random.zipf(5000, 0.9, 17), random.zipf(5000, 0.9, 19), 0
      local got = ask(cache, 100000, function(i)
        local moved = math.floor(i / 20000) * 50
        local key = i % 3 == 0 and "scan " .. i or i % 3 == 1 and "key " .. popular()
          or "key " .. (other() + moved) % 5000
        if reference(key) then expected = expected + 1 end
        return key
      end)
      expected = expected / 100000
      assert.is_true(expected > 0.1)
      assert.is_true(math.abs(got - expected) < 0.02,
        ("%.4f, the paper's algorithm %.4f"):format(got, expected))
      verify(cache)
    end)
  end
end)

-- SPDX-License-Identifier: MIT
-- suites: dev hard
-- Finalizers of the user's values run at any allocation, and where compiled code is left, also
-- inside the cache. Each program has a process of its own, since what is wrong here ends it.
local perigee = require "perigee"
local script = require "spec.support.script"

local program = [[
%s
local ffi = require "ffi"
local perigee = require "perigee"
local C = require("perigee.lib").core
math.randomseed(%d)
local cache, finalized = nil, 0
local function on_evict()
  if math.random(20) == 1 then
    cache:set("x" .. math.random(10), {})
  end
end
cache = perigee.new { maxsize = 50, policy = "%s", default_ttl = 0.01,
  on_evict = math.random(2) == 1 and on_evict or nil }

local uses = {
  function(key) cache:get(key) end,
  function(key) cache:set(key, finalized, 0.001 * math.random(5)) end,
  function(key) cache:set(key, finalized, { tags = { "t:" .. math.random(3) } }) end,
  function(key) cache:delete(key) end,
  function() cache:invalidate_tags("t:" .. math.random(3)) end,
  function(key) cache:get(key, function() return finalized end) end,
  function() if math.random(50) == 1 then cache:clear() end end,
  function() if math.random(50) == 1 then cache:resize(math.random(60)) end end,
  function() for _ in cache:entries() do end end,
}

local function with_finalizer()
  local proxy = newproxy(true)
  getmetatable(proxy).__gc = function()
    finalized = finalized + 1
    -- Some raise by right: a finalizer cannot wait, nor clear a cache that is being written.
    pcall(uses[math.random(#uses)], "k" .. math.random(80))
  end
  return proxy
end

local function verify()
  local broken = C.perigee_store_verify(cache.store.handle)
  if broken ~= nil then error(ffi.string(broken)) end
end

local function main()
  for i = 1, 30000 do
    local key = "k" .. math.random(80)
    cache:set(key, with_finalizer(), {
      tags = { "t:" .. math.random(3) }, ttl = 0.001 * math.random(5) })
    cache:get("k" .. math.random(80))
    if i %% 100 == 0 then
      cache:delete(key)
      cache:get_many({ "k1", "k2", key }, { batch_loader = function() return {} end })
      perigee.sleep(0)
      verify()
    end
  end
end
%s
assert(cache:get_metrics().size <= 60)
assert(finalized > 100)
print("well")
io.stdout:flush()
if not closes then
  os.exit(0) -- leaves the state open
end
]]

local function run(start, seed, policy, call)
  local output, status = script(program:format(start, seed, policy, call), 60)
  assert.are.equal(0, status, output)
  assert.is_truthy(output:find("well", 1, true), output)
end

describe("finalizers that use the cache", function()
  local places = { ["plain code"] = "main()", ["a task"] = "perigee.run(main)" }
  for seed, policy in ipairs { "lru", "s3fifo", "sieve", "fifo" } do
    for place, call in pairs(places) do
      it(("leave it whole in compiled %s (%s)"):format(place, policy), function()
        run("", seed, policy, call)
        run("", seed + 4, policy, call)
      end)

      it(("leave it whole in interpreted %s (%s)"):format(place, policy), function()
        run("jit.off()", seed, policy, call)
      end)
    end
  end

  -- LuaJIT compiles `for in` for the types that it meets; a finalizer that meets others there may
  -- never leave the loop.
  it("may bring other types than the compiled code has met", function()
    local output, status = script([[
      local perigee = require "perigee"
      local function texts() return { a = "x", b = "x", c = "x", d = "x" } end
      local function numbers() return { 1, 2, [3.5] = 4, [true] = { 5 } } end
      local backend = {
        get = function() return false end,
        set = function() return nil, "down" end,
        delete = function() return nil, "down" end,
        clear = function() return true end, close = function() end,
      }
      require("perigee.log").sink = function() end
      local copying = perigee.new { copy = true }
      local remote = perigee.new { name = "r", remote_cache = backend }
      local function use(map, key)
        copying:set_many(map)
        copying:set("t", map)
        copying:get "t"
        copying:get_many { "t" }
        for i = 1, 40 do remote:set(key(i), i) end
        remote.remote.writes:settle()
      end
      for _ = 1, 100 do use(texts(), function(i) return "k" .. i end) end
      local is_done = false
      local function litter()
        getmetatable(newproxy(true)).__gc = function()
          use(numbers(), function(i) return i end)
          is_done = true
        end
      end
      litter()
      local kept = {}
      for i = 1, 1e7 do
        kept[i % 100] = { i }
        if is_done then break end
      end
      print(is_done)
      os.exit(0)
    ]], 15)
    assert.same({ 0, "true\n" }, { status, output })
  end)

  -- Several may run one after another, where somebody has a slot in his hand.
  it("may read a busy store, and leave it busy", function()
    local cache = perigee.new { maxsize = 10 }
    local store = cache.store
    cache:set("a", 1)
    cache:set(1, 1)
    store.busy = true
    assert.equal(1, (cache:get "a"))
    assert.equal(1, (cache:get(1)))
    assert.is_nil((cache:get "b"))
    assert.equal(1, (cache:peek "a"))
    assert.equal(1, (cache:get_many { "a" }).a)
    local n = 0
    for _ in cache:entries() do n = n + 1 end
    assert.equal(2, n)
    assert.is_true(store.busy)
    store.busy = false
  end)

  it("may run when the Lua state closes", function()
    run("closes = true", 3, "lru", [[
      main()
      for i = 1, 100 do
        cache:set("k" .. i, with_finalizer())
      end
    ]])
  end)
end)

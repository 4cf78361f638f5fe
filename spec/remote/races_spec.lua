-- SPDX-License-Identifier: MIT
-- suites: dev hard asan
-- What goes wrong between a memory and its second level when two things happen at once.
local flight = require "perigee.load.flight"
local logged = require "spec.support.logged"
local peer = require "spec.support.peer"
local perigee = require "perigee"
local redis = require "spec.support.redis"
local tasks = require "spec.support.tasks"

local eventually = redis.eventually

describe("a remote cache", function()
  local server, other

  setup(function()
    server = redis.start()
    other = peer.start "task"
  end)
  teardown(function()
    peer.clean()
    redis.clean()
  end)
  before_each(function()
    server:cli "flushall"
    other:open({ name = "c" }, server:opts())
  end)
  after_each(redis.close_caches)

  local function written(cache) assert.is_true(cache.remote.writes:flush()) end

  it("that is down lets a loader read the cache", tasks.real(function()
    logged(function()
      local cache = server:cache({}, { unix = "/nowhere" })
      cache:get("warm", function() return 1 end)
      local nested = perigee.spawn(function()
        return cache:get("outer", function()
          return (cache:get("inner", function() return 42 end))
        end)
      end)
      assert.equal(42, (nested:wait(60)))
      local later = perigee.spawn(function() return cache:get("k", function() return 7 end) end)
      assert.equal(7, (later:wait(60)))
    end)
  end))

  it("gets what a refresh loads, though it has something", tasks.real(function()
    local cache = server:cache { maxsize = 1 }
    cache:set("k", 1)
    written(cache)
    assert.equal(2, (cache:refresh("k", function() return 2 end)))
    written(cache)
    assert.equal(2, (other:call("get", "k")))
    cache:set("another", 0) -- memory has room for one
    assert.are.same({ 2, nil, "remote" }, { cache:get "k" })
    local _, _, source = cache:get("k", { use_cache = false, loader = function() return 3 end })
    assert.equal("load", source)
    written(cache)
    other:open({ name = "c" }, server:opts()) -- a load makes nobody's memory forget
    assert.equal(3, (other:call("get", "k")))
  end))

  it("is read by callers with and without a loader at once", tasks.real(function()
    local cache = server:cache()
    cache:get "warm"
    local without = perigee.spawn(function() return cache:get "k" end)
    local function load(key) return "loaded " .. key end
    local one = perigee.spawn(function() return cache:get("k", load) end)
    local many = perigee.spawn(function() return cache:get_many({ "k" }, { loader = load }).k end)
    without:wait()
    assert.equal("loaded k", (one:wait()))
    assert.equal("loaded k", (many:wait()))
  end))

  it("lets a batch that fails end nobody else's load", tasks.real(function()
    other:eval [[cache:set("there", "v") cache.remote.writes:flush()]]
    local cache = server:cache()
    local helper = perigee.spawn(perigee.sleep, 10)
    perigee.spawn(function()
      pcall(cache.get_many, cache, { "there", "slow" },
        { batch_loader = function() helper:wait() end })
    end)
    assert.is_true(eventually(function() return cache:contains "there" end))
    local innocent = perigee.spawn(function()
      return cache:get("innocent", function()
        perigee.sleep(0.2)
        return "fine"
      end)
    end)
    perigee.sleep(0.05)
    helper:cancel()
    assert.equal("fine", (innocent:wait(60)))
  end))

  it("calls no batch loader for nothing", tasks.real(function()
    local cache, sizes = server:cache { single_load = 5 }, {}
    cache:get_many({ "a", "b" }, { batch_loader = function(keys)
      sizes[#sizes + 1] = #keys
      return { a = 1, b = 2 }
    end })
    assert.are.same({ 2 }, sizes)
  end))

  it("keeps no lease for a load that was given up", tasks.real(function()
    other:open({ name = "c", single_load = 20 }, server:opts())
    local cache, calls = server:cache { single_load = 20, load_timeout = 0.1 }, 0
    local leader = other:send [[return cache:get("k", function()
      perigee.sleep(3)
      return nil, "failed"
    end)]]
    assert.is_true(eventually(function() return #server:keys "perigee:l*" == 1 end))
    local _, err = cache:get("k", function() calls = calls + 1 return 1 end)
    assert.equal("timeout", err)
    assert.are.same({ nil, "failed", "load" }, { other:result(leader) })
    perigee.sleep(0.2)
    written(cache)
    assert.are.same({}, server:keys "perigee:l*")
    assert.equal(0, calls)
  end))

  it("adds a value for one of two who try at once", tasks.real(function()
    local cache, added = server:cache(), 0
    local jobs = {}
    for i = 1, 2 do
      jobs[i] = perigee.spawn(function() if cache:add("k", i) then added = added + 1 end end)
    end
    for i = 1, 2 do jobs[i]:wait() end
    assert.equal(1, added)
  end))

  it("makes memory forget what was loaded before it could be reached", tasks.real(function()
    local own = redis.start()
    own:stop()
    logged(function()
      local cache = own:cache()
      assert.equal("old", (cache:get("k", function() return "old" end)))
      own:start()
      other:open({ name = "c" }, own:opts())
      other:eval [[cache:set("k", "new") cache.remote.writes:flush()]]
      assert.is_true(eventually(function() return (cache:get "k") == "new" end))
    end)
    own:stop()
  end))

  it("makes a backup's entries wait for its word", tasks.real(function()
    local path = os.tmpname()
    os.remove(path)
    local cache = server:cache { backup = perigee.disk(path) }
    cache:set("k", "old")
    written(cache)
    cache:close()
    other:eval [[cache:set("k", "new") cache.remote.writes:flush()]]
    cache = server:cache { backup = perigee.disk(path) }
    cache:get "anything"
    assert.equal("new", (cache:get "k"))
    cache:close()
    for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(path .. suffix) end
  end))

  it("tells a function's entries, whether anybody holds the function or not", tasks.real(function()
    local cache = server:cache()
    local function wrap()
      return perigee.lru { cache = cache, name = "f" } (function() return "ours" end)
    end
    other:eval [[
      version = 1
      f = perigee.lru { cache = cache, name = "f" } (function() return "v" .. version end)
      f(1)
      cache.remote.writes:flush()]]
    local f = wrap()
    assert.equal("v1", f(1))
    f = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.equal("v2", other:eval [[
      version = 2
      f:invalidate_cache(1)
      local value = f(1)
      cache.remote.writes:flush()
      return value]])
    perigee.sleep(0.02)
    assert.equal("v2", wrap()(1))
  end))

  it("has been listened to when a run begins", function()
    local cache = server:cache()
    perigee.run(function()
      cache:set("k", "old")
      written(cache)
    end)
    other:eval [[cache:set("k", "new") cache.remote.writes:flush()]]
    perigee.run(function() assert.equal("new", (cache:get "k")) end)
  end)

  it("lets a task of plain code outlive a run", function()
    local cache = server:cache()
    cache:get "warm"
    local task = perigee.spawn(function()
      return cache:get("k", function()
        perigee.sleep(0.3)
        return "loaded"
      end)
    end)
    perigee.run(function() perigee.sleep(0.05) end)
    assert.equal("loaded", (task:wait(60)))
  end)

  it("may be used by those who are told of what it makes memory forget", function()
    local cache, told = nil, 0
    cache = server:cache { on_evict = function()
      told = told + 1
      cache:peek "anything"
    end }
    for i = 1, 200 do cache:set(i, i) end
    written(cache)
    other:eval [[
      for i = 1, 200 do
        cache.remote.writes:push({ kind = "delete", space = "", key = i }, true)
      end
      cache.remote.writes:flush()]]
    perigee.sleep(0.01)
    for i = 1, 200 do assert.is_false(cache:contains(i)) end
    assert.equal(200, told)
  end)

  it("lets those who are told wait", tasks.real(function()
    local told
    local cache = server:cache { on_evict = function(key)
      perigee.sleep(0.001)
      told = key
    end }
    cache:set("k", 1)
    written(cache)
    other:call("delete", "k")
    assert.is_true(eventually(function() return told == "k" end))
  end))

  it("goes on when one turn has more to say than may wait", tasks.real(function()
    logged(function()
      local cache, large = server:cache({}, { timeout = 60 }), ("x"):rep(60 * 2 ^ 20)
      cache:get "warm"
      for i = 1, 3 do cache:set("large" .. i, large) end
      local writes = cache.remote.writes
      assert.is_true(eventually(function()
        return writes:flush() and not writes.has_debts
      end))
      assert.equal(1, (cache:get("k", function() return 1 end)))
      assert.is_nil(server:cli("client", "list"):find("multi=[0-9]"))
    end)
  end))

  it("of the user's is written on after a run that ended too early", function()
    local stored = {}
    local backend = {
      get = function(_, key) return stored[key] ~= nil, stored[key] end,
      set = function(_, key, value)
        perigee.sleep(0.02)
        stored[key] = value
        return true
      end,
      delete = function(_, key)
        stored[key] = nil
        return true
      end,
      clear = function()
        stored = {}
        return true
      end,
      close = function() end,
    }
    logged(function()
      local cache = perigee.new { name = "slow", maxsize = 1000, remote_cache = backend }
      perigee.run(function() for i = 1, 200 do cache:set(i, i) end end)
      perigee.run(function()
        local writes = cache.remote.writes
        assert.is_true(eventually(function()
          return writes:flush() and not writes.has_debts
        end))
        cache:set("new", 1)
        assert.is_true(eventually(function() return stored.new == 1 end))
      end)
      cache:close()
    end)
  end)

  it("keeps count of a write that a finalizer makes in the middle of another", tasks.real(function()
    local cache = server:cache()
    local writes, inner, reads = cache.remote.writes, nil, 0
    local function read(_, field)
      if field ~= "key" then return nil end
      reads = reads + 1
      if reads == 2 then -- here the finalizer runs
        inner = { kind = "delete", space = "", key = "k" }
        writes:push(inner)
      end
      return "k"
    end
    local outer = setmetatable({ kind = "delete", space = "" }, { __index = read })
    writes:push(outer)
    assert.equal(2, writes.keys[""].k)
    assert.same({ true }, { writes:confirmed(outer) })
    assert.same({ true }, { writes:confirmed(inner) })
    assert.is_nil(writes.keys[""].k)
  end))

  it("does not let a finalizer wait, in plain code, for the write that it interrupts", function()
    local why = perigee.runtime() == "none"
      and "the worker was interrupted by who waits for it" or "timeout"
    local cache = server:cache()
    local writes, answer, reads = cache.remote.writes, nil, 0
    local function read(_, field)
      if field ~= "key" then return nil end
      reads = reads + 1
      if reads == 2 then -- here the finalizer runs
        local inner = { kind = "delete", space = "", key = "k" }
        writes:push(inner)
        answer = { writes:confirmed(inner) }
      end
      return "k"
    end
    writes:push(setmetatable({ kind = "delete", space = "" }, { __index = read }))
    assert.same({ true, why }, answer)
    assert.is_true(writes:flush())
    assert.is_nil(writes.keys[""].k)
  end)

  -- Finalizers run anywhere, and use the cache: in the middle of a command, of a wait, of a write.
  local function with_finalizers()
    local cache, over = server:cache { maxsize = 50 }, false
    local uses = {
      function(k) cache:get(k) end, function(k) cache:get(k, function() return k end) end,
      function(k) cache:set(k, k, { tags = { "t" } }) end, function(k) cache:delete(k) end,
      function(k) cache:get_many { k, k + 1 } end, function(k) cache:set(k, k) end,
    }
    local function litter()
      getmetatable(newproxy(true)).__gc = function()
        if not over then pcall(uses[math.random(#uses)], math.random(80)) end
      end
    end
    for _ = 1, 2000 do
      local k = math.random(80)
      litter()
      cache:set(k, k)
      if math.random(4) == 1 then pcall(cache.get, cache, k, function() return k end) end
      if math.random(50) == 1 then cache:invalidate_tags "t" end
      if math.random(20) == 1 then perigee.sleep(0) end
    end
    over = true
    collectgarbage()
    local writes = cache.remote.writes
    assert.is_true(eventually(function()
      return not flight.any() and writes:flush() and not writes.has_debts
    end))
    assert.equal(0, cache.remote.gathering.on_their_way)
    assert.equal(0, writes.wide)
    for _, keys in pairs(writes.keys) do assert.is_nil(next(keys)) end
  end

  it("is left in order by finalizers that use it, in plain code", function()
    logged(with_finalizers)
  end)

  it("is left in order by finalizers that use it, in a task", tasks.real(function()
    logged(with_finalizers)
  end))
end)

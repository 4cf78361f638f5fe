-- SPDX-License-Identifier: MIT
-- suites: dev hard asan
-- A second level that is down, slow, full or wrong: callers get their values all the same, nobody
-- waits for it twice, and nothing old comes back when it recovers.
local beats = require "spec.support.beats"
local logged = require "spec.support.logged"
local peer = require "spec.support.peer"
local perigee = require "perigee"
local redis = require "spec.support.redis"
local tasks = require "spec.support.tasks"

local eventually = redis.eventually

describe("a remote cache", function()
  teardown(function()
    peer.clean()
    redis.clean()
  end)
  after_each(redis.close_caches)

  -- Runs `count` tasks that get and write keys until `body`, which is told what they saw,
  -- returns; what they saw.
  local function under_load(cache, count, body)
    local ended, seen = false, { gets = 0, wrong = 0, longest = 0, sources = {} }
    local running, clock = {}, beats.start()
    for i = 1, count do
      running[i] = perigee.spawn(function()
        while not ended do
          local n = math.random(2000)
          local key = "k" .. n
          local began = clock:seconds()
          local value, err, source = cache:get(key, function() return n end)
          if value ~= n or err then seen.wrong = seen.wrong + 1 end
          seen.gets = seen.gets + 1
          seen.sources[source] = (seen.sources[source] or 0) + 1
          if n % 10 == 0 then cache:set(key, n) end
          if n % 31 == 0 then cache:delete(key) end
          seen.longest = math.max(seen.longest, clock:seconds() - began)
          if i == 1 or n % 7 == 0 then perigee.sleep(0.001) end
        end
      end)
    end
    body(seen)
    ended = true
    for i = 1, count do running[i]:wait() end
    clock:stop()
    return seen
  end

  local function is_used(cache)
    local before = cache:get_metrics().remote_writes
    return eventually(function()
      cache:set("used?", 1)
      perigee.sleep(0.01)
      return cache:get_metrics().remote_writes > before
    end)
  end

  it("that is absent at first is used when it comes", tasks.real(function()
    local server = redis.start()
    server:stop()
    logged(function()
      local cache = server:cache()
      assert.equal(1, (cache:get("k", function() return 1 end)))
      server:start()
      assert.is_true(is_used(cache))
    end)
    server:stop()
  end))

  it("that is killed under load costs no caller his value, and is used again", tasks.real(function()
    local server = redis.start()
    logged(function()
      local cache = server:cache { maxsize = 200 }
      local seen = under_load(cache, 50, function(seen)
        perigee.sleep(0.3)
        server:kill()
        perigee.sleep(0.5)
        server:start()
        assert.is_true(is_used(cache))
        -- Enough of both is seen, however slow the machine is.
        assert.is_true(eventually(function()
          return seen.gets > 1000 and (seen.sources.remote or 0) > 10
        end))
      end)
      assert.equal(0, seen.wrong)
      assert.is_true(cache:get_metrics().remote_errors > 0)
    end)
    server:stop()
  end))

  it("that is silent for five seconds holds callers up once per probe at most", tasks.real(
    function()
      local server = redis.start()
      logged(function()
        local cache = server:cache({ maxsize = 200 }, { timeout = 0.25, connect_timeout = 1 })
        local meanwhile
        local seen = under_load(cache, 50, function(seen)
          perigee.sleep(0.3)
          server:pause()
          local before = seen.gets
          perigee.sleep(5)
          eventually(function() return seen.gets - before > 10000 end, 20)
          meanwhile = seen.gets - before
          server:resume()
          assert.is_true(is_used(cache))
        end)
        assert.equal(0, seen.wrong)
        -- Fifty tasks that wait 0.25 s for each get would make 5,000 of them in 25 s.
        assert.is_true(meanwhile > 10000, meanwhile .. " gets")
        assert.is_true(seen.longest < 3, seen.longest .. " s")
      end)
      server:stop()
    end))

  it("that falls silent holds its first reader up for one timeout only", tasks.real(function()
    local server = redis.start()
    logged(function()
      local cache = server:cache({}, { timeout = 1 })
      cache:get("warm", function() return 1 end)
      server:pause()
      local began = perigee.now()
      local waited, value, err, source = beats.measure(cache.get, cache, "k",
        function() return 1 end)
      server:resume()
      assert.same({ 1, nil, "load" }, { value, err, source })
      assert.is_true(perigee.now() - began > 0.9)
      assert.is_true(waited < 1.45, tostring(waited))
    end)
  end))

  it("that was silent has nothing afterwards that was replaced meanwhile", tasks.real(function()
    local server = redis.start()
    local other = peer.start("task"):open({ name = "c" }, server:opts())
    logged(function()
      local cache = server:cache()
      cache:set_many({ a = "old", b = "old", c = "old" }, { tags = { "t" } })
      assert.is_true(cache.remote.writes:flush())
      for _, key in ipairs { "a", "b", "c" } do assert.equal("old", (other:call("get", key))) end
      server:pause()
      cache:set("a", "new")
      local done, why = cache:delete "b"
      assert.is_true(done)
      assert.is_string(why)
      done, why = cache:invalidate_tags "t"
      assert.is_true(done)
      assert.is_string(why)
      perigee.sleep(1)
      server:resume()
      assert.is_true(eventually(function()
        return cache.remote.writes:flush() and not cache.remote.writes.has_debts
      end, 15))
    end)
    -- What the old connection had still to say is not said after the new one's.
    assert.matches("cmdstat_client|kill:calls=1", server:cli("info", "commandstats"), 1, true)
    for _, key in ipairs { "a", "b", "c" } do
      assert.are_not.equal("old", (other:call("get", key)))
      other:open({ name = "c" }, server:opts())
      assert.are_not.equal("old", (other:call("get", key)))
    end
    server:stop()
  end))

  it("is not asked for a key whose write it has missed", tasks.real(function()
    local server = redis.start()
    logged(function()
      local cache = server:cache({ maxsize = 1 }, { timeout = 0.5 })
      cache:set("k", "old")
      assert.is_true(cache.remote.writes:flush())
      server:cli("client", "pause", "2000", "write") -- reading goes on
      cache:set("k", "new")
      perigee.sleep(1)
      cache:set("other", 1) -- memory has room for one
      assert.are_not.equal("old", (cache:get("k", function() return "loaded" end)))
    end)
    server:stop()
  end))

  it("that does not answer lets no more than a bounded number of writes wait", tasks.real(function()
    local server = redis.start()
    logged(function()
      local cache = server:cache { maxsize = 50000 }
      cache:set("first", 1)
      assert.is_true(cache.remote.writes:flush())
      server:pause()
      for i = 1, 30000 do cache:set(i, i) end
      local writes = cache.remote.writes
      assert.is_true(writes.last - writes.first < 10001)
      assert.equal(30000, (cache:get(30000)))
      server:resume()
      assert.is_true(eventually(function()
        return writes:flush() and not writes.has_debts
      end, 20))
      assert.is_true(is_used(cache))
    end)
    server:stop()
  end))

  describe("that is full", function()
    local server

    before_each(function()
      server = redis.start { "--maxmemory", "3mb", "--maxmemory-policy", "noeviction" }
    end)
    after_each(function() server:stop() end)

    -- Step by step, so that the server answers others meanwhile.
    local function fill_up()
      local is_full
      for step = 1, 200 do
        is_full = server:cli("eval", ([[
          for i = 1, 200 do
            local ok = redis.pcall('SET', 'filler%d:' .. i, ('x'):rep(1000))
            if type(ok) == 'table' and ok.err then return 'full' end
          end]]):format(step), "0") == "full"
        if is_full then break end
      end
      assert.is_true(is_full)
      assert.matches("OOM", server:cli("set", "one more", ("x"):rep(100)))
    end

    it("forgets what could not be replaced, here and elsewhere", tasks.real(function()
      local other = peer.start("task"):open({ name = "c" }, server:opts())
      logged(function()
        local cache = server:cache()
        cache:set_many({ a = "old", b = "old", c = "old", d = "old" }, { tags = { "t" } })
        assert.is_true(cache.remote.writes:flush())
        for _, key in ipairs { "a", "b", "c", "d" } do other:call("get", key) end
        fill_up()
        cache:set("a", "new")
        assert.equal("new", (cache:get "a"))
        assert.are.same({ true }, { cache:delete "b" })
        assert.is_true(cache.remote.writes:flush())
        assert.equal("new", (cache:get "a"))
        assert.is_nil((other:call("get", "a")))
        assert.is_nil((other:call("get", "b")))
        assert.equal("old", (other:call("get", "c")))
        assert.are.same({ true }, { cache:invalidate_tags "t" })
        assert.is_nil((other:call("get", "c")))
        assert.are.same({ 5, nil, "load" }, { cache:get("e", function() return 5 end) })
        assert.is_true(cache.remote.writes:flush())
        assert.is_true(cache:get_metrics().remote_errors > 0)
        assert.are.same({ true }, { cache:clear() })
        other:open({ name = "c" }, server:opts())
        assert.is_nil((other:call("get", "d")))
      end)
    end))
  end)

  it("that evicts brings nothing back that was cleared", tasks.real(function()
    local server = redis.start { "--maxmemory", "2500kb", "--maxmemory-policy", "allkeys-lru",
      "--maxmemory-samples", "1" }
    logged(function()
      local cache = server:cache({ maxsize = 20 }, { timeout = 2 })
      local least, generation, remote = {}, 0, 0
      local padding = ("x"):rep(8000)
      math.randomseed(20261121)
      for _ = 1, 4000 do
        local n = math.random(400)
        local key, action = "k" .. n, math.random(100)
        generation = generation + 1
        if action == 1 then
          assert.are.same({ true }, { cache:clear() })
          for i = 1, 400 do least["k" .. i] = generation end
        elseif action <= 4 then
          assert.are.same({ true }, { cache:invalidate_tags("t:" .. n % 7) })
          for i = 1, 400 do
            if i % 7 == n % 7 then least["k" .. i] = generation end
          end
        elseif action <= 10 then
          assert.are.same({ true }, { cache:delete(key) })
          least[key] = generation
        elseif action <= 40 then
          cache:set(key, { generation, padding }, { tags = { "t:" .. n % 7 } })
          least[key] = generation
        else
          local value, _, source = cache:get(key, {
            loader = function() return { generation, padding } end, tags = { "t:" .. n % 7 } })
          assert.is_true(value[1] >= (least[key] or 0), source .. ": something came back")
          if source == "remote" then remote = remote + 1 end
        end
      end
      assert.is_true(remote > 50, remote .. " from there")
      local evicted = tonumber(server:cli("info", "stats"):match "evicted_keys:(%d+)")
      assert.is_true(evicted > 100, evicted .. " were evicted")
    end)
    server:stop()
  end))

  it("carries 64 MB, and says when a value is too large", tasks.real(function()
    local server = redis.start()
    logged(function()
      local cache = server:cache({}, { timeout = 10 })
      local large = ("x"):rep(2 ^ 26 - 100)
      cache:set("large", large)
      cache:set("small", 1)
      assert.is_true(cache.remote.writes:flush())
      cache:set("too large", large .. large)
      assert.is_true(cache.remote.writes:flush())
      assert.equal(0, cache:get_metrics().remote_errors)
      assert.equal(1, cache:get_metrics().remote_unsaved)
      assert.equal(2 ^ 27 - 200, #cache:get "too large")
      cache:close()
      local again = server:cache({}, { timeout = 10 })
      local value, _, source = again:get "large"
      assert.equal("remote", source)
      assert.is_true(value == large)
      assert.equal("miss", select(3, again:get "too large"))
    end)
    server:stop()
  end))

  it("keeps writes of one key in order", tasks.real(function()
    local server = redis.start()
    local other = peer.start("task"):open({ name = "c" }, server:opts())
    local cache = server:cache()
    for round = 1, 20 do
      for i = 1, 50 do
        if i % 7 == 0 then perigee.spawn(function() cache:delete "k" end) end
        cache:set("k", round * 100 + i)
        if i % 11 == 0 then perigee.sleep(0) end
      end
      assert.is_true(cache.remote.writes:flush())
      assert.equal(round * 100 + 50, (other:call("get", "k")))
    end
    server:stop()
  end))
end)

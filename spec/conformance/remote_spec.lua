-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan
-- The behaviours of the reference's remote caches, R1 to R14, against a real Redis, and its faults
-- F8 and F20.
local logged = require "spec.support.logged"
local peer = require "spec.support.peer"
local perigee = require "perigee"
local redis = require "spec.support.redis"
local tasks = require "spec.support.tasks"

local eventually = redis.eventually

describe("a remote cache", function()
  local server, cache, other

  setup(function()
    server = redis.start { port = true }
    other = peer.start "task"
  end)
  teardown(function()
    peer.clean()
    redis.clean()
  end)
  before_each(function()
    server:cli "flushall"
    cache = server:cache()
    other:open({ name = "c" }, server:opts())
  end)
  after_each(redis.close_caches)

  -- The same in plain code and in a task.
  local function it_does(name, body)
    it(name .. ", in plain code", body)
    it(name .. ", in a task", tasks.real(body))
  end

  local function written(which)
    assert.is_true((which or cache).remote.writes:flush())
  end

  it_does("R1: is asked after memory and before the loader, and gets what is loaded", function()
    local calls = 0
    local function load() calls = calls + 1 return { n = calls } end
    assert.are.same({ { n = 1 }, nil, "load" }, { cache:get("k", load) })
    assert.equal("memory", select(3, cache:get("k", load)))
    written()
    assert.are.same({ { n = 1 }, nil, "remote" },
      { other:eval [[return cache:get("k", function() error "must not be called" end)]] })
    assert.equal(1, calls)
  end)

  it_does("R2: what it has fills memory, and no loader is called", function()
    other:call("set", "k", "v")
    other:eval "cache.remote.writes:flush()"
    local function fail() error "must not be called" end
    assert.equal("remote", select(3, cache:get("k", fail)))
    assert.equal("memory", select(3, cache:get("k", fail)))
    assert.equal(1, cache:get_metrics().remote_hits)
  end)

  it_does("R3: a second process sees the first one's value, without a loader, too", function()
    cache:set("k", { list = { 1, 2 }, text = "a\0b" })
    written()
    assert.are.same({ { list = { 1, 2 }, text = "a\0b" }, nil, "remote" },
      { other:call("get", "k") })
    assert.are.same({ nil, nil, "miss" }, { other:call("get", "absent") })
  end)

  it_does("R4: a set is in memory at once, and there a little later", function()
    assert.is_true(cache:set("k", 1))
    assert.equal("memory", select(3, cache:get "k"))
    assert.is_true(eventually(function() return #server:keys "perigee:e*k" > 0 end))
  end)

  it_does("R5: write_remote = false leaves it alone", function()
    cache:set("k", 1, { write_remote = false })
    cache:set_many({ a = 1, b = 2 }, { write_remote = false })
    written()
    assert.are.same({}, server:keys())
    assert.equal(1, (cache:get "k"))
  end)

  it_does("R6: delete and clear reach it, and only this cache's keys", function()
    local stranger = server:cache { name = "stranger" }
    cache:set_many { a = 1, b = 2 }
    stranger:set("a", "the stranger's")
    server:cli("set", "foreign", "1")
    written()
    written(stranger)
    assert.are.same({ true }, { cache:delete "a" })
    assert.are.same({ nil, nil, "miss" }, { other:call("get", "a") })
    assert.equal(2, (other:call("get", "b")))
    assert.are.same({ true }, { cache:clear() })
    assert.are.same({ nil, nil, "miss" }, { other:call("get", "b") })
    assert.equal("the stranger's",
      (other:open({ name = "stranger" }, server:opts()):call("get", "a")))
    assert.equal("1", server:cli("get", "foreign"))
  end)

  it_does("R7: where none answers, nothing is raised, and loaders are called", function()
    local heard
    local unhear = perigee.on("remote_error", function(info) heard = info end)
    local lines = logged(function()
      local alone = server:cache({ name = "alone" }, { unix = server.folder .. "/nobody" })
      assert.is_true(alone:set("k", 1))
      assert.equal(1, (alone:get "k"))
      local done, err = alone:delete "k"
      assert.is_true(done)
      assert.is_string(err)
      assert.are.same({ 2, nil, "load" }, { alone:get("k", function() return 2 end) })
      done, err = alone:clear()
      assert.is_true(done)
      assert.is_string(err)
      assert.is_true(alone:get_metrics().remote_errors > 0)
    end)
    unhear()
    assert.equal("alone", heard.cache)
    assert.is_string(heard.err)
    assert.equal(1, #lines) -- it is said once
    assert.matches("does not answer", lines[1].text)
  end)

  it_does("R8: when it dies, the cache goes on; when it is back, it is used again", function()
    local own = redis.start()
    local orphan = own:cache { name = "orphan" }
    orphan:set("k", 1)
    written(orphan)
    logged(function()
      own:kill()
      assert.is_true(orphan:set("a", 1))
      assert.equal("load", select(3, orphan:get("b", function() return 2 end)))
      own:start()
      assert.is_true(eventually(function()
        orphan:set("c", 3)
        written(orphan)
        return #own:keys "perigee:e*c" > 0
      end, 10))
    end)
    assert.equal(3, (other:open({ name = "orphan" }, own:opts()):call("get", "c")))
    own:stop()
  end)

  it_does("R9: all keys carry the prefix, \"perigee:\" or the one that is asked for", function()
    cache:set("k", 1)
    cache:get("l", function() return 1, nil, { tags = { "t:u" } } end)
    written()
    assert.is_true(#server:keys() > 0)
    assert.are.same(server:keys(), server:keys "perigee:*")
    local mine = server:cache({ name = "mine" }, { prefix = "mine:" })
    mine:set("k", 1)
    written(mine)
    assert.is_true(#server:keys "mine:*" > 0)
  end)

  it_does("R10: the ttl goes with it, and what is left of it comes back", function()
    cache:set("k", 1, 100)
    cache:get("l", function() return 1, nil, { ttl = 50 } end)
    written()
    local left = server:cli("eval", [[
      local left = {}
      for _, key in ipairs(redis.call('KEYS', 'perigee:e*')) do
        left[#left + 1] = redis.call('PTTL', key)
      end
      table.sort(left)
      return table.concat(left, ' ')]], "0")
    local short, long = left:match "(%d+) (%d+)"
    assert.is_true(tonumber(short) > 40000 and tonumber(short) <= 50000)
    assert.is_true(tonumber(long) > 90000 and tonumber(long) <= 100000)
    other:call("get", "k")
    other:call("get", "l")
    assert.is_near(100, other:call("ttl", "k"), 10)
    assert.is_near(50, other:call("ttl", "l"), 10)
  end)

  it("R11: a herd asks once, and loads once", tasks.real(function()
    local calls = 0
    for i = 1, 2 do
      local waiting = {}
      for j = 1, 100 do
        waiting[j] = perigee.spawn(function()
          return cache:get("k" .. i, function()
            calls = calls + 1
            perigee.sleep(0.01)
            return i
          end)
        end)
      end
      for j = 1, 100 do assert.equal(i, (waiting[j]:wait())) end
      assert.equal(i, calls)
    end
    assert.equal(2, cache:get_metrics().remote_misses)
  end))

  it_does("R11: a batch asks for all its keys in one trip, and loads what is left", function()
    local asked = {}
    other:eval [[cache:set_many { a = "A", c = "C" } cache.remote.writes:flush()]]
    local values, errors, sources = cache:get_many({ "a", "b", "c", "d" }, {
      batch_loader = function(keys)
        asked[#asked + 1] = keys
        local loaded = {}
        for _, key in ipairs(keys) do loaded[key] = key .. "!" end
        return loaded
      end,
    })
    assert.are.same({ a = "A", b = "b!", c = "C", d = "d!" }, values)
    assert.is_nil(errors)
    assert.are.same({ a = "remote", b = "load", c = "remote", d = "load" }, sources)
    assert.are.same({ { "b", "d" } }, asked)
    written()
    assert.are.same({ a = "A", b = "b!", d = "d!" },
      (other:call("get_many", { "a", "b", "d", "z" })))
    assert.are.same({ "b!", nil, "memory" }, { other:call("get", "b") })
  end)

  it("R11: keys asked for one by one become one batch", tasks.real(function()
    local calls, waiting = 0, {}
    local function load_all(keys)
      calls = calls + 1
      local values = {}
      for _, key in ipairs(keys) do values[key] = key * 2 end
      return values
    end
    for i = 1, 50 do
      waiting[i] = perigee.spawn(function() return cache:get(i, { batch_loader = load_all }) end)
    end
    for i = 1, 50 do assert.equal(2 * i, (waiting[i]:wait())) end
    assert.equal(1, calls)
    assert.equal(50, cache:get_metrics().remote_misses)
  end))

  it_does("R12: password, user and db are honoured", function()
    local own = redis.start { "--requirepass", "open sesame",
      "--user", "ann", "on", ">secret", "~*", "&*", "+@all" }
    local db = own:cache({ name = "db" }, { password = "open sesame", db = 3 })
    db:set("k", 1)
    written(db)
    assert.equal(0, db:get_metrics().remote_errors)
    local ann = own:opts { username = "ann", password = "secret", db = 3 }
    assert.equal(1, (other:open({ name = "db" }, ann):call("get", "k")))
    local elsewhere = own:opts { password = "open sesame" }
    assert.is_nil((other:open({ name = "db" }, elsewhere):call("get", "k")))
    logged(function()
      local stranger = own:cache({ name = "stranger" }, { password = "wrong" })
      assert.are.same({ nil, nil, "miss" }, { stranger:get "k" })
      assert.is_true(stranger:get_metrics().remote_errors > 0)
      local nobody = own:cache { name = "nobody" }
      assert.are.same({ 7, nil, "load" }, { nobody:get("k", function() return 7 end) })
    end)
    own:stop()
  end)

  it_does("R13: a backend of the user's takes its place", function()
    local kept = {}
    local backend = {
      get = function(_, key)
        local entry = kept[key]
        if not entry then return false end
        return true, entry.value, entry.ttl
      end,
      set = function(_, key, value, ttl)
        kept[key] = { value = value, ttl = ttl }
        return true
      end,
      delete = function(_, key)
        kept[key] = nil
        return true
      end,
      clear = function()
        kept = {}
        return true
      end,
      close = function() end,
    }
    local users = perigee.new { name = "users", remote_cache = backend }
    users:get("k", function() return { 1 } end)
    written(users)
    users:close()
    users = perigee.new { name = "users", remote_cache = backend }
    assert.are.same({ { 1 }, nil, "remote" }, { users:get "k" })
    users:delete "k"
    assert.are.same({ nil, nil, "miss" }, { users:get "k" })
    users:close()
  end)

  it_does("R14: close ends the connections", function()
    cache:set("k", 1)
    written()
    local function connections()
      local count = 0
      for _ in server:cli("client", "list"):gmatch "id=" do count = count + 1 end
      return count
    end
    local before = connections()
    cache:close()
    assert.is_true(eventually(function() return connections() == before - 2 end))
  end)

  it("works over TCP, by address and by name", tasks.real(function()
    for _, host in ipairs { "127.0.0.1", "localhost" } do
      local far = perigee.new { name = host,
        remote_cache = perigee.redis { host = host, port = server.port } }
      far:set("k", host)
      written(far)
      assert.equal(1, far:get_metrics().remote_writes)
      far:close()
    end
  end))

  -- What the reference does not do.

  it_does("F8: an invalidation here is seen by the memory of others", function()
    for _, way in ipairs {
      function() cache:delete "k" end,
      function() cache:set("k", "new") written() end,
      function() cache:clear() end,
      function() cache:invalidate_tags "t" end,
    } do
      cache:set("k", "old", { tags = { "t:1" } })
      written()
      assert.are.same({ "old", nil, "remote" }, { other:call("get", "k") })
      assert.are.same({ "old", nil, "memory" }, { other:call("get", "k") })
      way()
      assert.is_false(other:call("contains", "k"))
      assert.are_not.equal("old", (other:call("get", "k")))
    end
  end)

  it_does("F20: a cached nil travels, with its lifetime", function()
    other:eval [[cache:get("k", { loader = function() end, neg_ttl = 30 })
      cache.remote.writes:flush()]]
    local value, err, source = cache:get("k", function() error "must not be called" end)
    assert.are.same({ n = 3, nil, nil, "remote" }, { n = 3, value, err, source })
    assert.is_near(30, cache:ttl "k", 5)
  end)

  it_does("F20: keys are what they are in every process, and kinds are kept apart", function()
    local long = ("x"):rep(5000)
    local keys = { 1, "1", true, "true", 1.5, 0, "a\0b", "", long, long .. "y", "\255\1#", 2 ^ 60 }
    for i, key in ipairs(keys) do cache:set(key, i) end
    written()
    for i, key in ipairs(keys) do assert.equal(i, (other:call("get", key))) end
    cache:delete(long)
    assert.is_nil((other:call("get", long)))
    assert.equal(10, (other:call("get", long .. "y")))
  end)

  it_does("F20: wrapped functions share what they have, under their names", function()
    local calls = 0
    local double = perigee.lru { cache = cache, name = "double" } (function(n)
      calls = calls + 1
      return n * 2, "second"
    end)
    other:eval [[
      calls = 0
      double = perigee.lru { cache = cache, name = "double" } (function(n)
        calls = calls + 1
        return n * 2, "second"
      end)]]
    assert.are.same({ 4, "second" }, { other:eval "return double(2)" })
    other:eval "cache.remote.writes:flush()"
    assert.are.same({ 4, "second" }, { double(2) })
    assert.equal(0, calls)
    other:eval "double:invalidate_cache(2)"
    assert.is_true(eventually(function() double(2) return calls == 1 end))
    double:clear_cache()
    assert.are.same({ 4, "second" }, { other:eval "return double(2)" })
    assert.equal(2, other:eval "return calls")
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan
-- perigee.redis: its options, and what it makes of bytes that it did not write.
local envelope = require "perigee.value.envelope"
local logged = require "spec.support.logged"
local mistake = require "spec.support.mistake"
local names = require "perigee.tier.redis_keys"
local perigee = require "perigee"
local random = require "spec.support.random"
local redis = require "spec.support.redis"
local redis_ev = require "perigee.client.redis_ev"
local tasks = require "spec.support.tasks"

describe("perigee.redis", function()
  it("names the option that is wrong", function()
    for option, value in pairs { host = 1, port = 70000, unix = {}, db = -1, username = 1,
      password = {}, prefix = false, connect_timeout = 0, timeout = "soon", coherence = 1,
      max_value_bytes = 2 ^ 30, tls = 1, secret = 3 } do
      mistake(function() perigee.redis { [option] = value } end, { "redis", option })
    end
    mistake(function() perigee.redis { hots = "h" } end, { "redis", "hots" })
    mistake(function() perigee.redis(7) end, { "redis", "opts", "7" })
  end)

  it("says what TLS needs", function()
    assert.has_error(function() perigee.redis { tls = true } end)
    local _, err = pcall(perigee.redis, { tls = true })
    assert.matches('option "tls" needs hiredis 1.0', err)
    assert.is_table(perigee.redis { tls = false })
  end)

  it("connects to nothing before a cache uses it", function()
    assert.is_table(perigee.redis { unix = "/nowhere" })
  end)

  it("is what option remote_cache takes, with a name", function()
    mistake(function() perigee.new { name = "c", remote_cache = "redis" } end,
      { "new", "remote_cache", "redis" })
    mistake(function() perigee.new { name = "c", remote_cache = { get = function() end } } end,
      { "new", "remote_cache", "a table" })
    local _, err = pcall(perigee.new, { remote_cache = perigee.redis() })
    assert.matches('option "remote_cache" needs option "name"', err)
  end)
end)

describe("a place at the server", function()
  it("is another one for each key, cache and space", function()
    local seen = {}
    for _, space in ipairs { "", "s", "t", "a\0b", "a\1b" } do
      for _, key in ipairs { 1, "1", true, "t", false, "f", 0.5, "", "a\0sb", ("x"):rep(600),
        ("x"):rep(601) } do
        local at = names.place_of(space, key)
        assert.is_nil(seen[at])
        seen[at] = true
        assert.is_true(#at <= 512)
      end
    end
  end)

  it("is the same for 0 and -0", function()
    assert.equal(names.place_of("", 0), (names.place_of("", -0)))
  end)
end)

describe("versions", function()
  it("tell paths of tags apart that are written alike", function()
    local function full(tag) return names.path_of(tag).full end
    assert.equal(full "a:b", full { "a", "b" })
    assert.are_not.equal(full { "a:b" }, full "a:b")
    assert.are_not.equal(full { "a\0b" }, full { "a", "b" })
  end)

  it("are never the same twice", function()
    local seen = {}
    for _ = 1, 10000 do
      local version = names.fresh_version()
      assert.is_nil(seen[version])
      seen[version] = true
    end
  end)
end)

describe("bytes under our keys that we did not write", function()
  local server, raw, cache

  setup(function()
    server = redis.start()
    raw = redis_ev.new({ unix = server.unix, connect_timeout = 5, timeout = 5 }, "nothing")
  end)
  teardown(function()
    raw:close()
    redis.clean()
  end)
  before_each(function()
    server:cli "flushall"
    cache = server:cache()
  end)
  after_each(redis.close_caches)

  local function ask(...)
    local replies = assert(raw:ask { { ... } })
    assert.is_nil(names.error_of(replies[1]))
    return replies[1]
  end

  local function entry_of(key) return "perigee:ec\0\0s" .. key end

  local function written(value)
    cache:set("k", value, { tags = { "t" } })
    assert.is_true(cache.remote.writes:flush())
    return ask("GET", entry_of "k")
  end

  -- Another process: memory without anything.
  local function reopen(redis_opts)
    cache:close()
    cache = server:cache({}, redis_opts)
  end

  local function get_with(bytes)
    cache:delete "k"
    ask("SET", entry_of "k", bytes)
    return cache:get "k"
  end

  it("are a miss, whatever they are, counted and said once", tasks.real(function()
    local good = written { list = { 1, 2, 3 }, text = "something" }
    local source = random.generator(20261121)
    local lines = logged(function()
      reopen()
      local refused = 0
      for i = 1, 3000 do
        local bytes
        if i % 3 == 0 then
          bytes = good:sub(1, source(#good))
        elseif i % 3 == 1 then
          local at = 1 + source(#good)
          local changed = string.char((good:byte(at) + 1 + source(255)) % 256)
          bytes = good:sub(1, at - 1) .. changed .. good:sub(at + 1)
        else
          bytes = ""
          for _ = 1, source(60) do bytes = bytes .. string.char(source(256)) end
        end
        local value, err, where = get_with(bytes)
        assert.are.same({ n = 3, nil, nil, "miss" }, { n = 3, value, err, where })
        if cache:get_metrics().remote_refused > refused then refused = refused + 1 end
      end
      assert.is_true(refused > 1000)
      assert.equal(0, cache:get_metrics().remote_errors)
    end)
    assert.equal(1, #lines)
    assert.matches("cannot be used", lines[1].text)
  end))

  it("are a miss if they are an entry of another key, cache or time", tasks.real(function()
    local good = written "mine"
    logged(function()
      reopen()
      cache:delete "other"
      ask("SET", entry_of "other", good)
      assert.is_nil((cache:get "other"))
      ask("SET", entry_of "k", good)
      assert.equal("mine", (cache:get "k"))
      cache:clear()
      ask("SET", entry_of "k", good)
      assert.is_nil((cache:get "k"))
    end)
  end))

  -- Whoever knows the format can make an entry, if there is no secret.
  local function forge(value_bytes)
    local versions = { ["perigee:vc\0c"] = ask("GET", "perigee:vc\0c") }
    local stamp = names.stamp_of({ "perigee:vc\0c" }, versions)
    local sealer = envelope.new("here", {
      codec = { encode = function() return value_bytes end, decode = function() end } }, 1)
    sealer.id = ("b"):byte()
    return stamp .. sealer:seal("c\0\0sk" .. stamp, "x", math.huge)
  end

  it("are looked at before they are decoded", tasks.real(function()
    written(1)
    logged(function()
      reopen()
      cache:get "k"
      for _, hostile in ipairs { "\8\224\255\255\255\127", "\4\1\2\3\4\5\6\7\8", "\9",
        ("\8\1"):rep(100) } do
        local before = collectgarbage "count"
        assert.is_nil((get_with(forge(hostile))))
        assert.is_true(collectgarbage "count" - before < 1024)
      end
      assert.equal(4, cache:get_metrics().remote_refused)
    end)
  end))

  it("are refused without the secret", tasks.real(function()
    written "unsigned"
    logged(function()
      reopen { secret = "one" }
      assert.is_nil((cache:get "k"))
      assert.equal(1, cache:get_metrics().remote_refused)
      local signed = written "signed"
      reopen { secret = "another" }
      assert.is_nil((cache:get "k"))
      reopen { secret = "one" }
      ask("SET", entry_of "k", signed)
      assert.equal("signed", (cache:get "k"))
    end)
  end))

  for family, key in pairs { entry = "perigee:ec\0\0sk", fence = "perigee:fc\0\0sk",
    lease = "perigee:lc\0\0sk", ["version of the cache"] = "perigee:vc\0c",
    ["version of a tag"] = "perigee:vc\0dt", ["version of all tags"] = "perigee:vc\0g" } do
    for kind, command in pairs { list = { "RPUSH", key, "x" }, hash = { "HSET", key, "x", "y" },
      set = { "SADD", key, "x" } } do
      it(("raise nothing when the %s is a %s"):format(family, kind), tasks.real(function()
        logged(function()
          ask(unpack(command))
          cache:close()
          cache = server:cache { single_load = 0.05 }
          for i = 1, 3 do
            assert.equal(i, (cache:get("k" .. (i > 1 and i or ""), { tags = { "t" },
              loader = function() return i end })))
          end
          assert.is_true(cache:set("k", "new", { tags = { "t" } }))
          cache:delete "k"
          assert.is_nil((cache:get "k"))
          cache:invalidate_tags "t"
          cache:clear()
          assert.equal("after", (cache:get("k", function() return "after" end)))
        end)
      end))
    end
  end

  it("are no notice", function()
    local share = cache.remote.share
    local source = random.generator(7)
    cache:set("k", 1)
    for i = 1, 20000 do
      local tail = ""
      for _ = 1, source(20) do tail = tail .. string.char(source(256)) end
      local kinds = { "k", "t", "s", "c", "", "x", "k\1#" }
      if i % 4 > 0 then tail = ("?"):rep(16) .. kinds[1 + source(#kinds)] .. tail end
      share:notice(share.n .. tail)
      share:notice(tail)
    end
    cache:set("k", 2)
    assert.equal(2, (cache:get "k"))
  end)

  it("that change while they are read do no harm", tasks.real(function()
    cache:set("k", 1, { tags = { "t" } })
    cache.remote.writes:flush()
    ask("FLUSHALL")
    perigee.sleep(0.02)
    assert.is_nil((cache:get "k"))
  end))
end)

describe("clocks", function()
  teardown(redis.clean)

  it("may differ: a ttl is told by the server's", tasks.real(function()
    local server = redis.start()
    local cache = server:cache()
    cache:set("k", 1, 100)
    assert.is_true(cache.remote.writes:flush())
    local client = cache.remote.share.client
    assert.is_near(0, client.ahead_ms, 1000)
    cache:close()
    cache = server:cache()
    cache:get "absent"
    client = cache.remote.share.client
    client.ahead_ms = client.ahead_ms + 50000 -- ours is behind
    cache:get "k"
    assert.is_near(50, cache:ttl "k", 2)
  end))
end)

-- SPDX-License-Identifier: MIT
-- suites: dev hard asan
-- Option single_load: one load among many processes.
local fleet = require "spec.support.fleet"
local logged = require "spec.support.logged"
local peer = require "spec.support.peer"
local perigee = require "perigee"
local redis = require "spec.support.redis"
local tasks = require "spec.support.tasks"

local eventually = redis.eventually

-- Waits for the word, then gets one key. The first loader says who it is; it hangs if it is to.
local PROGRAM = [==[
local socket, key, lease, hang, how = unpack(arg)
local perigee = require "perigee"
local redis_ev = require "perigee.client.redis_ev"
perigee.run(function()
  local other = redis_ev.new({ unix = socket, connect_timeout = 60, timeout = 60 }, "nothing")
  local cache = perigee.new { name = "c", single_load = tonumber(lease),
    remote_cache = perigee.redis { unix = socket, timeout = 30, connect_timeout = 30 } }
  local function ask(...) return assert(other:ask { { ... } })[1] end
  ask("INCR", "ready:" .. key)
  while ask("GET", "go:" .. key) ~= "1" do perigee.sleep(0.001) end
  local function load()
    local number = ask("INCR", "loads:" .. key)
    if number == 1 then
      ask("SET", "leader:" .. key, tostring(PID))
      if hang == "hang" then perigee.sleep(60) end
    end
    perigee.sleep(0.1)
    return "value " .. number
  end
  local value, err, source
  if how == "batch" then
    local function load_all(keys)
      local loaded = {}
      for _, k in ipairs(keys) do loaded[k] = k == key and load() or "second" end
      return loaded
    end
    local values, errors, sources = cache:get_many({ key, key .. "2" },
      { batch_loader = load_all })
    value, err, source = values[key], errors and errors[key], sources[key]
    assert(values[key .. "2"] == "second")
  else
    value, err, source = cache:get(key, load)
  end
  print(value, err, source)
end)
]==]
PROGRAM = 'local PID = io.open("/proc/self/stat"):read("*n")\n' .. PROGRAM

describe("a lease", function()
  local server

  setup(function() server = redis.start() end)
  teardown(function()
    fleet.clean()
    peer.clean()
    redis.clean()
  end)
  before_each(function() server:cli "flushall" end)
  after_each(redis.close_caches)

  -- Eight processes, all ready before the first one asks.
  local function eight(key, lease, hang, how)
    local processes = {}
    for i = 1, 8 do
      processes[i] = fleet.start(PROGRAM, server.unix, key, lease, hang or "", how or "one")
    end
    assert.is_true(eventually(function() return server:cli("get", "ready:" .. key) == "8" end))
    server:cli("set", "go:" .. key, "1")
    return processes
  end

  for how, what in pairs { one = "a key", batch = "the keys of a batch" } do
    it("makes eight processes load " .. what .. " once", function()
      for round = 1, 3 do
        local key = how .. round
        for _, process in ipairs(eight(key, 10, "", how)) do
          assert.matches("^value 1\tnil\t", fleet.output(process, 120))
        end
        assert.equal("1", server:cli("get", "loads:" .. key))
      end
    end)
  end

  it("passes to exactly one of the others when its holder is killed", function()
    local processes = eight("k", 3, "hang")
    assert.is_true(eventually(function() return server:cli("get", "leader:k") ~= "" end))
    local leader = tonumber(server:cli("get", "leader:k"))
    local others = 0
    for _, process in ipairs(processes) do
      if process.pid == leader then
        fleet.kill(process)
      else
        assert.matches("^value 2\tnil\t", fleet.output(process, 120))
        others = others + 1
      end
    end
    assert.equal(7, others)
    assert.equal("2", server:cli("get", "loads:k"))
  end)

  it("is given back by a load that fails, and the next one loads", tasks.real(function()
    local cache = server:cache { single_load = 30 }
    local _, err = cache:get("k", function() return nil, "broken" end)
    assert.equal("broken", err)
    assert.has_error(function() cache:get("k", function() error("raised", 0) end) end, "raised")
    assert.equal(1, (cache:get("k", function() return 1 end)))
    assert.is_true(cache.remote.writes:flush())
    assert.are.same({}, server:keys "perigee:l*")
  end))

  it("is given back by a load whose value may not be kept", tasks.real(function()
    local cache = server:cache { single_load = 30 }
    cache:get("k", function() return 1, nil, { cache = false } end)
    cache:get("l", function()
      cache:delete "l"
      return 1
    end)
    assert.is_true(cache.remote.writes:flush())
    assert.are.same({}, server:keys "perigee:l*")
  end))

  it("that was lost lets nobody fill with it", tasks.real(function()
    local cache = server:cache { single_load = 0.05 }
    local other = peer.start("task"):open({ name = "c", single_load = 5 }, server:opts())
    local loading = perigee.spawn(function()
      return cache:get("k", function()
        perigee.sleep(3)
        return "late"
      end)
    end)
    perigee.sleep(0.1)
    assert.equal("in time", (other:eval [[return cache:get("k", function() return "in time" end)]]))
    other:eval "cache.remote.writes:flush()"
    assert.equal("late", (loading:wait()))
    assert.is_true(cache.remote.writes:flush())
    cache:close()
    assert.equal("in time", (server:cache():get "k"))
  end))

  it("is waited for no longer than it lasts, and no longer than the caller wants", tasks.real(
    function()
      local cache = server:cache { single_load = 0.3 }
      server:cli("set", "x", "1")
      local other = peer.start("task"):open({ name = "c", single_load = 60 }, server:opts())
      local number = other:send [[return cache:get("k", function() perigee.sleep(60) end)]]
      assert.is_true(eventually(function() return #server:keys "perigee:l*" == 1 end))
      assert.are.same({ nil, "timeout", "load" },
        { cache:get("k", { loader = function() return 1 end, timeout = 0.05 }) })
      assert.equal(1, (cache:get("k", function() return 1 end)))
      assert.is_number(number)
    end))

  it("costs nothing when the server is down", function()
    logged(function()
      local cache = server:cache({ single_load = 10 }, { unix = "/nowhere" })
      assert.are.same({ 1, nil, "load" }, { cache:get("k", function() return 1 end) })
    end)
  end)

  it("works in plain code", function()
    local cache = server:cache { single_load = 0.2 }
    assert.are.same({ 1, nil, "load" }, { cache:get("k", function() return 1 end) })
    server:cli("eval", "redis.call('SET', 'perigee:lc\\0\\0sl', 'somebody', 'PX', 400)", "0")
    assert.are.same({ 2, nil, "load" }, { cache:get("l", function() return 2 end) })
  end)

  it("needs a remote cache", function()
    assert.has_error(function() perigee.new { single_load = 1 } end,
      'perigee.new: option "single_load" goes with option "remote_cache"')
  end)
end)

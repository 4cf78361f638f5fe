-- SPDX-License-Identifier: MIT
-- suites: dev hard
-- The Redis client in plain code, where nothing happens by itself.
local ffi = require "ffi"
local redis = require "spec.support.redis"
local redis_ev = require "perigee.client.redis_ev"
local perigee = require "perigee"

local function new(server, more)
  local opts = { unix = server.unix, timeout = 5, connect_timeout = 5, coherence = true }
  for name, value in pairs(more or {}) do opts[name] = value end
  local client, heard = redis_ev.new(opts, "p:"), { notices = {}, lost = {}, opened = 0 }
  client.on_notice = function(key) table.insert(heard.notices, key or "all") end
  client.on_lost = function(why) table.insert(heard.lost, why) end
  client.on_open = function() heard.opened = heard.opened + 1 end
  return client, heard
end

local function ask(client, ...)
  local replies, why = client:ask { { ... } }
  if not replies then return nil, why end
  return replies[1]
end

-- Calls `step` again and again, with pauses in which no loop turns.
local function blocking_until(step, seconds)
  for _ = 1, seconds * 600 do
    if step() then return true end
    ffi.C.usleep(20000)
  end
  return false
end

describe("in plain code the client", function()
  local server, client, heard

  before_each(function()
    server = redis.start()
    client, heard = new(server)
  end)
  after_each(function()
    client:close()
    redis.clean()
  end)

  it("asks and waits", function()
    assert.equal("none", perigee.runtime())
    assert.is_true(client:open())
    assert.equal("x", ask(client, "ECHO", "x"))
    assert.equal("x", perigee.run(function() return ask(client, "ECHO", "x") end))
    assert.equal(1, heard.opened)
  end)

  it("hears when it peeks", function()
    assert(client:open())
    server:cli("SET", "p:a", "1")
    assert.same({}, heard.notices)
    assert.is_true(blocking_until(function()
      client:peek()
      return heard.notices[1] == "p:a"
    end, 5))
    server:cli("FLUSHALL")
    assert.is_true(blocking_until(function()
      client:peek()
      return heard.notices[#heard.notices] == "all"
    end, 5))
  end)

  it("stays open however seldom it peeks", function()
    assert(client:open())
    for _ = 1, 4 do
      ffi.C.usleep(1100000)
      client:peek()
    end
    assert.same({}, heard.lost)
    server:cli("SET", "p:a", "1")
    assert.is_true(blocking_until(function()
      client:peek()
      return heard.notices[1] == "p:a"
    end, 5))
  end)

  it("misses a killed server when it peeks, and tries again when it is asked", function()
    assert(client:open())
    server:kill()
    assert.is_true(blocking_until(function()
      client:peek()
      return #heard.lost == 1
    end, 5))
    assert.is_nil((ask(client, "ECHO", "x")))
    server:start()
    client:peek()
    assert.equal(1, heard.opened)
    assert.is_true(blocking_until(function() return ask(client, "ECHO", "x") == "x" end, 20))
    assert.same({ 2, 1 }, { heard.opened, #heard.lost })
  end)

  it("waits for a server that hangs once, and for others not at all", function()
    client:close()
    client, heard = new(server, { timeout = 0.3, connect_timeout = 0.3 })
    assert(client:open())
    server:pause()
    assert.same({ nil, "timeout" }, { ask(client, "ECHO", "x") })
    assert.equal(1, #heard.lost)
    local started, calls = perigee.now(), 0
    while perigee.now() - started < 2 do
      assert.is_nil((ask(client, "ECHO", "x")))
      calls = calls + 1
    end
    assert.is_true(calls > 20) -- each try takes as long as it may, the calls between them nothing
    server:resume()
    assert.is_true(blocking_until(function() return ask(client, "ECHO", "x") == "x" end, 20))
  end)

  it("is closed", function()
    assert(client:open())
    client:close()
    assert.same({ nil, "closed" }, { client:open() })
    assert.same({ nil, "closed" }, { ask(client, "ECHO", "x") })
  end)
end)

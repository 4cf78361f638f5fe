-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan
-- Remote backends of the user's.
local buffer = require "string.buffer"
local contract = require "perigee.contract.remote"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- A backend as a user might write it: one table by place, which stands for a server.
local places = {}

local function server_at(where)
  places[where] = places[where] or { entries = {}, listeners = {} }
  return places[where]
end

local function name_of(key) return type(key) .. ":" .. tostring(key) end

local function backend_at(where, without)
  local server, calls = server_at(where), {}
  local self = { calls = calls }
  local function tell(key)
    for owner, listener in pairs(server.listeners) do
      if owner ~= self then listener(key) end
    end
  end
  local function note(name) calls[name] = (calls[name] or 0) + 1 end
  function self.get(_, key)
    note "get"
    local entry = server.entries[name_of(key)]
    if not entry or entry.ends and entry.ends <= perigee.now() then return false end
    return true, buffer.decode(entry.bytes)[1], entry.ends and entry.ends - perigee.now()
  end
  function self.set(_, key, value, ttl)
    note "set"
    server.entries[name_of(key)] = { bytes = buffer.encode { value },
      ends = ttl and perigee.now() + ttl }
    tell(key)
    return true
  end
  function self.delete(_, key)
    note "delete"
    server.entries[name_of(key)] = nil
    tell(key)
    return true
  end
  function self.clear()
    note "clear"
    server.entries = {}
    tell(nil)
    return true
  end
  function self.close()
    note "close"
    server.listeners[self] = nil
  end
  function self.get_many(_, keys)
    note "get_many"
    local found, values, lefts = {}, {}, {}
    for _, key in ipairs(keys) do found[key], values[key], lefts[key] = self:get(key) end
    return found, values, lefts
  end
  function self.set_many(_, list)
    note "set_many"
    for _, entry in ipairs(list) do self:set(entry.key, entry.value, entry.ttl) end
    return true
  end
  function self.delete_many(_, keys)
    note "delete_many"
    for _, key in ipairs(keys) do self:delete(key) end
    return true
  end
  function self.subscribe(_, changed) server.listeners[self] = changed end
  for _, method in ipairs(without or {}) do self[method] = nil end
  return self
end

describe("a remote backend that meets the contract", function()
  for _, case in ipairs(contract.cases(backend_at)) do it(case.name, tasks.real(case.run)) end
end)

describe("one that has only what it must", function()
  local function least(where)
    return backend_at(where .. " least", { "get_many", "set_many", "delete_many", "subscribe" })
  end
  for _, case in ipairs(contract.cases(least)) do it(case.name, tasks.real(case.run)) end
end)

describe("the contract", function()
  -- The names of the cases that a backend with one broken method fails.
  local function failures_with(method, broken)
    local names = {}
    for _, case in ipairs(contract.cases(function(where)
      local backend = backend_at(where .. method)
      local whole = backend[method]
      backend[method] = function(...) return broken(whole, ...) end
      return backend
    end)) do
      if not pcall(case.run) then names[#names + 1] = case.name end
    end
    return names
  end

  it("finds backends that do not meet it", function()
    for method, broken in pairs {
      get = function(whole, self, key, meta) return whole(self, tostring(key) .. "?", meta) end,
      set = function() return true end,
      delete = function() return true end,
      clear = function() return true end,
      get_many = function() return {}, {}, {} end,
      set_many = function() return true end,
      delete_many = function() return true end,
      subscribe = function() end,
    } do
      assert.is_true(#failures_with(method, broken) > 0, method)
    end
  end)
end)

describe("a cache with a remote backend of the user's", function()
  local number, opened = 0, {}
  before_each(function() number = number + 1 end)
  after_each(function()
    for _, cache in ipairs(opened) do
      if not cache.closed then cache:close() end
    end
    opened = {}
  end)

  local function open(backend, opts)
    local all = { name = "users " .. #opened, remote_cache = backend }
    for name, value in pairs(opts or {}) do all[name] = value end
    local cache = perigee.new(all)
    opened[#opened + 1] = cache
    return cache
  end

  -- Two caches at one place, as two processes would have them.
  local function two(without)
    local where = "two " .. number
    local one, other = backend_at(where, without), backend_at(where, without)
    return open(one), open(other), one, other
  end

  local function flush(cache) assert.is_true(cache.remote.writes:flush()) end

  it("reads, fills and writes it", tasks.real(function()
    local cache, other = two()
    cache:get("k", function() return { n = 1 } end)
    cache:set("l", 2, 100)
    flush(cache)
    assert.are.same({ { n = 1 }, nil, "remote" }, { other:get "k" })
    assert.are.same({ 2, nil, "remote" }, { other:get "l" })
    assert.is_near(100, other:ttl "l", 1)
    assert.are.same({ nil, nil, "miss" }, { other:get "absent" })
  end))

  it("is given lifetimes in whole milliseconds, none longer than asked for", tasks.real(function()
    local cache, _, one = two { "set_many" }
    local given = {}
    one.set = function(_, key, _, ttl) given[key] = ttl return true end
    for i = 1, 100 do cache:set(i, i, 10) end
    cache:set("for ever", 1)
    flush(cache)
    for i = 1, 100 do
      assert.is_true(given[i] <= 10 and given[i] > 9, tostring(given[i]))
      assert.near(0, (given[i] * 1000 + 0.5) % 1 - 0.5, 1e-6)
    end
    assert.is_nil(given["for ever"])
  end))

  it("takes nothing from it that has no lifetime left, or an odd one", tasks.real(function()
    for _, left in ipairs { 0, -1, 0 / 0, "soon", true } do
      number = number + 1
      local cache, _, one = two { "get_many" }
      one.get = function() return true, "odd", left end
      local function load() return "loaded" end
      logged(function() assert.equal("loaded", (cache:get("k", load))) end)
      assert.equal(type(left) == "number" and 0 or 1, cache:get_metrics().remote_errors)
    end
  end))

  it("hears what others change, if the backend tells", tasks.real(function()
    local cache, other = two()
    for _, change in ipairs {
      function() cache:set("k", "new") flush(cache) end, function() cache:delete "k" end,
      function() cache:clear() end, function() cache:invalidate_tags "t" end,
    } do
      cache:set("k", "old", { tags = { "t" } })
      flush(cache)
      assert.equal("old", (other:get("k", { tags = { "t" } })))
      change()
      assert.is_false(other:contains "k")
    end
  end))

  it("is told of keys that are deleted at once by one call", tasks.real(function()
    local cache, other, one = two()
    cache:set_many { a = 1, b = 2, c = 3, d = 4 }
    flush(cache)
    one.calls.delete_many, one.calls.delete = 0, 0
    local deleted = {}
    for i, key in ipairs { "a", "b", "c" } do
      deleted[i] = perigee.spawn(function() return cache:delete(key) end)
    end
    for i = 1, 3 do assert.is_true(deleted[i]:wait()) end
    assert.is_true(one.calls.delete_many >= 1)
    for _, key in ipairs { "a", "b", "c" } do
      assert.are.same({ nil, nil, "miss" }, { other:get(key) })
    end
    assert.are.same({ 4, nil, "remote" }, { other:get "d" })
  end))

  it("is asked for many at once, and given many", tasks.real(function()
    local cache, other, one, second = two()
    cache:set_many { a = 1, b = 2, c = 3 }
    flush(cache)
    assert.equal(1, one.calls.set_many)
    assert.are.same({ a = 1, b = 2, c = 3 }, (other:get_many { "a", "b", "c", "d" }))
    assert.equal(1, second.calls.get_many)
  end))

  it("forgets by tag what this process wrote, or all if others write, too", tasks.real(function()
    local cache, _, one = two { "subscribe" }
    cache:set("a", 1, { tags = { "t:1" } })
    cache:set("b", 2, { tags = { "u" } })
    cache:invalidate_tags "t"
    assert.is_false(one:get "a")
    assert.is_true(one:get "b")
    number = number + 1
    cache, _, one = two()
    cache:set("a", 1, { tags = { "t:1" } })
    cache:set("b", 2)
    cache:invalidate_tags "t"
    assert.is_false(one:get "b")
  end))

  it("keeps the results of wrapped functions, several of them and nil", tasks.real(function()
    local cache, other = two()
    local function wrap(where)
      return perigee.lru { cache = where, name = "f" } (function(n) return n, nil, "third" end)
    end
    local f, g = wrap(cache), wrap(other)
    f(1)
    flush(cache)
    assert.are.same({ n = 3, 1, nil, "third" }, { n = select("#", g(1)), g(1) })
    assert.equal(1, other:get_metrics().remote_hits)
  end))

  it("goes on without one that fails", tasks.real(function()
    for _, fail in ipairs {
      function() error "raised" end, function() return nil, "returned" end,
    } do
      number = number + 1
      local backend = backend_at("failing " .. number)
      for _, method in ipairs { "get", "set", "delete", "clear", "get_many", "set_many" } do
        backend[method] = fail
      end
      local lines = logged(function()
        local cache = open(backend)
        assert.is_true(cache:set("k", 1))
        assert.equal(1, (cache:get "k"))
        local done, err = cache:delete "k"
        assert.is_true(done)
        assert.matches("r[ae][it][su][er]", err)
        assert.equal(2, (cache:get("k", function() return 2 end)))
        cache:clear()
        assert.are.same({ a = 1, b = 1 }, (cache:get_many({ "a", "b" }, {
          batch_loader = function() return { a = 1, b = 1 } end })))
        assert.is_true(cache:get_metrics().remote_errors > 2)
        cache:close()
      end)
      assert.equal(1, #lines)
    end
  end))

  it("works in plain code", function()
    local cache, other = two()
    cache:get("k", function() return 1 end)
    flush(cache) -- in plain code there is nothing left to do
    assert.are.same({ 1, nil, "remote" }, { other:get "k" })
    cache:delete "k"
    assert.is_false(other:contains "k")
  end)

  it("is closed with the cache", function()
    local cache, _, one = two()
    cache:close()
    assert.equal(1, one.calls.close)
    assert.has_error(function() cache:get "k" end)
    assert.has_error(function() cache:set("k", 1) end)
  end)
end)

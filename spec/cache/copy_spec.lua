-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

local function nested()
  return { 1, { 2, { 3 } }, name = "n", list = { a = { b = "c" } }, [false] = { true } }
end

local function spoil(value)
  value[1] = "spoiled"
  value[2][2][1] = "spoiled"
  value.list.a.b = "spoiled"
  value.list.extra = "spoiled"
  value[false][1] = "spoiled"
end

describe("copy = true", function()
  local cache

  before_each(function()
    cache = perigee.new { copy = true }
  end)

  it("keeps a deep copy of what is given", function()
    local value = nested()
    cache:set("k", value)
    spoil(value)
    assert.are.same(nested(), (cache:get("k")))
  end)

  it("gives a deep copy to each caller", function()
    cache:set("k", nested())
    spoil((cache:get("k")))
    assert.are.same(nested(), (cache:get("k")))
    assert.are_not.equal((cache:get("k")), (cache:get("k")))
  end)

  it("gives a deep copy to the caller who loaded, whose table may be the loader's own", function()
    local own = nested()
    local first = cache:get("k", function() return own end)
    spoil(first)
    assert.are.same(nested(), (cache:get("k")))
    spoil(own)
    assert.are.same(nested(), (cache:get("k")))
  end)

  it("gives a deep copy to each who waited", tasks.virtual(function()
    local loader = tasks.slow(0.1, nested())
    local jobs = tasks.together(3, function() return cache:get("k", loader) end)
    spoil(jobs[1][1])
    assert.are.same(nested(), jobs[2][1])
    spoil(jobs[2][1])
    assert.are.same(nested(), jobs[3][1])
    assert.are.same(nested(), (cache:get("k")))
  end))

  it("holds for every way in and out", function()
    local value = nested()
    cache:set_many { many = value }
    cache:add("added", value)
    cache:get_many({ "batched" }, { batch_loader = function() return { batched = value } end })
    cache:refresh("refreshed", function() return value end)
    cache:warmup { warm = function() return value end }
    spoil(value)
    for _, key in ipairs { "many", "added", "batched", "refreshed", "warm" } do
      assert.are.same(nested(), (cache:get(key)), key)
      spoil((cache:peek(key)))
      spoil(cache:get_many({ key })[key])
      assert.are.same(nested(), (cache:get(key)), key)
    end
    for _, got in cache:entries() do
      spoil(got)
    end
    for _, got in cache:entries() do
      assert.are.same(nested(), got)
    end
  end)

  it("keeps metatables, shared parts and cycles", function()
    local class = { __index = { greet = function() return "hello" end } }
    local shared = { 1 }
    local value = setmetatable({ a = shared, b = shared }, class)
    value.self = value
    cache:set("k", value)
    local got = cache:get("k")
    assert.are_not.equal(value, got)
    assert.are.equal("hello", got.greet())
    assert.are.equal(got, got.self)
    assert.are.equal(got.a, got.b)
    assert.are_not.equal(shared, got.a)
  end)

  it("leaves what is no table as it is", function()
    local cdata = require("ffi").new("int[1]")
    for _, value in ipairs { "text", 5, true, print, io.stdout, coroutine.create(print), cdata } do
      cache:set("k", value)
      assert.is_true(rawequal(value, (cache:get("k"))))
    end
    cache:set("k", nil)
    assert.are.same({ nil, nil, "memory" }, { cache:get("k") })
  end)
end)

describe("a closed cache that copies", function()
  it("raises, like any other", function()
    local cache = perigee.new { copy = true }
    cache:close()
    assert.has_error(function() cache:set("k", 1) end)
    assert.has_error(function() cache:get "k" end)
  end)
end)

describe("copy = false", function()
  it("gives the very value", function()
    local cache, value = perigee.new(), {}
    cache:set("k", value)
    assert.are.equal(value, (cache:get("k")))
  end)
end)

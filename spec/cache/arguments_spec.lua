-- SPDX-License-Identifier: MIT
local ffi = require "ffi"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"
local mistake = require "spec.support.mistake"

local nan = 0 / 0
local function loader() return 1 end

-- What can never be a key, and what the message says came.
local bad_keys = {
  { nil, "nil" }, { nan, "nan" }, { {}, "table" }, { loader, "function" },
  { coroutine.create(loader), "thread" }, { ffi.new("int64_t", 1), "cdata" },
  { io.stdout, "userdata" },
}

-- Methods whose first argument is a key: name and the arguments after it.
local keyed = {
  { "get" }, { "set", 1 }, { "add", 1 }, { "incr", 1 }, { "delete" }, { "refresh", loader },
  { "peek" }, { "contains" }, { "touch", 1 }, { "ttl" },
}

-- method, its arguments, the argument's name, what came
local bad_arguments = {
  { "get", { "k", "loader" }, "loader", "string" },
  { "get", { "k", 5 }, "loader", "5" },
  { "get", { "k", { loader = "x" } }, "loader", "x" },
  { "get", { "k", { batch_loader = 5 } }, "batch_loader", "5" },
  { "get", { "k", { ttl = 0 } }, "ttl", "0" },
  { "get", { "k", { ttl = "1" } }, "ttl", "1" },
  { "get", { "k", { neg_ttl = -1 } }, "neg_ttl", "-1" },
  { "get", { "k", { timeout = -1 } }, "timeout", "-1" },
  { "get", { "k", { timeout = "1" } }, "timeout", "1" },
  { "get", { "k", { use_cache = 1 } }, "use_cache", "1" },
  { "get", { "k", { tags = 5 } }, "tags", "5" },
  { "get", { "k", { tags = { 5 } } }, "tags", "5" },
  { "get", { "k", { tag = { "x" } } }, "tag", },
  { "get", { "k", { loaders = loader } }, "loaders" },
  { "get_many", {}, "keys", "nil" },
  { "get_many", { "k" }, "keys", "string" },
  { "get_many", { { {} } }, "key", "table" },
  { "get_many", { { "k" }, { batch_loader = 5 } }, "batch_loader", "5" },
  { "get_many", { { "k" }, { unknown = 5 } }, "unknown" },
  { "set", { "k", 1, 0 }, "ttl", "0" },
  { "set", { "k", 1, -1 }, "ttl", "-1" },
  { "set", { "k", 1, nan }, "ttl", "nan" },
  { "set", { "k", 1, "60" }, "ttl", "60" },
  { "set", { "k", 1, true }, "ttl", "true" },
  { "set", { "k", 1, { ttl = 0 } }, "ttl", "0" },
  { "set", { "k", 1, { ttl = "y" } }, "ttl", "y" },
  { "set", { "k", 1, { tags = 5 } }, "tags", "5" },
  { "set", { "k", 1, { time = 5 } }, "time" },
  { "set", { "k", 1, { write_remote = "no" } }, "write_remote", "no" },
  { "add", { "k", 1, 0 }, "ttl", "0" },
  { "add", { "k", 1, { unknown = 1 } }, "unknown" },
  { "incr", { "k" }, "by", "nil" },
  { "incr", { "k", "1" }, "by", "1" },
  { "incr", { "k", 1, "0" }, "initial", "0" },
  { "incr", { "k", 1, 0, 0 }, "ttl", "0" },
  { "set_many", {}, "map", "nil" },
  { "set_many", { "k" }, "map", "string" },
  { "set_many", { { k = 1 }, 0 }, "ttl", "0" },
  { "set_many", { { [{}] = 1 } }, "key", "table" },
  { "invalidate_tags", {}, "tag" },
  { "invalidate_tags", { 5 }, "tag", "5" },
  { "invalidate_tags", { "fine", { "x" }, 7 }, "tag", "7" },
  { "invalidate_tags", { { 7 } }, "tag", "table" },
  { "refresh", { "k" }, "loader", "nil" },
  { "refresh", { "k", "loader" }, "loader", "string" },
  { "touch", { "k" }, "ttl", "nil" },
  { "touch", { "k", 0 }, "ttl", "0" },
  { "touch", { "k", "1" }, "ttl", "1" },
  { "warmup", {}, "loaders", "nil" },
  { "warmup", { { k = 5 } }, "loader", "5" },
  { "warmup", { { [{}] = loader } }, "key", "table" },
  { "warmup", { {}, { concurrency = 0 } }, "concurrency", "0" },
  { "warmup", { {}, { concurrent = 1 } }, "concurrent" },
  { "resize", {}, "maxsize", "nil" },
  { "resize", { -1 }, "maxsize", "-1" },
  { "resize", { "10" }, "maxsize", "10" },
}

local methods = {
  get = { "k" }, get_many = { { "k" } }, set = { "k", 1 }, add = { "k", 1 }, incr = { "k", 1 },
  set_many = { { k = 1 } }, delete = { "k" }, clear = {}, invalidate_tags = { "t" },
  refresh = { "k", loader }, peek = { "k" }, contains = { "k" }, touch = { "k", 1 },
  ttl = { "k" }, entries = {}, warmup = { {} }, resize = { 10 },
}

local function show(arguments)
  local parts = {}
  for i = 1, #arguments do
    parts[i] = type(arguments[i]) == "string" and ("%q"):format(arguments[i])
      or tostring(arguments[i]):gsub(": .*", "")
  end
  return table.concat(parts, ", ")
end

describe("a caller's mistake", function()
  local cache

  before_each(function()
    cache = perigee.new()
  end)

  for _, method in ipairs(keyed) do
    it("cache:" .. method[1] .. " refuses what cannot be a key", function()
      for i = 1, #bad_keys do
        mistake(function()
          local _ = cache[method[1]](cache, bad_keys[i][1], method[2])
        end, { method[1], "key", bad_keys[i][2] })
      end
      assert.are.equal(0, cache:get_metrics().size)
    end)
  end

  it("a key of another type points at perigee.key", function()
    for _, key in ipairs { {}, loader, ffi.new("int64_t", 1) } do
      mistake(function()
        local _ = cache:get(key)
      end, { "get", "key", "perigee.key" })
    end
  end)

  for i, case in ipairs(bad_arguments) do
    it(("%d. cache:%s(%s) is refused"):format(i, case[1], show(case[2])), function()
      mistake(function()
        local _ = cache[case[1]](cache, unpack(case[2]))
      end, { case[1], case[3], case[4] })
      assert.are.equal(0, cache:get_metrics().size)
    end)
  end

  it("incr of a value that is not a number is refused and leaves it", function()
    cache:set("k", "text")
    mistake(function()
      local _ = cache:incr("k", 1)
    end, { "incr", "string" })
    assert.are.equal("text", (cache:get("k")))
  end)

  for name, arguments in pairs(methods) do
    it("cache:" .. name .. " after close is refused", function()
      cache:close()
      mistake(function()
        local _ = cache[name](cache, unpack(arguments))
      end, { name, "closed" })
    end)
  end

  it("perigee.aligned, perigee.on and tags of the wrong kind are refused", function()
    mistake(function() local _ = perigee.aligned("list") end, { "aligned", "list", "string" })
    mistake(function() local _ = perigee.aligned({}, "2") end, { "aligned", "n", "2" })
    mistake(function() local _ = perigee.on("loads", loader) end, { "on", "event", "loads" })
    mistake(function() local _ = perigee.on("load", "fn") end, { "on", "fn", "string" })
  end)
end)

describe("a refresh", function()
  it("takes the options of get, and asks no level all the same", function()
    local cache = perigee.new()
    cache:set("k", "old")
    assert.are.equal("new", (cache:refresh("k", { loader = function() return "new" end, ttl = 5,
      tags = { "t" } })))
    assert.is_true(cache:ttl "k" <= 5)
    cache:invalidate_tags "t"
    assert.is_false(cache:contains "k")
    local batch = function(keys) return { [keys[1]] = "batched" } end
    cache:set("k", "old")
    assert.are.equal("batched", (cache:refresh("k", { batch_loader = batch })))
    assert.are.equal("batched", (cache:get "k"))
  end)

  it("needs one loader, and one only", function()
    local cache = perigee.new()
    assert.has_error(function() cache:refresh("k", { ttl = 1 }) end,
      "cache:refresh: a loader is needed")
    assert.has_error(function() cache:get("k", { loader = loader, batch_loader = loader }) end,
      "cache:get: give either option \"loader\" or option \"batch_loader\"")
  end)
end)

describe("a method called with a dot", function()
  local cache = perigee.new()

  for name, call in pairs {
    get = function() cache.get("k", print) end, set = function() cache.set("k", 1) end,
    add = function() cache.add("k", 1) end, incr = function() cache.incr("k", 1) end,
    refresh = function() cache.refresh("k", print) end, delete = function() cache.delete("k") end,
    touch = function() cache.touch("k", 1) end, peek = function() cache.peek("k") end,
    contains = function() cache.contains("k") end, ttl = function() cache.ttl("k") end,
    clear = function() cache.clear() end, entries = function() cache.entries() end,
    get_metrics = function() cache.get_metrics() end, close = function() cache.close() end,
  } do
    it("says so: " .. name, function()
      local ok, message = pcall(call)
      assert.is_false(ok)
      assert.is_truthy(message:find("^[^ ]*arguments_spec.lua:%d+: cache:" .. name
        .. ": call it with a colon, on a cache$"), message)
    end)
  end
end)

describe("a callable table", function()
  local callable = tasks.callable(function(key) return "called " .. tostring(key) end)

  it("is a loader, before it is options", function()
    local cache = perigee.new()
    assert.are.equal("called k", (cache:get("k", callable)))
    assert.are.equal("called l", (cache:get("l", { loader = callable })))
    assert.are.equal("called k", (cache:refresh("k", callable)))
    assert.are.equal("called r", (cache:refresh("r", callable)))
    assert.is_true(cache:warmup { w = callable })
    assert.are.equal("called w", (cache:get("w")))
  end)

  it("is a batch loader", function()
    local cache = perigee.new()
    local batch = tasks.callable(function(keys) return { [keys[1]] = "batched" } end)
    assert.are.equal("batched", (cache:get("k", { batch_loader = batch })))
    assert.are.same({ m = "batched" }, (cache:get_many({ "m" }, { batch_loader = batch })))
  end)

  it("is an event handler", function()
    local cache, seen = perigee.new(), 0
    perigee.on("load", tasks.callable(function() seen = seen + 1 end))
    cache:get("k", callable)
    assert.are.equal(1, seen)
  end)

  it("with options' names in it is still a function", function()
    local cache = perigee.new()
    local both = tasks.callable(function() return "called" end)
    both.loader = function() return "not this" end
    assert.are.equal("called", (cache:get("k", both)))
  end)
end)

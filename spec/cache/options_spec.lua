-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"
local mistake = require "spec.support.mistake"

local nan = 0 / 0

-- option, bad value, what the message must say came
local bad_options = {
  { "name", 5, "5" },
  { "name", {}, "table" },
  { "maxsize", -1, "-1" },
  { "maxsize", 1.5, "1.5" },
  { "maxsize", nan, "nan" },
  { "maxsize", "128", "128" },
  { "default_ttl", 0, "0" },
  { "default_ttl", -1, "-1" },
  { "default_ttl", nan, "nan" },
  { "default_ttl", "60", "60" },
  { "neg_ttl", 0, "0" },
  { "neg_ttl", true, "true" },
  { "neg_ttl", "5", "5" },
  { "ttl_jitter", -0.1, "-0.1" },
  { "ttl_jitter", 1.1, "1.1" },
  { "ttl_jitter", "half", "half" },
  { "stale_while_revalidate", -1, "-1" },
  { "stale_while_revalidate", "1", "1" },
  { "stale_if_error", -1, "-1" },
  { "stale_if_error", false, "false" },
  { "load_timeout", 0, "0" },
  { "load_timeout", "1", "1" },
  { "batch_window_ms", -1, "-1" },
  { "batch_window_ms", "5", "5" },
  { "max_batch_size", 0, "0" },
  { "max_batch_size", 2.5, "2.5" },
  { "policy", "mru", "mru" },
  { "policy", 1, "1" },
  { "maxweight", -1, "-1" },
  { "maxweight", "10", "10" },
  { "weigh", 5, "5" },
  { "copy", "yes", "yes" },
  { "copy", 1, "1" },
  { "on_evict", "print", "print" },
  { "on_evict", {}, "table" },
}

-- Nearly right names are what people write.
local unknown_options = { "max_size", "ttl", "size", "on_evicted", "stale_while_error", "Name", 1 }

describe("perigee.new", function()
  for _, case in ipairs(bad_options) do
    local option, value, came = case[1], case[2], case[3]
    it(("refuses %s = %s"):format(option, type(value) == "table" and "{}" or tostring(value)),
      function()
        mistake(function()
          local opts = { [option] = value }
          if option == "maxweight" then
            opts.weigh = function() return 1 end
          end
          local _ = perigee.new(opts)
        end, { "new", option, came })
      end)
  end

  for _, option in ipairs(unknown_options) do
    it("refuses the unknown option " .. option, function()
      mistake(function()
        local _ = perigee.new { [option] = 1 }
      end, { "new", tostring(option) })
    end)
  end

  for _, opts in ipairs { "name", 5, true } do
    it("refuses " .. type(opts) .. " instead of options", function()
      mistake(function()
        local _ = perigee.new(opts)
      end, { "new", type(opts) })
    end)
  end

  it("has one argument, whatever comes after it", function()
    for _, extra in ipairs { true, 1, "x", {}, print, io.stdout, 1LL } do
      local cache = perigee.new({}, extra)
      cache:set("k", 1, { tags = { "t" } })
      cache:invalidate_tags "t"
      assert.is_false(cache:contains "k")
    end
  end)

  it("takes no options at all", function()
    assert.are.equal(0, perigee.new():get_metrics().size)
    assert.are.equal(0, perigee.new({}):get_metrics().size)
  end)

  it("does not change the options it was given, nor follow later changes", function()
    local opts = { maxsize = 2, policy = "lru" }
    local cache = perigee.new(opts)
    assert.are.same({ maxsize = 2, policy = "lru" }, opts)
    opts.maxsize = 1
    cache:set("a", 1)
    cache:set("b", 2)
    assert.are.equal(2, cache:get_metrics().size)
  end)

  for _, policy in ipairs { "auto", "s3fifo", "lru", "wtinylfu", "sieve", "fifo" } do
    it("knows the policy " .. policy .. " and keeps its bound", function()
      local cache = perigee.new { policy = policy, maxsize = 10 }
      for i = 1, 100 do
        cache:set(i, i)
        assert.are.equal(i, (cache:get(i)))
      end
      assert.are.equal(10, cache:get_metrics().size)
    end)
  end

  it("keeps 128 entries when nothing is said", function()
    local cache = perigee.new()
    for i = 1, 500 do
      cache:set(i, i)
    end
    assert.are.equal(128, cache:get_metrics().size)
  end)

  it("takes callable tables for weigh and on_evict", function()
    local gone = {}
    local cache = perigee.new {
      maxsize = 100, maxweight = 10,
      weigh = tasks.callable(function(_, value) return value end),
      on_evict = tasks.callable(function(key) gone[#gone + 1] = key end),
    }
    cache:set("a", 6)
    cache:set("b", 6)
    assert.are.same({ "a" }, gone)
  end)

  it("refuses a name that a living cache has", function()
    local first = perigee.new { name = "spec: taken" }
    mistake(function()
      local _ = perigee.new { name = "spec: taken" }
    end, { "new", "name", "spec: taken" })
    first:close()
    assert.has_no.errors(function()
      perigee.new({ name = "spec: taken" }):close()
    end)
  end)
end)

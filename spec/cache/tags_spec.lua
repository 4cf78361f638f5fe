-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- written tag(s), entry's tag, forgotten?
local rule = {
  { "user:1", "user", true },
  { "user:1", "user:1", true },
  { "user:1", "user:1:x", true },
  { "user:1", "user:1:x:y", true },
  { "user:1", "user:2", false },
  { "user:1", "user:10", false },
  { "user:1", "user:10:x", false },
  { "user:1", "use", false },
  { "user:1", "users", false },
  { "user:1", "cart", false },
  { "user:1", "1", false },
  { "user:1", "user::1", false },
  { "user", "user:1:x", true },
  { "user", "userx:1", false },
  { "a:b:c:d", "a:b", true },
  { "a:b:c:d", "a:c", false },
  { { "http://x/y" }, { "http://x/y" }, true },
  { { "http://x/y" }, { "http://x/y", "z" }, true },
  { { "http://x/y", "z" }, { "http://x/y" }, true },
  { { "http://x/y" }, "http://x/y", false },
  { "http", { "http://x/y" }, false },
  { "http", "http://x/y", true },
  { { "user", "1" }, "user:1", true },
  { "user:1", { "user", "1", "x" }, true },
  { { "user:1" }, "user:1", false },
  { { "user:1" }, "user", false },
  { "a\0b", "a\0c", false },
  { "a\0b", "a\0b:c", true },
  { ("p:"):rep(200) .. "x", "p:p", true },
  { ("p:"):rep(200) .. "x", ("p:"):rep(200) .. "y", false },
}

local function show(tag)
  local text = type(tag) == "table" and "{ " .. table.concat(tag, ", ") .. " }" or tag
  return (#text > 40 and text:sub(1, 20) .. "..." .. text:sub(-8) or text):gsub("%z", "\\0")
end

describe("invalidate_tags", function()
  local cache

  before_each(function()
    cache = perigee.new { maxsize = math.huge }
  end)

  for _, case in ipairs(rule) do
    local written, tag, forgotten = case[1], case[2], case[3]
    it(("%s %s what is tagged %s"):format(show(written), forgotten and "forgets" or "leaves",
      show(tag)), function()
      cache:set("k", 1, { tags = { tag } })
      cache:set("untagged", 2)
      assert.is_true(cache:invalidate_tags(written))
      assert.are.equal(not forgotten, cache:contains("k"))
      assert.are.equal(forgotten and "miss" or "memory", (select(3, cache:get("k"))))
      assert.are.equal(2, (cache:get("untagged")))
      cache:set("k", 3, { tags = { tag } })
      assert.are.equal(3, (cache:get("k")))
    end)
  end

  it("takes several tags", function()
    for i = 1, 4 do
      cache:set(i, i, { tags = { "t:" .. i } })
    end
    cache:invalidate_tags("t:1", { "t", "3" })
    assert.is_false(cache:contains(1))
    assert.is_true(cache:contains(2))
    assert.is_false(cache:contains(3))
    assert.is_true(cache:contains(4))
  end)

  it("forgets an entry by any one of its tags", function()
    local tags = { "a", "b:1", "c:2:3", { "d:x" }, "e" }
    for _, tag in ipairs(tags) do
      cache:set("k", 1, { tags = tags })
      cache:invalidate_tags(tag)
      assert.is_false(cache:contains("k"))
    end
  end)

  it("of a tag nobody has does nothing", function()
    cache:set("k", 1, { tags = { "t" } })
    assert.is_true(cache:invalidate_tags("never seen", "t2"))
    assert.are.equal(1, (cache:get("k")))
  end)

  it("again and again forgets again and again", function()
    for i = 1, 1000 do
      cache:set("k", i, { tags = { "a:b" } })
      assert.are.equal(i, (cache:get("k")))
      cache:invalidate_tags(i % 3 == 0 and "a" or i % 3 == 1 and "a:b" or "a:b:c")
      assert.is_false(cache:contains("k"))
    end
  end)

  it("does not touch another cache", function()
    local other = perigee.new()
    cache:set("k", 1, { tags = { "t" } })
    other:set("k", 2, { tags = { "t" } })
    cache:invalidate_tags("t")
    assert.are.equal(2, (other:get("k")))
  end)

  it("follows the tags of the last write", function()
    cache:set("k", 1, { tags = { "old" } })
    cache:set("k", 2, { tags = { "new" } })
    cache:invalidate_tags("old")
    assert.are.equal(2, (cache:get("k")))
    cache:set("k", 3)
    cache:invalidate_tags("new")
    assert.are.equal(3, (cache:get("k")))
  end)

  it("makes what it killed absent to every look", tasks.virtual(function()
    cache:set("k", 1, { tags = { "t" } })
    cache:invalidate_tags("t")
    assert.are.equal(0, #{ cache:peek("k") })
    assert.is_false(cache:contains("k"))
    assert.is_nil(cache:ttl("k"))
    assert.is_false(cache:touch("k", 5))
    for key in cache:entries() do
      error("seen: " .. tostring(key))
    end
    assert.are.same({}, (cache:get_many { "k" }))
    assert.is_true(cache:add("k", 2))
    assert.are.equal(2, (cache:get("k")))
  end))

  it("lets incr begin anew", function()
    cache:set("n", 5, { tags = { "t" } })
    cache:invalidate_tags("t")
    assert.are.equal(1, cache:incr("n", 1, 0))
  end)

  it("is reported as invalidated until the entries are reclaimed", tasks.virtual(function()
    for i = 1, 100 do
      cache:set(i, i, { tags = { "t" } })
    end
    cache:set("live", 1)
    cache:invalidate_tags("t")
    local metrics = cache:get_metrics()
    assert.is_true(metrics.size == 1 or metrics.size - metrics.invalidated == 1)
    tasks.pass(5)
    metrics = cache:get_metrics()
    assert.are.equal(1, metrics.size)
    assert.are.equal(0, metrics.invalidated)
  end))

  it("lets go of the values it killed without anybody asking for them",
    tasks.virtual(function()
      local values = setmetatable({}, { __mode = "v" })
      for i = 1, 1000 do
        values[i] = {}
        cache:set(i, values[i], { tags = { "t:" .. i % 7 } })
      end
      cache:invalidate_tags("t")
      tasks.pass(5)
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(values))
    end))

  for _, policy in ipairs { "lru", "fifo", "sieve", "s3fifo" } do
    it("lets the dead go before the living (" .. policy .. ")", function()
      local small = perigee.new { maxsize = 100, policy = policy }
      for i = 1, 50 do
        small:set("live" .. i, i)
        small:set("dead" .. i, i, { tags = { "t" } })
      end
      small:invalidate_tags("t")
      for i = 1, 50 do
        small:set("new" .. i, i)
      end
      for i = 1, 50 do
        assert.are.equal(i, (small:get("live" .. i)))
        assert.are.equal(i, (small:get("new" .. i)))
      end
    end)
  end

  it("costs the depth of the tag, not the number of entries", function()
    for i = 1, 300000 do
      cache:set(i, i, { tags = { "all" .. i % 3 } })
    end
    local least = math.huge
    for tag = 0, 2 do -- the processor may have been busy with something else
      local started = os.clock()
      cache:invalidate_tags("all" .. tag)
      least = math.min(least, os.clock() - started)
    end
    assert.is_true(least < 0.002)
    for i = 1, 3 do
      assert.is_false(cache:contains(i))
      assert.is_false(cache:contains(300001 - i))
    end
  end)

  it("with many tags that come and go stays within bounds", function()
    local small = perigee.new { maxsize = 100 }
    local function round(from)
      for i = from, from + 20000 do
        small:set(i % 100, i, { tags = { "user:" .. i .. ":cart" } })
        if i % 3 == 0 then
          small:invalidate_tags("user:" .. i)
          assert.is_false(small:contains(i % 100))
        else
          assert.are.equal(i, (small:get(i % 100)))
        end
      end
    end
    round(0)
    collectgarbage()
    collectgarbage()
    local before = collectgarbage("count")
    round(100000)
    collectgarbage()
    collectgarbage()
    assert.is_true(collectgarbage("count") - before < 200)
  end)

  it("wins over a load with a tag that many others pushed aside", tasks.virtual(function()
    local job = tasks.start(cache.get, cache, "k",
      { loader = (tasks.slow(0.1, "old")), tags = { "mine:1" } })
    tasks.pass(0.05)
    cache:invalidate_tags("mine:1")
    for i = 1, 50000 do
      cache:invalidate_tags("other:" .. i)
    end
    tasks.finish(job)
    assert.are.equal("old", job[1])
    assert.is_false(cache:contains("k"))
  end))

  it("wins over a load whose hints name a tag that many others pushed aside",
    tasks.virtual(function()
      local job = tasks.start(cache.get, cache, "k", function()
        perigee.sleep(0.1)
        return "old", nil, { tags = { "mine:1" } }
      end)
      tasks.pass(0.05)
      cache:invalidate_tags("mine:1")
      for i = 1, 50000 do
        cache:invalidate_tags("other:" .. i)
      end
      tasks.finish(job)
      assert.is_false(cache:contains("k"))
    end))

  for how, get in pairs {
    get = function(load) return (cache:get("k", load)) end,
    get_many = function(load) return cache:get_many({ "k" }, { loader = load }).k end,
  } do
    it("gives who came after a write nothing older, whatever is written later, by " .. how,
      tasks.virtual(function()
        local truth = 1
        local function load()
          local read = truth
          perigee.sleep(0.1)
          return read, nil, { tags = { "mine" } } -- the tags are learned at the end
        end
        cache:set("another", 0, { tags = { "mine" } })
        local first = tasks.start(get, load)
        tasks.pass(0.02)
        truth = 2
        cache:invalidate_tags("mine")
        local second = tasks.start(get, load)
        tasks.pass(0.02)
        cache:invalidate_tags("mine")
        tasks.pass(1)
        assert.equal(1, first[1])
        assert.equal(2, second[1])
      end))
  end
end)

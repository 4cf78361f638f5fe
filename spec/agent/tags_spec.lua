-- SPDX-License-Identifier: MIT
-- Tags of tools: templates, functions, and what one write makes old.
local agent = require "perigee.agent"
local paths = require "perigee.agent.paths"

describe("a template", function()
  local function fill(template, count, ...)
    return paths.tagger("f", { "cart" }, { template }, count, false)(...)[1]
  end

  it("takes an argument as exactly one part, colons and all", function()
    assert.are.same({ "cart", "a:b" }, fill("cart:{1}", 1, "a:b"))
    assert.are.same({ "cart", "user_7", "items" }, fill("cart:user_{1}:items", 1, 7))
    assert.are.same({ "cart", "x-y" }, fill("cart:{1}-{2}", 2, "x", "y"))
    assert.are.same({ "cart", "" }, fill("cart:{1}", 1, ""))
    assert.are.same({ "cart", "{}", "{x}" }, fill("cart:{}:{x}", 1, "unused"))
  end)

  it("tells numbers apart, and takes 1 and -0 as everybody does", function()
    assert.are.same({ "cart", "1" }, fill("cart:{1}", 1, 1))
    assert.are.same({ "cart", "0" }, fill("cart:{1}", 1, -0))
    assert.are.same({ "cart", "true" }, fill("cart:{1}", 1, true))
    assert.are_not.same(fill("cart:{1}", 1, 0.1), fill("cart:{1}", 1, 0.1 + 2 ^ -55))
  end)

  it("without a value ends at its parent", function()
    assert.are.same({ "cart" }, fill("cart:{1}:items", 1, nil))
    assert.are.same({ "cart", "u" }, fill("cart:{1}:{2}:x", 2, "u"))
    assert.are.same({ "cart" }, fill("cart:{1}", 1, {}))
  end)
end)

describe("tags", function()
  local calls, invalid

  -- A tool with these tags whose calls are counted, and one that writes those.
  local function pair(read_tags, write_tags)
    calls = 0
    invalid = agent.invalidator { resource = "cart", tags = write_tags } (function() end)
    return agent.cache { resource = "cart", tags = read_tags } (function(a, b)
      calls = calls + 1
      return tostring(a) .. tostring(b)
    end)
  end

  local function loads(tool, ...)
    local before = calls
    tool(...)
    return calls - before
  end

  it("forget what is below and what is above, and nothing beside", function()
    local read = pair({ "cart:{1}:{2}" }, function(...) return { { "cart", ... } } end)
    for _, arguments in ipairs { { "u1", "items" }, { "u1", "total" }, { "u1" }, { "u2", "items" },
      {} } do
      read(unpack(arguments))
    end
    invalid("u1", "items")
    assert.equal(1, loads(read, "u1", "items"))
    assert.equal(0, loads(read, "u1", "total"))
    assert.equal(1, loads(read, "u1")) -- its tag is the parent
    assert.equal(1, loads(read))
    assert.equal(0, loads(read, "u2", "items"))
    invalid "u1"
    assert.equal(1, loads(read, "u1", "items"))
    assert.equal(1, loads(read, "u1", "total"))
    assert.equal(0, loads(read, "u2", "items"))
  end)

  it("do not take one user for another", function()
    local read = pair { "cart:{1}" }
    invalid = agent.invalidator { resource = "cart", tags = { "cart:{1}" } } (function(_) end)
    for _, user in ipairs { "user_1", "user_10", "user_1:x", 1, "1 " } do read(user) end
    invalid "user_1"
    assert.equal(1, loads(read, "user_1"))
    assert.equal(0, loads(read, "user_10"))
    assert.equal(0, loads(read, "user_1:x"))
    invalid "1"
    assert.equal(1, loads(read, 1))
  end)

  it("may be a function of the arguments", function()
    local read = pair(function(u) return { { "cart", u }, "cart:all" } end,
      function() return { "cart:all" } end)
    read "x"
    invalid()
    assert.equal(1, loads(read, "x"))
  end)

  it("of a function must begin with the resource", function()
    local read = pair(function() return { "user:1" } end)
    assert.error_matches(function() read "x" end,
      'tags%[1%] must begin with the resource "cart", got "user:1"')
    read = pair(function() return "cart" end)
    assert.error_matches(function() read "x" end, 'the result of option "tags" must be a list')
    local write = agent.invalidator { resource = "cart", tags = function() return { "user" } end }
    write = write(function() error "is not called" end)
    agent.session(function(session)
      assert.has_error(function() read "x" end)
      assert.error_matches(write, 'must begin with the resource "cart", got "user"')
      assert.equal(0, session.pending)
    end)
  end)

  it("are the resource when nothing is said, and when a function says none", function()
    for _, given in ipairs { false, function() return {} end } do
      local read = pair(given or nil)
      read "x"
      agent.invalidator { resource = "cart" } (function() end)()
      assert.equal(1, loads(read, "x"))
    end
  end)

  it("may have colons in the resource", function()
    local read = agent.cache { resource = "shop:cart" } (function() calls = calls + 1 end)
    calls = 0
    read()
    agent.invalidator { resource = "shop:order" } (function() end)()
    assert.equal(0, loads(read))
    agent.invalidator { resource = "shop" } (function() end)()
    assert.equal(1, loads(read))
  end)

  it("learned from a result count, of whatever resource", function()
    local read = agent.cache { resource = "order" } (function(id)
      calls = calls + 1
      return id, nil, { tags = { "customer:" .. id % 2, { "url", "http://x" } } }
    end)
    calls = 0
    read(1)
    read(2)
    local write = agent.invalidator { resource = "customer", tags = { "customer:{1}" } }
    write(function(c) return c end)(1)
    assert.equal(1, loads(read, 1))
    assert.equal(0, loads(read, 2))
    agent.invalidator { resource = "url" } (function() end)()
    assert.equal(1, loads(read, 2))
  end)
end)

-- SPDX-License-Identifier: MIT
-- Tools that call tools: tags and the shortest ttl are handed up.
local agent = require "perigee.agent"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

describe("a tool that calls others while it loads", function()
  local loads, stock, price, offer

  before_each(function()
    loads = { stock = 0, price = 0, offer = 0 }
    stock = agent.cache { resource = "stock", tags = { "stock:{1}" }, ttl = 10 } (function(id)
      loads.stock = loads.stock + 1
      return loads.stock, nil, { tags = { "shelf:" .. id } }
    end)
    price = agent.cache { resource = "price", ttl = 100 } (function()
      loads.price = loads.price + 1
      return loads.price
    end)
    offer = agent.cache { resource = "offer" } (function(id)
      loads.offer = loads.offer + 1
      return stock(id) * price()
    end)
  end)

  local function write(tag)
    agent.invalidator { resource = tag:match "^[^:]+", tags = { tag } } (function() end)()
  end

  it("depends on their tags, given or learned, whether they were loaded or hits", function()
    for _, is_warm in ipairs { false, true } do
      for _, tag in ipairs { "stock:x", "shelf:x", "price", "offer" } do
        if is_warm then
          offer:clear_cache()
          stock "x"
          price()
        end
        local before = (offer "x") and loads.offer
        offer "x"
        assert.equal(before, loads.offer)
        write(tag)
        offer "x"
        assert.equal(before + 1, loads.offer, tag)
      end
    end
    local before = loads.offer
    write "stock:y"
    write "shelf:y"
    offer "x"
    assert.equal(before, loads.offer)
  end)

  it("does not live longer than they", tasks.virtual(function()
    stock "x"
    tasks.pass(6)
    offer "x" -- of a stock that has 4 seconds left
    tasks.pass(3)
    offer "x"
    assert.equal(1, loads.offer)
    tasks.pass(2)
    offer "x"
    assert.equal(2, loads.offer)
    assert.equal(1, loads.price)
  end))

  it("is not kept if they were written meanwhile", tasks.virtual(function()
    local slow = agent.cache { resource = "slow" } (function(id)
      local n = stock(id)
      perigee.sleep(1)
      loads.slow = (loads.slow or 0) + 1
      return n
    end)
    local job = tasks.start(slow, "x")
    tasks.pass(0.5)
    write "stock:x"
    tasks.finish(job)
    assert.equal(2, slow "x")
    assert.equal(2, loads.slow)
    assert.equal(2, slow "x")
    assert.equal(2, loads.slow)
  end))

  it("is not kept if one of them was not", tasks.virtual(function()
    local inner = agent.cache { resource = "inner" } (function()
      return 1, nil, { cache = false }
    end)
    local runs = 0
    local outer = agent.cache { resource = "outer" } (function()
      runs = runs + 1
      return inner()
    end)
    outer()
    outer()
    assert.equal(2, runs)
  end))

  it("may fail inside and still be kept, until that is written", function()
    local fail = agent.cache { resource = "broken" } (function() return nil, "down" end)
    local runs = 0
    local outer = agent.cache { resource = "outer" } (function()
      runs = runs + 1
      return fail() or "fallback"
    end)
    assert.equal("fallback", outer())
    assert.equal("fallback", outer())
    assert.equal(1, runs)
    write "broken"
    outer()
    assert.equal(2, runs)
  end)

  it("hands up through functions cached otherwise, and through tasks", tasks.real(function()
    local runs = 0
    local remembered = perigee.lru(function(id) return stock(id) end)
    local outer = agent.cache { resource = "outer" } (function(id)
      runs = runs + 1
      local results = perigee.gather { function() return remembered(id) end, price }
      return results[1] + results[2]
    end)
    outer "x"
    write "shelf:x"
    outer "x"
    assert.equal(2, runs)
  end))

  it("gets the tags of a load that it joined", tasks.virtual(function()
    local inner = agent.cache { resource = "inner" } (function()
      perigee.sleep(1)
      return 1, nil, { tags = { "learned" } }
    end)
    local runs = 0
    local outer = agent.cache { resource = "outer" } (function()
      runs = runs + 1
      return inner()
    end)
    tasks.finish { tasks.start(inner), tasks.start(outer) }
    outer()
    assert.equal(1, runs)
    write "learned"
    outer()
    assert.equal(2, runs)
  end))

  it("depth does not matter", function()
    local tools, runs = {}, 0
    tools[0] = stock
    for i = 1, 10 do
      tools[i] = agent.cache { resource = "level" .. i } (function(id)
        runs = runs + 1
        return tools[i - 1](id)
      end)
    end
    tools[10] "x"
    tools[10] "x"
    assert.equal(10, runs)
    write "shelf:x"
    tools[10] "x"
    assert.equal(20, runs)
  end)

  it("keeps for all nothing that one session has", function()
    local own = agent.cache { resource = "own", scope = "session" } (function()
      return require("perigee.context").session.session_id
    end)
    local shared = agent.cache { resource = "shared" } (function() return own() end)
    local private = agent.cache { resource = "private", scope = "session" } (function()
      loads.private = (loads.private or 0) + 1
      return own()
    end)
    for _, id in ipairs { "A", "B" } do
      agent.session({ session_id = id }, function()
        assert.equal(id, shared())
        assert.equal(id, private())
        assert.equal(id, private())
      end)
    end
    assert.equal(2, loads.private)
  end)

  it("depends on a session's tool also outside any session", function()
    local own = agent.cache { resource = "own", scope = "session" } (function() return 1 end)
    local runs = 0
    local outer = agent.cache { resource = "outer" } (function()
      runs = runs + 1
      return own()
    end)
    outer()
    outer()
    assert.equal(1, runs)
    write "own"
    outer()
    assert.equal(2, runs)
  end)

  it("hands up a write of its session's own copies, too", function()
    local own = agent.cache { resource = "own", scope = "session" } (function() return 1 end)
    local runs = 0
    local outer = agent.cache { resource = "outer", scope = "session" } (function()
      runs = runs + 1
      return own()
    end)
    local forget = agent.invalidator { resource = "own", scope = "session" } (function() end)
    local a, b = agent.open(), agent.open()
    a:run(outer)
    b:run(outer)
    a:run(forget)
    a:run(outer)
    b:run(outer)
    assert.equal(3, runs)
  end)

  it("that loads itself raises, as any load does", function()
    local tool
    tool = agent.cache { resource = "r" } (function() return tool() end)
    assert.error_matches(function() tool() end, "deadlock")
  end)
end)

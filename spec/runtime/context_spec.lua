-- SPDX-License-Identifier: MIT
-- Which tasks can move, as the keeper of the loads hears it.
local context = require "perigee.context"
local perigee = require "perigee"
local testing = require "perigee.testing"

-- Runs `body` for load 7 and returns the moves it made, and the smallest sum on the way.
local function moves_of(body)
  local moves, sum, least, before = {}, 0, 0, context.moves
  context.moves = function(load, delta)
    assert.equal(7, load)
    moves[#moves + 1] = delta
    sum = sum + delta
    least = math.min(least, sum)
  end
  local ok, err = pcall(testing.run, function()
    context.load = 7
    body()
    context.load = 0
  end)
  context.moves = before
  assert(ok, err)
  return moves, sum, least
end

local function nap()
  perigee.sleep(1)
end

describe("the tasks that run for a load", function()
  it("count while they live: one more when spawned, one fewer when ended", function()
    assert.same({ 1, -1 }, (moves_of(function()
      perigee.spawn(nap)
      perigee.sleep(2)
    end)))
  end)

  it("do not count while they wait for one another, and can move before the other ends", function()
    local moves, sum, least = moves_of(function() perigee.spawn(nap):wait() end)
    assert.same({ 1, -1, 1, -1 }, moves)
    assert.equal(0, sum)
    assert.equal(0, least)
  end)

  it("count again when they wait no longer", function()
    local moves, sum = moves_of(function()
      local task = perigee.spawn(nap)
      task:wait(0.5)
      task:wait()
    end)
    assert.same({ 1, -1, 1, -1, 1, -1 }, moves)
    assert.equal(0, sum)
  end)

  it("are told alike by gather, timeout and scopes", function()
    for _, body in ipairs {
      function() perigee.gather { nap, nap } end,
      function() perigee.timeout(5, nap) end,
      function() perigee.timeout(0.5, nap) end,
      function() perigee.run(nap) end,
      function() pcall(perigee.gather, { nap, error }) end,
    } do
      local moves, sum = moves_of(body)
      assert.is_true(#moves >= 2)
      assert.equal(0, sum)
    end
  end)

  it("count while they sleep", function()
    assert.same({}, (moves_of(nap)))
  end)

  it("of another load are waited for like anybody", function()
    local task
    assert.same({}, (moves_of(function()
      context.load = 0
      task = perigee.spawn(nap)
      context.load = 7
      task:wait()
    end)))
  end)
end)

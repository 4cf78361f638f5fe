-- SPDX-License-Identifier: MIT
local ffi = require "ffi"
local C = require("perigee.lib").core

-- An address stands for an owner; nothing is ever read there.
local function owner(number) return ffi.cast("const void *", 0x10000 + number * 16) end

local function finish(life) C.perigee_life_end(C.perigee_life_data(life)) end

describe("the lives of owners", function()
  it("an owner has none before one begins, and the same until it ends", function()
    assert.equal(0, C.perigee_life_of(owner(1)))
    local life = C.perigee_life_begin(owner(1), nil)
    assert.is_true(life > 0)
    assert.equal(life, C.perigee_life_of(owner(1)))
    assert.equal(0, C.perigee_life_is_over(life))
    finish(life)
    assert.equal(0, C.perigee_life_of(owner(1)))
    assert.equal(1, C.perigee_life_is_over(life))
  end)

  it("an address used again begins a life of its own", function()
    local first = C.perigee_life_begin(owner(1), nil)
    finish(first)
    local second = C.perigee_life_begin(owner(1), nil)
    assert.not_equal(first, second)
    assert.equal(1, C.perigee_life_is_over(first))
    assert.equal(0, C.perigee_life_is_over(second))
    finish(second)
  end)

  it("nobody has no life", function()
    assert.equal(0, C.perigee_life_begin(nil, nil))
    assert.equal(0, C.perigee_life_of(nil))
  end)

  it("ending what has ended, or nothing, does nothing", function()
    local life = C.perigee_life_begin(owner(1), nil)
    local other = C.perigee_life_begin(owner(2), nil)
    finish(life)
    finish(life)
    C.perigee_life_end(nil)
    assert.equal(0, C.perigee_life_is_over(other))
    local third = C.perigee_life_begin(owner(3), nil) -- where the first one was
    finish(life)
    assert.equal(0, C.perigee_life_is_over(third))
    finish(other)
    finish(third)
  end)

  it("a life that is watched is over when what says so is cleared", function()
    local losses, watch = C.perigee_life_losses(), ffi.new "void *[1]"
    watch[0] = ffi.cast("void *", 1)
    local life = C.perigee_life_begin(owner(1), watch)
    C.perigee_life_work(life, 2)
    assert.equal(life, C.perigee_life_of(owner(1)))
    watch[0] = nil
    assert.equal(losses + 2, C.perigee_life_losses())
    assert.equal(1, C.perigee_life_is_over(life))
    assert.equal(0, C.perigee_life_of(owner(1)))
    local second = C.perigee_life_begin(owner(1), nil)
    finish(life)
    assert.equal(second, C.perigee_life_of(owner(1)))
    finish(second)
  end)

  it("numbers that never were lives are over", function()
    local life = C.perigee_life_begin(owner(1), nil)
    for _, junk in ipairs { 0, -1, 0.5, 1, life + 1, life + 0.5, life + 2 ^ 24, 2 ^ 53, 2 ^ 60,
        math.huge, -math.huge, 0 / 0 } do
      assert.equal(1, C.perigee_life_is_over(junk))
      C.perigee_life_work(junk, 1)
    end
    local losses = C.perigee_life_losses()
    finish(life)
    assert.equal(losses, C.perigee_life_losses())
  end)

  it("counts the works that a life leaves unfinished when it ends", function()
    local losses, life = C.perigee_life_losses(), C.perigee_life_begin(owner(1), nil)
    C.perigee_life_work(life, 3)
    C.perigee_life_work(life, -1)
    assert.equal(losses, C.perigee_life_losses())
    finish(life)
    assert.equal(losses + 2, C.perigee_life_losses())
    C.perigee_life_work(life, 1) -- too late
    life = C.perigee_life_begin(owner(1), nil)
    finish(life)
    assert.equal(losses + 2, C.perigee_life_losses())
  end)

  it("finds each of thousands, whichever end first", function()
    math.randomseed(7)
    local lives, over = {}, {}
    for round = 1, 20000 do
      local number = math.random(3000)
      local life = lives[number]
      assert.equal(life or 0, C.perigee_life_of(owner(number)))
      if life then
        finish(life)
        lives[number], over[#over + 1] = nil, life
      else
        lives[number] = C.perigee_life_begin(owner(number), nil)
      end
      if #over > 0 and round % 100 == 0 then
        assert.equal(1, C.perigee_life_is_over(over[math.random(#over)]))
      end
    end
    for number, life in pairs(lives) do
      assert.equal(0, C.perigee_life_is_over(life))
      finish(life)
      assert.equal(0, C.perigee_life_of(owner(number)))
    end
  end)

  it("begins none when memory is out, and goes on when there is some again", function()
    local lives, refused = {}, 0
    for number = 1, 70000 do -- more than there ever were: it has to grow
      C.perigee_core_fail_at(number % 2 == 0 and 1 or 2)
      local life = C.perigee_life_begin(owner(number), nil)
      C.perigee_core_fail_at(0)
      if life == 0 then
        refused = refused + 1
        assert.equal(0, C.perigee_life_of(owner(number)))
        life = C.perigee_life_begin(owner(number), nil)
      end
      lives[number] = life
    end
    assert.is_true(refused >= 1)
    for number, life in ipairs(lives) do
      assert.equal(life, C.perigee_life_of(owner(number)))
      finish(life)
    end
  end)
end)

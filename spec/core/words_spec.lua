-- SPDX-License-Identifier: MIT
-- A board is mapped once per process, for ever: what has to be true before that, and what concerns
-- other processes, is seen in forked children.
local ffi = require "ffi"
local C = require("perigee.lib").core

ffi.cdef [[
int fork(void);
int waitpid(int pid, int *status, int options);
int getpid(void);
void _exit(int status);
int kill(int pid, int sig);
int usleep(unsigned microseconds);
]]

local KILL, STOP, CONTINUE = 9, 19, 18

-- Runs `body` in a child, which ends with 0 if it returned true. Returns its process id.
local function begin(body)
  local pid = ffi.C.fork()
  if pid == 0 then
    local ok, good = pcall(body)
    ffi.C._exit(ok and good and 0 or 1)
  end
  return pid
end

-- Waits for a child; whether all went well there.
local function finish(pid)
  local status = ffi.new "int[1]"
  repeat until ffi.C.waitpid(pid, status, 0) == pid
  return status[0] == 0
end

local function child(body) return finish(begin(body)) end

local function wait_until(condition)
  for _ = 1, 5000 do
    if condition() then return end
    ffi.C.usleep(1000)
  end
  error "it did not happen"
end

local clock = ffi.new "perigee_clock"

describe("the board that processes share", function()
  -- Before the board is mapped here: these children map their own.
  it("is mapped by who asks first, and inherited by nobody else", function()
    if C.perigee_board_inherited() ~= nil then return end
    assert.is_true(child(function()
      local board = C.perigee_board_own()
      return board ~= nil and board == C.perigee_board_own()
        and C.perigee_board_inherited() == nil
    end))
  end)

  it("is the same memory in those who are forked later", function()
    local board = C.perigee_board_own()
    local word, before = C.perigee_board_word(board, 7), C.perigee_board_fence(board, 5)
    local number = word[0]
    assert.is_true(child(function()
      local mine = C.perigee_board_inherited()
      C.perigee_board_move(mine, 5)
      return mine == board and C.perigee_board_own() == board
        and C.perigee_board_bump(mine, 7) == number + 1
    end))
    assert.equal(number + 1, word[0])
    assert.equal(before + 1, C.perigee_board_fence(board, 5))
  end)

  it("is found again by its address and its number of chance, and by nothing else", function()
    local board = C.perigee_board_own()
    local address, magic = C.perigee_board_address(board), C.perigee_board_magic(board)
    assert.is_true(C.perigee_board_at(address, magic) == board)
    assert.is_true(magic >= 0 and magic < 2 ^ 52 and magic % 1 == 0)
    assert.is_true(C.perigee_board_at(address, magic + 1) == nil)
    assert.is_true(C.perigee_board_at(address, 0 / 0) == nil)
    for _, junk in ipairs { 0, -1, 1, 4096, address + 1, address + 8, 2 ^ 47, 2 ^ 60, math.huge,
        -math.huge, 0 / 0 } do
      assert.is_true(C.perigee_board_at(junk, magic) == nil)
    end
  end)

  it("has words and fences that count modulo their number", function()
    local board = C.perigee_board_own()
    local words, fences = C.PERIGEE_WORDS, C.PERIGEE_FENCES
    local number, before = C.perigee_board_word(board, 3)[0], C.perigee_board_fence(board, 3)
    C.perigee_board_bump(board, 3 + words)
    C.perigee_board_move(board, 3 + 5 * fences)
    assert.equal(number + 1, C.perigee_board_word(board, 3)[0])
    assert.equal(before + 1, C.perigee_board_fence(board, 3))
    assert.equal(before + 1, C.perigee_board_fence(board, 3 + fences))
  end)

  it("hashes bytes alike in all processes, and apart from others", function()
    local board, seen, distinct = C.perigee_board_own(), {}, 0
    for i = 0, 999 do
      local bytes = "key\0" .. i
      local hash = C.perigee_board_hash(bytes, #bytes, 1)
      assert.is_true(hash >= 0 and hash < 2 ^ 46 and hash % 1 == 0)
      assert.equal(hash, C.perigee_board_hash(bytes, #bytes, 1))
      assert.not_equal(hash, C.perigee_board_hash(bytes, #bytes, 2))
      local fence = hash % C.PERIGEE_FENCES
      if not seen[fence] then seen[fence], distinct = true, distinct + 1 end
    end
    assert.is_true(distinct > 900)
    local here = C.perigee_board_hash("key", 3, 0)
    local before = C.perigee_board_fence(board, here)
    assert.is_true(child(function()
      C.perigee_board_move(board, C.perigee_board_hash("key", 3, 0))
      return true
    end))
    assert.equal(before + 1, C.perigee_board_fence(board, here))
    C.perigee_board_hash("", 0, 0)
  end)
end)

describe("the lock of a fence", function()
  it("is one process' at a time, and only what is told is counted", function()
    local board = C.perigee_board_own()
    local before = C.perigee_board_fence(board, 1)
    assert.equal(1, C.perigee_board_lock(board, 1, ffi.C.getpid()))
    assert.equal(0, C.perigee_board_lock(board, 1, ffi.C.getpid())) -- ours: a finalizer goes on
    assert.equal(1, C.perigee_board_lock(board, 2, ffi.C.getpid()))
    C.perigee_board_unlock(board, 2, 0, 0)
    C.perigee_board_unlock(board, 1, 0, 0)
    assert.equal(before, C.perigee_board_fence(board, 1))
    assert.equal(1, C.perigee_board_lock(board, 1, ffi.C.getpid()))
    C.perigee_board_unlock(board, 1, 1, 0)
    assert.equal(before + 1, C.perigee_board_fence(board, 1))
    local fills = C.perigee_board_fills(board, 1)
    assert.equal(1, C.perigee_board_lock(board, 1, ffi.C.getpid()))
    C.perigee_board_unlock(board, 1, 0, 1)
    assert.equal(before + 1, C.perigee_board_fence(board, 1))
    assert.equal(fills + 1, C.perigee_board_fills(board, 1))
  end)

  it("keeps processes from counting past each other", function()
    local board, pids = C.perigee_board_own(), {}
    local word = ffi.cast("volatile uint32_t *", C.perigee_board_word(board, 9))
    local before = word[0]
    for i = 1, 4 do
      pids[i] = begin(function()
        for _ = 1, 2000 do
          if C.perigee_board_lock(board, 4, ffi.C.getpid()) ~= 1 then return false end
          word[0] = word[0] + 1 -- not atomic
          C.perigee_board_unlock(board, 4, 1, 0)
        end
        return true
      end)
    end
    for i = 1, 4 do assert.is_true(finish(pids[i])) end
    assert.equal(before + 8000, word[0])
  end)

  it("is taken from a process that died with it", function()
    local board = C.perigee_board_own()
    local word = C.perigee_board_word(board, 11)
    local before = word[0]
    local pid = begin(function()
      C.perigee_board_lock(board, 6, ffi.C.getpid())
      C.perigee_board_bump(board, 11)
      ffi.C.usleep(1e8)
    end)
    wait_until(function() return word[0] == before + 1 end)
    ffi.C.kill(pid, KILL)
    assert.is_false(finish(pid))
    local began = C.perigee_clock_now(clock)
    assert.equal(1, C.perigee_board_lock(board, 6, ffi.C.getpid()))
    assert.is_true(C.perigee_clock_now(clock) - began < 500)
    C.perigee_board_unlock(board, 6, 0, 0)
  end)

  it("is waited for about a second when its holder is stopped, and no longer", function()
    local board = C.perigee_board_own()
    local word = C.perigee_board_word(board, 12)
    local before = word[0]
    local pid = begin(function()
      C.perigee_board_lock(board, 8, ffi.C.getpid())
      C.perigee_board_bump(board, 12)
      ffi.C.usleep(1e8)
    end)
    wait_until(function() return word[0] == before + 1 end)
    ffi.C.kill(pid, STOP)
    local began = C.perigee_clock_now(clock)
    assert.equal(0, C.perigee_board_lock(board, 8, ffi.C.getpid()))
    local lasted = C.perigee_clock_now(clock) - began
    ffi.C.kill(pid, CONTINUE)
    ffi.C.kill(pid, KILL)
    finish(pid)
    assert.is_true(lasted > 900 and lasted < 2500)
    local fence = C.perigee_board_fence(board, 8)
    C.perigee_board_move(board, 8) -- what a writer does then
    assert.equal(fence + 1, C.perigee_board_fence(board, 8))
    assert.equal(1, C.perigee_board_lock(board, 8, ffi.C.getpid()))
    C.perigee_board_unlock(board, 8, 0, 0)
  end)
end)

describe("the lease of a key", function()
  local FENCES = C.PERIGEE_FENCES
  local board, self

  before_each(function() board, self = C.perigee_board_own(), ffi.C.getpid() end)

  local function take(hash, token, now, until_ms, worker)
    return C.perigee_board_take(board, hash, token, C.perigee_board_fence(board, hash), now,
      until_ms, worker or self)
  end

  it("is who took it first's, until it is given back", function()
    assert.equal(0, take(50, 1, 1000, 2000))
    assert.equal(1, take(50, 2, 1000, 2000))
    C.perigee_board_give(board, 50, 2, self) -- not its own
    assert.equal(1, take(50, 2, 1000, 2000))
    C.perigee_board_give(board, 50, 1, self)
    assert.equal(0, take(50, 3, 1000, 2000))
    C.perigee_board_give(board, 50, 3, self)
  end)

  it("ends by itself, if it is not made to last", function()
    assert.equal(0, take(51, 1, 1000, 2000))
    assert.equal(1, take(51, 2, 1999, 3000))
    C.perigee_board_renew(board, 51, 1, 5000, self)
    C.perigee_board_renew(board, 51, 2, 9000, self) -- not its own
    assert.equal(1, take(51, 2, 4999, 6000))
    assert.equal(0, take(51, 2, 5000, 6000))
    C.perigee_board_renew(board, 51, 1, 9000, self) -- not its own any more
    C.perigee_board_give(board, 51, 1, self)
    assert.equal(2, take(51, 3, 5999, 7000))
    C.perigee_board_give(board, 51, 2, self)
  end)

  it("says so when another key's is in its place", function()
    assert.equal(0, take(52, 1, 1000, 2000))
    assert.equal(-1, take(52 + FENCES, 2, 1000, 2000))
    assert.equal(-1, take(52 + 7 * FENCES, 3, 1000, 2000))
    assert.equal(1, take(52, 4, 1000, 2000))
    C.perigee_board_give(board, 52, 1, self)
    assert.equal(-1, take(52, 5, 1000, 2000)) -- till then they are all had elsewhere
    assert.equal(0, take(52 + FENCES, 2, 2000, 3000))
    C.perigee_board_give(board, 52 + FENCES, 2, self)
    C.perigee_board_defer(board, 52, 4000, self)
    assert.equal(-1, take(52, 6, 3999, 5000))
    assert.equal(0, take(52, 6, 5000, 6000))
    C.perigee_board_give(board, 52, 6, self)
  end)

  it("is not his any more whose work began before the last write", function()
    assert.equal(0, take(55, 1, 1000, 9000))
    C.perigee_board_move(board, 55)
    assert.equal(0, take(55, 2, 1000, 9000))
    C.perigee_board_give(board, 55, 1, self)
    assert.equal(2, take(55, 3, 1000, 9000))
    C.perigee_board_give(board, 55, 2, self)
  end)

  it("of a process that died is the next one's", function()
    assert.is_false(finish(begin(function()
      return take(53, 1, 1000, 9000, ffi.C.getpid()) ~= 0
    end)))
    assert.equal(0, take(53, 2, 1000, 9000))
    C.perigee_board_give(board, 53, 2, self)
  end)

  it("is one process' among many that try", function()
    local word = C.perigee_board_word(board, 20)
    local before, pids = word[0], {}
    for i = 1, 4 do
      pids[i] = begin(function()
        local pid = ffi.C.getpid()
        for round = 1, 200 do
          if take(1000 + round, pid, 1000, 9000, pid) == 0 then
            C.perigee_board_bump(board, 20)
          end
        end
        ffi.C.usleep(300000) -- it lives until all have tried
        return true
      end)
    end
    for i = 1, 4 do assert.is_true(finish(pids[i])) end
    assert.equal(before + 200, word[0])
  end)

  it("is nobody's while its lock does not come free", function()
    assert.equal(1, C.perigee_board_lock(board, 54, self))
    assert.equal(-1, take(54, 1, 1000, 2000))
    C.perigee_board_unlock(board, 54, 0, 0)
    assert.equal(0, take(54, 1, 1000, 2000))
    C.perigee_board_give(board, 54, 1, self)
  end)
end)

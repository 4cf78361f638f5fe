-- SPDX-License-Identifier: MIT

--- What the workers of one nginx agree by (`words.h`): a word per cache that says whether another
-- worker has changed something, and per key a fence that keeps late results out, and a lease that
-- says which worker loads it.
--
-- The memory is mapped before the workers are forked, by whoever requires Perigee in init_by_lua.
-- Its address is kept in the shared dictionary, which lives as long as the master process: so a
-- reload finds the same memory, and old and new workers agree. Where it was not mapped in time, the
-- dictionary itself does the same, by locks: correct, and slower.
-- @module perigee.tier.board

local C = require("perigee.lib").core
local clock = require "perigee.runtime.clock"
local log = require "perigee.log"
local ngx = require "perigee.runtime.nginx"

local _M = {}

local PREFIX = "\0perigee\0"
local AT = PREFIX .. "board"
local FENCES = C.PERIGEE_FENCES

local own = false -- mapped before this state's process was forked

--- Maps the memory, in init_by_lua.
function _M.prepare()
  if ngx and ngx.get_phase() == "init" then
    local board = C.perigee_board_own()
    own = board ~= nil and board
  end
end

-- In the dictionary -------------------------------------------------------------------------

local Slow = {}
local slow_mt = { __index = Slow }

local LOCK_S = 1

-- One that was thrown out begins again where it never was.
function Slow:fence(hash)
  local name = PREFIX .. "f" .. hash % FENCES
  local number = self.dict:get(name)
  if number then return number end
  local fresh = C.perigee_core_random() * 2 ^ 20
  if self.dict:add(name, fresh) then return fresh end
  return self.dict:get(name) or fresh
end

function Slow.fills() return nil end

-- Fails at once where this worker has the lock already.
function Slow:lock(hash)
  local name, pid = PREFIX .. "l" .. hash % FENCES, ngx.worker.pid() or 0
  local ends = C.perigee_clock_machine() + LOCK_S
  repeat
    local ok, why = self.dict:add(name, pid, LOCK_S)
    if ok then return true end
  until why ~= "exists" or self.dict:get(name) == pid or C.perigee_clock_machine() > ends
  return false
end

function Slow:unlock(hash, written)
  local name = PREFIX .. "l" .. hash % FENCES
  if written then self:move(hash) end
  if self.dict:get(name) == (ngx.worker.pid() or 0) then self.dict:delete(name) end
end

function Slow:move(hash)
  self.dict:incr(PREFIX .. "f" .. hash % FENCES, 1, C.perigee_core_random() * 2 ^ 20)
end

function Slow.bump() end

local function lease_of(hash, number)
  return ("%st%.0f/%.0f"):format(PREFIX, hash, number)
end

function Slow:take(hash, token, seconds, number)
  local name = lease_of(hash, number)
  local ok, why = self.dict:add(name, token, seconds)
  if ok or why ~= "exists" then return true end -- no memory: then without it
  return false, self.dict:get(name) or 0
end

function Slow:renew(hash, token, seconds, number)
  local name = lease_of(hash, number)
  if self.dict:get(name) == token then self.dict:set(name, token, seconds) end
end

function Slow:give(hash, token, number)
  local name = lease_of(hash, number)
  if self.dict:get(name) == token then self.dict:delete(name) end
end

-- In memory that the workers share ----------------------------------------------------------

local Memory = {}
local memory_mt = { __index = Memory }

function Memory:fence(hash)
  return C.perigee_board_fence(self.board, hash)
end

function Memory:fills(hash)
  return C.perigee_board_fills(self.board, hash)
end

function Memory:lock(hash)
  return C.perigee_board_lock(self.board, hash, ngx.worker.pid()) == 1
end

function Memory:unlock(hash, written, filled)
  C.perigee_board_unlock(self.board, hash, written and 1 or 0, filled and 1 or 0)
end

function Memory:move(hash)
  C.perigee_board_move(self.board, hash)
end

function Memory:bump()
  return C.perigee_board_bump(self.board, self.which)
end

-- The lease of another key stands in the way, once in a while: then the dictionary has ours, and
-- for as long those of all keys of that fence.
function Memory:take(hash, token, seconds, number)
  local now = C.perigee_clock_now(clock)
  local holder = C.perigee_board_take(self.board, hash, token, number, now, now + seconds * 1000,
    ngx.worker.pid())
  if holder == 0 then return true end
  if holder > 0 then return false, holder end
  local ok, who = self.slow:take(hash, token, seconds, number)
  if ok then self.elsewhere[token] = true end
  return ok, who
end

function Memory:renew(hash, token, seconds, number)
  local pid, until_ms = ngx.worker.pid(), C.perigee_clock_now(clock) + seconds * 1000
  if self.elsewhere[token] then
    C.perigee_board_defer(self.board, hash, until_ms, pid)
    return self.slow:renew(hash, token, seconds, number)
  end
  C.perigee_board_renew(self.board, hash, token, until_ms, pid)
end

function Memory:give(hash, token, number)
  if self.elsewhere[token] then
    self.elsewhere[token] = nil
    return self.slow:give(hash, token, number)
  end
  C.perigee_board_give(self.board, hash, token, ngx.worker.pid())
end

-- Which -------------------------------------------------------------------------------------

local function board_of(dict)
  local inherited = C.perigee_board_inherited()
  local mine = inherited ~= nil and inherited or own or nil
  if mine then
    dict:add(AT, ("%.0f %.0f"):format(C.perigee_board_address(mine), C.perigee_board_magic(mine)))
  end
  local address, magic = (dict:get(AT) or ""):match "^(%d+) (%d+)$"
  local board = address and C.perigee_board_at(tonumber(address), tonumber(magic))
  if board ~= nil then return board end
end

local warned = false

local function warn_once()
  if warned then return end
  warned = true
  log.warn("the workers' caches agree by the shared dictionary, which is slower: put "
    .. "init_by_lua_block { require \"perigee\" } into nginx.conf (and lua_code_cache on)")
end

--- A hash of a key.
-- @tparam string bytes the key
-- @tparam number seed tells caches and spaces apart
-- @treturn number
function _M.hash(bytes, seed)
  return C.perigee_board_hash(bytes, #bytes, seed)
end

--- What the workers agree by.
-- @tparam table dict a lua_shared_dict
-- @tparam number number of the cache: a whole one
-- @treturn table `word`: a pointer to the cache's word, or false; `bump()` moves it and returns its
--   number; by hash of a key: `fence(hash)`, `fills(hash)` (nil: not counted), `lock(hash)`,
--   `unlock(hash, written, filled)`, `move(hash)`: see `words.h`; `take(hash, token, seconds,
--   number)` -> true, or false and the token of who has the lease (`number`: the fence's when the
--   work began); `renew(hash, token, seconds, number)`, `give(hash, token, number)`
function _M.of(dict, number)
  _M.prepare()
  local slow = setmetatable({ dict = dict, word = false }, slow_mt)
  local board = board_of(dict)
  if board then
    local which = number % C.PERIGEE_WORDS
    return setmetatable({ board = board, which = which, slow = slow, elsewhere = {},
      word = C.perigee_board_word(board, which) }, memory_mt)
  end
  if ngx.get_phase() ~= "init" then warn_once() end
  return slow
end

return _M

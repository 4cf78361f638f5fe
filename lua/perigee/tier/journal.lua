-- SPDX-License-Identifier: MIT

--- What the workers of one nginx have changed in a cache, in order: a ring in the shared
-- dictionary, written by all, read by each at its own pace.
--
--     h           number of the last change
--     r0 .. rN    number (8 bytes), writer (8 bytes), what: change number modulo N
--
-- Writing and reading go on under a lock, so that an empty place is one that the dictionary has
-- thrown out. That is a loss, which is told, like being overtaken by the ring. Numbers begin with
-- the time, so that none is ever used again.
-- @module perigee.tier.journal

local ffi = require "ffi"

local C = require("perigee.lib").core
local clock = require "perigee.runtime.clock"
local doubles = require "perigee.value.doubles"
local ngx = require "perigee.runtime.nginx"

local _M = {}
local mt = { __index = _M, __name = "perigee.journal" }

local PLACES, HEAD = 1024, 16

local function begin_number()
  return math.floor(C.perigee_clock_wall_ms(clock) * 1000)
end

--- The journal of a cache.
-- @tparam table dict a lua_shared_dict
-- @tparam string prefix of its keys there
-- @tparam table board see `perigee.tier.board`
-- @tparam number lock hash of a lock there
-- @treturn table
function _M.new(dict, prefix, board, lock)
  local self = setmetatable({ dict = dict, head = prefix .. "h", ring = prefix .. "r",
    board = board, word = board.word, lock = lock, seen = -1, at = false,
    id = "", pid = false, -- who writes: made anew in each process
    names = {}, number = ffi.new "double[1]",
  }, mt)
  dict:add(self.head, begin_number())
  self.at = tonumber((dict:get(self.head))) or 0
  return self
end

local function id_of(self)
  local pid = ngx.worker.pid()
  if self.pid ~= pid then
    self.pid = pid
    self.id = ffi.string(ffi.new("uint32_t[2]", C.perigee_core_random(), pid), 8)
  end
  return self.id
end

local function place_of(self, number)
  local place = number % PLACES
  local name = self.names[place]
  if not name then
    name = self.ring .. place
    self.names[place] = name
  end
  return name
end

-- Takes a number and writes what has changed to its place; where there is no memory for it, readers
-- are overtaken. Returns the number, if all is well.
local function write(self, what)
  local dict = self.dict
  local number = dict:incr(self.head, 1, begin_number())
  if not number then
    dict:delete(self.head)
    return nil
  end
  self.number[0] = number
  local bytes = ffi.string(self.number, 8) .. id_of(self) .. what
  if dict:set(place_of(self, number), bytes) then return number end
  dict:incr(self.head, PLACES + 1, begin_number())
end

--- Tells the others.
-- @tparam string what
function _M:publish(what)
  local locked = self.board:lock(self.lock)
  local number = write(self, what)
  if locked then self.board:unlock(self.lock, false, false) end
  local word = self.board:bump()
  if number and self.at == number - 1 and (not word or word == self.seen + 1) then
    self.at, self.seen = number, word or -1 -- nobody else meanwhile
  end
end

-- What the change of a number was: its writer and what he said; nil if it is lost.
local function read(self, number)
  local text = self.dict:get(place_of(self, number))
  if type(text) == "string" and #text >= HEAD and doubles.read(text) == number then
    return text:sub(9, HEAD), text:sub(HEAD + 1)
  end
end

local function head_of(self)
  local head = self.dict:get(self.head)
  return type(head) == "number" and head or nil
end

-- What has changed since, as a list; nil if some of it is lost.
local function read_all(self)
  local head, list = head_of(self), {}
  if not head or head < self.at or head - self.at > PLACES then
    self.at = head or 0
    return nil
  end
  while self.at < head do
    local writer, what = read(self, self.at + 1)
    if not writer then
      self.at = head
      return nil
    end
    self.at = self.at + 1
    if writer ~= self.id then list[#list + 1] = what end
  end
  return list
end

--- Reads what is new. Nothing is, if the word stands where it stood.
-- @tparam function hear `hear(what)`: somebody else has changed that; nil: anything may have
function _M:catch_up(hear)
  if not self.word and head_of(self) == self.at then return end
  local word = self.word and self.word[0] or -1
  local locked = self.board:lock(self.lock)
  local list = read_all(self)
  if locked then self.board:unlock(self.lock, false, false) end
  self.seen = word
  if not list then return hear(nil) end
  for i = 1, #list do hear(list[i]) end
end

--- Whether nothing can be new: a load, where the workers share memory.
-- @treturn boolean
function _M:is_quiet()
  local word = self.word
  return word and word[0] == self.seen or false
end

return _M

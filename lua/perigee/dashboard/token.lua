-- SPDX-License-Identifier: MIT

--- The secret that whoever may see keys and change caches must show. It is made at random in each
-- process that has a dashboard; the workers of one nginx must have the same.
--
-- They have it when this module was loaded in init_by_lua, before they were forked; or they agree
-- by the shared dictionary of a cache. One worker needs no agreement. Else there is none.
-- @module perigee.dashboard.token

local bit = require "bit"

local C = require("perigee.lib").core
local ngx = require "perigee.runtime.nginx"
local workers = require "perigee.sharing.workers"

local _M = {}

local bor, bxor = bit.bor, bit.bxor
local WORDS = 6 -- of 32 bits each
local IN_DICTIONARY = "\0perigee\0dashboard"

--- Random digits that nobody can guess.
-- @tparam number words of 32 bits each
-- @treturn string eight digits for each
function _M.random(words)
  local parts = {}
  for i = 1, words do parts[i] = bit.tohex(C.perigee_core_random()) end
  return table.concat(parts)
end

local is_inherited = ngx and ngx.get_phase() == "init"
local own = _M.random(WORDS)

-- One that was thrown out of the dictionary is put back by the next who asks.
local function agree(dict)
  dict:add(IN_DICTIONARY, own)
  own = dict:get(IN_DICTIONARY) or own
  return own
end

--- The token of this process, or of all workers of this nginx.
-- @treturn string|nil digits; nil: several workers cannot agree
function _M.get()
  if not ngx or is_inherited then return own end
  local dict = workers.dictionary()
  if dict then return agree(dict) end
  return ngx.worker.count() == 1 and own or nil
end

local announced = false

--- Whether this is the first time that this is asked, of all workers if they have a dictionary.
-- @treturn boolean
function _M.is_news()
  if announced then return false end
  announced = true
  local dict = ngx and workers.dictionary()
  return not dict or dict:add(IN_DICTIONARY .. own, true) == true
end

--- Whether a text is the token. What it takes depends on nothing but the token's length.
-- @tparam string token from `get`
-- @param text from anywhere
-- @treturn boolean
function _M.is(token, text)
  if type(text) ~= "string" or #text ~= #token then return false end
  local difference = 0
  for i = 1, #token do difference = bor(difference, bxor(token:byte(i), text:byte(i))) end
  return difference == 0
end

return _M

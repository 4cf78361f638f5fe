-- SPDX-License-Identifier: MIT

--- Fingerprints of calls and results, for a guard: equal exactly when they are, whatever the
-- process.
--
-- What cannot be a key has none: it counts as unlike anything else, so it is never evidence.
-- @module perigee.agent.prints

local ffi = require "ffi"

local C = require("perigee.lib").core
local keys = require "perigee.value.keys"

local getmetatable, pcall, type = getmetatable, pcall, type
local fill_name, fingerprint = C.perigee_guard_name, C.perigee_guard_print

local _M = {}

-- Types of bytes: equal bytes of different types differ.
local TEXT, NUMBER, TRUE, FALSE, NIL, UNIQUE, ERROR = 1, 2, 3, 4, 5, 6, 7

local number_box = ffi.typeof "double[1]"
local bytes_at = ffi.typeof "const char *"

local uniques = 0

--- What stands for something that is unlike anything else.
local unique_mt = { __name = "perigee.agent.unique" }

--- Makes a key that equals no other.
-- @treturn table
function _M.unique()
  uniques = uniques + 1
  return setmetatable({ number = uniques }, unique_mt)
end

--- The key that a guard knows a call's arguments by.
-- @tparam string where the function's name, for messages
-- @param args any value that can be a key
-- @treturn nil|string|number|boolean
-- @raise on arguments that cannot be a key
function _M.key_of(where, args)
  if args == nil then return nil end
  return keys.one(where, args)
end

local function name_by_number(call, tool, number, kind)
  fill_name(call, tool, #tool, ffi.cast(bytes_at, number_box(number)), 8, kind)
end

--- Fills in what call it is.
-- @tparam cdata call a `perigee_guard_call`
-- @tparam string tool its name
-- @param key from `key_of`, or `unique`
function _M.name(call, tool, key)
  local kind = type(key)
  if kind == "string" then return fill_name(call, tool, #tool, key, #key, TEXT) end
  if kind == "number" then return name_by_number(call, tool, key, NUMBER) end
  if kind == "table" then return name_by_number(call, tool, key.number, UNIQUE) end
  fill_name(call, tool, #tool, "", 0, key == nil and NIL or key and TRUE or FALSE)
end

local function of_number(number, kind)
  return fingerprint(ffi.cast(bytes_at, number_box(number)), 8, kind)
end

local function of_key(key)
  local kind = type(key)
  if kind == "string" then return fingerprint(key, #key, TEXT) end
  if kind == "number" then return of_number(key, NUMBER) end
  return fingerprint("", 0, key == nil and NIL or key and TRUE or FALSE)
end

--- A fingerprint that equals no other.
-- @treturn number
function _M.of_nothing()
  uniques = uniques + 1
  return of_number(uniques, UNIQUE)
end

--- The fingerprint of a result.
-- @param result anything
-- @treturn number
function _M.of(result)
  if type(result) == "string" then return fingerprint(result, #result, TEXT) end
  local ok, key = pcall(_M.key_of, "result", result)
  return ok and of_key(key) or _M.of_nothing()
end

--- The fingerprint of an error: of its text, if it has one to show.
-- @param err anything
-- @treturn number
function _M.of_error(err)
  local meta = type(err) == "table" and getmetatable(err)
  if type(meta) == "table" and meta.__tostring then
    local ok, text = pcall(tostring, err)
    if ok then err = text end
  end
  if type(err) == "string" then return fingerprint(err, #err, ERROR) end
  return _M.of(err)
end

return _M

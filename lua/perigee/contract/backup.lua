-- SPDX-License-Identifier: MIT

--- What a disk backend of yours must do to be the `backup` of a cache, as tests to run against it.
-- With busted:
--
--     local contract = require "perigee.contract.backup"
--     describe("my backend", function()
--       for _, case in ipairs(contract.cases(function(where) return my_backend(where) end)) do
--         it(case.name, case.run)
--       end
--     end)
--
-- A backend is a table with three methods. `save(self, entries)` keeps a list of `{ key =, value =,
-- ttl_left = }` in place of whatever it had, and returns true, or nil and why not; `load(self)`
-- gives the list back, or nil and why not (an empty list if there never was one); `clear(self)`
-- forgets it. Keys are strings, numbers and booleans, `ttl_left` is in seconds, nil for ever.
-- @module perigee.contract.backup

local _M = {}

local function check(condition, text)
  if not condition then error("a backend must " .. text, 2) end
end

local function by_key(list)
  check(type(list) == "table", "return a list from load")
  local map, count = {}, 0
  for i = 1, #list do
    map[list[i].key] = list[i]
    count = count + 1
  end
  return map, count
end

local function save(backend, entries)
  local ok, err = backend:save(entries)
  check(ok, "return true from save when it has saved (" .. tostring(err) .. ")")
end

local CASES = {
  { "has nothing at first", function(fresh)
    local _, count = by_key(fresh():load())
    check(count == 0, "load an empty list when nothing was saved")
  end },
  { "gives back what was saved", function(fresh)
    local backend = fresh()
    save(backend, { { key = "a", value = 1, ttl_left = 10 }, { key = "b", value = "two" } })
    local map, count = by_key(backend:load())
    check(count == 2, "give back every entry, once")
    check(map.a.value == 1 and map.b.value == "two", "give back the values")
    check(map.a.ttl_left ~= nil and map.a.ttl_left > 9 and map.a.ttl_left <= 10,
      "give back ttl_left, less the time since the save")
    check(map.b.ttl_left == nil, "give back no ttl_left where there was none")
  end },
  { "keeps the kinds of keys apart", function(fresh)
    local backend = fresh()
    save(backend, { { key = 1, value = "number" }, { key = "1", value = "string" },
      { key = true, value = "boolean" }, { key = "true", value = "string true" } })
    local map = by_key(backend:load())
    check(map[1] and map[1].value == "number", "keep numbers as keys")
    check(map["1"] and map["1"].value == "string", "tell \"1\" from 1")
    check(map[true] and map[true].value == "boolean", "keep booleans as keys")
    check(map["true"] and map["true"].value == "string true", "tell \"true\" from true")
  end },
  { "keeps any bytes in strings", function(fresh)
    local backend, bytes = fresh(), {}
    for i = 0, 255 do bytes[i + 1] = string.char(i) end
    local all = table.concat(bytes)
    save(backend, { { key = all, value = all } })
    local map = by_key(backend:load())
    check(map[all] and map[all].value == all, "keep keys and values byte by byte")
  end },
  { "keeps nil, false and tables as values", function(fresh)
    local backend = fresh()
    save(backend, { { key = "nil" }, { key = "false", value = false },
      { key = "table", value = { list = { 1, 2 }, name = "x" } } })
    local map = by_key(backend:load())
    check(map["nil"] and map["nil"].value == nil, "keep an entry whose value is nil")
    check(map["false"] and map["false"].value == false, "keep false")
    local t = map.table and map.table.value
    check(type(t) == "table" and t.name == "x" and t.list[2] == 2, "keep tables")
  end },
  { "replaces what it had by the next save", function(fresh)
    local backend = fresh()
    save(backend, { { key = "a", value = 1 }, { key = "b", value = 1 } })
    save(backend, { { key = "a", value = 2 } })
    local map, count = by_key(backend:load())
    check(count == 1 and map.a.value == 2, "hold the last list saved and nothing else")
  end },
  { "keeps it for the next one at the same place", function(fresh)
    local first = fresh "same"
    save(first, { { key = "a", value = 1 } })
    local map = by_key(fresh("same"):load())
    check(map.a and map.a.value == 1, "find what an earlier one saved at the same place")
  end },
  { "forgets all when it is cleared", function(fresh)
    local backend = fresh()
    save(backend, { { key = "a", value = 1 } })
    backend:clear()
    local _, count = by_key(backend:load())
    check(count == 0, "hold nothing after clear")
  end },
  { "saves an empty list", function(fresh)
    local backend = fresh()
    save(backend, { { key = "a", value = 1 } })
    save(backend, {})
    local _, count = by_key(backend:load())
    check(count == 0, "hold nothing after an empty list was saved")
  end },
  { "does not hold on to the lists and values it is given", function(fresh)
    local backend = fresh()
    local value = { n = 1 }
    local list = { { key = "a", value = value } }
    save(backend, list)
    value.n, list[1] = 2, nil
    local map = by_key(backend:load())
    check(map.a and map.a.value.n == 1, "keep what was saved, whatever becomes of the tables")
  end },
}

--- The tests.
-- @tparam function make `make(where)` returns a backend at a place of that name: a new, empty one
--   for a name that it was not called with before, otherwise another one at the same place
-- @treturn table a list of `{ name =, run = }`; `run()` raises what is wrong
function _M.cases(make)
  local list, places = {}, 0
  for i, case in ipairs(CASES) do
    list[i] = { name = case[1], run = function()
      case[2](function(name)
        places = places + 1
        return make(name or "place " .. places)
      end)
    end }
  end
  return list
end

return _M

-- SPDX-License-Identifier: MIT

--- What a remote backend of yours must do to be the `remote_cache` of a cache, as tests to run
-- against it. With busted:
--
--     local contract = require "perigee.contract.remote"
--     describe("my backend", function()
--       for _, case in ipairs(contract.cases(function(where) return my_backend(where) end)) do
--         it(case.name, case.run)
--       end
--     end)
--
-- A backend is a table with these methods. Keys are strings, numbers and booleans; values are Lua
-- values without functions, nil among them; a ttl is in seconds, nil for ever. Where a method
-- returns nil and a text, it could not be done: the cache goes on without.
--
-- - `get(self, key, meta)` -> `true, value, ttl_left`; `false` (or nothing) if there is nothing;
--   `nil, err`
-- - `set(self, key, value, ttl, meta)` -> `true` or `nil, err`
-- - `delete(self, key)`, `clear(self)` -> `true` or `nil, err`
-- - `close(self)`
--
-- `meta` is `{ tags = list }`; a backend may ignore it. And, if it likes:
--
-- - `get_many(self, keys)` -> found, values, ttls left: three tables by key (the last may be nil);
--   or `nil, err`
-- - `set_many(self, list)`: a list of `{ key =, value =, ttl =, meta = }`
-- - `delete_many(self, keys)`
-- - `subscribe(self, changed)`: `changed(key)` is to be called when somebody else has changed a
--   key, `changed(nil)` when that may be any key. With it, the memories of several processes agree.
--
-- Methods may wait (`perigee.sleep`, `perigee.exec`), and may raise.
-- @module perigee.contract.remote

local task = require "perigee.task"

local _M = {}

local function check(condition, text)
  if not condition then error("a backend must " .. text, 2) end
end

local function set(backend, key, value, ttl)
  local ok, err = backend:set(key, value, ttl, {})
  check(ok, "return true from set when it has it (" .. tostring(err) .. ")")
end

local function absent(backend, key)
  local found = backend:get(key, {})
  check(not found, "return false from get for what it has not")
end

local function has(backend, key, expected, what)
  local found, value = backend:get(key, {})
  check(found == true, "return true, value from get for what it has (" .. what .. ")")
  check(value == expected, "give back " .. what)
end

local CASES = {
  { "has nothing at first", function(fresh) absent(fresh(), "a") end },
  { "gives back what was set", function(fresh)
    local backend = fresh()
    set(backend, "a", 1)
    has(backend, "a", 1, "a number")
    set(backend, "a", "two")
    has(backend, "a", "two", "the value that was set last")
    absent(backend, "b")
  end },
  { "keeps the kinds of keys apart", function(fresh)
    local backend = fresh()
    local keys = { 1, "1", true, "true", false, "false", 1.5, "" }
    for i, key in ipairs(keys) do set(backend, key, i) end
    for i, key in ipairs(keys) do has(backend, key, i, "the value of each key") end
  end },
  { "keeps any bytes in strings", function(fresh)
    local backend, bytes = fresh(), {}
    for i = 0, 255 do bytes[i + 1] = string.char(i) end
    local all = table.concat(bytes)
    set(backend, all, all)
    has(backend, all, all, "keys and values byte by byte")
  end },
  { "keeps nil, false and tables as values", function(fresh)
    local backend = fresh()
    set(backend, "nil", nil)
    set(backend, "false", false)
    set(backend, "table", { list = { 1, 2 }, name = "x" })
    has(backend, "nil", nil, "nil, which is not the same as nothing")
    has(backend, "false", false, "false")
    local _, t = backend:get("table", {})
    check(type(t) == "table" and t.name == "x" and t.list[2] == 2, "keep tables")
  end },
  { "says how long an entry has left", function(fresh)
    local backend = fresh()
    set(backend, "short", 1, 10)
    set(backend, "long", 1)
    local _, _, left = backend:get("short", {})
    check(left and left > 8 and left <= 10, "return what is left of the ttl")
    _, _, left = backend:get("long", {})
    check(left == nil or left == math.huge, "return no ttl where there is none")
  end },
  { "has nothing that was deleted", function(fresh)
    local backend = fresh()
    set(backend, "a", 1)
    set(backend, "b", 2)
    check(backend:delete "a", "return true from delete")
    check(backend:delete "never there", "return true from delete of what it has not")
    absent(backend, "a")
    has(backend, "b", 2, "the others")
  end },
  { "has nothing after clear", function(fresh)
    local backend = fresh()
    set(backend, "a", 1)
    check(backend:clear(), "return true from clear")
    absent(backend, "a")
  end },
  { "keeps it for the next one at the same place", function(fresh)
    set(fresh "same", "a", 1)
    has(fresh "same", "a", 1, "what another one has set")
  end },
  { "does not hold on to the tables it is given", function(fresh)
    local backend, value = fresh(), { n = 1 }
    set(backend, "a", value)
    value.n = 2
    local _, kept = backend:get("a", {})
    check(kept.n == 1, "keep what was set, whatever becomes of the table")
  end },
  { "gets many at once, if it can", function(fresh)
    local backend = fresh()
    if not backend.get_many then return end
    set(backend, "a", 1, 10)
    set(backend, "nil", nil)
    local found, values, lefts = backend:get_many { "a", "nil", "absent" }
    check(found.a and found["nil"] and not found.absent, "tell found from absent in get_many")
    check(values.a == 1 and values["nil"] == nil, "give back values by key from get_many")
    check(not lefts or lefts.a > 8 and lefts.a <= 10, "give back ttls by key from get_many")
  end },
  { "sets and deletes many at once, if it can", function(fresh)
    local backend = fresh()
    if backend.set_many then
      check(backend:set_many { { key = "a", value = 1, meta = {} },
        { key = "b", value = 2, ttl = 10, meta = {} } }, "return true from set_many")
    else
      set(backend, "a", 1)
      set(backend, "b", 2)
    end
    has(backend, "b", 2, "what set_many was given")
    if not backend.delete_many then return end
    check(backend:delete_many { "a", "b" }, "return true from delete_many")
    absent(backend, "a")
    absent(backend, "b")
  end },
  { "tells others what changes, if it can", function(fresh)
    local first, second = fresh "shared", fresh "shared"
    if not second.subscribe then return end
    local changed = {}
    second:subscribe(function(key) changed[#changed + 1] = key == nil and "all" or key end)
    set(first, "a", 1)
    local deadline = os.time() + 5
    while #changed == 0 and os.time() < deadline do
      task.sleep(0.01)
      second:get("a", {})
    end
    check(changed[1] == "a" or changed[1] == "all", "call back when another one changes a key")
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
      local opened = {}
      local ok, err = pcall(case[2], function(name)
        places = places + 1
        opened[#opened + 1] = make((name or "place") .. " " .. i)
        return opened[#opened]
      end)
      for _, backend in ipairs(opened) do backend:close() end
      if not ok then error(err, 0) end
    end }
  end
  return list
end

return _M

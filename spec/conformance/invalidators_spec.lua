-- SPDX-License-Identifier: MIT
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- A cached read of a table of rows, with how often it ran.
local function new_reader(wrap)
  local rows, calls = { a = 1, b = 2 }, { n = 0 }
  local get = wrap(function(id)
    calls.n = calls.n + 1
    return rows[id]
  end)
  return get, rows, calls
end

local KINDS = {
  lru = { function(fn) return perigee.lru { maxsize = 10 } (fn) end, perigee.lru_invalidator },
  ttl = { function(fn) return perigee.ttl { time_to_live = 60 } (fn) end,
    perigee.ttl_invalidator },
}

for kind, functions in pairs(KINDS) do
  local wrap, invalidator = functions[1], functions[2]
  local V9 = kind == "ttl" and " (V9)" or ""

  describe("conformance: the invalidator of " .. kind, function()
    it("V1 forgets the key of the mutation" .. V9, function()
      local get, rows = new_reader(wrap)
      local set = invalidator(get)(function(id, value) rows[id] = value end)
      assert.are.equal(1, get("a"))
      set("a", 5)
      assert.are.equal(5, get("a"))
    end)

    it("V2 forgets it also when the mutation raises, and raises the same" .. V9, function()
      local get, rows = new_reader(wrap)
      local err = {}
      local set = invalidator(get)(function(id, value)
        rows[id] = value
        error(err)
      end)
      get("a")
      local ok, raised = pcall(set, "a", 5)
      assert.is_false(ok)
      assert.are.equal(err, raised)
      assert.are.equal(5, get("a"))
    end)

    it("V3 forgets everything with clear_all" .. V9, function()
      local get, _, calls = new_reader(wrap)
      local touch = invalidator(get, { clear_all = true })(function() end)
      get("a")
      get("b")
      touch("whatever", {})
      get("a")
      get("b")
      assert.are.equal(4, calls.n)
    end)

    it("V4 takes the arguments of the cached function from key_fn" .. V9, function()
      local get, rows, calls = new_reader(wrap)
      local set = invalidator(get, { key_fn = function(change) return change.id end })(
        function(change) rows[change.id] = change.value end)
      get("a")
      get("b")
      set({ id = "a", value = 5 })
      assert.are.equal(5, get("a"))
      get("b")
      assert.are.equal(3, calls.n)
    end)

    it("V5 refuses skip_args, and says what to do instead" .. V9, function()
      local get = new_reader(wrap)
      local ok, message = pcall(invalidator, get, { skip_args = 1 })
      assert.is_false(ok)
      assert.is_truthy(message:find("key_fn", 1, true), message)
    end)

    it("V6 leaves other keys alone" .. V9, function()
      local get, _, calls = new_reader(wrap)
      local set = invalidator(get)(function() end)
      get("a")
      get("b")
      set("a", 5)
      get("b")
      assert.are.equal(2, calls.n)
    end)

    it("V7 forgets before the mutation runs" .. V9, function()
      local get, _, calls = new_reader(wrap)
      local within
      local set = invalidator(get)(function(id)
        get(id)
        within = calls.n
      end)
      get("a")
      set("a", 5)
      assert.are.equal(2, within)
    end)

    it("V8 returns what the mutation returns" .. V9, function()
      local get = new_reader(wrap)
      local set = invalidator(get)(function(id, value) return id, value, nil end)
      assert.are.equal(3, select("#", set("a", 5)))
      assert.are.same({ "a", 5 }, { set("a", 5) })
    end)

    it("F7 what a reader caches while the mutation runs does not survive it" .. V9,
      tasks.virtual(function()
        local get, rows = new_reader(wrap)
        local set = invalidator(get)(function(id, value)
          perigee.sleep(1)
          rows[id] = value
          perigee.sleep(1)
        end)
        get("a")
        local job = perigee.spawn(set, "a", 5)
        tasks.pass(0.5)
        assert.are.equal(1, get("a"))
        job:wait()
        assert.are.equal(5, get("a"))
      end))

    it("F7 a load that read before the mutation and ends after it is not kept" .. V9,
      tasks.virtual(function()
        local rows = { a = 1 }
        local get = wrap(function(id)
          local value = rows[id]
          perigee.sleep(2)
          return value
        end)
        local set = invalidator(get)(function(id, value) rows[id] = value end)
        local reader = perigee.spawn(get.call, "a")
        tasks.pass(1)
        set("a", 5)
        local later = perigee.spawn(get.call, "a") -- does not join the old load
        assert.are.equal(1, reader:wait())
        assert.are.equal(5, later:wait())
        assert.are.equal(5, get("a"))
      end))
  end)
end

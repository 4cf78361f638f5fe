-- SPDX-License-Identifier: MIT
-- suites: dev host
-- How a process may end, and what is in the backup then.
local disk = require "spec.support.disk"
local host = require "spec.support.host"
local script = require "spec.support.script"

local HEAD = [[
  local perigee = require "perigee"
  local function open(more)
    local opts = { name = "c", maxsize = 1000, backup = perigee.disk { path = %q, sync = "off" } }
    for name, value in pairs(more or {}) do opts[name] = value end
    return perigee.new(opts)
  end
]]

describe("what was not saved when", function()
  local path

  before_each(function() path = disk.path() end)
  after_each(disk.clean)

  local function program(text) return HEAD:format(path) .. text end

  -- Whether 100 entries are in the file.
  local function is_saved()
    local cache = disk.cache(path)
    local size = cache:get_metrics().size
    cache:close()
    assert.is_true(size == 0 or size == 100, size .. " entries")
    return size == 100
  end

  local FILL = "cache = open() for i = 1, 100 do cache:set(i, { i }) end "

  local function runs(text)
    local output, status = script(program(text))
    assert.equal(0, status, output)
    assert.equal("", output)
  end

  it("a plain program ends is saved", function()
    runs(FILL)
    assert.is_true(is_saved())
  end)

  it("a plain program ends in an error is saved", function()
    local _, status = script(program(FILL .. "error 'the end'"))
    assert.equal(1, status)
    assert.is_true(is_saved())
  end)

  it("a plain program calls os.exit(0, true) is saved", function()
    runs(FILL .. "os.exit(0, true)")
    assert.is_true(is_saved())
  end)

  it("a plain program calls os.exit() is lost", function()
    runs(FILL .. "os.exit()")
    assert.is_false(is_saved())
  end)

  it("a run ends is saved, once", function()
    runs([[
      perigee.run(function()
        ]] .. FILL .. [[
      end)
      assert(cache:get_metrics().backup_saves == 1)
      perigee.run(function() end)
      assert(cache:get_metrics().backup_saves == 1)
      os.exit()
    ]])
    assert.is_true(is_saved())
  end)

  it("a run ends in the middle of a save is saved", function()
    runs([[
      perigee.run(function()
        ]] .. FILL .. [[
        perigee.spawn(cache.save_to_backup, cache)
      end)
      os.exit()
    ]])
    assert.is_true(is_saved())
  end)

  it("a cache is closed is saved", function()
    runs(FILL .. "cache:close() os.exit()")
    assert.is_true(is_saved())
  end)

  it("the program had a wrapped function that nobody holds is saved", function()
    runs(([[
      do
        local f = perigee.lru { name = "f", backup = perigee.disk(%q) } (function(x) return x end)
        for i = 1, 100 do f(i) end
      end
      collectgarbage()
      collectgarbage()
    ]]):format(path))
    assert.equal(100, disk.cache(path, { name = "f" }):get_metrics().size)
  end)

  it("the state closes, is saved for every cache, whatever is finalized first", function()
    runs [[
      local caches = {}
      for i = 1, 20 do
        caches[i] = open { name = "c" .. i }
        caches[i]:set("k", i, { tags = { "t" } })
      end
    ]]
    for i = 1, 20 do
      local cache = disk.cache(path, { name = "c" .. i })
      assert.equal(i, cache:get "k")
      cache:close()
    end
  end)

  for signal, status in pairs { INT = 130, TERM = 143 } do
    it("the host gets SIG" .. signal .. " is saved", function()
      disk.write(path .. ".lua", program(FILL .. [[
        cache:save_to_backup()
        for i = 1, 100 do cache:set(i, "last") end
        print "ready"
        io.stdout:flush()
        perigee.sleep(10)
      ]]))
      local result = host.shell(([[
        "$PERIGEE" %s.lua >%s.out & pid=$!
        while ! grep -q ready %s.out; do sleep 0.01; done
        kill -%s $pid; wait $pid; echo status=$?
      ]]):format(path, path, path, signal))
      assert.is_truthy(result.stdout:find("status=" .. status, 1, true), result.stdout)
      local cache = disk.cache(path)
      assert.equal("last", cache:get(100))
    end)
  end
end)

describe("a cache of the host", function()
  after_each(disk.clean)

  it("is warm in the second run", function()
    local path = disk.path()
    local text = HEAD:format(path) .. [[
      local loads = 0
      for i = 1, 10 do open_cache = open_cache or open()
        open_cache:get(i, function() loads = loads + 1 return i end)
      end
      print(loads)
    ]]
    assert.equal("10\n", host.run_script(text).stdout)
    assert.equal("0\n", host.run_script(text).stdout)
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev host hard
-- The behaviours of the reference's disk persistence, D1 to D9, and the faults F11, F12, F17.
local disk = require "spec.support.disk"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local script = require "spec.support.script"
local tasks = require "spec.support.tasks"

describe("disk persistence", function()
  local path

  before_each(function() path = disk.path() end)
  after_each(disk.clean)

  it("D1: a cache built with a backup contains what was saved", function()
    local cache = disk.cache(path)
    cache:set("k", { 1 })
    cache:save_to_backup()
    cache:close()
    assert.are.same({ 1 }, disk.cache(path):get "k")
  end)

  it("D2: a remaining ttl is less by the time away, and what has expired is absent",
    tasks.virtual(function()
      local cache = disk.cache(path)
      cache:set("short", 1, 5)
      cache:set("long", 1, 100)
      cache:close()
      tasks.pass(10)
      cache = disk.cache(path)
      assert.is_false(cache:contains "short")
      assert.is_near(90, cache:ttl "long", 0.1)
    end))

  it("D3: entries without a ttl stay", function()
    local cache = disk.cache(path)
    cache:set("k", 1)
    cache:close()
    assert.equal(math.huge, disk.cache(path):ttl "k")
  end)

  it("D4: a missing file is an empty cache", function()
    assert.equal(0, disk.cache(path):get_metrics().size)
  end)

  it("D5: a corrupt file is an empty cache", function()
    disk.write(path, "\128\4corrupt")
    logged(function() assert.equal(0, disk.cache(path):get_metrics().size) end)
  end)

  it("D6: a save is whole or not there: see the kills in spec/backup/crash_spec.lua", function()
    local cache = disk.cache(path)
    for i = 1, 100 do cache:set(i, "old") end
    cache:save_to_backup()
    local _, status = script(([[
      local perigee = require "perigee"
      local cache = perigee.new { name = "c", maxsize = 1000, backup = perigee.disk(%q) }
      for i = 1, 100 do cache:set(i, "new") end
      local share = cache.backup.share
      local put = getmetatable(share).__index.put
      local n = 0
      function share.put(...)
        n = n + 1
        if n == 50 then os.exit(9) end
        return put(...)
      end
      cache:save_to_backup()
    ]]):format(path))
    assert.equal(9, status)
    cache:clear()
    assert.equal(100, cache:load_from_backup())
    for i = 1, 100 do assert.equal("old", cache:get(i)) end
  end)

  it("D7: without a backup, saving and loading do nothing", function()
    local cache = perigee.new {}
    assert.equal(0, cache:save_to_backup())
    assert.equal(0, cache:load_from_backup())
  end)

  it("D8: wrapped functions have save_to_backup and load_from_backup", function()
    local calls = 0
    local f = perigee.ttl { name = "f", backup = perigee.disk(path) } (function(x)
      calls = calls + 1
      return x * 2
    end)
    assert.equal(4, f(2))
    assert.equal(1, f:save_to_backup())
    f:clear_cache()
    assert.equal(1, f:load_from_backup())
    assert.equal(4, f(2))
    assert.equal(1, calls)
    f.cache:close()
  end)

  it("D9: a backend of one's own is used", function()
    local saved
    local backend = {
      load = function() return saved or {} end,
      save = function(_, entries)
        saved = entries
        return true
      end,
      clear = function() saved = nil end,
    }
    local cache = disk.open { name = "own", backup = backend }
    cache:set("k", 1)
    cache:close()
    assert.equal("k", saved[1].key)
    assert.equal(1, disk.open { name = "own", backup = backend }:get "k")
  end)

  it("F11: whoever can write the file can run no code and forge no pointer by it", function()
    local buffer = require "string.buffer"
    for _, hostile in ipairs { "\5AAAAAAAA", "\4AAAA", "\10\255\255\255\255\7",
      buffer.encode(require("ffi").new("complex", 1, 2)) } do
      local entry = disk.open { name = "h", backup = perigee.disk(path) }
      local share = entry.backup.share
      share.envelope.codec.write = function(_, out)
        out:put(hostile)
        return true
      end
      entry:set("k", 1)
      entry:close()
      local before = collectgarbage "count"
      logged(function()
        entry = disk.open { name = "h", backup = perigee.disk(path) }
        assert.is_false(entry:contains "k")
        assert.equal(1, entry:get_metrics().backup_refused)
      end)
      assert.is_true(collectgarbage "count" - before < 1024)
      entry:close()
    end
  end)

  it("F12: one entry that cannot be read does not keep the others out", function()
    local cache = disk.cache(path)
    for i = 1, 10 do cache:set(i, i) end
    local share = cache.backup.share
    local put = getmetatable(share).__index.put
    function share.put(self, space, key, value, deadline, tags)
      self.envelope.id = key == 5 and 0 or 98
      return put(self, space, key, value, deadline, tags)
    end
    cache:close()
    logged(function() cache = disk.cache(path) end)
    assert.equal(9, cache:get_metrics().size)
    assert.is_false(cache:contains(5))
  end)

  it("F17: neither loading nor saving blocks the loop, and only what changed is written",
    tasks.real(function()
      local cache = disk.cache(path, { maxsize = 10000 })
      for i = 1, 10000 do cache:set(i, { i }) end
      local turns = 0
      local ticker = perigee.spawn(function()
        while true do
          perigee.sleep(0)
          turns = turns + 1
        end
      end)
      cache:save_to_backup()
      assert.is_true(turns > 3, turns .. " turns")
      cache:close()
      turns = 0
      cache = disk.cache(path, { maxsize = 10000 })
      assert.equal(10000, cache:get(10000)[1])
      assert.is_true(turns > 3, turns .. " turns")
      ticker:cancel()
    end))
end)

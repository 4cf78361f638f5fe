-- SPDX-License-Identifier: MIT
-- suites: dev asan
-- Files that are cut off, changed, foreign or not to be written. PERIGEE_DAMAGES sets how many.
local disk = require "spec.support.disk"
local host = require "spec.support.host"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local script = require "spec.support.script"

local DAMAGES = tonumber(os.getenv "PERIGEE_DAMAGES") or 500

-- Opens each damaged copy, loads, writes, saves, and reopens it. Prints the worst time and what
-- became of the files.
local DRILL = [[
  local perigee = require "perigee"
  local machine = require("perigee.lib").core.perigee_clock_machine
  local random = require("spec.support.random").generator(5)
  require("perigee.log").sink = function() end
  local whole = ...
  local path = %q
  local original = io.open(path, "rb"):read "*a"
  local counts = { kept = 0, fresh = 0, worst = 0 }
  local function damaged()
    if random(2) == 0 then return original:sub(1, random(#original)) end
    local bytes = original
    for _ = 1, 1 + random(20) do
      -- Half of them in the first page: the header, and the schema.
      local at = 1 + (random(2) == 0 and random(4096) or random(#bytes))
      bytes = bytes:sub(1, at - 1) .. string.char(random(256)) .. bytes:sub(at + 1)
    end
    return bytes
  end
  local function open(copy)
    return perigee.new { name = "c", maxsize = 10000, backup = perigee.disk { path = copy,
      sync = "off" } }
  end
  local function try(copy, bytes)
    local file = io.open(copy, "wb")
    file:write(bytes)
    file:close()
    local began = machine()
    local cache = open(copy)
    for key, value in cache:entries() do
      assert(value.key == key, "a value that was never saved")
    end
    local what = cache:get_metrics().size > 0 and "kept" or "fresh"
    cache:set("new", { key = "new" })
    local saved, err = cache:save_to_backup()
    assert(saved or err)
    assert(cache:get("new").key == "new")
    cache:close()
    if saved then
      cache = open(copy)
      assert(cache:get("new").key == "new", "saved, and not there")
      cache:close()
    end
    return machine() - began, what
  end
  for i = 1, %d do
    local copy, bytes = path .. "-" .. i, damaged()
    local seconds, what = try(copy, bytes)
    counts[what] = counts[what] + 1
    -- The machine may have been busy: what hangs does so again.
    for again = 1, 4 do
      if seconds >= 1 then seconds = math.min(seconds, (try(copy .. "-" .. again, bytes))) end
    end
    counts.worst = math.max(counts.worst, seconds)
  end
  print(("kept=%%d fresh=%%d worst=%%.3f"):format(counts.kept, counts.fresh, counts.worst))
]]

describe("500 damaged files", function()
  after_each(disk.clean)

  it("end no process, hang none, and show nothing that was never saved", function()
    local path = disk.path()
    local cache = disk.cache(path)
    for i = 1, 300 do
      cache:set("key" .. i, { key = "key" .. i, text = ("x"):rep(i * 3) })
    end
    cache:close()
    disk.write(path .. ".lua", DRILL:format(path, DAMAGES))
    local result
    if os.getenv "PERIGEE_PRESET" == "asan" then
      result = host.run { path .. ".lua" }
    else
      local output, status = script(DRILL:format(path, DAMAGES), 120)
      result = { stdout = output, status = status, stderr = "" }
    end
    assert.equal(0, result.status, result.stdout .. result.stderr)
    local kept, fresh, worst = result.stdout:match "kept=(%d+) fresh=(%d+) worst=(%S+)"
    assert.equal(DAMAGES, kept + fresh)
    assert.is_true(tonumber(kept) > 0 and tonumber(fresh) > DAMAGES / 10, result.stdout)
    if os.getenv "PERIGEE_PRESET" ~= "asan" then
      assert.is_true(tonumber(worst) < 1, "one took " .. worst .. " s")
    end
  end)
end)

describe("a backup", function()
  local path

  before_each(function() path = disk.path() end)
  after_each(disk.clean)

  it("that is no database is moved aside, said so, and a fresh one begun", function()
    disk.write(path, ("this is not a database\n"):rep(500))
    local lines = logged(function()
      local cache = disk.cache(path)
      cache:set("k", 1)
      cache:close()
    end)
    assert.equal(1, #lines)
    assert.is_truthy(lines[1].text:find("the file is damaged", 1, true), lines[1].text)
    local aside = disk.files "damaged"
    assert.equal(1, #aside)
    assert.is_truthy(lines[1].text:find(aside[1], 1, true))
    assert.equal(("this is not a database\n"):rep(500), disk.read(disk.folder() .. "/" .. aside[1]))
    assert.equal(1, disk.cache(path):get "k")
  end)

  it("that is damaged takes its log with it", function()
    local cache = disk.cache(path)
    cache:set("k", 1)
    cache:close()
    disk.write(path, ("x"):rep(9000))
    disk.write(path .. "-wal", "old log")
    logged(function()
      cache = disk.cache(path)
      assert.is_false(cache:contains "k")
      cache:close()
    end)
    assert.equal(1, #disk.files "damaged.*%d$")
  end)

  it("may be an empty file", function()
    disk.write(path, "")
    local cache = disk.cache(path)
    cache:set("k", 1)
    cache:close()
    assert.equal(1, disk.cache(path):get "k")
  end)

  local function refuses(what, make)
    it("that is " .. what .. " is left alone, and the cache runs on", function()
      make(path)
      local before = disk.read(path)
      local lines = logged(function()
        local cache = disk.cache(path)
        assert.equal(5, cache:get("k", function() return 5 end))
        local saved, err = cache:save_to_backup()
        assert.is_nil(saved)
        assert.is_truthy(err:find "left alone", err)
        assert.equal(5, cache:get "k")
        assert.equal(2, cache:get_metrics().backup_errors)
      end)
      assert.is_truthy(lines[1].text:find "left alone", lines[1].text)
      assert.equal(before, disk.read(path))
      assert.are.same({}, disk.files "damaged")
    end)
  end

  local function sqlite(file, sql)
    assert(perigee.exec { "luajit", "-e", ([[
      local ffi = require "ffi"
      ffi.cdef [=[
        int sqlite3_open(const char *, void **);
        int sqlite3_exec(void *, const char *, void *, void *, char **);
        int sqlite3_close(void *);
      ]=]
      local C = ffi.load "libsqlite3.so.0"
      local db = ffi.new "void *[1]"
      assert(C.sqlite3_open(%q, db) == 0)
      assert(C.sqlite3_exec(db[0], %q, nil, nil, nil) == 0)
      C.sqlite3_close(db[0])
    ]]):format(file, sql) })
  end

  refuses("somebody else's database", function(file)
    sqlite(file, "CREATE TABLE customers (name); INSERT INTO customers VALUES ('x')")
  end)

  refuses("of a later version", function(file)
    disk.cache(file):close()
    sqlite(file, "PRAGMA user_version = 99")
  end)

  refuses("ours by its number, but with a trigger in it", function(file)
    disk.cache(file):close()
    sqlite(file, "CREATE TRIGGER t AFTER INSERT ON entry BEGIN SELECT 1; END")
  end)

  it("that is a symbolic link is not followed", function()
    local target = disk.path()
    disk.write(target, "precious")
    os.execute(("ln -s %s %s"):format(target, path))
    local lines = logged(function()
      local cache = disk.cache(path)
      cache:set("k", 1)
      assert.is_nil((cache:save_to_backup()))
    end)
    assert.is_truthy(lines[1].text:find("symbolic link", 1, true), lines[1].text)
    assert.equal("precious", disk.read(target))
  end)

  it("is made for its owner's eyes only", function()
    local cache = disk.cache(path)
    cache:set("k", 1)
    cache:save_to_backup()
    local pipe = io.popen(("stat -c %%a %s %s-wal"):format(path, path))
    assert.equal("600\n600\n", pipe:read "*a")
    pipe:close()
  end)

  it("in a folder that is not there costs nothing but its saves", function()
    local cache
    local lines = logged(function()
      cache = disk.cache(disk.folder() .. "/none/cache.db")
      assert.equal(1, cache:get("k", function() return 1 end))
      local saved, err = cache:save_to_backup()
      assert.is_nil(saved)
      assert.is_truthy(err:find("No such file", 1, true), err)
    end)
    assert.equal(1, #lines)
  end)

  it("comes to work when what stood in its way has gone", function()
    local place = disk.folder() .. "/later"
    local cache
    logged(function() cache = disk.cache(place .. "/cache.db") end)
    cache:set("k", 1)
    assert.is_nil((cache:save_to_backup()))
    os.execute("mkdir " .. place)
    assert.equal(1, cache:save_to_backup())
  end)

  it("on a full disk reports it, keeps what it has, and goes on when there is room", function()
    local result = host.shell(([[
      ulimit -f 200
      "$PERIGEE" -e '
        local perigee = require "perigee"
        local cache = perigee.new { name = "c", maxsize = 10000,
          backup = perigee.disk { path = "%s", sync = "off" } }
        cache:set("small", 1)
        print("first", cache:save_to_backup())
        for i = 1, 1000 do cache:set(i, ("x"):rep(1000)) end
        local saved, err = cache:save_to_backup()
        print("second", saved, err ~= nil, cache:get(1000) ~= nil)
        for i = 1, 1000 do cache:delete(i) end
        cache:set("later", 2)
        print("third", cache:save_to_backup())'
    ]]):format(path))
    assert.equal("first\t1\nsecond\tnil\ttrue\ttrue\nthird\t2\n", result.stdout, result.stderr)
    assert.equal(0, result.status)
    local cache = disk.cache(path)
    assert.are.same({ small = 1, later = 2 }, disk.contents(cache))
  end)

  it("that cannot be written can be read", function()
    local cache = disk.cache(path)
    cache:set("k", 1)
    cache:close()
    os.execute(("chmod 444 %s; chmod 555 %s"):format(path, disk.folder()))
    local writable = io.open(path, "a")
    if writable then -- we are root, whom no mode keeps out
      writable:close()
    else
      logged(function()
        cache = disk.cache(path)
        assert.equal(1, cache:get "k")
        cache:set("l", 1)
        assert.is_nil((cache:save_to_backup()))
        cache:close()
      end)
    end
    os.execute(("chmod 755 %s; chmod 600 %s"):format(disk.folder(), path))
    assert.equal(1, disk.cache(path):get "k")
  end)
end)

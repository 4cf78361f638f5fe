-- SPDX-License-Identifier: MIT
-- Disk backends of the user's.
local buffer = require "string.buffer"
local contract = require "perigee.contract.backup"
local disk = require "spec.support.disk"
local logged = require "spec.support.logged"
local perigee = require "perigee"
local tasks = require "spec.support.tasks"

-- A backend as a user might write it: one file, whole.
local function file_backend(path)
  local backend = {}
  function backend.load()
    local file = io.open(path, "rb")
    if not file then return {} end
    local saved = buffer.decode(file:read "*a")
    file:close()
    for _, entry in ipairs(saved.entries) do
      entry.ttl_left = entry.ttl_left and entry.ttl_left - (os.time() - saved.at)
    end
    return saved.entries
  end
  function backend.save(_, entries)
    local file, err = io.open(path, "wb")
    if not file then return nil, err end
    file:write(buffer.encode { entries = entries, at = os.time() })
    file:close()
    return true
  end
  function backend.clear() os.remove(path) end
  return backend
end

-- One that remembers how it was called.
local function recorder(answers)
  local calls = {}
  local backend = { calls = calls }
  for _, name in ipairs { "load", "save", "clear" } do
    backend[name] = function(_, entries)
      calls[#calls + 1] = { name, entries }
      local answer = (answers or {})[name]
      if type(answer) == "function" then return answer() end
      if answer ~= nil then return answer end
      return name == "load" and {} or true
    end
  end
  return backend
end

describe("a backend that meets the contract", function()
  after_each(disk.clean)
  for _, case in ipairs(contract.cases(function(where)
    return file_backend(disk.folder() .. "/" .. where)
  end)) do
    it(case.name, case.run)
  end
end)

describe("the contract", function()
  it("finds backends that do not meet it", function()
    local function failures(make)
      local names = {}
      for _, case in ipairs(contract.cases(make)) do
        if not pcall(case.run) then names[#names + 1] = case.name end
      end
      return names
    end
    assert.equal(7, #failures(function() return recorder() end))
    local kept = {}
    assert.are.same({ "does not hold on to the lists and values it is given" },
      failures(function(where)
        return {
          load = function() return kept[where] or {} end,
          save = function(_, list)
            kept[where] = list
            for _, e in ipairs(list) do e.ttl_left = e.ttl_left and e.ttl_left - 0.1 end
            return true
          end,
          clear = function() kept[where] = nil end,
        }
      end))
  end)
end)

describe("a cache with a backend of the user's", function()
  after_each(disk.clean)

  local function cache_with(backend, more)
    local opts = { name = "c", backup = backend }
    for name, value in pairs(more or {}) do opts[name] = value end
    return disk.open(opts)
  end

  it("gives it every live entry at each save, and loads them all", function()
    local path = disk.path()
    local cache = cache_with(file_backend(path))
    cache:set("a", { 1 }, 100)
    cache:set(2, nil)
    assert.equal(2, cache:save_to_backup())
    cache:set("b", 1)
    cache:delete(2)
    assert.equal(2, cache:save_to_backup())
    cache:close()
    cache = cache_with(file_backend(path))
    assert.are.same({ a = { 1 }, b = 1 }, disk.contents(cache))
    assert.is_near(100, cache:ttl "a", 2)
  end)

  it("keeps the entries of wrapped functions apart, all returns included", function()
    local path = disk.path()
    local cache = cache_with(file_backend(path))
    local f = perigee.lru { cache = cache, name = "f" } (function(x) return x, "two" end)
    f "k"
    cache:set("k", "direct")
    cache:set("\254@k", "odd")
    cache:close()
    cache = cache_with(file_backend(path))
    f = perigee.lru { cache = cache, name = "f" } (function(_) return "fresh" end)
    assert.are.same({ "k", "two" }, { f "k" })
    assert.equal("direct", cache:get "k")
    assert.equal("odd", cache:get "\254@k")
  end)

  it("does not call it when nothing has changed", function()
    local backend = recorder()
    local cache = cache_with(backend)
    cache:set("k", 1)
    perigee.run(function() end)
    perigee.run(function() end)
    cache:close()
    assert.equal(2, #backend.calls)
    assert.equal("load", backend.calls[1][1])
    assert.equal("save", backend.calls[2][1])
  end)

  it("clears it when the cache is cleared and saved", function()
    local backend = recorder()
    local cache = cache_with(backend)
    cache:set("k", 1)
    cache:clear()
    cache:save_to_backup()
    assert.are.same({ "clear", "save" }, { backend.calls[2][1], backend.calls[3][1] })
  end)

  it("passes its failures on, and saves everything next time", function()
    local failing = true
    local backend = recorder { save = function()
      if failing == "raise" then error "no" end
      if failing then return nil, "no room" end
      return true
    end }
    local cache = cache_with(backend)
    cache:set("k", 1)
    assert.are.same({ nil, "no room" }, { cache:save_to_backup() })
    failing = "raise"
    local _, err = cache:save_to_backup()
    assert.is_truthy(err:find("the backend's save raised: .*no"), err)
    assert.equal(2, cache:get_metrics().backup_errors)
    failing = false
    assert.equal(1, cache:save_to_backup())
  end)

  it("runs on without what it cannot load", function()
    for _, answer in ipairs {
      function() return nil, "broken" end, function() error "broken" end,
    } do
      local lines = logged(function()
        local cache = cache_with(recorder { load = answer })
        assert.equal("loaded", cache:get("k", function() return "loaded" end))
        cache:close()
      end)
      assert.is_truthy(lines[1].text:find("not loaded: .*broken"), lines[1].text)
    end
  end)

  it("refuses entries that are none, one by one", function()
    local lines = logged(function()
      local cache = cache_with(recorder { load = {
        { key = "good", value = 1 }, { value = 1 }, 5, { key = 0 / 0 }, { key = {} },
        { key = "bad ttl", value = 1, ttl_left = "x" }, { key = "old", value = 1, ttl_left = -1 },
        { key = "\254@nothing", value = 1 },
      } })
      assert.are.same({ good = 1 }, disk.contents(cache))
      assert.equal(6, cache:get_metrics().backup_refused)
      cache:close()
    end)
    assert.equal(3, #lines)
  end)

  it("gives an entry back the lifetime that is left, and no more", tasks.virtual(function()
    local cache = cache_with(recorder { load = {
      { key = "k", value = 1, ttl_left = 10 }, { key = "short", value = 1, ttl_left = 0.02 },
    } })
    assert.equal(10, cache:ttl("k"))
    assert.equal(0.02, cache:ttl("short"))
  end))

  it("may wait in its methods, inside a task", tasks.real(function()
    local backend = recorder { load = function()
      perigee.sleep(0.01)
      return { { key = "k", value = 1 } }
    end }
    local cache = cache_with(backend)
    assert.are.same({ 1, n = 3, nil, "memory" }, { n = 3, cache:get "k" })
  end))
end)

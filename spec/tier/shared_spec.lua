-- SPDX-License-Identifier: MIT
-- suites: dev
-- The shared dictionary as a tier between the workers of one nginx.
local nginx = require "spec.support.nginx"
local processes = require "spec.support.processes"
local socket = require "socket"
local workers = require "spec.support.shared_workers"

if nginx.missing() then
  describe("the shared tier", function() pending(nginx.missing()) end)
  return
end

local start, finish, get, loads = workers.start, workers.finish, workers.get, workers.loads
local run_in, begin_in, GET = workers.run_in, workers.begin_in, workers.GET
local begin_loading, count_in_log = workers.begin_loading, workers.count_in_log

describe("the shared tier", function()
  after_each(finish)

  it("is asked after memory and before the loader, and memory takes up what it has", function()
    start()
    assert.same({ "loaded", "load" }, { get(0, "k") })
    assert.same({ "loaded", "memory" }, { get(0, "k") })
    assert.same({ "loaded", "shared" }, { get(1, "k") })
    assert.same({ "loaded", "memory" }, { get(1, "k") })
    assert.equal(1, loads())
    local many, _, sources = run_in(1, [[
      rig.cache:set("mine", 1)
      rig.cache:get("k")
      return rig.cache:get_many({ "mine", "k", "none" }, function() return { none = 3 } end)
    ]])
    assert.same({ mine = 1, k = "loaded", none = 3 }, many)
    assert.same({ mine = "memory", k = "memory", none = "load" }, sources)
    assert.equal("shared", (select(3, run_in(0, "return rig.cache:get_many { 'none' }"))).none)
    local nothing, err, source = run_in(0, "return rig.cache:get('nowhere')")
    assert.same({ nil, nil, "miss" }, { nothing, err, source })
  end)

  it("keeps values of every kind as they are", function()
    start()
    run_in(0, [[
      local cache = rig.cache
      cache:get("nil", rig.loader(0, nil))
      cache:set("false", false) cache:set("true", true)
      cache:set(false, "false") cache:set(1, "one") cache:set("1", "text")
      cache:set("third", 1 / 3) cache:set("bytes", "\0\255\1") cache:set("", "empty")
      cache:set("table", { 1, { x = "y" }, [1.5] = true })
      cache:set("long", ("x"):rep(1e5))
    ]])
    assert.same({ nil, nil, "shared" }, { run_in(1, "return rig.cache:get('nil', print)") })
    assert.is_true(run_in(1, [[
      local cache = rig.cache
      assert(cache:get("false") == false and cache:get("true") == true)
      assert(cache:get(false) == "false" and cache:get(1) == "one" and cache:get("1") == "text")
      assert(cache:get("third") == 1 / 3 and cache:get("bytes") == "\0\255\1")
      assert(cache:get("") == "empty" and cache:get("long") == ("x"):rep(1e5))
      local value = cache:get("table")
      return value[1] == 1 and value[2].x == "y" and value[1.5] == true
    ]]))
  end)

  it("keeps all returns of a wrapped function", function()
    start()
    assert.same({ "a", nil, "b", 1 }, { run_in(0, "return rig.many('a', 'b')") })
    assert.same({ "a", nil, "b", 1 }, { run_in(1, "return rig.many('a', 'b')") })
    assert.same({ 4, nil }, { run_in(1, "return select('#', rig.many('a', 'b'))") })
  end)

  it("keeps tags and lifetimes", function()
    start()
    run_in(0, [[
      rig.cache:set("tagged", 1, { ttl = 50, tags = { "t:1", "u" } })
      rig.cache:get("short", function() return 1, nil, 2 end)
    ]])
    local left = run_in(1, "rig.cache:get('tagged') return rig.cache:ttl('tagged')")
    assert.is_true(left > 40 and left <= 50)
    assert.equal(1, (get(1, "short")))
    run_in(1, "rig.cache:invalidate_tags('u')")
    assert.equal("loaded", (get(0, "tagged")))
    socket.sleep(2.1)
    assert.same({ "loaded", "load" }, { get(0, "short") })
  end)

  it("is warm after a reload", function()
    local server = start()
    get(0, "k")
    run_in(1, "rig.cache:set('t', { 1 }, { tags = { 'x' } }) rig.many(1, 2)")
    server:reload()
    assert.same({ "loaded", "shared" }, { get(0, "k") })
    assert.same({ 1 }, (get(1, "t")))
    assert.same({ 1, nil, 2, 1 }, { run_in(1, "return rig.many(1, 2)") })
  end)

  it("evicts when it is full, and answers right all the same", function()
    start { size = "64k" }
    assert.is_true(run_in(0, [[
      for i = 1, 2000 do
        if rig.cache:get("k" .. i, function() return "v" .. i .. ("x"):rep(500) end)
          ~= "v" .. i .. ("x"):rep(500) then return i end
      end
      return true
    ]]))
    assert.is_true(run_in(1, [[
      local shared = 0
      for i = 1, 2000 do
        local value, _, source = rig.cache:get("k" .. i, rig.loader(0, "new"))
        if source == "shared" then shared = shared + 1 end
        if value ~= (source == "load" and "new" or "v" .. i .. ("x"):rep(500)) then return i end
      end
      return shared < 200
    ]]))
  end)

  it("leaves a value larger than itself in memory, and old ones nowhere", function()
    start { size = "64k" }
    run_in(0, "rig.cache:set('big', 'small')")
    assert.equal("small", (get(1, "big")))
    run_in(0, "rig.cache:set('big', ('x'):rep(1e5))")
    assert.equal(1e5, #(run_in(0, "return rig.cache:get('big')")))
    assert.same({ "loaded", "load" }, { get(1, "big") })
  end)

  it("leaves what cannot be encoded in memory, and says so once", function()
    start { workers = 1 }
    for i = 1, 5 do
      assert.equal("function", run_in(0, [[
        local key = "f" .. ...
        rig.cache:get(key, function() return print end)
        return type((rig.cache:get(key)))
      ]], i))
    end
    assert.equal(1, count_in_log "cannot be shared between workers")
    assert.is_true(run_in(0, "return rig.cache:get_metrics().shared_unsaved == 5"))
  end)

  it("takes keys that are too long for it", function()
    start()
    local value, source = get(0, ("k"):rep(70000))
    assert.same({ "loaded", "load" }, { value, source })
    run_in(0, "rig.cache:delete(('k'):rep(70000))")
    assert.same({ "loaded", "load" }, { get(0, ("k"):rep(70000)) })
  end)

  it("takes entries that are not what was written for none", function()
    start()
    for i, bytes in ipairs { "", "x", ("\255"):rep(24), ("\0"):rep(24), ("\0"):rep(100),
        ("\255"):rep(500), 7, true } do
      local key = "h" .. i
      run_in(0, "rig.cache:set(..., { 1, 2 }, { tags = { 't' } })", key)
      run_in(0, [[
        local key, bytes = ...
        for _, name in ipairs(rig.dict:get_keys(0)) do
          if name:sub(1, 2) == "\0e" and name:sub(-#key) == key then rig.dict:set(name, bytes) end
        end
      ]], key, bytes)
      assert.same({ "loaded", "load" }, { get(1, key) })
    end
  end)

  it("takes entries with a byte or two changed for none, or for some value", function()
    start()
    assert.is_true(run_in(0, [[
      math.randomseed(5)
      local cache, name = rig.cache, nil
      cache:set("damaged", { 1, { x = "y" }, ("z"):rep(50) }, { tags = { "t:1" } })
      for _, found in ipairs(rig.dict:get_keys(0)) do
        if found:sub(1, 2) == "\0e" then name = found end
      end
      local good = rig.dict:get(name)
      local other = rig.perigee.new { name = "other", shared = "perigee", maxsize = 1 }
      local place = name:gsub("^%z[^%z]+%z", "\0eother\0")
      for _ = 1, 3000 do
        local bytes = good
        for _ = 1, math.random(3) do
          local at = math.random(#bytes)
          bytes = bytes:sub(1, at - 1) .. string.char(math.random(0, 255)) .. bytes:sub(at + 1)
        end
        if math.random() < 0.3 then bytes = bytes:sub(1, math.random(#bytes)) end
        rig.dict:set(name, bytes)
        cache.store:delete("damaged", 0) -- from memory only
        cache:get("damaged", function() return 1, nil, { cache = false } end)
      end
      return place ~= nil and other ~= nil
    ]]))
  end)

  for what, first in pairs { ["the ring of changes"] = "r", ["its head"] = "h", versions = "v" } do
    it("survives hostile bytes in " .. what .. ": a miss at worst", function()
      start()
      run_in(0, "rig.cache:set('k', 1) rig.cache:set('t', 1, { tags = { 'x' } })")
      get(1, "k")
      for i, bytes in ipairs { "x", "", "1 2 3", ("\255"):rep(99), true } do
        run_in(0, [[
          local first, bytes = ...
          for _, name in ipairs(rig.dict:get_keys(0)) do
            if name:match("^%z" .. first) or name:match("^%z[^%z]*%z" .. first) then
              rig.dict:set(name, bytes)
            end
          end
        ]], first, bytes)
        run_in(0, "rig.cache:set('k', ...)", i)
        for worker = 0, 1 do
          local value = get(worker, "k")
          assert.is_true(value == i or value == "loaded")
        end
        run_in(1, "rig.cache:invalidate_tags('x') rig.cache:set('t', 1, { tags = { 'x' } })")
        run_in(0, "rig.cache:delete('k')")
        assert.equal("loaded", (get(1, "k")))
      end
    end)
  end

  it("gives nobody an old value when its dictionary is emptied by somebody", function()
    start()
    run_in(0, "rig.cache:set('k', 'old')")
    assert.equal("old", (get(1, "k")))
    run_in(0, "rig.dict:flush_all() rig.dict:flush_expired()")
    run_in(0, "rig.cache:set('k', 'new')")
    assert.not_equal("old", (get(1, "k")))
    run_in(1, "rig.cache:set('k', 'newer')")
    assert.equal("newer", (get(0, "k")))
    run_in(1, "rig.cache:delete('k')")
    assert.same({ "loaded", "load" }, { get(0, "k") })
  end)
end)

-- One load among the workers ------------------------------------------------------------------

describe("workers that miss at once", function()
  after_each(finish)

  local ASK = [[
    local answers, threads = {}, {}
    for i = 1, 20 do
      threads[i] = ngx.thread.spawn(function()
        local ok, value, err = pcall(rig.cache.get, rig.cache, "k", rig.loader(0.5, ENDING))
        answers[("%s %s %s"):format(ok, value, err)] = true
      end)
    end
    for i = 1, 20 do ngx.thread.wait(threads[i]) end
    return answers
  ]]

  -- Twenty callers in each worker: what they got, as texts.
  local function crowd(ending)
    local chunk = ASK:gsub("ENDING", ending)
    local first, second = begin_in(0, chunk), begin_in(1, chunk)
    local answers = first:values()
    for answer in pairs(second:values()) do answers[answer] = true end
    return answers
  end

  it("load once, and all get the value", function()
    start()
    assert.same({ ["true v nil"] = true }, crowd "'v'")
    assert.equal(1, loads())
  end)

  it("load once, and all get what the loader raised", function()
    start()
    assert.same({ ["false boom nil"] = true }, crowd "function() error('boom', 0) end")
    assert.equal(1, loads())
    assert.same({ "loaded", "load" }, { get(1, "k") })
  end)

  it("load once, and all get the loader's err", function()
    start()
    assert.same({ ["true nil broken"] = true }, crowd "function() return nil, 'broken' end")
    assert.equal(1, loads())
    assert.same({ "loaded", "load" }, { get(0, "k") })
  end)

  it("load once, and all get a value that its loader does not want kept", function()
    start()
    local ending = "function() return 'secret', nil, { cache = false } end"
    assert.same({ ["true secret nil"] = true }, crowd(ending))
    assert.equal(1, loads())
    assert.same({ "loaded", "load" }, { get(1, "k") })
  end)

  it("load once, and all get a nil that is not cached", function()
    start()
    local ending = "function() return nil, nil, { cache = false } end"
    assert.same({ ["true nil nil"] = true }, crowd(ending))
    assert.equal(1, loads())
  end)

  it("do not get a value that is not kept, if its key was written meanwhile", function()
    start()
    local old = begin_loading(0, GET:gsub("0, 'loaded'",
      "1, function() return 'old', nil, { cache = false } end"), "k")
    run_in(1, "rig.cache:delete('k')")
    assert.same({ "loaded", "load" }, { get(1, "k") })
    assert.equal("old", (old:values()))
  end)

  it("load anew when they are told to, whatever the dictionary has", function()
    start()
    run_in(0, "rig.cache:set('k', 'old')")
    local fresh = [[
      local value, err, source = rig.cache:get("k", { use_cache = false, HOW })
      return value, source
    ]]
    for _, how in ipairs { "loader = rig.loader(0, 'new')",
      "batch_loader = function(keys) return { [keys[1]] = 'new' } end" } do
      assert.same({ "new", "load" }, { run_in(1, (fresh:gsub("HOW", how))) })
      run_in(0, "rig.cache:set('k', 'old')")
    end
  end)

  it("load once also by get_many", function()
    start()
    local chunk = [[
      return rig.cache:get_many({ "a", "b", "c" }, function(keys)
        rig.counts:incr("loads", #keys, 0)
        ngx.sleep(0.2)
        local map = {}
        for _, key in ipairs(keys) do map[key] = key .. "!" end
        return map
      end)
    ]]
    local callers = {}
    for i = 1, 10 do callers[i] = begin_in(i % 2, chunk) end
    for i = 1, 10 do assert.same({ a = "a!", b = "b!", c = "c!" }, (callers[i]:values())) end
    assert.equal(3, loads())
  end)

  it("go on when the one that loads is killed", function()
    local server = start()
    begin_loading(0, GET:gsub("0, 'loaded'", "60, 'late'"), "k")
    local pid = run_in(0, "return ngx.worker.pid()")
    local waiting = begin_in(1, GET, "k")
    socket.sleep(0.1)
    local began = socket.gettime()
    server:kill_worker(pid)
    assert.equal("loaded", (waiting:values()))
    assert.is_true(socket.gettime() - began < 25)
  end)

  it("take turns for a key whose load outlasts its lease", function()
    start()
    local slow = begin_loading(0, GET:gsub("0, 'loaded'", "7, 'slow'"), "k")
    assert.same({ "slow", "shared" }, { get(1, "k") })
    assert.equal("slow", (slow:values()))
    assert.equal(1, loads())
  end)

  it("do not wait for each other in a phase that cannot", function()
    start()
    local slow = begin_loading(0, GET:gsub("0, 'loaded'", "0.5, 'slow'"), "k")
    assert.is_true(run_in(1, [[
      local seen
      local sorted = { 2, 1 }
      ngx.timer.at(0, function() seen = true end)
      table.sort(sorted, function(a, b)
        local ok, value = pcall(rig.cache.get, rig.cache, "other", rig.loader(0, "v"))
        assert(ok and value == "v")
        return a < b
      end)
      repeat ngx.sleep(0.01) until seen
      return seen
    ]]))
    assert.equal("slow", (slow:values()))
  end)
end)

describe("the shared tier with the code cache off", function()
  after_each(finish)

  it("is what is left of one request for the next", function()
    local server = start { workers = 1, code_cache = false }
    assert.same({ "loaded", "load" }, { get(0, "k") })
    assert.same({ "loaded", "shared" }, { get(0, "k") })
    run_in(0, "rig.cache:delete('k')")
    assert.same({ "loaded", "load" }, { get(0, "k") })
    run_in(0, "rig.cache:clear()")
    assert.same({ "loaded", "load" }, { get(0, "k") })
    assert.is_true(processes.is_running(server.pid))
  end)
end)

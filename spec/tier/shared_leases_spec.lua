-- SPDX-License-Identifier: MIT
-- suites: dev
-- Which worker loads a key: leases when loads fail in odd ways, when keys are written meanwhile,
-- and when keys share a fence.
local nginx = require "spec.support.nginx"
local socket = require "socket"
local workers = require "spec.support.shared_workers"

if nginx.missing() then
  describe("leases", function() pending(nginx.missing()) end)
  return
end

local start, finish, get, loads = workers.start, workers.finish, workers.get, workers.loads
local run_in, begin_in, GET = workers.run_in, workers.begin_in, workers.GET
local begin_loading = workers.begin_loading

-- Less than a lease lasts.
local SOON_S = 4.5

local function since(began) return socket.gettime() - began end

describe("after a write, while the old load still runs,", function()
  setup(function()
    start()
    run_in(1, "return true")
  end)
  teardown(finish)

  local OLD = {
    ["returns"] = "'old'",
    ["fails"] = "function() return nil, 'old' end",
    ["raises"] = "function() error('old', 0) end",
    ["is not kept"] = "function() return 'old', nil, { cache = false } end",
  }

  for what, ending in pairs(OLD) do
    for deleter = 0, 1 do
      for asker = 0, 1 do
        it(("the next get loads at once: it %s, deleted in %d, asked in %d"):format(what, deleter,
          asker), function()
          local key = ("%s %d %d"):format(what, deleter, asker)
          local LOAD = ("return pcall(rig.cache.get, rig.cache, ..., rig.loader(20, %s))")
            :format(ending)
          local old = begin_loading(0, LOAD, key)
          run_in(deleter, "rig.cache:delete(...)", key)
          local began = socket.gettime()
          assert.same({ "loaded", "load" }, { get(asker, key) })
          assert.is_true(since(began) < SOON_S)
          old:abort()
          for worker = 0, 1 do assert.equal("loaded", (get(worker, key))) end
        end)
      end
    end
  end

  local function of(chunk, seconds, value)
    return (chunk:gsub("SECONDS", seconds):gsub("VALUE", value))
  end

  for what, act in pairs { ["a clear"] = "clear()",
      ["a write of its tag"] = "invalidate_tags('t')" } do
    it("the next get loads at once: " .. what, function()
      local LOAD = [[
        local value = rig.cache:get(..., { tags = { "t" }, loader = rig.loader(SECONDS, VALUE) })
        return value
      ]]
      for actor = 0, 1 do
        for asker = 0, 1 do
          local key = ("%s %d %d"):format(act, actor, asker)
          local old = begin_loading(0, of(LOAD, "20", "'old'"), key)
          run_in(actor, "rig.cache:" .. act)
          local began = socket.gettime()
          assert.equal("new", run_in(asker, of(LOAD, "0", "'new'"), key))
          assert.is_true(since(began) < SOON_S)
          old:abort()
        end
      end
    end)
  end

  it("what that comes to is nobody's who asks later", function()
    local old = begin_loading(0, GET:gsub("0, 'loaded'", "1, 'old'"), "late")
    run_in(1, "rig.cache:delete('late')")
    assert.equal("loaded", (get(1, "late")))
    assert.equal("old", (old:values()))
    for worker = 0, 1 do assert.equal("loaded", (get(worker, "late"))) end
  end)
end)

describe("a loader that waits where nothing can", function()
  local server
  after_each(function()
    local errors = server:errors()
    nginx.clean()
    assert.same({}, errors)
  end)

  -- It holds its worker up until the other one waits for its load.
  local LATE = [[
    location = /late {
      content_by_lua_block { ngx.print "fine" }
      log_by_lua_block {
        local rig = require "spec.support.shared_rig"
        pcall(rig.cache.get, rig.cache, "late", function()
          rig.counts:set("late", true)
          local ends = os.clock() + 0.7
          repeat until os.clock() > ends
          ngx.sleep(0.1)
          return "late"
        end)
      }
    }
  ]]

  it("fails for nobody in another worker", function()
    server = nginx.start { workers = 2, locations = LATE, http = [[
      lua_shared_dict perigee 10m;
      lua_shared_dict counts 1m;
      lua_shared_dict answers 1m;
    ]] .. workers.MAPPED }
    server:lua_in(0, workers.within "return true")
    local waiting = server:begin_lua(1, workers.within [[
      repeat ngx.sleep(0.005) until rig.counts:get "late"
      return pcall(rig.cache.get, rig.cache, "late", function() return "fine" end)
    ]])
    local late = server:begin { path = "/late", worker = 0 }
    local ok, value = waiting:values()
    assert.is_true(ok)
    assert.is_true(value == "fine" or value == "late")
    assert.equal("fine", (late:finish()))
  end)
end)

describe("a loader whose error does not want to be text", function()
  before_each(start)
  after_each(finish)

  local ODD = [[
    local odd = setmetatable({}, { __tostring = function() error("no text", 0) end })
    local ok, err = pcall(rig.cache.get, rig.cache, "odd", rig.loader(..., function()
      error(odd)
    end))
    local context = require "perigee.context"
    return ok, rawequal(err, odd), context.load, context.session == nil,
      require("perigee.load.flight").any()
  ]]

  it("gives its caller that error", function()
    assert.same({ false, true, 0, true, false }, { run_in(0, ODD, 0) })
    assert.same({ false, true, 0, true, false }, { run_in(0, ODD, 0.01) })
  end)

  it("is in nobody's way", function()
    run_in(1, "return true")
    local failing = begin_loading(0, ODD, 0.5)
    local began = socket.gettime()
    local waiting = begin_in(1, GET, "odd")
    assert.equal("loaded", (waiting:values()))
    assert.is_true(since(began) < SOON_S)
    assert.same({ false, true, 0, true, false }, { failing:values() })
    run_in(0, "rig.cache:delete('odd')")
    run_in(0, ODD, 0)
    began = socket.gettime()
    for worker = 1, 0, -1 do assert.equal("loaded", (get(worker, "odd"))) end
    assert.is_true(since(began) < SOON_S)
  end)
end)

-- Keys whose fence is the same --------------------------------------------------------------

local FENCE_OF = [[
  local FENCES = require("perigee.lib").core.PERIGEE_FENCES
  local shared = rig.cache.shared
  local function fence_of(key) return shared:hash("", key) % FENCES end
]]

for how, init in pairs { ["where the board is mapped"] = workers.MAPPED,
    ["where it is not"] = workers.UNMAPPED } do
  describe("keys that share a fence, " .. how .. ",", function()
    before_each(function()
      start { init = init }
      run_in(1, "return true")
    end)
    after_each(finish)

    it("are each loaded once among the workers, which leaves nothing behind", function()
      local first, second = run_in(0, FENCE_OF .. [[
        local by = {}
        for i = 1, 1e6 do
          local fence, key = fence_of("k" .. i), "k" .. i
          if by[fence] then return by[fence], key end
          by[fence] = key
        end
      ]])
      local requests = {}
      for worker = 0, 1 do
        requests[#requests + 1] = begin_in(worker, GET:gsub("0, ", "0.8, "), first)
        socket.sleep(0.05)
        requests[#requests + 1] = begin_in(worker, GET:gsub("0, ", "1.5, "), second)
        socket.sleep(0.05)
      end
      for _, request in ipairs(requests) do assert.equal("loaded", (request:values())) end
      assert.equal(2, loads())
      for worker = 0, 1 do
        assert.is_true(run_in(worker, [[
          local elsewhere = rig.cache.shared.board.elsewhere
          return elsewhere == nil or next(elsewhere) == nil
        ]]))
      end
    end)

    it("with all tags, too, do not wait for themselves", function()
      local key, seconds = run_in(0, FENCE_OF .. [[
        local key
        for i = 1, 1e6 do
          if fence_of("q" .. i) == shared.wide % FENCES then key = "q" .. i break end
        end
        ngx.update_time()
        local began = ngx.now()
        rig.cache:get(key, function() return "tagged", nil, { tags = { "t" } } end)
        ngx.update_time()
        return key, ngx.now() - began
      ]])
      assert.is_true(seconds < SOON_S)
      assert.same({ "tagged", "shared" }, { get(1, key) })
      run_in(1, "rig.cache:invalidate_tags('t')")
      for worker = 0, 1 do assert.equal("loaded", (get(worker, key))) end
    end)
  end)
end

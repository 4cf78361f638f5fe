-- SPDX-License-Identifier: MIT
-- A program: does a piece of work again and again, and each time somebody comes by one instruction
-- of a module later, as a finalizer may. `splitting.lua WHAT`; prints what is not as it should be,
-- and "done". Functions that are one step (`perigee.atomic`) are not split.
jit.off()
local wanted = arg[1]
local one_step = {}
package.preload["perigee.atomic"] = function()
  return function(fn)
    one_step[fn] = true
    return fn
  end
end

local agent = require "perigee.agent"
local context = require "perigee.context"
local perigee = require "perigee"
local testing = require "perigee.testing"
require("perigee.log").sink = function() end

local function complain(what, ...)
  print(what:format(...))
end

-- Calls `work(...)`; `come_by(...)` is called before the instruction with this number among those
-- of the modules whose path matches. Returns whether there was one.
local function split(modules, number, come_by, work, ...)
  local count, come, given = 0, false, { ... }
  debug.sethook(function()
    local info = debug.getinfo(2, "Sf")
    if come then return end
    if info.source:find(modules) then count = count + 1 end
    if count < number or one_step[info.func] then return end -- behind it, if it is one step
    come = true
    come_by(unpack(given))
  end, "", 1)
  local ok, err = pcall(work, ...)
  debug.sethook()
  if not ok then complain("raised: %s", tostring(err)) end
  return come
end

-- The same for each instruction, on what `make()` makes; `check(...)` looks at that.
local function everywhere(modules, make, work, come_by, check)
  local number = 0
  repeat
    number = number + 1
    local subject = make()
    local come = split(modules, number, come_by, work, subject)
    check(subject)
    if number > 5000 then return complain "it does not end" end
  until not come
  if number < 3 then complain "nobody came by" end
end

local function nothing() return {} end

local CASES = {}

function CASES.numbers()
  local new_number = require("perigee.load.flight").new_number
  everywhere("load/flight%.lua$", nothing,
    function(made) made.own = new_number() new_number() end,
    function(made) made.others = new_number() end,
    function(made)
      if made.own == made.others then complain "two caches have one number" end
    end)
end

function CASES.stores()
  local made, expired
  local function new()
    local cache = perigee.new { default_ttl = 1, on_evict = function() expired = expired + 1 end }
    cache:set("k", 1)
    table.insert(made, cache)
  end
  testing.run(function()
    everywhere("store/turns%.lua$", function() made, expired = {}, 0 end, function()
      new()
      perigee.sleep(0)
    end, new, function()
      perigee.sleep(2)
      if expired ~= #made then complain("%d of %d stores have turns", expired, #made) end
      made = {}
      collectgarbage() -- places become free
      collectgarbage()
    end)
  end)
end

function CASES.sessions()
  local function new() return agent.open { idle_timeout = 10 } end
  testing.run(function()
    everywhere("agent/session%.lua$", nothing,
      function(made) made.first = new() made.first:close() made.third = new() end,
      function(made) made.second = new() end,
      function(made)
        local numbers = {}
        for _, session in pairs(made) do
          if numbers[session.number] then complain "two sessions have one number" end
          numbers[session.number] = true
        end
        perigee.sleep(20)
        new():close()
        for _, session in pairs(made) do
          if not session.closed then complain "a session is never idle" end
        end
      end)
  end)
end

-- Where what is used after it was freed is seen, that would be.
function CASES.closing()
  local tool = agent.cache { resource = "r" } (function(n) return n end)
  local session = {}
  everywhere("agent/[%w_]+%.lua$", function()
    session = agent.open()
    return session
  end, function()
    for i = 1, 3 do pcall(session.run, session, tool, i) end
  end, function() session:close() end, function()
    if not session.closed then session:close() end
  end)
end

function CASES.writes()
  local writes = require "perigee.agent.writes"
  local cache = perigee.new {}
  local came
  local function plan(name) return { paths = { { name } }, keys = {}, tool = name } end
  everywhere("agent/writes%.lua$", function()
    came = false
    return { own = plan "a", others = plan "b" }
  end,
    function(made)
      writes.begin(made.own)
      if not writes.are_marked({ { "a" } }, cache, "k") then complain "it is not marked" end
      writes.finish(made.own)
    end,
    function(made)
      came = true
      writes.begin(made.others)
    end,
    function(made)
      local ok, is_marked = pcall(writes.are_marked, { { "b" } }, cache, "k")
      if not ok or came and not is_marked then complain("no mark: %s", tostring(is_marked)) end
      writes.finish(made.others)
      if writes.are_marked({ { "a" }, { "b" } }, cache, "k") then complain "it stays marked" end
    end)
end

function CASES.told()
  local cache, told
  everywhere("perigee/store[%w/]*%.lua$", function()
    if cache then cache:close() end
    told = {}
    cache = perigee.new { maxsize = 2, on_evict = function(key) table.insert(told, key) end }
    for i = 1, 2 do cache:set(i, i) end
  end, function()
    cache:set(3, 3)
    cache:set(4, 4)
  end, function()
    local was_busy = cache.store.busy
    cache:get("x", function() cache:delete "x" return 1 end)
    if cache.store.busy ~= was_busy then complain "the store is not as busy as it was" end
  end, function()
    cache:set(5, 5)
    if #told < 3 then complain("only %d were told", #told) end
    if cache.store.busy then complain "the store stays busy" end
  end)
end

function CASES.reading()
  local cache
  everywhere("perigee/store[%w/]*%.lua$", function()
    cache = perigee.new { maxsize = 2, stale_if_error = 10 }
    for i = 1, 2 do cache:set(i, i) end
  end, function() cache:set("k", "k") end, function()
    for _, value in ipairs { cache:get "k" or "k", cache:peek "k" or "k" } do
      if value ~= "k" then complain("%s is there under k", tostring(value)) end
    end
  end, function()
    if cache:get "k" ~= "k" then complain "k is not there" end
    cache:close()
  end)
end

function CASES.landing()
  perigee.run(function()
    local cache, came
    everywhere("load/flight%.lua$", function() cache, came = perigee.new {}, false end, function()
      cache:get("a", function() return 1 end)
    end, function()
      came = true
      perigee.spawn(cache.get, cache, "b", function()
        perigee.sleep(0.001)
        return 2
      end)
    end, function()
      local value = came and cache:get("b", function() return 3 end)
      if came and value ~= 2 then complain "the load was lost" end
    end)
  end)
end

function CASES.joining()
  local load = require "perigee.load"
  testing.run(function()
    local cache
    everywhere("load/flight%.lua$", function()
      cache = perigee.new {}
      perigee.spawn(cache.get, cache, "a", function()
        perigee.sleep(3)
        return "a"
      end)
      perigee.sleep(1)
    end, function()
      local value, err = cache:get("a", function() return "a" end)
      if value ~= "a" and err ~= "timeout" then complain("%s is there under a", tostring(value)) end
    end, function()
      cache.load_timeout = 0.5
      load.joinable(cache, "a")
      cache.load_timeout = math.huge
      perigee.spawn(cache.get, cache, "b", function()
        perigee.sleep(0.5)
        return "b"
      end)
    end, function() perigee.sleep(4) end)
  end)
end

local function list_backend()
  return {
    load = function() return {} end,
    save = function() return true end,
    clear = function() return true end,
  }
end

function CASES.left()
  local cache = perigee.new { name = "left", backup = list_backend() }
  local changes, seen, came = cache.backup.changes, nil, false
  local function take()
    local _, keys, _, count = changes:take()
    for i = 1, count do seen[keys[i]] = true end
  end
  everywhere("backup/changes%.lua$", function()
    seen, came = {}, false
    changes:left("a", 0)
  end, take, function()
    came = true
    changes:left("b", 0)
  end, function()
    take()
    if not seen.a then complain "a is forgotten" end
    if came and not seen.b then complain "b is forgotten" end
  end)
end

function CASES.written()
  local cache = perigee.new { name = "written", backup = list_backend() }
  local changes, came = cache.backup.changes, false
  everywhere("backup/changes%.lua$", function()
    came = false
    changes:begin_reading()
  end, function() changes:wrote(0, "a") end, function()
    came = true
    changes:wrote(0, "b")
  end, function()
    if not changes:is_outdated(0, "a") then complain "a is not noted" end
    if came and not changes:is_outdated(0, "b") then complain "b is not noted" end
    changes:end_reading()
  end)
end

function CASES.saving()
  local at_work, most = 0, 0
  local backend = list_backend()
  function backend.save()
    at_work = at_work + 1
    most = math.max(most, at_work)
    perigee.sleep(0)
    at_work = at_work - 1
    return true
  end
  perigee.run(function()
    local cache = perigee.new { name = "saving", backup = backend }
    perigee.sleep(0.01)
    everywhere("perigee/backup%.lua$", function() cache:set("k", 1) end,
      function() cache:save_to_backup() end,
      function() perigee.spawn(cache.save_to_backup, cache) end,
      function() perigee.sleep(0.001) end)
  end)
  if most ~= 1 then complain("%d save at once", most) end
end

function CASES.counting()
  local cache, sum
  everywhere("perigee/cache?%.?[%w/]*lua$", function()
    cache, sum = perigee.new {}, 1
    cache:set("n", 1)
  end, function()
    cache:incr("n", 1)
    sum = sum + 1
  end, function()
    if pcall(cache.incr, cache, "n", 1) then sum = sum + 1 end
  end, function()
    if cache:get "n" ~= sum then complain("%s, not %d", tostring(cache:get "n"), sum) end
  end)
end

function CASES.deep()
  local ran
  local function run(which) ran[which] = (ran[which] or 0) + 1 end
  local function deeper(n, work)
    if n == 0 then return work() end
    perigee.spawn(deeper, n - 1, work)
  end
  perigee.run(function()
    local came
    everywhere("runtime/inside%.lua$", function()
      ran, came = {}, false
      perigee.sleep(0)
    end, function()
      deeper(150, function() context.port.spawn(run, "own") end)
    end, function()
      came = true
      context.port.spawn(run, "others")
    end, function()
      perigee.sleep(0.001)
      if ran.own ~= 1 then complain("it ran %s times", tostring(ran.own)) end
      if came and ran.others ~= 1 then complain("the other ran %s times", tostring(ran.others)) end
    end)
  end)
end

function CASES.worlds()
  local scheduler = require "perigee.runtime.scheduler"
  perigee.spawn(perigee.sleep, 0)
  local own, begun, ended = scheduler.world(), 0, 0
  local function short(here)
    perigee.sleep(0)
    if here then ended = ended + 1 end
  end
  local function enter_and_leave() testing.run(nothing) end
  everywhere("runtime/scheduler%.lua$", nothing, enter_and_leave, function()
    local here = scheduler.world() == own
    if here then begun = begun + 1 end
    perigee.spawn(short, here)
  end, nothing)
  perigee.run(perigee.sleep, 0.01)
  testing.run(perigee.sleep, 0.01)
  if ended < begun then complain("%d of %d have ended", ended, begun) end
end

function CASES.runs()
  local ended, port = 0, context.port
  everywhere("runtime/scheduler%.lua$", function() ended = 0 end, function()
    local task = perigee.spawn(function()
      perigee.sleep(0)
      ended = ended + 1
    end)
    task:wait()
  end, function() pcall(perigee.run, perigee.sleep, 0) end, function()
    perigee.sleep(0)
    if ended ~= 1 then complain("it has ended %d times", ended) end
    if context.port ~= port then complain "it is another port" end
  end)
end

function CASES.debts()
  local writes = require "perigee.remote.write_behind"
  local applied
  local share = { apply = function(_, ops)
    for _, op in ipairs(ops) do applied[op.key] = (applied[op.key] or 0) + 1 end
    return nil, "down"
  end }
  local function ignore() end
  everywhere("remote/write_behind%.lua$", function()
    applied = {}
    local queue = writes.new(share, 1, { failed = ignore, unsaved = ignore, written = ignore })
    queue:push { kind = "delete", space = "", key = "z" } -- there are debts
    return queue
  end, function(queue)
    queue:push { kind = "delete", space = "", key = "a" }
  end, function(queue) queue:settle() end, function(queue)
    queue:start()
    if not queue:owes("", "a") then complain "a debt is forgotten" end
  end)
end

function CASES.trips()
  local gathering = require "perigee.remote.gathering"
  perigee.run(function()
    local sent, failed
    local share = {
      client = { wake = function(_, _, ticket) context.port.unpark(ticket) end,
        opts = { timeout = 1 } },
      send = function(_, trip)
        sent = sent + trip.n
        return 1
      end,
      write = function() end,
      take = function() return true end,
    }
    local remote = { share = share, durations = require("perigee.metrics.histogram").new(),
      answered = function() end, unanswered = function(_, _, why) failed = why end }
    everywhere("remote/gathering%.lua$", function()
      sent, failed = 0, nil
      local trips = gathering.new(remote)
      for i = 1, 24 do trips:add({ key = i }, "") end
      return trips
    end, function(trips) trips:add({ key = 25 }, "") end, function(trips)
      trips:add({ key = 26 }, "")
    end, function(trips)
      perigee.sleep(0)
      perigee.sleep(0)
      if sent < 25 or failed then complain("%d were sent, %s", sent, tostring(failed)) end
      if trips.on_their_way ~= 0 then complain("%d are on their way", trips.on_their_way) end
    end)
  end)
end

CASES[wanted]()
print "done"
os.exit(0)

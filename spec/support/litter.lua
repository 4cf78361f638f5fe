-- SPDX-License-Identifier: MIT
-- A program: tasks that use two caches at random, and drop things whose finalizers do the same,
-- wherever they happen to run. `litter.lua SEED PLACE [hot]`; PLACE is "run" or "plain"; with "hot"
-- everything is compiled at once, so that finalizers come by at each exit of compiled code. Prints
-- "done", and whatever is not as it should be.
local seed, place, hot = tonumber(arg[1]), arg[2], arg[3]
if hot then jit.opt.start("hotloop=1", "hotexit=1") end
math.randomseed(seed)

local flight = require "perigee.load.flight"
local perigee = require "perigee"
local scheduler = require "perigee.runtime.scheduler"
local C = require("perigee.lib").rt

local random = math.random
local entries, over = {}, false

local function backend_waits()
  if random() < 0.5 then perigee.sleep(0) end
end

local backend = {
  get = function(_, key)
    backend_waits()
    if entries[key] == nil then return false end
    return true, entries[key]
  end,
  set = function(_, key, value)
    backend_waits()
    entries[key] = value
    return true
  end,
  delete = function(_, key)
    entries[key] = nil
    return true
  end,
  clear = function()
    entries = {}
    return true
  end,
  close = function() end,
}

local near = perigee.new { maxsize = 50, default_ttl = 0.05, stale_while_revalidate = 0.02 }
local far = perigee.new { name = "far", maxsize = 20, default_ttl = 0.05, remote_cache = backend }

local spawned, ended, finalized = 0, 0, 0

local function load(key)
  if random() < 0.3 then perigee.sleep(random() * 0.002) end
  return key
end

local function load_many(keys)
  local values = {}
  if random() < 0.5 then perigee.sleep(0) end
  for _, key in ipairs(keys) do values[key] = key end
  return values
end

local function check(key, value)
  if value ~= nil and value ~= key then
    print(("%s is there under %s"):format(tostring(value), tostring(key)))
  end
end

-- A finalizer is told where it may not wait, also when that is for the load that it interrupts; and
-- what it begins while a run ends is cancelled. Nothing else may go wrong.
local finalizing = false

local function complain(text)
  local is_its_own = finalizing and text:find("^perigee: deadlock, the loads wait")
  if text ~= "cancelled" and not is_its_own and not text:find("cannot wait here", 1, true) then
    print(text)
  end
end
require("perigee.log").sink = function(_, text) complain(text) end

local function get(cache, key, spec)
  local ok, value = pcall(cache.get, cache, key, spec)
  if ok then check(key, value) else complain(tostring(value)) end
end

local function short()
  spawned = spawned + 1
  if random() < 0.6 then pcall(perigee.sleep, random(0, 2) * 0.001) end -- it may be cancelled
  ended = ended + 1
end

local function read_near()
  spawned = spawned + 1
  get(near, random(60), load)
  ended = ended + 1
end

local FINALIZERS = {
  function() perigee.spawn(short) end,
  function() perigee.spawn(read_near) end,
  function() perigee.spawn(short):cancel() end,
  function() near:delete(random(60)) end,
  function(key) near:set(key, key) end,
  function() get(near, random(60), load) end,
  function() get(near, random(60), { batch_loader = load_many }) end,
  function(key) far:set(key, key) end,
  function() far:delete(random(30)) end,
  function() get(far, random(30), load) end,
}

local function finalize()
  if over then return end
  finalized, finalizing = finalized + 1, true
  FINALIZERS[random(#FINALIZERS)](random(60))
  finalizing = false
end

local function drop_something()
  getmetatable(newproxy(true)).__gc = finalize
end

local USES = {
  function() get(near, random(60), load) end,
  function() get(near, random(60), { batch_loader = load_many }) end,
  function() get(far, random(30), load) end,
  function() perigee.sleep(random(0, 1) * 0.001) end,
  function()
    local task = perigee.spawn(short)
    if random() < 0.5 then task:wait() end
  end,
  function() perigee.gather { short, short, short } end,
  function() perigee.timeout(0.0005, perigee.sleep, 0.002) end,
}

local function use()
  for i = 1, 60 do
    if i % 2 == 0 then drop_something() end
    USES[random(#USES)]()
    if random() < 0.2 then collectgarbage("step", 10) end
  end
end

local function use_side_by_side()
  local users = {}
  for i = 1, 30 do users[i] = use end
  perigee.gather(users)
end

for _ = 1, 3 do
  if place == "run" then perigee.run { main = use_side_by_side, drain = true } else use() end
end
over = true
collectgarbage()
perigee.run(function() -- what was begun in plain code goes on here
  for _ = 1, 1000 do
    if spawned == ended and not flight.any() then break end
    perigee.sleep(0.01)
  end
end)
if spawned ~= ended then print(spawned - ended .. " tasks have not ended") end
if flight.any() then print "a load has not ended" end
if finalized == 0 then print "no finalizer ran" end
if C.perigee_tickets_verify(scheduler.world().c_tickets) ~= nil then
  print "the tickets are broken"
end
near:close()
far:close()
print "done"

-- SPDX-License-Identifier: MIT

--- The loop of turns: what a world waits for, and when its time moves.
--
-- A turn: report failures nobody heard of; call the wait hooks; wait for the world, no longer than
-- the next deadline and what the turn hooks asked for; move the clock; call the turn hooks; resume
-- the tasks.
-- A *source* says what time is: `time()` is the precise time deadlines count in, `move(world,
-- wait_s, deadline)` waits that long at most (not at all if a task has a deadline before the one
-- told), sets the shared clock and returns the time of the turn.
-- @module perigee.runtime.driver

local ffi = require "ffi"
local context = require "perigee.context"
local failures = require "perigee.runtime.failures"
local scheduler = require "perigee.runtime.scheduler"
local scope = require "perigee.runtime.scope"
local clock = require "perigee.runtime.clock"
local hooks = require "perigee.runtime.hooks"
local C = require("perigee.lib").rt

local _M = {}

local huge, min = math.huge, math.min

--- A new world: a private libev loop and the tables of `perigee.runtime.scheduler`.
-- @tparam table port its port
-- @tparam table source its time
function _M.new_world(port, source)
  local loop = C.perigee_loop_new()
  if loop == nil then error("perigee: cannot make a libev loop: no memory or descriptors", 0) end
  local c_tickets = C.perigee_loop_tickets(loop)
  local world = {
    port = port, c_tickets = c_tickets, chunk = C.perigee_tickets_chunk(c_tickets),
    time = source.time, move = source.move,
    threads = {}, tasks = {}, records = {}, tickets = {}, parked = {}, early = {},
    deferred = {}, hooks_due = 0, driving = false, life = { is_over = false },
  }
  world.root = scope.new_root(world)
  local life = world.life -- not the world: the finalizer would keep it for ever
  world.loop = ffi.gc(loop, function(freed)
    scheduler.bury(life)
    C.perigee_loop_free(freed)
  end)
  return world
end

local function call_wait_hooks(world, port)
  local list = hooks.wait
  context.port = world.port -- what a hook spawns may wait
  for i = 1, #list do
    local ok, err = pcall(list[i])
    if not ok then failures.tell(err, "a wait hook") end
  end
  context.port, context.load, context.session = port, 0, nil
end

local function call_turn_hooks(now)
  local due, list = huge, hooks.turn
  for i = 1, #list do
    local ok, wish = pcall(list[i])
    if not ok then
      failures.tell(wish, "a turn hook")
    elseif wish then
      due = min(due, now + wish)
    end
  end
  return due
end

-- Returns false if nothing can ever wake a task.
local function turn(world, port)
  local wait, deadline = 0, huge
  failures.report()
  if hooks.wait[1] then call_wait_hooks(world, port) end
  if not scheduler.is_ready() then
    if C.perigee_loop_may_wake(world.loop) == 0 then return false end
    deadline = scheduler.next_deadline()
    local now = world.time()
    wait = min(deadline - now, world.hooks_due - now)
    if wait < 0 then wait = 0 end
  end
  local now = world.move(world, wait, deadline)
  context.port = world.port
  world.hooks_due = call_turn_hooks(now)
  scheduler.collect(now)
  context.port, context.load, context.session = port, 0, nil
  return true
end

local function turn_until(world, port, subject, stuck)
  while not subject.status do
    if not turn(world, port) then stuck(subject) end
  end
end

--- Turns the world in force until `subject.status` is set; `stuck(subject)` is called when no
-- task could ever be woken, and must change that or raise. What is spawned by nobody's task
-- meanwhile (by a turn hook) belongs to `root`.
function _M.drive(subject, stuck, root)
  local world = scheduler.world()
  local old_root = world.root
  if world.life.is_over then
    error("cannot wait here: the Lua state is closing", 0)
  elseif world.driving or scheduler.is_starting() then
    error("cannot wait here: this code was called by the loop itself (a turn hook, a log sink, a "
      .. "finalizer)", 0)
  end
  local port, load, session, held = context.port, context.load, context.session, clock.held
  world.driving, world.root, clock.held = true, root or old_root, 1
  local ok, err = pcall(turn_until, world, port, subject, stuck)
  world.driving, world.root, clock.held = false, old_root, held
  context.port, context.load, context.session = port, load, session
  if not ok then error(err, 0) end
end

return _M

-- SPDX-License-Identifier: MIT
--- A naive model of csrc/core/flight.h: lists, searched from end to end, and no cleverness.
--
-- Each method makes one call in C and in the model and raises when the two disagree. Whether a
-- wait would never end is decided by a fixpoint over all groups, not by a search from one.

local C = require("perigee.lib").core
local ffi = require "ffi"

local _M = {}
local mt = { __index = _M }

local odd_ids = { 0, -1, 0.5, 1, 2 ^ 24, 2 ^ 53, 2 ^ 60, -2 ^ 60, 1 / 0, -1 / 0, 0 / 0 }

--- A function `random(n)` that returns an integer from 1 to n; a seed gives one sequence.
function _M.generator(seed)
  local state = seed
  return function(n)
    state = state * 16807 % 2147483647 -- Park and Miller 1988
    return state % n + 1
  end
end

--- A model beside a registry of its own, which is freed with it.
-- @tparam function random as `generator` makes it
function _M.new(random)
  local flight = C.perigee_flight_new()
  assert(flight ~= nil)
  return setmetatable({
    flight = ffi.gc(flight, C.perigee_flight_free),
    random = random,
    chains = {},   -- by name of key: loads that run and are not fenced, newest first
    loads = {},    -- that have not landed
    groups = {},   -- that live
    waiters = {},  -- that have not left
    waking = {},   -- whose tickets are to be pulled, in order
    past = {},     -- ids of loads and waiters that were valid once
    sequence = 0,
    failing = false,
    seen = { refused = 0, victims = 0, kept = 0, dropped = 0, failures = 0 },
  }, mt)
end

local function same(what, wanted, got)
  if wanted ~= got then
    error(("%s: the model says %s, C says %s"):format(what, tostring(wanted), tostring(got)), 2)
  end
end

local function remove(list, item)
  for i = 1, #list do
    if list[i] == item then return table.remove(list, i) end
  end
end

local function name_of(key)
  local value = key.s or (key.n == 0 and 0 or key.n)
  return ("%d %d %s %s"):format(key.cache, key.space, type(value), tostring(value))
end

function _M:pick(list)
  if #list == 0 then return nil end
  return list[self.random(#list)]
end

--- An id that names nothing: stale, or never given out.
function _M:wrong_id()
  local id = self:pick(self.past)
  if not id or self.random(2) == 1 then id = self:pick(odd_ids) end
  return id
end

-- Runs one call of C, now and then with the next allocation made to fail.
function _M:call(name, ...)
  local armed = self.failing and self.random(4) == 1
  if armed then C.perigee_core_fail_at(1) end
  local result = C[name](self.flight, ...)
  C.perigee_core_fail_at(0)
  self.armed = armed
  return result
end

---- The graph of who waits for whom.

local function may_move(group)
  return group.movable > 0 or #group.outs == 0
end

--- The set of groups that will move again.
function _M:living_groups()
  local living, changed = {}, true
  while changed do
    changed = false
    for _, group in ipairs(self.groups) do
      local lives = may_move(group)
      for _, out in ipairs(group.outs) do lives = lives or living[out.load.group] end
      if lives and not living[group] then living[group], changed = true, true end
    end
  end
  return living
end

-- Everything that is needed to judge the telling of a cycle later.
function _M:snapshot()
  local group_of, edges = {}, {}
  for _, load in ipairs(self.loads) do group_of[load.id] = load.group end
  for _, group in ipairs(self.groups) do
    edges[group] = {}
    for _, out in ipairs(group.outs) do
      local youngest = edges[group][out.load.group]
      if not youngest or out.sequence > youngest.sequence then
        edges[group][out.load.group] = { to = out.load.id, sequence = out.sequence }
      end
    end
  end
  return { group_of = group_of, edges = edges }
end

-- The chain that C tells is a cycle in the snapshot, and `first` is its youngest waiter.
function _M:check_chain(snapshot, first, may_be_missing)
  local chain = {}
  repeat
    chain[#chain + 1] = C.perigee_flight_chain(self.flight, #chain)
  until chain[#chain] == 0
  chain[#chain] = nil
  if #chain == 0 and may_be_missing then
    self.seen.failures = self.seen.failures + 1
    return
  end
  assert(#chain > 0, "no cycle is told")
  same("chain before its beginning", 0, C.perigee_flight_chain(self.flight, -1))
  local visited = {}
  for i = 1, #chain do
    local following = chain[i % #chain + 1]
    local from, to = snapshot.group_of[chain[i]], snapshot.group_of[following]
    assert(from and to, "the chain names a load that does not run")
    assert(not visited[from], "the chain comes twice through a group")
    visited[from] = true
    local edge = assert(snapshot.edges[from][to], "the chain has a gap")
    same("load waited for", edge.to, following)
    assert(edge.sequence <= first.sequence, "the chain has a younger waiter")
    if i == 1 then same("first waiter of the chain", first.sequence, edge.sequence) end
  end
end

local function stop_running_for(waiter)
  if not waiter.group then return end
  remove(waiter.group.outs, waiter)
  waiter.group.movable = waiter.group.movable + 1
  waiter.group = nil
end

function _M:group_of(id)
  for _, load in ipairs(self.loads) do
    if load.id == id then return load.group end
  end
  for _, group in ipairs(self.groups) do
    if group.id == id then return group end
  end
end

---- Loads.

function _M:find(key, version)
  local newest = (self.chains[name_of(key)] or {})[1]
  local wanted = newest and newest.joinable and newest.version == version and newest.id or 0
  same("find", wanted, self:call("perigee_flight_find", key.cache, key.space, key.s, key.n or 0,
    version))
end

function _M:begin(key, version, group_id)
  local id = self:call("perigee_flight_begin", key.cache, key.space, key.s, key.n or 0, version,
    group_id)
  if id == 0 and self.armed then
    self.seen.failures = self.seen.failures + 1
    return
  end
  assert(id > 0, "begin: 0 without a reason")
  for _, load in ipairs(self.loads) do assert(load.id ~= id, "begin: an id given twice") end
  local group = self:group_of(group_id)
  if not group then
    group = { id = id, members = 0, movable = 1, outs = {} }
    table.insert(self.groups, group)
  end
  group.members = group.members + 1
  local chain = self.chains[name_of(key)] or {}
  self.chains[name_of(key)] = chain
  for _, older in ipairs(chain) do older.joinable = false end
  local load = { id = id, key = key, version = version, joinable = true, group = group,
    waiters = {} }
  table.insert(chain, 1, load)
  table.insert(self.loads, load)
end

function _M:fence(key)
  local chain = self.chains[name_of(key)] or {}
  for _, load in ipairs(chain) do load.fenced = true end
  self.chains[name_of(key)] = nil
  same("fence", #chain, self:call("perigee_flight_fence", key.cache, key.space, key.s, key.n or 0))
end

function _M:detach(load)
  load.joinable = false
  self:call("perigee_flight_detach", load.id)
end

local function leave_chain(self, load, succeeded)
  local chain = self.chains[name_of(load.key)]
  if load.fenced then return end
  local i = 1
  while chain[i] ~= load do i = i + 1 end
  while succeeded and chain[i + 1] do table.remove(chain, i + 1).fenced = true end
  table.remove(chain, i)
end

function _M:land(load, version, succeeded)
  local kept = not load.fenced and load.version == version
  leave_chain(self, load, succeeded)
  remove(self.loads, load)
  for _, waiter in ipairs(load.waiters) do
    stop_running_for(waiter)
    waiter.state = "waking"
    table.insert(self.waking, waiter)
  end
  local group = load.group
  group.members = group.members - 1
  if group.members == 0 then
    for _, out in ipairs(group.outs) do out.group = nil end
    remove(self.groups, group)
    table.insert(self.past, group.id)
  end
  if load.id ~= group.id then table.insert(self.past, load.id) end
  self.seen[kept and "kept" or "dropped"] = self.seen[kept and "kept" or "dropped"] + 1
  same("land", kept and 1 or 0,
    self:call("perigee_flight_land", load.id, version, succeeded and 1 or 0))
end

---- Waiting.

function _M:wait(load, runs_for)
  self.sequence = self.sequence + 1
  local waiter = { ticket = self.sequence, sequence = self.sequence, load = load,
    state = "waiting", group = self:group_of(runs_for) }
  local group, counted = waiter.group, 0
  if group then
    counted = math.min(group.movable, 1)
    group.movable = group.movable - counted
    table.insert(group.outs, waiter)
  end
  local id = self:call("perigee_flight_wait", load.id, waiter.ticket, runs_for)
  local refused = group and not self:living_groups()[group]
  if id == 0 and self.armed or refused then
    if id == 0 then
      self.seen.failures = self.seen.failures + 1
    else
      same("wait", -1, id)
      self.seen.refused = self.seen.refused + 1
      self:check_chain(self:snapshot(), waiter, self.armed)
    end
    if group then
      remove(group.outs, waiter)
      group.movable = group.movable + counted
    end
    return
  end
  assert(id > 0, "wait: refused without a reason")
  waiter.id = id
  table.insert(load.waiters, waiter)
  table.insert(self.waiters, waiter)
end

function _M:leave(waiter)
  same("leave", waiter.victim and 1 or 0, self:call("perigee_flight_leave", waiter.id))
  if waiter.victim then self:check_chain(waiter.snapshot, waiter, waiter.chain_lost) end
  if waiter.state == "waiting" then
    remove(waiter.load.waiters, waiter)
    stop_running_for(waiter)
  end
  remove(self.waking, waiter)
  remove(self.waiters, waiter)
  table.insert(self.past, waiter.id)
end

function _M:pull()
  local waiter = table.remove(self.waking, 1)
  if waiter then waiter.state = "pulled" end
  same("pull", waiter and waiter.ticket or 0, self:call("perigee_flight_pull"))
end

function _M:pull_all()
  while self.waking[1] do self:pull() end
end

-- A cycle is left in which nothing moves: C has woken one waiter of it, and we learn which.
function _M:find_victim(chain_lost)
  local snapshot = self:snapshot()
  self:pull_all()
  local ticket = self:call("perigee_flight_pull")
  for _, waiter in ipairs(self.waiters) do
    if waiter.ticket == ticket then
      same("state of the victim", "waiting", waiter.state)
      assert(waiter.group, "the victim runs for no load")
      remove(waiter.load.waiters, waiter)
      stop_running_for(waiter)
      waiter.state, waiter.victim = "pulled", true
      waiter.snapshot, waiter.chain_lost = snapshot, chain_lost
      self.seen.victims = self.seen.victims + 1
      return
    end
  end
  error("a dead cycle is left: no waiter was woken")
end

function _M:tasks(id, delta)
  local group = self:group_of(id)
  self:call("perigee_flight_tasks", id, delta)
  if not group then return end
  group.movable = math.max(0, group.movable + delta)
  if not self:living_groups()[group] then self:find_victim(self.armed) end
end

--- Calls with ids that name nothing change nothing.
function _M:wrong_calls()
  local id = self:wrong_id()
  if self:group_of(id) then return end
  same("is_running", 0, self:call("perigee_flight_is_running", id))
  same("land", 0, self:call("perigee_flight_land", id, 0, 1))
  same("wait", 0, self:call("perigee_flight_wait", id, 1, 0))
  self:call("perigee_flight_detach", id)
  self:call("perigee_flight_tasks", id, -1)
end

--- A waiter id that names nothing.
function _M:wrong_leave()
  local id = self:wrong_id()
  for _, waiter in ipairs(self.waiters) do
    if waiter.id == id then return end
  end
  same("leave", 0, self:call("perigee_flight_leave", id))
end

function _M:verify()
  local broken = C.perigee_flight_verify(self.flight)
  if broken ~= nil then error(ffi.string(broken)) end
  same("running", #self.loads, C.perigee_flight_running(self.flight))
  same("waiting", #self.waiters, C.perigee_flight_waiting(self.flight))
  local living = self:living_groups()
  for _, group in ipairs(self.groups) do
    assert(living[group], "a group is left that will never move again")
  end
end

return _M

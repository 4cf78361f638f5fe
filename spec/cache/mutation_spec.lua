-- SPDX-License-Identifier: MIT
-- PERIGEE_MUTATIONS sets how many mutations each way of wrapping gets.
local perigee = require "perigee"
local random = require "spec.support.random"
local tasks = require "spec.support.tasks"

local MUTATIONS = tonumber(os.getenv("PERIGEE_MUTATIONS")) or 3000
local SEED, IDS = 4711, 5

-- A database of versioned rows, whose every step takes a random time; and what must be seen: a
-- read that begins after the mutation to a version has returned sees that version, or a later one.
local function new_world(wrap)
  local world = { random = random.generator(SEED), rows = {}, settled = {}, reads = 0,
    loads = 0 }
  for id = 1, IDS do world.rows[id], world.settled[id] = 0, 0 end
  function world.pause()
    local length = world.random(4)
    if length > 0 then perigee.sleep(length / 1000) end
  end
  local function read(id)
    world.loads = world.loads + 1
    world.pause()
    local version = world.rows[id]
    world.pause()
    return version
  end
  local function mutate(id, raises)
    world.pause()
    world.rows[id] = world.rows[id] + 1
    local version = world.rows[id]
    world.pause()
    if raises then error({ version = version }) end
    return version
  end
  world.get, world.update = wrap(read, mutate)
  return world
end

local function check_read(world, id, fresh)
  local least = world.settled[id]
  local version
  if fresh then version = world.get:refresh(id) else version = world.get(id) end
  world.reads = world.reads + 1
  if version < least then
    error(("read %d, seed %d: row %d is %d, after a mutation to %d had returned")
      :format(world.reads, SEED, id, version, least), 0)
  end
end

local function do_mutation(world, id)
  local raises = world.random(4) == 0
  local ok, result = pcall(world.update, id, raises)
  assert(ok == not raises)
  local version = ok and result or result.version
  world.settled[id] = math.max(world.settled[id], version)
end

local function drive(world)
  local writers, done = {}, false
  for i = 1, 3 do
    writers[i] = perigee.spawn(function()
      for _ = 1, MUTATIONS / 3 do
        do_mutation(world, world.random(IDS) + 1)
        world.pause()
      end
    end)
  end
  local readers = {}
  for i = 1, 12 do
    readers[i] = perigee.spawn(function()
      while not done do
        check_read(world, world.random(IDS) + 1, world.random(10) == 0)
        world.pause()
        perigee.sleep(0)
      end
    end)
  end
  for i = 1, 3 do writers[i]:wait() end
  done = true
  for i = 1, 12 do readers[i]:wait() end
end

-- Each gives the cached read and the wrapped mutation.
local WAYS = {
  ["by argument"] = function(read, mutate)
    local get = perigee.lru(read)
    return get, perigee.lru_invalidator(get)(mutate)
  end,
  ["by key_fn"] = function(read, mutate)
    local get = perigee.ttl { time_to_live = 0.02, stale_if_error = 1 } (read)
    return get, perigee.ttl_invalidator(get, { key_fn = function(id) return id end })(mutate)
  end,
  ["by clear_all, on a cache that others share"] = function(read, mutate)
    local get = perigee.lru { cache = perigee.new { maxsize = 10 } } (read)
    return get, perigee.lru_invalidator(get, { clear_all = true })(mutate)
  end,
  ["with an encoded key, in a cache too small for all"] = function(read, mutate)
    local get = perigee.lru { maxsize = 2, key_fn = function(id) return { id } end } (read)
    return get, perigee.lru_invalidator(get)(mutate)
  end,
}

describe("after a mutation has returned or raised", function()
  for name, wrap in pairs(WAYS) do
    it("no read sees the old row: " .. name, tasks.virtual(function()
      local world = new_world(wrap)
      drive(world)
      assert.is_true(world.reads > MUTATIONS)
      assert.is_true(world.loads < world.reads)
    end))
  end

  it("a mutation that changes its argument forgets what it was called for", function()
    local rows, calls = { a = 1 }, 0
    local get = perigee.lru(function(query)
      calls = calls + 1
      return rows[query.name]
    end)
    local update = perigee.lru_invalidator(get)(function(query, value)
      rows[query.name] = value
      get({ name = "a" })
      query.name = "changed"
    end)
    get({ name = "a" })
    update({ name = "a" }, 2)
    assert.equal(2, get({ name = "a" }))
    assert.equal(3, calls)
  end)
end)

describe("a wrapped mutation", function()
  it("returns all that it returned, and raises what it raised", function()
    local get = perigee.lru(function(id) return id end)
    local err = {}
    local update = perigee.lru_invalidator(get)(function(_, fail)
      if fail then error(err) end
      return 1, nil, nil
    end)
    assert.equal(3, select("#", update(1)))
    local ok, raised = pcall(update, 1, true)
    assert.is_false(ok)
    assert.equal(err, raised)
  end)

  it("does not run when its key cannot be made", function()
    local ran = false
    local get = perigee.lru(function(id) return id end)
    local update = perigee.lru_invalidator(get)(function() ran = true end)
    assert.is_false(pcall(update, print))
    assert.is_false(ran)
  end)

  it("forgets also when it is cancelled", tasks.virtual(function()
    local row = "old"
    local get = perigee.lru(function() return row end)
    local update = perigee.lru_invalidator(get)(function()
      row = "new"
      perigee.sleep(10)
    end)
    get(1)
    local job = perigee.spawn(update, 1)
    tasks.pass(1)
    row = "old"
    assert.equal("old", get(1)) -- read in the middle, and kept for now
    row = "new"
    job:cancel()
    tasks.settle()
    assert.equal("new", get(1))
  end))
end)

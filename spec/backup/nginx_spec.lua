-- SPDX-License-Identifier: MIT
-- suites: dev
-- The disk as a backup inside nginx: opened by each worker, saved when the workers end.
local nginx = require "spec.support.nginx"

local QUIT, TERM = 3, 15

local function with_file(path)
  return nginx.start { workers = 2, http = ([[
    init_by_lua_block {
      perigee = require "perigee"
      cache = perigee.new { name = "kept", backup = perigee.disk "%s" }
    }
  ]]):format(path) }
end

local function fill(server)
  for worker = 0, 1 do
    server:lua_in(worker, [[
      local worker = ...
      for i = 1, 10 do cache:get(worker .. ":" .. i, function() return { worker, i } end) end
    ]], worker)
  end
end

-- How many of the entries a worker finds without loading, right after the start.
local function found(server, worker)
  return server:lua_in(worker, [[
    local n = 0
    for worker = 0, 1 do
      for i = 1, 10 do
        local value, err, source = cache:get(worker .. ":" .. i)
        if source == "memory" and value[2] == i and not err then n = n + 1 end
      end
    end
    return n
  ]])
end

describe("a disk inside nginx", function()
  local folder, path
  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir -m 777 " .. folder) == 0)
    path = folder .. "/cache.db"
  end)
  after_each(function()
    nginx.clean()
    os.execute("rm -rf " .. folder)
  end)

  for _, how in ipairs { { "quits", QUIT }, { "is terminated", TERM } } do
    it("has what all workers had when nginx " .. how[1], function()
      local server = with_file(path)
      fill(server)
      server:stop(how[2])
      assert.same({}, server:errors())
      server = with_file(path)
      assert.equal(20, found(server, 0))
      assert.equal(20, found(server, 1))
      assert.same({}, server:errors())
    end)
  end

  it("is saved by the workers that a reload ends", function()
    local server = with_file(path)
    fill(server)
    local before = server:workers()
    server:reload()
    server:wait_for_end(before)
    assert.equal(20, found(server, 0))
    assert.same({}, server:errors())
  end)

  it("saves when asked, from several requests at once", function()
    local server = with_file(path)
    fill(server)
    local counts = {}
    local requests = {}
    for i = 1, 4 do requests[i] = server:begin_lua(i % 2, "return cache:save_to_backup()") end
    for i = 1, 4 do counts[i] = requests[i]:values() end
    assert.same({ 10, 10, 10, 10 }, counts)
    assert.same({}, server:errors())
  end)
end)

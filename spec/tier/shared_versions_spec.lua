-- SPDX-License-Identifier: MIT
-- suites: dev
-- The versions under which the workers' entries stand: whatever becomes of them, what one worker
-- sets another finds.
local nginx = require "spec.support.nginx"
local socket = require "socket"
local workers = require "spec.support.shared_workers"

if nginx.missing() then
  describe("versions", function() pending(nginx.missing()) end)
  return
end

local start, finish, run_in = workers.start, workers.finish, workers.run_in

local round = 0

-- Whether one worker finds what the other sets.
local function meet(writer, reader, opts)
  round = round + 1
  run_in(writer, "rig.cache:set('m' .. ..., 'set', " .. (opts or "nil") .. ")", round)
  local value, _, source = run_in(reader,
    "return rig.cache:get('m' .. ..., rig.loader(0, 'loaded'))", round)
  assert.is_true(value == "set" and source == "shared" or value == "loaded" and source == "load")
  return value == "set"
end

-- They may take a moment, and meet for good then.
local function check_meet(opts)
  local ends = socket.gettime() + 60
  for writer = 0, 1 do
    while not meet(writer, 1 - writer, opts) do
      assert.is_true(socket.gettime() < ends)
      socket.sleep(0.05)
    end
  end
  for i = 1, 10 do assert.is_true(meet(i % 2, (i + 1) % 2, opts)) end
end

describe("workers whose versions may differ", function()
  after_each(finish)

  it("meet again when both have written past the end of the dictionary", function()
    start { size = "1m" }
    for worker = 0, 1 do
      run_in(worker, "rig.cache:set('first', 1) rig.cache:set('t', 1, { tags = { 't' } })")
    end
    for _ = 1, 2 do
      for worker = 0, 1 do
        run_in(worker, [[
          for i = 1, 2000 do rig.cache:set(i .. "/" .. ngx.worker.id(), ("x"):rep(800)) end
        ]])
      end
      check_meet()
      check_meet "{ tags = { 't' } }"
    end
  end)

  for what, drop in pairs { ["everything"] = "'all'", ["a tag"] = "'tag', { 't' }" } do
    it("meet when each is told by others that this has changed: " .. what, function()
      start()
      for worker = 0, 1 do run_in(worker, "rig.cache:set('t', 1, { tags = { 't' } })") end
      for worker = 0, 1 do
        run_in(worker, ("rig.cache.shared:drop(%s)"):format(drop))
        run_in(worker, "rig.cache:set('own', 1, { tags = { 't' } })")
      end
      check_meet()
      check_meet "{ tags = { 't' } }"
      for worker = 1, 0, -1 do run_in(worker, ("rig.cache.shared:drop(%s)"):format(drop)) end
      check_meet()
      check_meet "{ tags = { 't' } }"
    end)
  end
end)

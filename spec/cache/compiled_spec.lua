-- SPDX-License-Identifier: MIT
-- suites: dev hard
-- The hot paths are compiled: no aborted recording, no stitch, no interpreted call. Each case runs
-- in a process of its own, so that nothing compiled (or blacklisted) earlier stands in its way.
local CASES = {
  ["a hit on a string key"] = [[
    local cache = perigee.new { maxsize = 100, default_ttl = 60 }
    cache:set("key", 1)
    return function() return cache:get("key") end]],
  ["a hit with a loader at hand"] = [[
    local cache = perigee.new { maxsize = 100, default_ttl = 60 }
    local function loader() return 1 end
    cache:get("key", loader)
    return function() return cache:get("key", loader) end]],
  ["a hit on a number key"] = [[
    local cache = perigee.new { maxsize = 100 }
    cache:set(42, 1)
    return function() return cache:get(42) end]],
  ["a hit on a boolean key"] = [[
    local cache = perigee.new { maxsize = 100 }
    cache:set(true, 1)
    return function() return cache:get(true) end]],
  ["a hit on a tagged entry"] = [[
    local cache = perigee.new { maxsize = 100, default_ttl = 60 }
    cache:set("key", 1, { tags = { "user:1" } })
    return function() return cache:get("key") end]],
  ["a hit under the lru policy"] = [[
    local cache = perigee.new { maxsize = 100, policy = "lru" }
    cache:set("a", 1) cache:set("b", 1)
    return function() cache:get("a") cache:get("b") end]],
  ["a miss without a loader"] = [[
    local cache = perigee.new { maxsize = 100 }
    return function() return cache:get("absent") end]],
  ["a wrapped function of one argument"] = [[
    local f = perigee.ttl(function(id) return id end)
    return function() return f("key") end]],
  ["a wrapped function of two arguments"] = [[
    local f = perigee.lru(function(a, b) return a, b end)
    return function() return f("key", 12) end]],
  ["a wrapped function of three arguments, on a shared cache"] = [[
    local cache = perigee.new { maxsize = 100, default_ttl = 60 }
    local f = perigee.lru { cache = cache } (function(a, b, c) return a, b, c end)
    return function() local a = f.call("key", true, nil) return a end]],
  ["a wrapped method"] = [[
    local class = {}
    class.__index = class
    class.row = perigee.lru { skip_args = 1 } (function(self, id) return id end)
    local object = setmetatable({}, class)
    return function() return object:row("key") end]],
  ["a tool's call, outside any session"] = [[
    local agent = require "perigee.agent"
    local tool = agent.cache { resource = "r", name = "tool" } (function(a, b) return a, b end)
    return function() return tool("key", 7) end]],
  ["a tool's call in a session"] = [[
    local agent = require "perigee.agent"
    local session = agent.open { max_tool_repeats = math.huge, max_execution_depth = math.huge,
      max_calls = math.huge, warn = math.huge, block = math.huge, stop = math.huge,
      stall_warn = math.huge, stall_block = math.huge, soft_calls = math.huge,
      refresh_at = math.huge }
    local tool = agent.cache { resource = "r", name = "tool", scope = "session" } (
      function(a) return a end)
    require("perigee.context").session = session
    return function() return tool("key") end]],
  ["a set that evicts"] = [[
    local cache, keys, i = perigee.new { maxsize = 100 }, {}, 0
    for n = 1, 1000 do keys[n] = "key" .. n end
    for n = 1, 1000 do cache:set(keys[n], n) end
    return function() i = i % 1000 + 1 return cache:set(keys[i], i) end]],
}

local PROGRAM = [[
local perigee = require "perigee"
local traces = require "spec.support.traces"
local function case()
%s
end
local function measure()
  local step = case()
  local report = traces.watch(function()
    for _ = 1, 20000 do step() end
  end)
  for _, abort in ipairs(report.aborts) do print(abort.why .. " at " .. abort.where) end
  for _, stitch in ipairs(report.stitches) do print("stitch at " .. stitch.where) end
  print(#report.traces > 0 and "compiled" or "nothing was compiled")
end
if %q == "plain code" then measure() else perigee.run(measure) end
]]

-- Per key, a batch runs through four loops; each must have become a loop of machine code.
local BATCH = [==[
local perigee = require "perigee"
local traces = require "spec.support.traces"
local cache = perigee.new { maxsize = 1000, max_batch_size = 1000 }
local keys = {}
for i = 1, 1000 do keys[i] = "key" .. i end
local function batch_loader(asked)
  local results = {}
  for i = 1, #asked do results[asked[i]] = i end
  return results
end
local report = traces.watch(function()
  for _ = 1, 50 do
    cache:clear()
    cache:get_many(keys, batch_loader)
  end
end)
local loops = {}
for _, trace in ipairs(report.traces) do
  if trace.link == "loop" and trace.where:find "lua/perigee/load/batch.lua" then
    loops[trace.where] = true
  end
end
local count = 0
for _ in pairs(loops) do count = count + 1 end
print(count .. " loops, " .. #traces.at(report.stitches, "lua/perigee/") .. " stitches")
]==]

local script = require "spec.support.script"

-- LuaJIT keeps 64 counters, shared by all functions and loops, by their address: now and then some
-- function in the middle of the path shares one, is hot before the loop is, and its recording
-- cannot be closed. In another process the addresses are others; what cannot be compiled shows in
-- every one.
local PROCESSES = 3

local function output_of(program, wanted)
  local output
  for _ = 1, PROCESSES do
    output = script(program)
    if output:find(wanted) then break end
  end
  return output
end

describe("what is compiled", function()
  for name, case in pairs(CASES) do
    for _, where in ipairs { "a task", "plain code" } do
      it(("%s, in %s"):format(name, where), function()
        assert.equal("compiled\n", output_of(PROGRAM:format(case, where), "^compiled\n$"))
      end)
    end
  end

  it("the part of a batch that is done for each key", function()
    local output = output_of(BATCH, "^[4-9] loops, 0 stitches\n$")
    local loops, stitches = output:match "^(%d+) loops, (%d+) stitches\n$"
    assert.is_truthy(loops, output)
    assert.is_true(tonumber(loops) >= 4, output)
    assert.equal(0, tonumber(stitches))
  end)
end)

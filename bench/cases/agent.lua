-- SPDX-License-Identifier: MIT
-- What a tool's call costs that is answered from memory, inside a session: checked and recorded by
-- the guard, counted, and kept for `agent.explain`. Beside it the same call outside any session,
-- and a function wrapped by `perigee.lru`. And the memory of sessions.

local agent = require "perigee.agent"
local keys = require "bench.support.keys"
local lib = require "perigee.lib"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local C = lib.core
local ANSWER = "what the tool has found"
local NEVER = math.huge

-- No call is refused, and none is executed because it repeats.
local PATIENT = { max_tool_repeats = NEVER, max_execution_depth = NEVER, max_calls = NEVER,
  soft_calls = NEVER, warn = NEVER, block = NEVER, stop = NEVER, stall_warn = NEVER,
  stall_block = NEVER, refresh_at = NEVER }

-- Copied for each contender, and then without upvalues.
local function drive(call, names, n)
  local hits = 0
  for i = 1, n do
    if call(names[i % #names + 1]) then hits = hits + 1 end
  end
  return hits
end

local function contender(name, call, names, session)
  local run = rounds.copy(drive)
  for _, key in ipairs(names) do call(key) end
  return { name = name, run = function(n)
    local hits = session and session:run(run, call, names, n) or run(call, names, n)
    assert(hits == n)
  end }
end

local function tool_of(maxsize, name)
  return agent.cache { resource = "bench", name = name or "find", maxsize = maxsize } (
    function(_) return ANSWER end)
end

local function measure(line, effort)
  local names = keys.names(line.entries)
  local remembered = perigee.lru { maxsize = line.entries } (function(_) return ANSWER end)
  return rounds.run({
    contender("perigee", tool_of(line.entries), names, agent.open(PATIENT)),
    contender("outside", tool_of(line.entries), names),
    contender("perigee.lru", remembered, names),
    rounds.yardstick(),
  }, effort.operations, effort.rounds)
end

local function lua_bytes()
  collectgarbage()
  collectgarbage()
  return collectgarbage "count" * 1024
end

-- Lua's and native bytes of each of many sessions after so many calls, of as many tools.
local function bytes_after(count, sessions, number)
  local tools = {}
  for i = 1, number do
    tools[i] = tool_of(1024, "tool" .. i)
    for argument = 1, count do tools[i](argument) end
  end
  local function work()
    for i = 1, count do tools[i % number + 1](i % 1000 + 1) end
  end
  local bytes, open = 0, {}
  for s = 1, sessions + 100 do open[s] = false end
  local function open_one(s)
    open[s] = agent.open(PATIENT)
    open[s]:run(work)
    bytes = bytes + C.perigee_guard_bytes(open[s].guard)
  end
  for s = sessions + 1, sessions + 100 do open_one(s) end -- until all is compiled
  bytes = -lua_bytes()
  for s = 1, sessions do open_one(s) end
  bytes = bytes + lua_bytes()
  for s = 1, sessions + 100 do open[s]:close() end
  return bytes / sessions
end

local function measure_bytes(line)
  return { ["10 calls"] = { bytes_after(10, 200, 4) },
    ["50 calls"] = { bytes_after(50, 10000, 8) },
    perigee = { bytes_after(line.entries, 100, 70) } }
end

return {
  { name = "agent", what = "a tool's call in a session, from memory", entries = 100,
    measure = measure, figure = "perigee", beside = { "outside", "perigee.lru" },
    targets = { { "perigee", absolute = true, at_most = 700 } } },
  { name = "agent-bytes", what = "memory of a session after so many calls (50: of 10,000 at once)",
    entries = 5000, measure = measure_bytes, figure = "perigee", unit = "bytes",
    beside = { "10 calls", "50 calls" },
    targets = {
      { "perigee", at_most = 32768 },
      { "10 calls", at_most = 4096 },
    } },
}

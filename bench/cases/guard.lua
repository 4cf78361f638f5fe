-- SPDX-License-Identifier: MIT
-- What a guard costs per call of a tool (check and record): in C alone, and through its Lua face
-- with one string as argument; beside it a `cache:get` that hits. And the memory of a session.

local ffi = require "ffi"
local guard = require "perigee.agent.guard"
local keys = require "bench.support.keys"
local lib = require "perigee.lib"
local perigee = require "perigee"
local rounds = require "bench.support.rounds"

local C = lib.core
local RESULT = "what the tool has found"
local ORDER = 4096 -- a power of two

local NEVER = math.huge
local PATIENT = { max_calls = NEVER, soft_calls = NEVER, stall_warn = NEVER, stall_block = NEVER,
  stag_warn = NEVER, stag_block = NEVER, recur_warn = NEVER, recur_block = NEVER }

-- Calls in an order that is no loop.
local function order_of(count, n)
  local order, x = ffi.new("uint16_t[?]", n), 1
  for i = 0, n - 1 do
    x = (x * 1103515245 + 12345) % 2 ^ 31
    order[i] = math.floor(x / 65536) % count
  end
  return order
end

-- These are copied for each contender, and then have no upvalues.

local function drive_c(subject, calls, n)
  local core, handle, order, verdict = subject.core, subject.handle, subject.order, subject.verdict
  local result, mask = subject.result, subject.mask
  for i = 1, n do
    local call = calls[order[bit.band(i, mask)]]
    call.now = i
    core.perigee_guard_check(handle, call, verdict)
    core.perigee_guard_record(handle, call, core.perigee_guard_print(result, #result, 1), 0)
  end
  return core.perigee_guard_calls(handle)
end

local function drive_lua(subject, names, n)
  local g, order, spec = subject.guard, subject.order, { tool = "search", kind = "read" }
  local result, mask = subject.result, subject.mask
  for i = 1, n do
    spec.args = names[order[bit.band(i, mask)] + 1]
    g:record(g:check(spec), result)
  end
  return subject.core.perigee_guard_calls(subject.handle)
end

local function drive_cache(subject, names, n)
  local cache, result, hits = subject.cache, subject.result, 0
  for i = 1, n do
    if cache:get(names[i % #names + 1]) == result then hits = hits + 1 end
  end
  return hits
end

local function contender(name, drive, subject, with)
  local run = rounds.copy(drive)
  return { name = name, run = function(n) assert(run(subject, with, n) >= n) end }
end

local function subject_of(count)
  local opts = { clock = function() return 0 end }
  for limit, value in pairs(PATIENT) do opts[limit] = value end
  local g = guard.new(opts)
  return { core = C, guard = g, handle = g.handle, order = order_of(count, ORDER), mask = ORDER - 1,
    verdict = ffi.new "perigee_guard_verdict", result = RESULT }
end

local function measure(line, effort)
  local names = keys.names(line.entries)
  local calls, cache = ffi.new("perigee_guard_call[?]", #names), perigee.new()
  for i = 1, #names do
    C.perigee_guard_name(calls[i - 1], "search", 6, names[i], #names[i], 1)
    cache:set(names[i], RESULT)
  end
  return rounds.run({
    contender("in C", drive_c, subject_of(#names), calls),
    contender("perigee", drive_lua, subject_of(#names), names),
    contender("cache:get", drive_cache, { cache = cache, result = RESULT }, names),
    rounds.yardstick(),
  }, effort.operations, effort.rounds)
end

local function measure_bytes(line)
  local function bytes_after(count)
    local g = guard.new(PATIENT)
    for i = 1, count do
      g:record(g:check { tool = "tool" .. i % 100, args = i }, i)
    end
    return g:stats().bytes
  end
  return { ["10 calls"] = { bytes_after(10) }, perigee = { bytes_after(line.entries) } }
end

return {
  { name = "guard", what = "guard:check and guard:record, one string", entries = 100,
    measure = measure, figure = "perigee", beside = { "in C", "cache:get" },
    targets = {
      { "perigee", absolute = true, at_most = 400 },
      { "in C", absolute = true, at_most = 60 },
    } },
  { name = "guard-bytes", what = "memory of a guard after so many calls", entries = 10000,
    measure = measure_bytes, figure = "perigee", unit = "bytes", beside = { "10 calls" },
    targets = {
      { "perigee", at_most = 32768 },
      { "10 calls", at_most = 4096 },
    } },
}

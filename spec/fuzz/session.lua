-- SPDX-License-Identifier: MIT
--- Fuzz target: snapshots of sessions. One is restored or refused with a reason; a session that is
-- restored can be used, saved and restored again. Checksums are made right: a fuzzer would not
-- guess them.
local plan = require "spec.fuzz.plan"
local agent = require "perigee.agent"
local codec = require("perigee.value.codec").new("fuzz", "buffer", 1)
local ffi = require "ffi"

local C = ffi.C
local FIELDS = { "id", "counts", "guard", "round", "stopped", "now", "wall" }

local tool = agent.cache { resource = "r", kind = "exec", name = "act" } (function(k) return k end)

local function sealed(fields)
  local bytes = "PS\1" .. fields
  local sum = ffi.new("uint64_t[1]", C.perigee_checksum("", 0, bytes, #bytes))
  return bytes .. ffi.string(sum, 8)
end

local function guard_sealed(bytes)
  local sum = ffi.new("uint64_t[1]", C.perigee_guard_seal(bytes, #bytes))
  return bytes .. ffi.string(sum, 8)
end

local function real_fields()
  local session = agent.open {}
  session:run(function() for i = 1, 3 do tool(i) end end)
  local _, fields = codec.decode(session:snapshot():sub(4, -9))
  session:close()
  return fields
end

local real = codec.encode(real_fields())

local function restore(bytes)
  local session, why = agent.restore(bytes)
  if not session then return assert(type(why) == "string", "no reason") end
  for i = 1, 4 do pcall(session.run, session, tool, i % 2) end
  assert(session:get_metrics().calls == session:get_metrics().calls, "metrics that are no numbers")
  tostring(agent.explain(session))
  local again = assert(agent.restore(session:snapshot()), "a snapshot of a restored session")
  again:close()
  session:close()
end

-- A real snapshot with other fields here and there, and other bytes in its guard.
local function forged(reader)
  local _, fields = codec.decode(real)
  for _ = 1, reader:byte() % 3 do
    fields[FIELDS[reader:byte() % #FIELDS + 1]] = plan.value(reader, 2, true)
  end
  if type(fields.guard) == "string" and #fields.guard > 16 then
    local guard = fields.guard:sub(1, -9)
    for _ = 1, reader:byte() % 8 do
      local at = (reader:byte() * 256 + reader:byte()) % #guard + 1
      guard = guard:sub(1, at - 1) .. string.char(reader:byte()) .. guard:sub(at + 1)
    end
    fields.guard = guard_sealed(guard)
  end
  local bytes = codec.encode(fields)
  return bytes and sealed(bytes) or ""
end

return function(bytes)
  local how, rest = (bytes:byte(1) or 0) % 3, bytes:sub(2)
  if how == 0 then return restore(rest) end
  if how == 1 then return restore(sealed(rest)) end
  restore(forged(plan.reader(rest)))
end

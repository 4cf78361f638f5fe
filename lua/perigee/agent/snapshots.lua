-- SPDX-License-Identifier: MIT

--- Sessions as bytes, so that a restart does not make an agent forget how often it was told. The
-- session's own copies are not part of it.
--
--     "PS"  version     3 bytes
--     fields            LuaJIT's serialization: see `fields_of`
--     checksum          8 bytes, over all of the above
-- @module perigee.agent.snapshots

local ffi = require "ffi"

local C = require("perigee.lib").core
local codec_face = require "perigee.value.codec"
local context = require "perigee.context"
local counts = require "perigee.agent.counts"
local each = require("perigee.value.names").each
local guard = require "perigee.agent.guard"
local refusal = require "perigee.agent.refusal"
local sessions = require "perigee.agent.session"

local _M = {}

local HEAD = "PS\1"
local CHECKSUM = 8
local ID_MAX, TEXT_MAX = 2 ^ 16, 2 ^ 20

local codec = codec_face.new("session:snapshot", "buffer", 1)
local checksums = ffi.typeof "uint64_t[1]"

local function checksum_of(bytes)
  return ffi.string(checksums(C.perigee_checksum("", 0, bytes, #bytes)), CHECKSUM)
end

local REFUSAL = { kind = "string", tool = "string", count = "number", period = "number",
  since = "number", loop_id = "string", action = "string", message = "string" }

local function stopped_fields(session)
  if not session.stopped then return nil end
  local fields = {}
  for name in each(REFUSAL) do fields[name] = session.stopped[name] end
  return fields
end

local function fields_of(session)
  return { id = session.session_id, counts = counts.save(session.counts),
    guard = session.guard and guard.save(session.guard) or "", round = session.round,
    stopped = stopped_fields(session), now = context.port.now() + session.offset,
    wall = os.time() }
end

--- All of a session as bytes, for `agent.restore`: what it has seen, its metrics, whether it was
-- stopped. Its limits are not part of them, nor are its own copies.
-- @function session:snapshot
-- @treturn string
-- @raise when it is closed
function sessions.methods.snapshot(session)
  if not sessions.is(session) then
    error("session:snapshot: call it with a colon, on a session", 2)
  end
  if session.closed then
    error(("session:snapshot: the session %q is closed"):format(session.session_id), 2)
  end
  local bytes = HEAD .. codec.encode(fields_of(session))
  return bytes .. checksum_of(bytes)
end

-- Reading --------------------------------------------------------------------------------------

local function is_finite(value)
  return type(value) == "number" and value > -math.huge and value < math.huge
end

local function are_fields_of_refusal(value)
  if type(value) ~= "table" then return false end
  for name, kind in each(REFUSAL) do
    local field = value[name]
    if type(field) ~= kind or kind == "number" and not is_finite(field) or
      kind == "string" and #field > TEXT_MAX then
      return false
    end
  end
  return true
end

-- Nil, or what is wrong.
local function why_not(fields)
  if type(fields) ~= "table" then return "has no fields" end
  if type(fields.id) ~= "string" or fields.id == "" or #fields.id > ID_MAX then
    return "has no session_id"
  end
  if type(fields.counts) ~= "string" then return "has no counters" end
  if type(fields.guard) ~= "string" then return "has no guard" end
  if not is_finite(fields.round) or fields.round < 1 or fields.round > 2 ^ 52 then
    return "has no round"
  end
  if not is_finite(fields.now) or not is_finite(fields.wall) then return "has no time" end
  if fields.stopped ~= nil and not are_fields_of_refusal(fields.stopped) then
    return "was stopped by nothing"
  end
end

-- A new session with these fields; or nil and why not.
local function session_of(fields, opts)
  local counted = counts.restore(fields.counts)
  if not counted then return nil, "has counters of another version" end
  local handle, reason
  if fields.guard ~= "" and opts.loop_detection ~= false then
    handle, reason = guard.load(sessions.limits(opts), fields.guard)
    if not handle then return nil, "has a guard that " .. reason end
  end
  local session = sessions.new(opts, handle)
  session.session_id = opts.session_id or fields.id
  session.counts, session.round = counted, fields.round + 1
  local away = math.max(0, os.time() - fields.wall)
  session.offset = fields.now + away - context.port.now()
  if fields.stopped then
    session.stopped = refusal.new(fields.stopped, session.session_id, session.number)
  end
  return session
end

--- Makes a session from a snapshot, which may come from anywhere.
-- @tparam string bytes from `session:snapshot`
-- @tparam table opts options of a session, checked before
-- @treturn table|nil the session
-- @treturn string|nil why there is none
function _M.restore(bytes, opts)
  if #bytes < #HEAD + CHECKSUM or bytes:sub(1, 2) ~= HEAD:sub(1, 2) then
    return nil, "agent.restore: bytes are no snapshot of a session"
  end
  if bytes:sub(1, #HEAD) ~= HEAD then
    return nil, "agent.restore: bytes are a snapshot of another version"
  end
  local body = bytes:sub(1, -CHECKSUM - 1)
  if checksum_of(body) ~= bytes:sub(-CHECKSUM) then
    return nil, "agent.restore: bytes are damaged"
  end
  local ok, fields = codec.decode(body:sub(#HEAD + 1))
  local reason = not ok and "does not decode" or why_not(fields)
  if reason then return nil, "agent.restore: bytes: it " .. reason end
  local session
  session, reason = session_of(fields, opts)
  if not session then return nil, "agent.restore: bytes: it " .. reason end
  return session
end

return _M

-- SPDX-License-Identifier: MIT
--- Fuzz target: bytes from disk, Redis or a shared dictionary. An envelope opens or says why not;
-- what opens is well-formed and can be sealed again; what was sealed opens as it was; and without
-- the secret nothing is opened. The checksum is made right in some: a fuzzer would not guess it.
local plan = require "spec.fuzz.plan"
local envelope = require "perigee.value.envelope"
local ffi = require "ffi"
local returns = require "perigee.value.returns"
local tags_face = require "perigee.tags"

ffi.cdef "void *malloc(size_t size); void free(void *block);"

local C = ffi.C
local PLACE = "place"

local plain = envelope.new("fuzz", { max_value_bytes = 2 ^ 16 }, 1)
local json = envelope.new("fuzz", { codec = "json", max_value_bytes = 2 ^ 16 }, 1)
local signed = envelope.new("fuzz", { secret = "a secret", max_value_bytes = 2 ^ 16 }, 1)
local KINDS = { plain, json, signed }

local function sealed_by_hand(bytes)
  local sum = ffi.new("uint64_t[1]", C.perigee_checksum(PLACE, #PLACE, bytes, #bytes))
  return bytes .. ffi.string(sum, 8)
end

-- A value that was boxed comes back as one, to be compared by what is in it.
local function bare(value)
  return returns.to_table(value) or value
end

local function check_opened(self, opened)
  assert(type(opened.deadline) == "number" and opened.deadline == opened.deadline, "no deadline")
  assert(opened.tags == nil or tags_face.LIST[2](opened.tags), "tags that are none")
  assert(opened.key == nil or type(opened.key) == "string", "a key that is none")
  local learned = bare(opened.value)
  learned = returns.is_box(opened.value) and learned.tags or nil
  assert(learned == nil or tags_face.LIST[2](learned), "learned tags that are none")
  local again = self:seal(PLACE, opened.value, opened.deadline, opened.tags, opened.key)
  if not again then return end -- JSON's numbers may have more digits than it writes
  local back = assert(self:open(PLACE, again))
  assert(plan.equal(bare(opened.value), bare(back.value)), "another value")
  assert(plan.equal(opened.tags and #opened.tags > 0 and opened.tags or nil, back.tags),
    "other tags")
  assert(opened.key == back.key and opened.deadline == back.deadline, "another key or deadline")
end

-- The bytes lie in a block of just their size, so that one byte beyond is seen.
local function open(self, bytes)
  local block = C.malloc(math.max(#bytes, 1))
  ffi.copy(block, bytes, #bytes)
  local ok, opened, why = pcall(self.open, self, PLACE, block, #PLACE, #bytes)
  C.free(block)
  assert(ok, opened)
  if opened then return check_opened(self, opened) end
  assert(type(why) == "string", "no reason")
end

local function tag(reader)
  if reader:byte() % 2 == 0 then return "t:" .. reader:byte() end
  return { "t", "part" .. reader:byte() }
end

local function seal_and_open(reader)
  local self = KINDS[reader:byte() % #KINDS + 1]
  local value = plan.value(reader, 4, true)
  if reader:byte() % 4 == 0 then value = returns.pack(value, nil, value) end
  local tags = reader:byte() % 2 == 0 and { tag(reader), tag(reader) } or nil
  local key, deadline = reader:byte() % 2 == 0 and reader:text() or nil, reader:byte() * 1e10
  local sealed, why = self:seal(PLACE, value, deadline, tags, key)
  if not sealed then return assert(type(why) == "string" and self == json, "not sealed") end
  local opened = assert(self:open(PLACE, sealed))
  assert(plan.equal(bare(value), bare(opened.value)), "another value than was sealed")
  assert(plan.equal(tags, opened.tags) and opened.key == key and opened.deadline == deadline)
  assert(not self:open("elsewhere", sealed), "opened in another place")
  local at = reader:byte() % #sealed + 1
  local damaged = sealed:sub(1, at - 1) .. string.char((sealed:byte(at) + 1) % 256)
    .. sealed:sub(at + 1)
  assert(not self:open(PLACE, damaged), "a changed byte was not seen")
end

local DEADLINES = { 0, 1e12, -1, math.huge, 0 / 0 }

-- A text after its length, which may be wrong.
local function with_length(reader, text)
  local wrong = reader:byte() % 8 == 0 and reader:byte() - 128 or 0
  return ffi.string(ffi.new("uint32_t[1]", math.max(0, #text + wrong)), 4) .. text
end

-- An envelope of parts, each of which may be one that no honest writer makes.
local function forged(reader)
  local flags = reader:byte() % 20
  local parts = { "PE\1", string.char(flags), reader:byte() % 8 == 0 and "x" or "b",
    ffi.string(ffi.new("double[1]", DEADLINES[reader:byte() % #DEADLINES + 1]), 8) }
  if flags % 2 == 1 then parts[#parts + 1] = with_length(reader, reader:text()) end
  if math.floor(flags / 2) % 2 == 1 then
    parts[#parts + 1] = with_length(reader, plain.codec.encode(plan.value(reader, 3)) or "")
  end
  parts[#parts + 1] = plain.codec.encode(plan.value(reader, 4, true)) or reader:text()
  open(plain, sealed_by_hand(table.concat(parts)))
end

return function(bytes)
  local how, rest = (bytes:byte(1) or 0) % 5, bytes:sub(2)
  if how == 0 then
    for _, self in ipairs(KINDS) do open(self, rest) end
  elseif how == 1 then
    open(plain, sealed_by_hand(rest))
    assert(not signed:open(PLACE, sealed_by_hand(rest)), "opened without the secret")
  elseif how == 2 then
    open(plain, sealed_by_hand("PE\1" .. rest))
    open(json, sealed_by_hand("PE\1" .. rest))
  elseif how == 3 then
    forged(plan.reader(rest))
  else
    seal_and_open(plan.reader(rest))
  end
end

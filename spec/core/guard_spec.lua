-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan long
-- The guard in C: what it remembers, in how much space, and snapshots from anywhere.
local ffi = require "ffi"
local lib = require "perigee.lib"
local random = require "spec.support.random"

local C = lib.core

describe("a guard", function()
  local limits, guard

  before_each(function()
    limits = ffi.new "perigee_guard_limits"
    C.perigee_guard_default_limits(limits)
    guard = ffi.gc(C.perigee_guard_new(limits), C.perigee_guard_free)
  end)

  local function name(tool, arguments, more)
    local call = ffi.new "perigee_guard_call"
    C.perigee_guard_name(call, tool, #tool, arguments, #arguments, 1)
    for field, value in pairs(more or {}) do call[field] = value end
    return call
  end

  local function check(call, which)
    local verdict = ffi.new "perigee_guard_verdict"
    C.perigee_guard_check(which or guard, call, verdict)
    return verdict
  end

  local function record(call, result, flags, which)
    C.perigee_guard_record(which or guard, call, C.perigee_guard_print(result, #result, 1),
      flags or 0)
    assert.is_true(C.perigee_guard_verify(which or guard) == nil)
  end

  -- Any calls, some again and again.
  local function random_life(source, steps, which)
    for i = 1, steps do
      local call = name("tool" .. source(5), "argument " .. source(source(2) == 0 and 3 or 400),
        { now = i * (1 + source(20)), round = source(3) == 0 and 1 + math.floor(i / 4) or 0,
          kind = source(4), cached = source(2) })
      if check(call, which).action >= C.PERIGEE_GUARD_BLOCK and source(2) == 0 then
        C.perigee_guard_refuse(which or guard, call)
      else
        record(call, "result " .. source(4), source(8), which)
      end
      if source(200) == 0 then C.perigee_guard_progress(which or guard) end
    end
  end

  local function save(which)
    local size = C.perigee_guard_save(which or guard, nil, 0)
    local bytes = ffi.new("char[?]", size)
    assert.equal(size, C.perigee_guard_save(which or guard, bytes, size))
    return ffi.string(bytes, size)
  end

  local function restore(bytes)
    local why = ffi.new "const char *[1]"
    local restored = C.perigee_guard_restore(limits, bytes, #bytes, why)
    if restored == nil then return nil, ffi.string(why[0]) end
    return ffi.gc(restored, C.perigee_guard_free)
  end

  it("takes little space at first, and no more than 32 KB ever", function()
    for i = 1, 10 do record(name("tool", "argument " .. i), "result " .. i) end
    assert.is_true(C.perigee_guard_bytes(guard) <= 4096)
    random_life(random.generator(1), 20000)
    for i = 1, 3000 do record(name("tool" .. i, "argument " .. i), "result " .. i) end
    assert.is_true(C.perigee_guard_bytes(guard) <= 32768)
  end)

  it("decides the same about the same calls", function()
    local twin = ffi.gc(C.perigee_guard_new(limits), C.perigee_guard_free)
    local source = random.generator(7)
    for i = 1, 5000 do
      local call = name("tool" .. source(3), "argument " .. source(20), { now = i })
      local one, other = check(call), check(call, twin)
      for _, field in ipairs { "action", "kind", "period", "count", "loop_high", "loop_low",
        "since" } do
        assert.equal(one[field], other[field])
      end
      local result = "result " .. source(3)
      record(call, result)
      record(call, result, 0, twin)
    end
  end)

  it("changes nothing by checking", function()
    random_life(random.generator(3), 500)
    local before = save()
    for i = 1, 100 do check(name("tool" .. i, "argument", { now = i })) end
    assert.equal(before, save())
  end)

  it("keeps what was used last", function()
    local old = name("tool", "old")
    record(old, "r")
    for i = 1, 200 do record(name("tool", "argument " .. i), "r") end
    assert.equal(1, C.perigee_guard_streak(guard, old))
    for i = 201, 300 do record(name("tool", "argument " .. i), "r") end
    assert.equal(0, C.perigee_guard_streak(guard, old))
    assert.equal(1, C.perigee_guard_streak(guard, name("tool", "argument 250")))
  end)

  it("tells bytes of different types apart", function()
    local call = ffi.new "perigee_guard_call"
    record(name("tool", "1"), "r")
    C.perigee_guard_name(call, "tool", 4, "1", 1, 2)
    assert.equal(0, C.perigee_guard_streak(guard, call))
  end)

  it("goes on from a snapshot as if nothing had been", function()
    local source = random.generator(11)
    random_life(source, 3000)
    local twin = assert(restore(save()))
    assert.equal(save(), save(twin))
    for i = 1, 2000 do
      local call = name("tool" .. source(3), "argument " .. source(30), { now = 1e5 + i })
      local one, other = check(call), check(call, twin)
      assert.equal(one.action, other.action)
      assert.equal(one.kind, other.kind)
      local result = "result " .. source(2)
      record(call, result)
      record(call, result, 0, twin)
    end
    assert.equal(save(), save(twin))
  end)

  it("forgets everything by a reset", function()
    random_life(random.generator(5), 300)
    C.perigee_guard_reset(guard)
    assert.equal(save(ffi.gc(C.perigee_guard_new(limits), C.perigee_guard_free)), save())
  end)

  -- The last 8 bytes are a checksum, which anybody can make.
  local function sealed(bytes)
    local box = ffi.new("uint64_t[1]", C.perigee_guard_seal(bytes, #bytes - 8))
    return bytes:sub(1, -9) .. ffi.string(box, 8)
  end

  it("takes no snapshot that is none", function()
    for _, bytes in ipairs { "", "PGGD", ("x"):rep(100), save():sub(1, -2), save() .. "x" } do
      local restored, why = restore(bytes)
      assert.is_nil(restored)
      assert.is_string(why)
    end
    local other = save()
    other = sealed(other:sub(1, 4) .. "\2" .. other:sub(6))
    assert.are.same({ nil, "is a snapshot of another version" }, { restore(other) })
  end)

  it("is not broken by any snapshot, though its checksum is right", function()
    random_life(random.generator(13), 400)
    local good, source, taken = save(), random.generator(17), 0
    for _ = 1, 4000 do
      local bytes = good
      for _ = 1, 1 + source(3) do
        local at = 9 + source(#bytes - 16)
        bytes = bytes:sub(1, at - 1) .. string.char(source(256)) .. bytes:sub(at + 1)
      end
      if source(10) == 0 then bytes = bytes:sub(1, 16 + source(#bytes - 16)) end
      local restored = restore(sealed(bytes))
      if restored then
        taken = taken + 1
        assert.is_true(C.perigee_guard_verify(restored) == nil)
        random_life(source, 5, restored)
      end
    end
    assert.is_true(taken > 100) -- fingerprints may be anything
  end)

  it("does without memory that it cannot get", function()
    for n = 1, 12 do
      C.perigee_core_fail_at(n)
      local poor = C.perigee_guard_new(limits)
      if poor ~= nil then
        for i = 1, 300 do record(name("tool" .. i, "argument " .. i), "r", 0, poor) end
        C.perigee_guard_free(poor)
      end
    end
    C.perigee_core_fail_at(0)
  end)
end)

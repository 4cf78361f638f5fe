-- SPDX-License-Identifier: MIT
-- suites: dev host hard asan
-- Sessions that survive a restart, and snapshots that come from an enemy.
local agent = require "perigee.agent"
local ffi = require "ffi"
local host = require "spec.support.host"
local lib = require "perigee.lib"
local codec = require("perigee.value.codec").new("spec", "buffer", 1)
local random = require "spec.support.random"
local tasks = require "spec.support.tasks"

local function tool(name)
  local opts = { resource = "r", kind = "exec", name = name or "act" }
  return agent.cache(opts)(function(k) return k end)
end

-- Bytes with the right head and checksum and these fields.
local function sealed(fields)
  local bytes = "PS\1" .. (type(fields) == "string" and fields or codec.encode(fields))
  local sum = ffi.new("uint64_t[1]", lib.core.perigee_checksum("", 0, bytes, #bytes))
  return bytes .. ffi.string(sum, 8)
end

local function fields_in(bytes)
  return select(2, codec.decode(bytes:sub(4, -9)))
end

describe("a session restored from its snapshot", function()
  it("goes on counting where it was", function()
    local act = tool()
    local session = agent.open { session_id = "S" }
    session:run(function() for _ = 1, 3 do act "x" end end)
    local again = agent.restore(session:snapshot())
    assert.equal("S", again.session_id)
    assert.equal(3, again:get_metrics().calls)
    local made = 0
    local _, err = pcall(again.run, again, function()
      while true do
        act "x"
        made = made + 1
      end
    end)
    assert.is_true(agent.is_loop_error(err))
    assert.equal(1, made) -- the fifth in a row is refused
  end)

  it("is stopped if it was", function()
    local act = tool()
    local session = agent.open { session_id = "S", max_tool_repeats = 1 }
    pcall(session.run, session, function() act "x" act "x" end)
    local again = agent.restore(session:snapshot(), { session_id = "T" })
    local _, err = pcall(again.run, again, act, "y")
    assert.is_true(agent.is_loop_error(err))
    assert.equal(session.stopped.message, err.message)
    assert.equal("T", err.session_id)
    again:reset()
    assert.equal("y", again:run(act, "y"))
  end)

  it("gives the same verdicts as one that was never away", function()
    local act, source = tool(), random.generator(5)
    local opts = { max_tool_repeats = math.huge, max_execution_depth = math.huge,
      on_loop = "short_circuit" }
    local stayed, moved = agent.open(opts), agent.open(opts)
    for i = 1, 600 do
      local k = source(i % 100 < 50 and 3 or 40)
      stayed:run(act, k)
      moved:run(act, k)
      assert.are.same(stayed:get_metrics().loops, moved:get_metrics().loops)
      if i % 7 == 0 then moved = agent.restore(moved:snapshot(), opts) end
    end
    local refused = stayed:get_metrics().refusals
    assert.is_true(refused > 10 and refused < 500)
    assert.equal(refused, moved:get_metrics().refusals)
  end)

  it("takes the time away for time", tasks.virtual(function()
    local act, wall = tool(), os.time
    local session = agent.open { max_tool_repeats = math.huge }
    session:run(function() for _ = 1, 4 do act "x" end end)
    local bytes = session:snapshot()
    local function restored_after(seconds)
      os.time = function() return wall() + seconds end -- luacheck: ignore
      local again = agent.restore(bytes, { max_tool_repeats = math.huge })
      os.time = wall -- luacheck: ignore
      return pcall(again.run, again, act, "x")
    end
    assert.is_false(restored_after(0))
    assert.is_true(restored_after(100)) -- seldom enough to be waiting for something
    assert.is_false(restored_after(-100))
  end))

  it("may be one without a guard", function()
    local act = tool()
    local session = agent.open { loop_detection = false }
    session:run(act, "x")
    local again = agent.restore(session:snapshot(), { loop_detection = false })
    assert.equal(1, again:get_metrics().calls)
    assert.is_table(agent.restore(session:snapshot()))
  end)

  it("does so in another process", function()
    local path = os.tmpname()
    local program = [[
      local agent = require "perigee.agent"
      local opts = { resource = "r", kind = "exec", name = "act" }
      local act = agent.cache(opts)(function() return 1 end)
      local file, session = io.open(%q, "rb"), nil
      local bytes = file:read "*a"
      file:close()
      session = #bytes > 0 and assert(agent.restore(bytes)) or agent.open()
      local ok, err = pcall(session.run, session, act, "x")
      print(ok and "made" or err.kind)
      file = io.open(%q, "wb")
      file:write(session:snapshot())
      file:close()
    ]]
    local told = {}
    for i = 1, 6 do told[i] = host.run_script(program:format(path, path)).stdout:match "%S+" end
    os.remove(path)
    assert.are.same({ "made", "made", "made", "made", "cycle", "cycle" }, told)
  end)
end)

describe("a snapshot from outside", function()
  local good

  before_each(function()
    local act = tool()
    local session = agent.open { session_id = "S", max_tool_repeats = 3 }
    pcall(session.run, session, function()
      for i = 1, 30 do act(i % 20) end
      while true do act "x" end
    end)
    assert.is_table(session.stopped)
    good = session:snapshot()
  end)

  local function refused(bytes, why)
    local session, err = agent.restore(bytes)
    assert.is_nil(session)
    assert.matches("^agent.restore: bytes", err)
    if why then assert.matches(why, err) end
  end

  it("is refused when it is none", function()
    refused("", "are no snapshot of a session")
    refused("PS\1", "are no snapshot")
    refused(("x"):rep(500), "are no snapshot")
    refused("PS\2" .. good:sub(4), "of another version")
    for length = 0, #good - 1, 7 do refused(good:sub(1, length)) end
    refused(good .. "x", "damaged")
  end)

  it("is refused when any byte of it is wrong", function()
    for at = 1, #good, 3 do
      local byte = string.char((good:byte(at) + 1) % 256)
      refused(good:sub(1, at - 1) .. byte .. good:sub(at + 1))
    end
  end)

  it("is refused when a field is missing or of the wrong kind", function()
    for name in pairs(fields_in(good)) do
      for _, wrong in ipairs { false, {}, "x", 0 / 0, -1, math.huge, true } do
        local fields = fields_in(good)
        fields[name] = wrong or nil
        local session = agent.restore(sealed(fields))
        local may_be = name == "stopped" and not wrong or type(wrong) == "number" and
          wrong == -1 and (name == "now" or name == "wall") or name == "id" and wrong == "x"
        assert.equal(may_be, session ~= nil, name .. " = " .. tostring(wrong))
      end
    end
    for name in pairs(fields_in(good).stopped) do
      local fields = fields_in(good)
      fields.stopped[name] = {}
      refused(sealed(fields), "was stopped by nothing")
    end
  end)

  it("is refused when its counters or its guard are not what they should be", function()
    local fields = fields_in(good)
    fields.counts = fields.counts .. "12345678"
    refused(sealed(fields), "counters of another version")
    fields = fields_in(good)
    fields.counts = ("\255"):rep(#fields.counts)
    refused(sealed(fields), "counters")
    fields = fields_in(good)
    fields.guard = fields.guard:sub(1, -2)
    refused(sealed(fields), "it has a guard that")
    refused(sealed "\255\255\255", "does not decode")
    refused(sealed "", "does not decode")
  end)

  it("never ends the process: whatever is restored can be used", function()
    local source, act, restored = random.generator(77), tool(), 0
    local body = good:sub(4, -9)
    for _ = 1, 3000 do
      local bytes = body
      for _ = 1, 1 + source(3) do
        local at = 1 + source(#bytes)
        bytes = bytes:sub(1, at - 1) .. string.char(source(256)) .. bytes:sub(at + 1)
      end
      local session, err = agent.restore(sealed(bytes))
      if session then
        restored = restored + 1
        for i = 1, 5 do pcall(session.run, session, act, i) end
        session:reset()
        session:run(act, 1)
        assert.is_string(tostring(agent.explain(session)))
        assert.is_string(session:snapshot())
        session:close()
      else
        assert.matches("^agent.restore", err)
      end
    end
    assert.is_true(restored > 50, restored .. " restored")
  end)
end)

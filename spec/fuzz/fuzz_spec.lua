-- SPDX-License-Identifier: MIT
-- suites: dev
-- The fuzz targets of this folder, each for a few seconds over its corpus (PERIGEE_LONG: a minute).
-- The core is the hard build's, where rare events are frequent, under ASan and UBSan.
local disk = require "spec.support.disk"
local lfs = require "lfs"
local perigee = require "perigee"

local SECONDS = os.getenv "PERIGEE_LONG" and 60 or 5

-- In C, and in Lua: those run inside lua.c.
local TARGETS = { "guard", "serialized", "store" }
local IN_LUA = { "envelope", "http", "keys", "session" }

local FLAGS = { "-std=gnu11", "-g", "-O1", "-Icsrc", "-DPERIGEE_HARD", "-fno-sanitize-recover=all" }
local CORE = "-fsanitize=fuzzer-no-link,address,undefined"
local WHOLE = "-fsanitize=fuzzer,address,undefined"

local function run(...)
  local result = assert(perigee.exec { timeout = 300, ... })
  assert.equal(0, result.status, result.stdout .. result.stderr)
  return result.stderr, result.stdout
end

local function clang(...)
  local arguments = { "clang", unpack(FLAGS) }
  for i = 1, select("#", ...) do arguments[#arguments + 1] = (select(i, ...)) end
  return run(unpack(arguments))
end

local function objects_in(folder)
  local list = {}
  for name in lfs.dir(folder) do
    if name:find "%.o$" then list[#list + 1] = folder .. "/" .. name end
  end
  table.sort(list)
  return list
end

describe("the fuzz target", function()
  local folder, objects

  setup(function()
    folder = disk.folder()
    local sources = { "csrc/base/base.c", "spec/fuzz/seed.c" }
    for name in lfs.dir "csrc/core" do
      if name:find "%.c$" then sources[#sources + 1] = "csrc/core/" .. name end
    end
    local function compile(first)
      for i = first, #sources, 2 do
        clang(CORE, "-c", sources[i], "-o", ("%s/%d.o"):format(folder, i))
      end
    end
    perigee.run(function()
      perigee.gather { function() compile(1) end, function() compile(2) end }
    end)
    objects = objects_in(folder)
  end)
  teardown(disk.clean)

  local function look_for(target, program, ...)
    local found = folder .. "/found-" .. target
    run("mkdir", found)
    local said = run(program, "-max_total_time=" .. SECONDS, "-print_final_stats=1",
      "-print_funcs=0", "-artifact_prefix=" .. found .. "/", found,
      "spec/fuzz/corpus/" .. target, ...)
    local executed = tonumber(said:match "stat::number_of_executed_units: (%d+)")
    assert.is_true(executed ~= nil and executed > 100, said)
  end

  for _, target in ipairs(TARGETS) do
    it(("%s finds nothing in %d seconds"):format(target, SECONDS), function()
      local program = folder .. "/" .. target
      clang(WHOLE, "-o", program, ("spec/fuzz/%s.c"):format(target), "-lm", unpack(objects))
      look_for(target, program)
    end)
  end

  -- What Lua holds, a look for leaks does not see before it ends.
  for _, target in ipairs(IN_LUA) do
    it(("%s finds nothing in %d seconds"):format(target, SECONDS), function()
      local program = folder .. "/" .. target
      local _, where = run("pkg-config", "--cflags", "luajit")
      clang(WHOLE, where:match "%S+", ('-DSCRIPT="spec/fuzz/%s.lua"'):format(target), "-rdynamic",
        "-o", program, "spec/fuzz/lua.c", "-lluajit-5.1", "-lm", unpack(objects))
      look_for(target, program, "-detect_leaks=0")
    end)
  end
end)

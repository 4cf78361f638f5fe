-- SPDX-License-Identifier: MIT
-- suites: dev
-- The fuzz targets of this folder, each for a few seconds over its corpus (PERIGEE_LONG: a minute).
local disk = require "spec.support.disk"
local perigee = require "perigee"

local SECONDS = os.getenv "PERIGEE_LONG" and 60 or 5

local TARGETS = {
  guard = { "csrc/core/guard.c", "csrc/core/guard_check.c", "csrc/core/guard_snapshot.c",
    "csrc/base/hash.c", "csrc/base/base.c" },
  serialized = { "csrc/core/serialized.c", "csrc/base/hash.c", "csrc/base/base.c" },
}

local function run(...)
  local result = assert(perigee.exec { timeout = 120, ... })
  assert.equal(0, result.status, result.stdout .. result.stderr)
  return result.stderr
end

for target, sources in pairs(TARGETS) do
  describe("the fuzz target " .. target, function()
    teardown(disk.clean)

    it("finds nothing in " .. SECONDS .. " seconds", function()
      local program = disk.folder() .. "/" .. target
      local found = disk.folder() .. "/found"
      run("mkdir", found)
      run("clang", "-std=gnu11", "-g", "-O1", "-Icsrc", "-fsanitize=fuzzer,address,undefined",
        "-fno-sanitize-recover=undefined", "-lm", "-o", program, ("spec/fuzz/%s.c"):format(target),
        unpack(sources))
      local said = run(program, "-max_total_time=" .. SECONDS, "-print_final_stats=1",
        "-artifact_prefix=" .. found .. "/", found, "spec/fuzz/corpus/" .. target)
      local executed = tonumber(said:match "stat::number_of_executed_units: (%d+)")
      assert.is_true(executed ~= nil and executed > 1000, said)
    end)
  end)
end

-- SPDX-License-Identifier: MIT
-- suites: dev
-- The architecture as a table: who may use whom, which spec belongs to which file, how large a
-- file may be. docs/architecture.md draws the same.
local lfs = require "lfs"

local read = require("spec.support.files").read

local MOST_LINES = 450

-- Which Lua module may require which, from the bottom to the top: what a module requires stands
-- above it here. `lazily` holds what it may require inside a function only, when that is called;
-- there the order may be broken. "perigee.cdef.*" and "perigee.version" are made by the build.
local MODULES = {
  -- Leaves, and the one module that reaches for C.
  { "perigee.runtime.nginx" },
  { "perigee.log", "runtime.nginx" },
  { "perigee.options" },
  { "perigee.copying" },
  { "perigee.tags" },
  { "perigee.metrics" },
  { "perigee.events", "log", "options" },
  { "perigee.lib", lazily = { "cdef.*" } },
  { "perigee.doubles" },
  -- Runtimes: tasks on libev, on a virtual clock, or with no loop at all.
  { "perigee.runtime.hooks" },
  { "perigee.runtime.upvalues" },
  { "perigee.runtime.scope" },
  { "perigee.runtime.failures", "log" },
  { "perigee.runtime.clock", "lib" },
  { "perigee.runtime.none", "lib", "runtime.clock",
    lazily = { "runtime.driver", "runtime.scheduler", "runtime.libev" } },
  { "perigee.runtime.request", "lib", "runtime.nginx" },
  { "perigee.runtime.jobs", "lib", "log", "runtime.clock", "runtime.nginx", "runtime.request" },
  { "perigee.runtime.heart", "lib", "log", "runtime.clock", "runtime.failures", "runtime.hooks",
    "runtime.jobs", "runtime.nginx" },
  { "perigee.runtime.openresty", "lib", "runtime.clock", "runtime.heart", "runtime.jobs",
    "runtime.nginx", "runtime.none", "runtime.request" },
  { "perigee.context", "runtime.nginx", "runtime.none", lazily = { "runtime.openresty" } },
  { "perigee.runtime.waiters", "context" },
  { "perigee.runtime.scheduler", "lib", "context", "runtime.failures", "runtime.scope",
    "runtime.waiters" },
  { "perigee.runtime.inside", "runtime.scheduler" },
  { "perigee.runtime.cancel", "context", "runtime.failures", "runtime.scheduler" },
  { "perigee.runtime.generator", "context", "runtime.failures", "runtime.scheduler" },
  { "perigee.runtime.driver", "lib", "context", "runtime.clock", "runtime.failures",
    "runtime.hooks", "runtime.scheduler", "runtime.scope" },
  { "perigee.runtime.libev", "lib", "runtime.clock", "runtime.driver", "runtime.inside",
    "runtime.scheduler" },
  { "perigee.runtime.virtual", "lib", "runtime.clock", "runtime.driver", "runtime.inside",
    "runtime.libev", "runtime.scheduler" },
  { "perigee.runtime.runner", "context", "runtime.cancel", "runtime.clock", "runtime.driver",
    "runtime.failures", "runtime.hooks", "runtime.scheduler", "runtime.scope",
    "runtime.waiters" },
  { "perigee.runtime", "context", "runtime.clock", "runtime.hooks" },
  { "perigee.runtime.checks", "context", "options" },
  { "perigee.light", "context", "runtime.checks", "runtime.failures", "runtime.nginx",
    "runtime.upvalues" },
  { "perigee.task", "context", "runtime", "runtime.cancel", "runtime.checks", "runtime.failures",
    "runtime.generator", "runtime.libev", "runtime.nginx", "runtime.runner", "runtime.scheduler",
    "runtime.scope", lazily = { "light", "testing" } },
  { "perigee.testing", "context", "options", "runtime.runner", "runtime.scheduler",
    "runtime.virtual", lazily = { "task" } },
  { "perigee.exec", "lib", "context", "options", "runtime.cancel", "runtime.nginx",
    "runtime.scheduler" },
  { "perigee.contract.backup" },
  { "perigee.contract.remote", "task" },
  -- The cache: what is kept, what is being loaded, and the two together. Of the runtimes it knows
  -- the port in `context`, the clock and the hooks.
  { "perigee.turns", "context", "lib" },
  { "perigee.returns", "tags" },
  { "perigee.leaving", "events", "log", "returns" },
  { "perigee.tagging", "lib" },
  { "perigee.spaces", "lib", "events", "tagging" },
  { "perigee.store", "lib", "events", "leaving", "spaces", "tagging", "turns" },
  { "perigee.changes", "lib" },
  { "perigee.hosting", "lib", "context", "runtime.upvalues" },
  { "perigee.flight", "lib", "context", "hosting" },
  { "perigee.landing", "context", "copying", "events", "flight", "hosting", "options", "returns",
    "tags" },
  { "perigee.losing", "lib", "context", "flight", "landing" },
  { "perigee.load", "lib", "context", "flight", "landing", "losing", "store" },
  { "perigee.batch", "lib", "context", "flight", "landing", "load", "options", "store" },
  { "perigee.inspection", "lib", "options", "returns" },
  -- How entries travel to tiers, and the tiers.
  { "perigee.codec", "lib", "options" },
  { "perigee.mac", "lib" },
  { "perigee.envelope", "lib", "codec", "doubles", "mac", "returns", "tags" },
  { "perigee.latch", "context" },
  { "perigee.tier.place", "doubles" },
  { "perigee.tier.disk", "lib", "context", "envelope", "log", "options", "tier.place" },
  { "perigee.tier.listed", "lib", "returns", "runtime.clock", "tier.place" },
  { "perigee.backup", "lib", "changes", "context", "landing", "latch", "log", "options", "runtime",
    "spaces", "store", "tier.disk", "tier.listed" },
  { "perigee.client.redis_wire", "lib", "context" },
  { "perigee.client.redis_hello", "lib", "client.redis_wire", "context", "exec",
    "runtime.scheduler" },
  { "perigee.client.redis_ev", "lib", "client.redis_hello", "client.redis_wire", "context", "latch",
    "runtime", "runtime.scheduler" },
  { "perigee.client.redis_ngx_wire", "runtime.nginx" },
  { "perigee.client.redis_ngx_lines", "client.redis_ngx_wire", "context" },
  { "perigee.client.redis_ngx_ears", "client.redis_ngx_wire", "runtime.nginx" },
  { "perigee.client.redis_ngx", "lib", "client.redis_ngx_ears", "client.redis_ngx_lines",
    "client.redis_ngx_wire", "context", "latch", "runtime", "runtime.nginx" },
  { "perigee.tier.trip" },
  { "perigee.tier.redis_keys", "lib", "runtime.clock", "tags", "tier.place" },
  { "perigee.tier.redis_versions", "context", "tier.redis_keys" },
  { "perigee.tier.redis_reads", "lib", "context", "runtime.clock", "tier.redis_keys", "tier.trip" },
  { "perigee.tier.redis_writes", "lib", "context", "runtime.clock", "tier.place",
    "tier.redis_keys" },
  { "perigee.tier.redis", "context", "envelope", "options", "tier.place", "tier.redis_keys",
    "tier.redis_reads", "tier.redis_versions", "tier.redis_writes",
    lazily = { "client.redis_ev", "client.redis_ngx" } },
  { "perigee.tier.users", "lib", "runtime.clock", "tags", "tier.listed", "tier.trip" },
  { "perigee.write_behind", "context", "latch" },
  { "perigee.gathering", "context", "runtime", "tier.trip" },
  { "perigee.leading", "context" },
  { "perigee.hearing", "context", "flight", "spaces", "store" },
  { "perigee.remote", "lib", "context", "events", "flight", "gathering", "hearing", "landing",
    "leading", "log", "options", "runtime", "spaces", "tier.redis", "tier.trip", "tier.users",
    "write_behind" },
  { "perigee.tier.board", "lib", "log", "runtime.clock", "runtime.nginx" },
  { "perigee.tier.journal", "lib", "doubles", "runtime.clock", "runtime.nginx" },
  { "perigee.tier.shared", "lib", "codec", "doubles", "returns", "runtime.clock", "tags",
    "tier.place", "tier.redis_keys" },
  { "perigee.workers", "codec", "context", "metrics", "runtime", "runtime.nginx" },
  { "perigee.leasing", "lib", "context", "flight", "landing", "runtime.nginx" },
  { "perigee.sharing", "lib", "codec", "context", "hearing", "landing", "leasing", "log", "options",
    "runtime", "runtime.nginx", "tier.board", "tier.journal", "tier.place", "tier.redis_keys",
    "tier.shared", "workers" },
  { "perigee.looking" },
  { "perigee.settings", "backup", "codec", "options", "remote", "sharing", "tags" },
  { "perigee.warmup", "context", "options", "task" },
  { "perigee.levels", "backup", "looking", "remote", "sharing" },
  { "perigee.cache", "lib", "backup", "batch", "copying", "events", "flight", "inspection",
    "landing", "levels", "load", "losing", "metrics", "options", "runtime", "settings", "spaces",
    "store", "tags", "turns", "warmup" },
  -- Functions that remember.
  { "perigee.keys" },
  { "perigee.part", "lib", "events", "flight", "inspection", "load", "spaces", "store" },
  { "perigee.arguments", "keys" },
  { "perigee.memo", "arguments", "cache", "copying", "keys", "looking", "options", "part",
    "returns", "settings" },
  -- Agents: the guard, what a session keeps, and the tools.
  { "perigee.agent.messages", "lib" },
  { "perigee.agent.prints", "lib", "keys" },
  { "perigee.agent.guard", "lib", "agent.messages", "agent.prints", "context", "options" },
  { "perigee.agent.legible", "doubles" },
  { "perigee.agent.trail", "agent.legible" },
  { "perigee.agent.refusal" },
  { "perigee.agent.counts", "agent.messages", "doubles" },
  { "perigee.agent.paths", "options", "tags" },
  { "perigee.agent.writes", "lib", "events", "runtime", "store", "tags" },
  { "perigee.agent.dependence", "agent.paths", "context", "flight", "tags" },
  { "perigee.agent.session", "lib", "agent.counts", "agent.guard", "agent.paths", "agent.trail",
    "agent.writes", "context", "options" },
  { "perigee.agent.snapshots", "lib", "agent.counts", "agent.guard", "agent.refusal",
    "agent.session", "codec", "context" },
  { "perigee.agent.calls", "lib", "agent.counts", "agent.dependence", "agent.guard",
    "agent.legible", "agent.messages", "agent.prints", "agent.refusal", "context", "events", "log",
    "returns" },
  { "perigee.agent.outcome", "lib", "agent.calls", "agent.prints", "agent.refusal", "log",
    "options", "returns" },
  { "perigee.agent.loading", "agent.counts", "agent.dependence", "agent.outcome", "agent.paths",
    "agent.refusal", "agent.writes", "context", "flight", "landing", "load", "log", "options",
    "returns" },
  { "perigee.agent.tool", "lib", "agent.calls", "agent.counts", "agent.dependence",
    "agent.loading", "agent.outcome", "agent.paths", "agent.prints", "agent.session",
    "agent.writes", "context", "keys", "returns" },
  { "perigee.agent.action", "lib", "agent.calls", "agent.counts", "agent.outcome", "agent.paths",
    "agent.prints", "agent.session", "agent.writes", "context", "keys", "log", "returns" },
  { "perigee.agent.definition", "agent.action", "agent.counts", "agent.guard", "agent.legible",
    "agent.paths", "agent.tool", "agent.writes", "arguments", "backup", "cache", "looking",
    "options", "remote", "sharing", "tags" },
  { "perigee.agent", "agent.counts", "agent.definition", "agent.refusal", "agent.session",
    "agent.snapshots", "agent.trail", "options" },
  -- The front door, and the program.
  { "perigee.status", "metrics", "runtime.nginx", "version" },
  { "perigee", "runtime.nginx", "tier.board", "version",
    lazily = { "batch", "cache", "events", "exec", "keys", "memo", "metrics", "runtime",
      "status", "task", "tier.disk", "tier.redis" } },
  { "perigee.host.prompt", "lib", "context", "runtime.failures", "runtime.scheduler" },
  { "perigee.host", "lib", "context", "exec", "host.prompt", "runtime.cancel", "runtime.failures",
    "runtime.libev", "runtime.scheduler", "task", "testing", lazily = { "version" } },
}

local GENERATED = { ["cdef.*"] = true, version = true }

-- Which folder of csrc may include what: folders, and libraries beside the C library.
local MAY_INCLUDE = {
  base = { folders = { "base" }, libraries = {} },
  core = { folders = { "base", "core" }, libraries = {} },
  rt = { folders = { "base", "rt" }, libraries = { "ev.h", "hiredis/*" } },
  disk = { folders = { "base", "disk" }, libraries = { "sqlite3.h" } },
  host = {
    folders = { "base", "host" },
    libraries = { "lua.h", "lauxlib.h", "lualib.h", "luajit.h" },
  },
}

local C_LIBRARY = {
  "arpa/inet.h", "assert.h", "emmintrin.h", "errno.h", "fcntl.h", "inttypes.h", "limits.h",
  "linux/*", "math.h", "netinet/*", "poll.h", "pthread.h", "sched.h", "signal.h", "spawn.h",
  "stdarg.h", "stdatomic.h", "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h",
  "sys/*", "time.h", "unistd.h",
}

-- Files without a spec of their own name, and the spec through which they are seen.
local SEEN_THROUGH = {
  ["lua/perigee/part.lua"] = "spec/cache/memo_spec.lua",
  ["lua/perigee/returns.lua"] = "spec/cache/memo_spec.lua",
  ["lua/perigee/settings.lua"] = "spec/cache/options_spec.lua",
  ["lua/perigee/tagging.lua"] = "spec/cache/tags_spec.lua",
  ["lua/perigee/leaving.lua"] = "spec/cache/on_evict_spec.lua",
  ["lua/perigee/copying.lua"] = "spec/cache/copy_spec.lua",
  ["lua/perigee/inspection.lua"] = "spec/cache/metrics_spec.lua",
  ["lua/perigee/log.lua"] = "spec/runtime/failures_spec.lua",
  ["lua/perigee/turns.lua"] = "spec/cache/expiry_spec.lua",
  ["csrc/base/base.c"] = "spec/core/store_spec.lua", -- memory that runs out
  ["csrc/base/hash.c"] = "spec/core/store_spec.lua", -- lengths of probes
  ["csrc/core/ghost.c"] = "spec/store/eviction_spec.lua",
  ["csrc/core/haze.c"] = "spec/store/auto_spec.lua",
  ["csrc/core/index.c"] = "spec/core/store_spec.lua",
  ["csrc/core/policy_auto.c"] = "spec/store/auto_spec.lua",
  ["csrc/core/policy_fifo.c"] = "spec/store/eviction_spec.lua",
  ["csrc/core/policy_lru.c"] = "spec/store/eviction_spec.lua",
  ["csrc/core/policy_s3fifo.c"] = "spec/store/eviction_spec.lua",
  ["csrc/core/policy_sieve.c"] = "spec/store/eviction_spec.lua",
  ["csrc/core/segments.c"] = "spec/store/auto_spec.lua",
  ["csrc/core/shadows.c"] = "spec/store/auto_spec.lua",
  ["csrc/core/sketch.c"] = "spec/store/auto_spec.lua",
  ["lua/perigee/changes.lua"] = "spec/backup/model_spec.lua",
  ["lua/perigee/gathering.lua"] = "spec/conformance/remote_spec.lua",
  ["lua/perigee/hearing.lua"] = "spec/remote/coherence_spec.lua",
  ["lua/perigee/landing.lua"] = "spec/cache/fence_spec.lua",
  ["lua/perigee/leading.lua"] = "spec/remote/lease_spec.lua",
  ["lua/perigee/hosting.lua"] = "spec/conformance/pressure_spec.lua",
  ["lua/perigee/losing.lua"] = "spec/conformance/pressure_spec.lua",
  ["lua/perigee/leasing.lua"] = "spec/tier/shared_spec.lua",
  ["lua/perigee/levels.lua"] = "spec/cache/options_spec.lua",
  ["lua/perigee/light.lua"] = "spec/runtime/openresty_spec.lua",
  ["lua/perigee/looking.lua"] = "spec/conformance/remote_spec.lua",
  ["lua/perigee/sharing.lua"] = "spec/tier/shared_spec.lua",
  ["lua/perigee/write_behind.lua"] = "spec/remote/failure_spec.lua",
  ["lua/perigee/spaces.lua"] = "spec/backup/save_spec.lua",
  ["lua/perigee/latch.lua"] = "spec/backup/load_spec.lua",
  ["csrc/disk/database.c"] = "spec/backup/damage_spec.lua",
  ["csrc/disk/job.c"] = "spec/disk/worker_spec.lua",
  ["csrc/disk/rows.c"] = "spec/disk/worker_spec.lua",
  ["csrc/core/reclaim.c"] = "spec/core/store_spec.lua",
  ["csrc/rt/address.c"] = "spec/rt/redis_spec.lua",
  ["csrc/rt/inbox.c"] = "spec/rt/redis_spec.lua",
  ["csrc/rt/outbox.c"] = "spec/rt/redis_spec.lua",
  ["csrc/rt/reply.c"] = "spec/rt/redis_spec.lua",
  ["csrc/core/wheel.c"] = "spec/core/store_spec.lua",
}

-- Specs that belong to no single file.
local WHOLE = {
  bench = "the benchmarks run",
  bench_traces = "the hit ratios of real traces are measured",
  border = "the cdefs against the compiler",
  conformance = "the behaviours that are promised to users",
  dev = "the commands of the repository",
  fuzz = "the fuzz targets",
  examples = "the examples, and the README's code",
  install = "both ways of installing",
  structure = "this one",
  support = "what the specs share",
  tier = "what the tiers share",
}

local function files(folder, pattern, found)
  found = found or {}
  if lfs.attributes(folder, "mode") ~= "directory" then return found end
  for name in lfs.dir(folder) do
    local path = folder .. "/" .. name
    if lfs.attributes(path, "mode") == "directory" then
      if not name:find "^%." then files(path, pattern, found) end
    elseif name:find(pattern) then
      table.insert(found, path)
    end
  end
  table.sort(found)
  return found
end

local function allows(list, name)
  for _, entry in ipairs(list) do
    if entry == name or (entry:find "%*$" and name:sub(1, #entry - 1) == entry:sub(1, -2)) then
      return true
    end
  end
  return false
end

local function module_name(path)
  return (path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/", "."))
end

local function without_comments(text)
  return (text:gsub("%-%-[^\n]*", ""))
end

-- The names under which a file may have its spec: "csrc/core/store_write.c" and
-- "lua/perigee/store.lua" both belong to "store", "lua/perigee/runtime/none.lua" to "none" and
-- to "runtime".
local function units_of(path)
  local stem = path:gsub("^lua/", ""):gsub("^perigee/", "")
    :gsub("^csrc/[^/]+/", ""):gsub("%.%w+$", "")
  local units = {}
  for part in stem:gmatch "[^/]+" do
    while part do
      table.insert(units, part)
      part = part:match "^(.+)_[^_]*$"
    end
  end
  return units
end

-- "spec/cache/batch_spec.lua" is a spec of "cache" and of "batch".
local function specified()
  local names = {}
  for _, path in ipairs(files("spec", "_spec%.lua$")) do
    local stem = path:gsub("^spec/", ""):gsub("_spec%.lua$", "")
    for part in stem:gmatch "[^/]+" do names[part] = path end
  end
  return names
end

local function sources()
  local all = files("lua", "%.lua$")
  for _, path in ipairs(files("csrc", "%.[ch]$")) do table.insert(all, path) end
  return all
end

local function mirrored()
  local list = files("lua", "%.lua$")
  for _, path in ipairs(files("csrc", "%.c$")) do table.insert(list, path) end
  return list
end

describe("the structure", function()
  it("lets Lua modules require only what is below them", function()
    local rules = {}
    for _, rule in ipairs(MODULES) do rules[rule[1]] = rule end
    for _, path in ipairs(files("lua", "%.lua$")) do
      local module = module_name(path)
      local rule = assert.is_table(rules[module], module .. " is not in MODULES")
      for line in without_comments(read(path)):gmatch "[^\n]+" do
        local required = line:match "[\"']perigee%.([a-z_.]+)[\"']"
        if required and line:find "require" then
          local allowed = allows(rule, required) or
            (line:find "^%s" and allows(rule.lazily or {}, required))
          assert.is_true(allowed, ("%s may not require %s"):format(module, required))
        end
      end
    end
  end)

  it("puts every module above those that it requires", function()
    local below = {}
    for _, rule in ipairs(MODULES) do
      for i = 2, #rule do
        assert.is_truthy(below["perigee." .. rule[i]] or GENERATED[rule[i]],
          ("%s requires %s, which is not below it"):format(rule[1], rule[i]))
      end
      below[rule[1]] = true
    end
    for _, rule in ipairs(MODULES) do
      for _, required in ipairs(rule.lazily or {}) do
        assert.is_truthy(below["perigee." .. required] or GENERATED[required], required)
      end
    end
  end)

  it("names no module that is gone", function()
    for _, rule in ipairs(MODULES) do
      local path = "lua/" .. rule[1]:gsub("%.", "/") .. ".lua"
      assert.is_truthy(lfs.attributes(path), path .. " is gone")
    end
  end)

  it("declares C functions and loads libraries in one module only", function()
    for _, path in ipairs(files("lua", "%.lua$")) do
      local text = without_comments(read(path))
      local touches = text:find "ffi%.cdef" or text:find "ffi%.load"
      assert.is_true(not touches or path == "lua/perigee/lib.lua", path .. " reaches for C itself")
    end
  end)

  it("lets C files include only what is below them", function()
    for _, path in ipairs(files("csrc", "%.[ch]$")) do
      local folder = path:match "^csrc/([^/]+)/"
      local rule = assert.is_table(MAY_INCLUDE[folder], folder .. " is not in MAY_INCLUDE")
      local text = read(path)
      for included in text:gmatch '#%s*include%s*"([^"]+)"' do
        local from = included:match "^([^/]+)/"
        assert.is_true(from ~= nil and allows(rule.folders, from), path .. " includes " .. included)
      end
      for included in text:gmatch "#%s*include%s*<([^>]+)>" do
        local known = allows(C_LIBRARY, included) or allows(rule.libraries, included)
        assert.is_true(known, path .. " includes " .. included)
      end
    end
  end)

  it("has a spec for every module and every C file", function()
    local names = specified()
    for _, path in ipairs(mirrored()) do
      local own
      for _, unit in ipairs(units_of(path)) do own = own or names[unit] end
      local through = SEEN_THROUGH[path]
      assert.is_truthy(own or through, path .. " has no spec")
      assert.is_falsy(own and through, path .. " has a spec of its own by now")
      assert.is_truthy(lfs.attributes(own or through), path .. ": " .. (own or through))
    end
    for path in pairs(SEEN_THROUGH) do
      assert.is_truthy(lfs.attributes(path), path .. " is gone")
    end
  end)

  it("has a module or a C file for every spec", function()
    local units = { core = true, rt = true, base = true }
    for _, path in ipairs(mirrored()) do
      for _, unit in ipairs(units_of(path)) do units[unit] = true end
    end
    for _, path in ipairs(files("spec", "_spec%.lua$")) do
      local unit = path:gsub("_spec%.lua$", ""):match "^spec/([^/]+)"
      assert.is_true(units[unit] or WHOLE[unit] ~= nil, path .. " belongs to nothing")
    end
  end)

  it("keeps files short, each with its licence in the first line", function()
    for _, path in ipairs(sources()) do
      local text = read(path)
      local licence = text:match("^[^\n]*"):find("SPDX-License-Identifier: MIT", 1, true)
      assert.is_truthy(licence, path .. ": no SPDX line")
      local _, lines = text:gsub("\n", "")
      assert.is_true(lines <= MOST_LINES, ("%s has %d lines"):format(path, lines))
    end
  end)
end)

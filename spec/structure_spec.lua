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
  { "perigee.atomic" },
  { "perigee.log", "runtime.nginx" },
  { "perigee.value.names" },
  { "perigee.options", "value.names" },
  { "perigee.value.copying" },
  { "perigee.tags" },
  { "perigee.events", "log", "options" },
  { "perigee.lib", lazily = { "cdef.*" } },
  { "perigee.value.doubles" },
  { "perigee.metrics.histogram", "lib" },
  { "perigee.metrics", "metrics.histogram", "value.names" },
  { "perigee.metrics.prometheus", "metrics", "metrics.histogram", "runtime.nginx", "value.names" },
  -- Runtimes: tasks on libev, on a virtual clock, or with no loop at all.
  { "perigee.runtime.hooks" },
  { "perigee.runtime.upvalues" },
  { "perigee.runtime.scope" },
  { "perigee.runtime.failures", "log" },
  { "perigee.runtime.clock", "lib" },
  { "perigee.runtime.none", "lib", "runtime.clock",
    lazily = { "runtime.driver", "runtime.libev", "runtime.scheduler" } },
  { "perigee.runtime.request", "lib", "runtime.nginx" },
  { "perigee.runtime.jobs", "lib", "log", "runtime.clock", "runtime.nginx", "runtime.request",
    "value.names" },
  { "perigee.runtime.heart", "lib", "log", "runtime.clock", "runtime.failures", "runtime.hooks",
    "runtime.jobs", "runtime.nginx" },
  { "perigee.runtime.openresty", "lib", "runtime.clock", "runtime.heart", "runtime.jobs",
    "runtime.nginx", "runtime.none", "runtime.request" },
  { "perigee.context", "runtime.nginx", "runtime.none", lazily = { "runtime.openresty" } },
  { "perigee.runtime.waiters", "context" },
  { "perigee.runtime.scheduler", "lib", "atomic", "context", "runtime.failures", "runtime.scope",
    "runtime.waiters" },
  { "perigee.runtime.inside", "runtime.scheduler" },
  { "perigee.runtime.cancel", "context", "runtime.failures", "runtime.scheduler", "runtime.scope" },
  { "perigee.runtime.generator", "context", "runtime.failures", "runtime.scheduler" },
  { "perigee.runtime.driver", "lib", "context", "runtime.clock", "runtime.failures",
    "runtime.hooks", "runtime.scheduler", "runtime.scope" },
  { "perigee.runtime.libev", "lib", "runtime.clock", "runtime.driver", "runtime.inside",
    "runtime.scheduler" },
  { "perigee.runtime.virtual", "lib", "runtime.clock", "runtime.driver", "runtime.inside",
    "runtime.libev", "runtime.scheduler" },
  { "perigee.runtime.runner", "context", "runtime.cancel", "runtime.clock", "runtime.driver",
    "runtime.failures", "runtime.hooks", "runtime.scheduler", "runtime.scope", "runtime.waiters" },
  { "perigee.runtime", "context", "runtime.clock", "runtime.hooks" },
  { "perigee.runtime.checks", "context", "options" },
  { "perigee.task.light", "context", "runtime.checks", "runtime.failures", "runtime.nginx",
    "runtime.upvalues" },
  { "perigee.task", "context", "runtime", "runtime.cancel", "runtime.checks", "runtime.failures",
    "runtime.generator", "runtime.libev", "runtime.nginx", "runtime.runner", "runtime.scheduler",
    "runtime.scope",
    lazily = { "task.light", "testing" } },
  { "perigee.testing", "context", "options", "runtime.runner", "runtime.scheduler",
    "runtime.virtual",
    lazily = { "task" } },
  { "perigee.exec", "lib", "context", "options", "runtime.cancel", "runtime.nginx",
    "runtime.scheduler", "value.names" },
  -- Requests to HTTP servers.
  { "perigee.http.client.order", "options", "value.names" },
  { "perigee.http.client.transfer", "lib", "context", "runtime.scheduler" },
  { "perigee.http.client", "http.client.order", "http.client.transfer", "runtime.nginx" },
  { "perigee.contract.backup" },
  { "perigee.contract.remote", "task" },
  -- The cache: what is kept, what is being loaded, and the two together. Of the runtimes it knows
  -- the port in `context`, the clock and the hooks.
  { "perigee.store.turns", "lib", "atomic", "context" },
  { "perigee.value.returns", "tags" },
  { "perigee.store.leaving", "events", "log", "value.returns" },
  { "perigee.store.tagging", "lib" },
  { "perigee.store.spaces", "lib", "events", "store.tagging" },
  { "perigee.store", "lib", "events", "store.leaving", "store.spaces", "store.tagging",
    "store.turns" },
  { "perigee.backup.changes", "lib", "atomic" },
  { "perigee.load.hosting", "lib", "context", "runtime.upvalues" },
  { "perigee.load.flight", "lib", "atomic", "context", "load.hosting" },
  { "perigee.load.landing", "context", "events", "load.flight", "load.hosting", "metrics.histogram",
    "options", "store", "tags", "value.copying", "value.returns" },
  { "perigee.load.losing", "lib", "context", "load.flight", "load.landing" },
  { "perigee.load", "lib", "context", "load.flight", "load.landing", "load.losing", "store",
    "value.names" },
  { "perigee.load.batch", "lib", "context", "load", "load.flight", "load.landing", "options",
    "store" },
  { "perigee.cache.inspection", "lib", "metrics.histogram", "options", "value.names",
    "value.returns" },
  -- How entries travel to tiers, and the tiers.
  { "perigee.value.codec", "lib", "options" },
  { "perigee.value.mac", "lib" },
  { "perigee.value.envelope", "lib", "tags", "value.codec", "value.doubles", "value.mac",
    "value.returns" },
  { "perigee.runtime.latch", "context" },
  -- HTTP servers, and the front of all of HTTP.
  { "perigee.http.request" },
  { "perigee.http.response", "options" },
  { "perigee.http.events", "options" },
  { "perigee.http.exchange", "lib", "context", "http.response", "options", "runtime.failures",
    "runtime.scheduler" },
  { "perigee.http.server", "lib", "context", "http.exchange", "http.request", "options",
    "runtime.cancel", "runtime.latch", "runtime.nginx", "runtime.scheduler", "task",
    "value.names" },
  { "perigee.http", lazily = { "http.events", "http.server" } },
  { "perigee.tier.place", "value.doubles" },
  { "perigee.tier.disk", "lib", "context", "log", "options", "tier.place", "value.envelope" },
  { "perigee.tier.listed", "lib", "runtime.clock", "tier.place", "value.returns" },
  { "perigee.backup", "lib", "atomic", "backup.changes", "context", "load.landing", "log",
    "options", "runtime", "runtime.latch", "store", "store.spaces", "tier.disk", "tier.listed",
    "value.names" },
  { "perigee.client.redis_wire", "lib", "context" },
  { "perigee.client.redis_times", "lib", "runtime" },
  { "perigee.client.redis_hello", "lib", "client.redis_wire", "context", "exec",
    "runtime.scheduler" },
  { "perigee.client.redis_ev", "lib", "client.redis_hello", "client.redis_times",
    "client.redis_wire", "context", "runtime", "runtime.latch", "runtime.scheduler",
    "value.names" },
  { "perigee.client.redis_ngx_wire", "runtime.nginx" },
  { "perigee.client.redis_ngx_lines", "client.redis_ngx_wire", "context" },
  { "perigee.client.redis_ngx_ears", "client.redis_ngx_wire", "runtime.nginx" },
  { "perigee.client.redis_ngx", "client.redis_ngx_ears", "client.redis_ngx_lines",
    "client.redis_ngx_wire", "client.redis_times", "context", "runtime", "runtime.latch",
    "runtime.nginx", "value.names" },
  { "perigee.tier.trip" },
  { "perigee.tier.redis_keys", "lib", "runtime.clock", "tags", "tier.place" },
  { "perigee.tier.redis_versions", "context", "tier.redis_keys", "value.names" },
  { "perigee.tier.redis_reads", "lib", "context", "runtime.clock", "tier.redis_keys", "tier.trip" },
  { "perigee.tier.redis_writes", "lib", "context", "runtime.clock", "tier.place",
    "tier.redis_keys" },
  { "perigee.tier.redis", "context", "options", "tier.place", "tier.redis_keys", "tier.redis_reads",
    "tier.redis_versions", "tier.redis_writes", "value.envelope", "value.names",
    lazily = { "client.redis_ev", "client.redis_ngx" } },
  { "perigee.tier.users", "lib", "runtime.clock", "tags", "tier.listed", "tier.trip" },
  { "perigee.remote.write_behind", "context", "runtime.latch", "value.names" },
  { "perigee.remote.gathering", "context", "metrics.histogram", "runtime", "tier.trip",
    "value.names" },
  { "perigee.remote.leases", "context" },
  { "perigee.remote.hearing", "context", "load.flight", "store", "store.spaces", "value.names" },
  { "perigee.remote", "lib", "context", "events", "load.flight", "load.landing", "log",
    "metrics.histogram", "options", "remote.gathering", "remote.hearing", "remote.leases",
    "remote.write_behind", "runtime", "store.spaces", "tier.redis", "tier.trip", "tier.users",
    "value.names" },
  { "perigee.tier.board", "lib", "log", "runtime.clock", "runtime.nginx" },
  { "perigee.tier.journal", "lib", "runtime.clock", "runtime.nginx", "value.doubles" },
  { "perigee.tier.shared", "lib", "runtime.clock", "tags", "tier.place", "tier.redis_keys",
    "value.codec", "value.doubles", "value.names", "value.returns" },
  { "perigee.sharing.workers", "context", "metrics", "metrics.histogram", "runtime",
    "runtime.nginx", "value.codec", "value.names" },
  { "perigee.sharing.leases", "lib", "context", "load.flight", "load.landing", "runtime.nginx" },
  { "perigee.sharing", "lib", "context", "load.landing", "log", "options", "remote.hearing",
    "runtime", "runtime.nginx", "sharing.leases", "sharing.workers", "tier.board", "tier.journal",
    "tier.place", "tier.redis_keys", "tier.shared", "value.codec", "value.names" },
  { "perigee.cache.looking" },
  { "perigee.cache.settings", "backup", "options", "remote", "sharing", "tags", "value.codec" },
  { "perigee.cache.warmup", "context", "options", "task", "value.names" },
  { "perigee.cache.levels", "backup", "cache.looking", "remote", "sharing" },
  { "perigee.cache", "lib", "backup", "cache.inspection", "cache.levels", "cache.settings",
    "cache.warmup", "events", "load", "load.batch", "load.flight", "load.landing", "load.losing",
    "metrics", "options", "runtime", "store", "store.spaces", "store.turns", "tags",
    "value.copying", "value.names" },
  -- Functions that remember.
  { "perigee.value.keys" },
  { "perigee.memo.part", "lib", "cache.inspection", "events", "load", "load.flight", "store",
    "store.spaces" },
  { "perigee.memo.arguments", "value.keys" },
  { "perigee.memo", "cache", "cache.looking", "cache.settings", "memo.arguments", "memo.part",
    "options", "value.copying", "value.keys", "value.names", "value.returns" },
  -- Agents: the guard, what a session keeps, and the tools.
  { "perigee.agent.messages", "lib" },
  { "perigee.agent.prints", "lib", "value.keys" },
  { "perigee.agent.guard", "lib", "agent.messages", "agent.prints", "context", "options",
    "value.names" },
  { "perigee.agent.legible", "value.doubles" },
  { "perigee.agent.trail", "agent.legible" },
  { "perigee.agent.refusal" },
  { "perigee.agent.counts", "agent.messages", "value.doubles" },
  { "perigee.agent.paths", "options", "tags" },
  { "perigee.agent.writes", "lib", "atomic", "events", "runtime", "store", "tags", "value.names" },
  { "perigee.agent.dependence", "agent.paths", "context", "load.flight", "tags" },
  { "perigee.agent.session", "lib", "agent.counts", "agent.guard", "agent.paths", "agent.trail",
    "agent.writes", "atomic", "context", "options", "value.names" },
  { "perigee.agent.snapshots", "lib", "agent.counts", "agent.guard", "agent.refusal",
    "agent.session", "context", "value.codec", "value.names" },
  { "perigee.agent.calls", "lib", "agent.counts", "agent.dependence", "agent.guard",
    "agent.legible", "agent.messages", "agent.prints", "agent.refusal", "context", "events", "log",
    "value.returns" },
  { "perigee.agent.outcome", "lib", "agent.calls", "agent.prints", "agent.refusal", "log",
    "options", "value.names", "value.returns" },
  { "perigee.agent.loading", "agent.counts", "agent.dependence", "agent.outcome", "agent.paths",
    "agent.refusal", "agent.writes", "context", "load", "load.flight", "load.landing", "log",
    "options", "value.returns" },
  { "perigee.agent.tool", "lib", "agent.calls", "agent.counts", "agent.dependence", "agent.loading",
    "agent.outcome", "agent.paths", "agent.prints", "agent.session", "agent.writes", "context",
    "value.keys", "value.returns" },
  { "perigee.agent.action", "lib", "agent.calls", "agent.counts", "agent.outcome", "agent.paths",
    "agent.prints", "agent.session", "agent.writes", "context", "log", "value.keys",
    "value.returns" },
  { "perigee.agent.definition", "agent.action", "agent.counts", "agent.guard", "agent.legible",
    "agent.paths", "agent.tool", "agent.writes", "atomic", "backup", "cache", "cache.looking",
    "memo.arguments", "options", "remote", "sharing", "tags" },
  { "perigee.agent", "agent.counts", "agent.definition", "agent.refusal", "agent.session",
    "agent.snapshots", "agent.trail", "options" },
  -- The dashboard: texts, numbers, pages, and who may see them.
  { "perigee.dashboard.text", "value.names" },
  { "perigee.dashboard.template", "dashboard.text" },
  { "perigee.dashboard.chart" },
  { "perigee.dashboard.style" },
  { "perigee.dashboard.script" },
  { "perigee.dashboard.value", "dashboard.text" },
  { "perigee.dashboard.history", "context", "metrics", "runtime", "value.names" },
  { "perigee.dashboard.latency", "dashboard.text", "metrics.histogram" },
  { "perigee.dashboard.numbers", "dashboard.chart", "dashboard.history", "dashboard.latency",
    "dashboard.text", "metrics", "value.names" },
  { "perigee.dashboard.token", "lib", "runtime.nginx", "sharing.workers" },
  { "perigee.dashboard.access", "dashboard.token" },
  { "perigee.dashboard.page", "dashboard.access", "dashboard.script", "dashboard.style",
    "dashboard.template", "dashboard.token", "runtime", "runtime.nginx", "version" },
  { "perigee.dashboard.drawing", "dashboard.template", "dashboard.text" },
  { "perigee.dashboard.overview", "dashboard.drawing", "dashboard.numbers", "dashboard.page",
    "dashboard.template", "dashboard.text" },
  { "perigee.dashboard.entries", "lib", "memo.part", "metrics", "store", "store.spaces", "task",
    "tier.place", "value.names", "value.returns" },
  { "perigee.dashboard.listing", "agent.legible", "dashboard.entries", "dashboard.page",
    "dashboard.template", "dashboard.text", "dashboard.value", "runtime.nginx" },
  { "perigee.dashboard.routes", "dashboard.access", "dashboard.entries", "dashboard.listing",
    "dashboard.numbers", "dashboard.overview", "dashboard.page", "dashboard.template",
    "dashboard.token", "http.request", "tags" },
  { "perigee.dashboard.nginx", "dashboard.access", "dashboard.routes", "dashboard.token",
    "http.request", "runtime.nginx", "value.names", lazily = { "dashboard.scenes" } },
  { "perigee.dashboard.demo", "cache", "task" },
  { "perigee.dashboard", "dashboard.access", "dashboard.history", "dashboard.routes",
    "dashboard.token", "options", "runtime.nginx",
    lazily = { "dashboard.nginx", "dashboard.scenes", "http.server" } },
  -- The front door, and the program.
  { "perigee.metrics.status", "metrics", "runtime.nginx", "version", "value.names" },
  { "perigee", "runtime.nginx", "tier.board", "version",
    lazily = { "cache", "events", "exec", "http", "load.batch", "memo", "metrics",
      "metrics.prometheus", "metrics.status", "runtime", "task", "tier.disk", "tier.redis",
      "value.keys" } },
  -- The dashboard's scenes, which use what is public.
  { "perigee.dashboard.words" },
  { "perigee.dashboard.timeline" },
  { "perigee.dashboard.redis_server" },
  { "perigee.dashboard.stage", "context", "dashboard.timeline" },
  { "perigee.dashboard.scenes.herd", "dashboard.words" },
  { "perigee.dashboard.scenes.batch", "dashboard.words" },
  { "perigee.dashboard.scenes.expiry", "dashboard.words" },
  { "perigee.dashboard.scenes.race", "dashboard.words" },
  { "perigee.dashboard.scenes.outage", "dashboard.redis_server", "dashboard.words" },
  { "perigee.dashboard.scenes.agent", "agent", "dashboard.words" },
  { "perigee.dashboard.scenes", "context", "dashboard.scenes.agent", "dashboard.scenes.batch",
    "dashboard.scenes.expiry", "dashboard.scenes.herd", "dashboard.scenes.outage",
    "dashboard.scenes.race", "dashboard.stage" },
  { "perigee.host.prompt", "lib", "context", "runtime.failures", "runtime.scheduler" },
  { "perigee.host", "lib", "context", "exec", "host.prompt", "runtime.cancel", "runtime.failures",
    "runtime.libev", "runtime.scheduler", "task", "testing", "value.names",
    lazily = { "dashboard", "dashboard.demo", "version" } },
}

local GENERATED = { ["cdef.*"] = true, version = true }

-- Which folder of csrc may include what: folders, and libraries beside the C library.
local MAY_INCLUDE = {
  base = { folders = { "base" }, libraries = {} },
  core = { folders = { "base", "core" }, libraries = {} },
  rt = { folders = { "base", "rt" },
    libraries = { "curl/curl.h", "ev.h", "hiredis/*", "microhttpd.h" } },
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
  "strings.h", "sys/*", "time.h", "unistd.h",
}

-- Files without a spec of their own name, and the spec through which they are seen.
local SEEN_THROUGH = {
  ["lua/perigee/memo/part.lua"] = "spec/cache/memo_spec.lua",
  ["lua/perigee/value/names.lua"] = "spec/cache/finalizer_spec.lua",
  ["lua/perigee/value/returns.lua"] = "spec/cache/memo_spec.lua",
  ["lua/perigee/cache/settings.lua"] = "spec/cache/options_spec.lua",
  ["lua/perigee/store/tagging.lua"] = "spec/cache/tags_spec.lua",
  ["lua/perigee/store/leaving.lua"] = "spec/cache/on_evict_spec.lua",
  ["lua/perigee/value/copying.lua"] = "spec/cache/copy_spec.lua",
  ["lua/perigee/cache/inspection.lua"] = "spec/cache/metrics_spec.lua",
  ["lua/perigee/log.lua"] = "spec/runtime/failures_spec.lua",
  ["lua/perigee/store/turns.lua"] = "spec/cache/expiry_spec.lua",
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
  ["lua/perigee/backup/changes.lua"] = "spec/backup/model_spec.lua",
  ["lua/perigee/remote/gathering.lua"] = "spec/conformance/remote_spec.lua",
  ["lua/perigee/remote/hearing.lua"] = "spec/remote/coherence_spec.lua",
  ["lua/perigee/load/landing.lua"] = "spec/cache/fence_spec.lua",
  ["lua/perigee/remote/leases.lua"] = "spec/remote/lease_spec.lua",
  ["lua/perigee/load/hosting.lua"] = "spec/conformance/pressure_spec.lua",
  ["lua/perigee/load/losing.lua"] = "spec/conformance/pressure_spec.lua",
  ["lua/perigee/sharing/leases.lua"] = "spec/tier/shared_leases_spec.lua",
  ["lua/perigee/cache/levels.lua"] = "spec/cache/options_spec.lua",
  ["lua/perigee/task/light.lua"] = "spec/runtime/openresty_spec.lua",
  ["lua/perigee/cache/looking.lua"] = "spec/conformance/remote_spec.lua",
  ["lua/perigee/sharing.lua"] = "spec/tier/shared_spec.lua",
  ["lua/perigee/remote/write_behind.lua"] = "spec/remote/failure_spec.lua",
  ["lua/perigee/store/spaces.lua"] = "spec/backup/save_spec.lua",
  ["lua/perigee/runtime/latch.lua"] = "spec/backup/load_spec.lua",
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
  debian = "the Debian package, really installed",
  dev = "the commands of the repository",
  fuzz = "the fuzz targets",
  examples = "the examples, and the README's code",
  install = "both ways of installing",
  release = "the version, and the tarball",
  no_memory = "memory that runs out",
  soak = "all levels together, for long",
  structure = "this one",
  docs = "the documentation",
  library = "annotations for editors",
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
-- "lua/perigee/store.lua" both belong to "store", "lua/perigee/runtime/none.lua" to "runtime" and
-- to "none".
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

-- The spec of a file, if one has a name of its own or of a folder that it is in.
local function spec_of(path, names)
  for _, unit in ipairs(units_of(path)) do
    if names[unit] then return names[unit] end
  end
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

  it("walks through tables as finalizers allow: see perigee.value.names", function()
    for _, path in ipairs(files("lua", "%.lua$")) do
      for line in without_comments(read(path)):gmatch "[^\n]+" do
        local iterator = line:match "^%s*for .- in ([%w_.]+)"
        assert.is_false(iterator == "pairs" or iterator == "next", path .. ": " .. line)
      end
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
      local own = spec_of(path:match "[^/]+$", names)
      local through = SEEN_THROUGH[path]
      assert.is_falsy(own and through, path .. " has a spec of its own by now")
      local found = own or through or spec_of(path, names)
      assert.is_truthy(found, path .. " has no spec")
      assert.is_truthy(lfs.attributes(found), path .. ": " .. found)
    end
    for path in pairs(SEEN_THROUGH) do
      assert.is_truthy(lfs.attributes(path), path .. " is gone")
    end
  end)

  it("has the specs that SECURITY.md names", function()
    local named = 0
    for path in read("SECURITY.md"):gmatch "`(spec/[%w_/]+%.lua)`" do
      named = named + 1
      assert.is_truthy(lfs.attributes(path), path .. " is gone")
    end
    assert.is_true(named > 20)
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

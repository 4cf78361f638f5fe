-- SPDX-License-Identifier: MIT
--- What the specs try in each phase of nginx: runs in a worker. A probe has a title; `act(cache,
-- key)`, which is called in the phase; and `expect`, what it comes to:
--
-- - `"value"`: it returns "v", wherever it is;
-- - `"later"`: the same where nginx lets it wait; elsewhere nil and why not, and a refresh that the
--   next caller finds done;
-- - `"stale"`: it returns "old", and the next caller finds "v";
-- - a list: it returns that.
local ngx = require "perigee.runtime.nginx"
local perigee = require "perigee"

local _M = { seen = {}, held = {} }

local MAY_WAIT = { rewrite = true, access = true, content = true, timer = true, ssl_cert = true }

-- Whoever waits there breaks the handshake, unless nginx is a patched one.
local QUIET = { ssl_client_hello = true }

local caches = {
  memory = perigee.new { stale_while_revalidate = 1000, maxsize = 1e5 },
  shared = perigee.new { name = "phases", shared = "perigee", stale_while_revalidate = 1000,
    maxsize = 1e5 },
}
local functions = {}
local loads = {}

local function count(key) loads[key] = (loads[key] or 0) + 1 end

local function plain(key)
  count(key)
  return "v"
end

local function sleeping(key)
  count(key)
  ngx.sleep(0.001)
  return "v"
end

local function parking()
  perigee.sleep(0.001)
  return "v"
end

local function asking()
  local socket = ngx.socket.tcp()
  socket:close()
  perigee.sleep(0)
  return "v"
end

local function nested(cache)
  return function(key) return cache:get(key .. "+", sleeping) end
end

local function all_plain(keys)
  local results = {}
  for _, key in ipairs(keys) do results[key] = "v" end
  return results
end

local function all_sleeping(keys)
  ngx.sleep(0.001)
  return all_plain(keys)
end

local function let_expire()
  local ends = os.clock() + 0.004
  repeat until os.clock() > ends
  ngx.update_time()
end

-- What get_many says of one key.
local function one_of_many(key, values, errors) return values[key], errors and errors[key] end

local function of(title, act, expect) return { title = title, act = act, expect = expect } end

_M.PROBES = {
  of("a hit", function(cache, key)
    cache:set(key, 1)
    return cache:get(key, plain)
  end, { 1, nil, "memory" }),
  of("a miss", function(cache, key)
    return cache:get(key, plain)
  end, "value"),
  of("a miss whose loader sleeps", function(cache, key)
    return cache:get(key, sleeping)
  end, "later"),
  of("a miss whose loader waits by Perigee", function(cache, key)
    return cache:get(key, parking)
  end, "later"),
  of("a miss whose loader opens a socket", function(cache, key)
    return cache:get(key, asking)
  end, "later"),
  of("a miss within a miss", function(cache, key)
    return cache:get(key, nested(cache))
  end, "later"),
  of("a miss with a ttl, tags and patience", function(cache, key)
    return cache:get(key, { loader = sleeping, ttl = 100, tags = { "t:1" }, timeout = 5 })
  end, "later"),
  of("a detached load", function(cache, key)
    return cache:get(key, { loader = plain, detach = true })
  end, "value"),
  of("a detached load that sleeps", function(cache, key)
    return cache:get(key, { loader = sleeping, detach = true })
  end, "later"),
  of("a miss with a batch loader", function(cache, key)
    return cache:get(key, { batch_loader = all_plain })
  end, "value"),
  of("a miss with a batch loader that sleeps", function(cache, key)
    return cache:get(key, { batch_loader = all_sleeping })
  end, "later"),
  of("get_many", function(cache, key)
    return one_of_many(key, cache:get_many({ key, key .. "2" }, all_plain))
  end, "value"),
  of("get_many whose batch loader sleeps", function(cache, key)
    return one_of_many(key, cache:get_many({ key, key .. "2" }, all_sleeping))
  end, "later"),
  of("get_many with a loader", function(cache, key)
    return one_of_many(key, cache:get_many({ key, key .. "2" }, { loader = plain }))
  end, "value"),
  of("get_many with a loader that sleeps", function(cache, key)
    return one_of_many(key, cache:get_many({ key, key .. "2" }, { loader = sleeping }))
  end, "later"),
  of("a stale hit", function(cache, key)
    cache:set(key, "old", 0.001)
    let_expire()
    return cache:get(key, sleeping)
  end, "stale"),
  of("a stale hit of get_many", function(cache, key)
    cache:set(key, "old", 0.001)
    let_expire()
    return one_of_many(key, cache:get_many({ key }, all_sleeping))
  end, "stale"),
  of("refresh", function(cache, key)
    cache:set(key, "old")
    local value = cache:refresh(key, plain)
    return value, loads[key]
  end, { "v", 1 }),
  of("refresh of a key that nobody has", function(cache, key)
    return cache:refresh(key, plain)
  end, "value"),
  of("refresh whose loader sleeps", function(cache, key)
    return cache:refresh(key, sleeping)
  end, "later"),
  of("a fresh get", function(cache, key)
    cache:set(key, "old")
    return cache:get(key, { loader = plain, use_cache = false })
  end, "value"),
  of("a loader's own error", function(cache, key)
    return pcall(cache.get, cache, key, function() error("mine", 0) end)
  end, { false, "mine" }),
  of("a loader's own failure", function(cache, key)
    return cache:get(key, function() return nil, "mine" end)
  end, { nil, "mine", "load" }),
  of("a load that waits for itself", function(cache, key)
    local _, err = pcall(cache.get, cache, key, function() return cache:get(key, plain) end)
    return tostring(err):find("perigee: deadlock", 1, true) ~= nil
  end, { true }),
  of("set, set_many, add, peek, contains, ttl, touch and incr", function(cache, key)
    cache:set(key, 1, { ttl = 100, tags = { "a:b" } })
    cache:set_many { [key .. "2"] = 2 }
    local added = cache:add(key, 5) or not cache:add(key .. "3", 3)
    local all = cache:peek(key) == 1 and cache:contains(key .. "2") and cache:ttl(key) > 50
      and cache:touch(key, 1000)
    return added, all, cache:incr(key, 4), cache:incr(key .. "4", 1, 10)
  end, { false, true, 5, 11 }),
  of("delete", function(cache, key)
    cache:set(key, 1)
    cache:delete(key)
    return cache:get(key)
  end, { nil, nil, "miss" }),
  of("invalidate_tags", function(cache, key)
    cache:set(key, 1, { tags = { "phase:" .. key } })
    cache:invalidate_tags("phase:" .. key)
    return cache:get(key)
  end, { nil, nil, "miss" }),
  of("a wrapped function", function(cache, key)
    return functions[cache].plain(key)
  end, "value"),
  of("a wrapped function that sleeps", function(cache, key)
    return functions[cache].sleeping(key)
  end, "later"),
  of("an invalidator", function(cache, key)
    functions[cache].plain(key)
    return functions[cache].invalidate(key)
  end, { "done" }),
  of("warmup, get_metrics and entries", function(cache, key)
    local ok = cache:warmup { [key] = plain }
    local seen = 0
    for _ in cache:entries() do seen = seen + 1 end
    return ok, cache:get_metrics().size > 0, seen > 0
  end, { true, true, true }),
  of("clear", function(cache, key)
    local own = perigee.new { name = cache.name and key, shared = cache.name and "perigee" }
    own:set(key, 1)
    own:clear()
    local value = own:get(key)
    own:close()
    return value
  end, { nil }),
}

-- These find a load of another request's.
_M.CONTENDED = {
  of("a miss that another request loads", function(cache, key)
    return cache:get(key, plain)
  end, "value"),
  of("a miss that another request loads, and whose loader sleeps", function(cache, key)
    return cache:get(key, sleeping)
  end, "later"),
  of("a miss of many that another request loads", function(cache, key)
    return one_of_many(key, cache:get_many({ key, key .. "2" }, all_plain))
  end, "value"),
  of("a miss of many that another request loads, and that sleeps", function(cache, key)
    return one_of_many(key, cache:get_many({ key, key .. "2" }, all_sleeping))
  end, "later"),
  of("a miss without a loader that another request loads", function(cache, key)
    local value, err = cache:get(key)
    return value == nil or value == "v", err
  end, { true, nil }),
  of("refresh of what another request loads", function(cache, key)
    return cache:refresh(key, plain)
  end, "value"),
}

for _, cache in pairs(caches) do
  local name = cache.name
  local own = { plain = perigee.lru { cache = cache, name = name and "plain" } (plain),
    sleeping = perigee.lru { cache = cache, name = name and "sleeping" } (sleeping) }
  own.invalidate = perigee.lru_invalidator(own.plain)(function() return "done" end)
  functions[cache] = own
end

local function key_of(phase, kind, title) return phase .. "/" .. kind .. "/" .. title end

local function told(ok, ...) return { ok = ok, n = select("#", ...), ... } end

local function try(phase, kind, probe)
  if QUIET[phase] and probe.expect == "later" then return end
  local key = key_of(phase, kind, probe.title)
  _M.seen[key] = told(pcall(probe.act, caches[kind], key))
end

local function try_all(phase, probes)
  for kind in pairs(caches) do
    for _, probe in ipairs(probes) do try(phase, kind, probe) end
  end
end

-- All at once, where nginx allows it: their loads last.
local function try_contended(phase)
  if not MAY_WAIT[phase] then return try_all(phase, _M.CONTENDED) end
  local threads = {}
  for kind in pairs(caches) do
    for _, probe in ipairs(_M.CONTENDED) do
      threads[#threads + 1] = ngx.thread.spawn(try, phase, kind, probe)
    end
  end
  for _, thread in ipairs(threads) do ngx.thread.wait(thread) end
end

--- Tries everything in this phase.
function _M.run(phase, contended)
  if _M.seen[phase] then return end
  _M.seen[phase] = { phase = ngx.get_phase() }
  if contended then try_contended(phase) end
  try_all(phase, _M.PROBES)
  _M.seen[phase].slept = told(pcall(perigee.sleep, 0.001))
  local spawned, task = pcall(perigee.spawn, function() _M.seen[phase].spawned = true end)
  if not spawned then _M.seen[phase].spawned = task end
end

--- Loads what the contended probes of a phase will ask for, until they have asked: those that may
-- wait do so then, and the others are done with it.
function _M.hold(phase)
  for kind, cache in pairs(caches) do
    for _, probe in ipairs(_M.CONTENDED) do
      local key = key_of(phase, kind, probe.title)
      ngx.thread.spawn(function()
        cache:get(key, function()
          repeat ngx.sleep(0.005) until _M.seen[phase]
          ngx.sleep(0.1)
          return "v"
        end)
      end)
    end
  end
  _M.held[phase] = true
end

--- Waits until a phase's probes will meet loads.
function _M.wait_until_held(phase)
  while not _M.held[phase] do ngx.sleep(0.005) end
end

--- Whether a phase may wait.
function _M.may_wait(phase) return MAY_WAIT[phase] end

--- What a probe came to in a phase: the list of what it returned, with `ok`.
function _M.outcome(phase, kind, title) return _M.seen[key_of(phase, kind, title)] end

--- Whether nothing is tried there that waits.
function _M.is_quiet(phase) return QUIET[phase] end

--- What the next caller gets.
function _M.next_caller(phase, kind, title)
  local key, cache, value = key_of(phase, kind, title), caches[kind], nil
  for _ = 1, 4000 do
    if title:find "wrapped" then
      value = functions[cache].sleeping(key)
    else
      value = cache:get(key, function() return "second" end)
    end
    if value ~= "old" then break end
    ngx.sleep(0.005)
  end
  return value
end

return _M

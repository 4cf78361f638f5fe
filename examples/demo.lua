-- SPDX-License-Identifier: MIT
-- What a cache is good for, on this machine's own package database.
--
--     ./dev demo                     or:  eval "$(./dev env)"; luajit examples/demo.lua
--     ./dev demo --requests 500      fewer requests
--
-- A thousand tasks ask for facts about packages, a few popular ones much more often than the
-- rest. An answer costs a process (`dpkg-query`). The same requests are made three times:
-- without a cache, with one, and with one that asks for many packages at once. Meanwhile
-- packages change, and are forgotten. Then caches that outlive a process, on the disk, and that
-- are shared by two, through Redis. Every figure is measured while you wait.
package.path = (arg[0]:match "^.*/" or "./") .. "?.lua;" .. package.path

local perigee = require "perigee"
local packages = require "support.packages"
local redis_server = require "support.redis_server"
local report = require "support.report"
local zipf = require "support.zipf"

local TASKS = 1000      -- that ask; they come in groups of ten, 2 ms apart
local REQUESTS = 3000   -- of all tasks together
local SKEW = 1.0        -- see support/zipf.lua
local SEED = 42         -- the same requests in every run
local CHANGES = 20      -- how often something is forgotten during a run
local RESTART_PACKAGES = 100 -- asked for before and after a restart
local SHARED_PACKAGES = 100  -- asked for by two processes
local PATIENCE_S = 30   -- after that, a run asks dpkg-query no more, and the table says so

-- Each entry is tagged with its section and its name. Tags are paths: to forget "libs:zlib1g" is
-- to forget one package, to forget "libs" is to forget a whole section.
local function tag_of(package)
  return package.section .. ":" .. package.name
end

-- Three ways to answer a request. `ask` gets the facts about a package, `forget` is called when
-- they have changed.

local function without_cache()
  return {
    title = "no cache",
    ask = function(package) return packages.load(package.name) end,
    forget = function() end,
  }
end

local function with_cache(title, loader, batch_loader)
  local cache = perigee.new { maxsize = 10000, default_ttl = 300 }
  return {
    title = title,
    cache = cache,
    ask = function(package)
      return cache:get(package.name,
        { loader = loader, batch_loader = batch_loader, tags = { tag_of(package) } })
    end,
    forget = function(tag) cache:invalidate_tags(tag) end,
  }
end

-- One request: how long it takes, and whether the answer is right. False when time is up.
local function request(way, package, times)
  local began = report.clock()
  local facts, err = way.ask(package)
  if err == packages.CLOSED then return false end
  times[#times + 1] = report.clock() - began
  if not facts or facts.version ~= package.version then
    error(("%s: a wrong answer for %s: %s"):format(way.title, package.name, tostring(err)))
  end
  return true
end

-- Now and then a package changes; once, halfway, a whole section.
local function change_something(way, package, number, total)
  if number == math.ceil(total / 2) then
    way.forget(package.section)
  elseif number % math.ceil(total / CHANGES) == 0 then
    way.forget(tag_of(package))
  end
end

-- All requests of one way, by a thousand tasks side by side.
local function measure(way, wanted)
  local times, asked = {}, 0
  local processes, began = packages.processes, report.clock()
  local tell = report.progress(way.title, #wanted)
  local tasks = {}
  packages.closing_time = perigee.now() + PATIENCE_S

  local function client(first)
    for i = first, #wanted, TASKS do
      asked = asked + 1
      change_something(way, wanted[i], asked, #wanted)
      if not request(way, wanted[i], times) then return end
      tell(#times)
    end
  end

  for i = 1, math.min(TASKS, #wanted) do
    tasks[i] = perigee.spawn(client, i)
    if i % 10 == 0 then perigee.sleep(0.002) end
  end
  for _, task in ipairs(tasks) do task:wait() end
  packages.closing_time = math.huge
  tell()

  table.sort(times)
  return {
    title = way.title,
    requests = #times,
    processes = packages.processes - processes,
    seconds = report.clock() - began,
    p50 = report.percentile(times, 0.50),
    p99 = report.percentile(times, 0.99),
    metrics = way.cache and way.cache:get_metrics(),
  }
end

local function row(title, results, cell_of)
  local cells = { title }
  for _, result in ipairs(results) do cells[#cells + 1] = cell_of(result) or "-  " end
  return cells
end

local function print_results(results)
  local count, seconds, percent = report.count, report.seconds, report.percent
  report.print_table {
    row("", results, function(r) return r.title .. "  " end),
    row("requests", results, function(r) return count(r.requests) .. "  " end),
    row("processes started", results, function(r) return count(r.processes) .. "  " end),
    row("wall time", results, function(r) return seconds(r.seconds) end),
    row("a request, p50", results, function(r) return seconds(r.p50) end),
    row("a request, p99", results, function(r) return seconds(r.p99) end),
    row("hit rate", results, function(r) return r.metrics and percent(r.metrics.hit_rate) end),
    row("joined a running load", results, function(r)
      return r.metrics and count(r.metrics.coalesced) .. "  "
    end),
  }
end

local function print_shortfall(results, wanted)
  for _, result in ipairs(results) do
    if result.requests < wanted then
      print(("  (%s: stopped after %d s, with %s of %s requests answered)"):format(result.title,
        PATIENCE_S, report.count(result.requests), report.count(wanted)))
    end
  end
end

-- A thousand callers at the same moment, one key, and nothing in the cache.
local function herd(package)
  local cache = perigee.new { maxsize = 100 }
  local processes, answers, tasks = packages.processes, 0, {}
  local began = report.clock()
  for i = 1, 1000 do
    tasks[i] = perigee.spawn(function()
      local facts = cache:get(package.name, packages.load)
      if facts.version == package.version then answers = answers + 1 end
    end)
  end
  for _, task in ipairs(tasks) do task:wait() end
  local took = report.clock() - began
  report.print_table {
    { "callers", report.count(#tasks) .. "  " },
    { "right answers", report.count(answers) .. "  " },
    { "loads", report.count(cache:get_metrics().loads) .. "  " },
    { "processes started", report.count(packages.processes - processes) .. "  " },
    { "time, all answered", report.seconds(took) },
  }
end

-- One life of a process with a cache on disk: see support/life.lua.
local function live(file, list)
  local script = (arg[0]:match "^.*/" or "./") .. "support/life.lua"
  local names = {}
  for i = 1, math.min(RESTART_PACKAGES, #list) do names[i] = list[i].name end
  local done = assert(perigee.exec { arg[-1], script, file, timeout = PATIENCE_S, unpack(names) })
  local processes, loaded, seconds = done.stdout:match "(%d+) (%d+) (%S+)"
  assert(done.status == 0 and processes, done.stderr)
  return { processes = tonumber(processes), loaded = tonumber(loaded), seconds = tonumber(seconds) }
end

-- The same program twice: the second one finds on the disk what the first one learned.
local function restart(list)
  local file = os.tmpname()
  local first, second = live(file, list), live(file, list)
  for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(file .. suffix) end
  report.print_table {
    { "", "first run", "second run" },
    { "entries found on the disk", report.count(first.loaded) .. "  ",
      report.count(second.loaded) .. "  " },
    { "dpkg-query started", report.count(first.processes) .. "  ",
      report.count(second.processes) .. "  " },
    { "time until all is known", report.seconds(first.seconds), report.seconds(second.seconds) },
  }
  print ""
  print(("  the restart started warm: it saved %s processes and %s"):format(
    report.count(first.processes - second.processes),
    (report.seconds(first.seconds - second.seconds):gsub("%s+$", ""))))
end

-- Another process, which shares our cache and then forgets a section: see support/neighbour.lua.
local function meet(unix, section, names)
  local script = (arg[0]:match "^.*/" or "./") .. "support/neighbour.lua"
  local done = assert(perigee.exec { arg[-1], script, unix, section, timeout = PATIENCE_S,
    unpack(names) })
  local processes, found, seconds = done.stdout:match "(%d+) (%d+) (%S+)"
  assert(done.status == 0 and processes, done.stderr)
  return { processes = tonumber(processes), found = tonumber(found), seconds = tonumber(seconds) }
end

-- How many packages of a section memory has.
local function count_held(cache, some, section)
  local count = 0
  for _, package in ipairs(some) do
    if package.section == section and cache:contains(package.name) then count = count + 1 end
  end
  return count
end

-- Asks for packages of which no process knows anything yet.
local function learn(cache, some)
  local began, processes = report.clock(), packages.processes
  for _, package in ipairs(some) do
    assert(cache:get(package.name, { loader = packages.load, tags = { tag_of(package) } }))
  end
  return { processes = packages.processes - processes, found = cache:get_metrics().remote_hits,
    seconds = report.clock() - began }
end

local function share_through(unix, list)
  local cache = perigee.new { name = "packages", maxsize = 10000, default_ttl = 300,
    remote_cache = perigee.redis { unix = unix } }
  local some, names = { unpack(list, 1, SHARED_PACKAGES) }, {}
  for i, package in ipairs(some) do names[i] = package.name end
  local first = learn(cache, some)
  local section = some[1].section
  local held = count_held(cache, some, section)
  local second = meet(unix, section, names)
  local left = count_held(cache, some, section)
  cache:close()
  report.print_table {
    { "", "this process", "second process" },
    { "found in Redis", report.count(first.found) .. "  ", report.count(second.found) .. "  " },
    { "dpkg-query started by it", report.count(first.processes) .. "  ",
      report.count(second.processes) .. "  " },
    { "time until it knew all", report.seconds(first.seconds), report.seconds(second.seconds) },
  }
  print ""
  print(("  then the second process forgot the section %q, and with it, here, %s of %s")
    :format(section, report.count(held - left), report.count(held)))
end

-- What one process has learned, the others know; what one forgets, all forget.
local function share(list)
  local server, why = redis_server.start()
  if not server then return print("  skipped: " .. why) end
  share_through(server.unix, list)
  server:stop()
end

local function fail(message)
  io.stderr:write("demo: ", message, "\n")
  os.exit(1)
end

-- The one option: --requests N.
local function requested(option, value)
  if not option then return REQUESTS end
  local n = option == "--requests" and tonumber(value)
  if not n or n < 1 or n % 1 ~= 0 then fail "usage: demo.lua [--requests N]" end
  return n
end

local function main(...)
  local total = requested(...)
  local list, err = packages.all()
  if not list then
    fail("this needs a Debian machine, with its package database; " .. err)
  elseif #list == 0 then
    fail "dpkg-query knows no package on this machine"
  end
  local wanted = zipf.draw(list, total, SKEW, SEED)

  print(("%s tasks make %s requests about the %s packages of this machine")
    :format(report.count(math.min(TASKS, total)), report.count(total), report.count(#list)))
  print ""
  local results = {
    measure(without_cache(), wanted),
    measure(with_cache("cache", packages.load), wanted),
    measure(with_cache("cache with batching", nil, packages.load_many), wanted),
  }
  print_results(results)
  print_shortfall(results, total)

  print ""
  print(("1,000 callers at once ask for %s, which is not in the cache"):format(wanted[1].name))
  print ""
  herd(wanted[1])

  print ""
  print(("a program asks for %d packages, ends, and is started again: its cache is on the disk")
    :format(math.min(RESTART_PACKAGES, #list)))
  print ""
  restart(list)

  print ""
  print(("a second process asks for the same %d packages: they share a cache through Redis")
    :format(math.min(SHARED_PACKAGES, #list)))
  print ""
  share(list)
end

perigee.run(main, ...)

-- SPDX-License-Identifier: MIT
--- What is public, found by looking: functions with the names of their parameters, and the options
-- that each call takes, which it tells when it is given one that there is not.
local agent = require "perigee.agent"
local files = require "spec.support.files"
local guard = require "perigee.agent.guard"
local perigee = require "perigee"
local testing = require "perigee.testing"

local _M = {}

-- What other modules call, and users do not.
local INTERNAL = {
  cache = { new = true, is = true, describe = true },
  guard = { limits_of = true, load = true, save = true, describe = true },
  testing = { drive = true },
  response = { __index = true },
}

-- Parameters that users do not give.
local HIDDEN = { ["perigee.new"] = { versions = true } }

local function parameters_of(fn, name)
  local list, hidden = {}, HIDDEN[name] or {}
  local info = debug.getinfo(fn, "u")
  for i = 1, info.nparams do
    local parameter = debug.getlocal(fn, i)
    if not hidden[parameter] then list[#list + 1] = parameter end
  end
  if info.isvararg then list[#list + 1] = "..." end
  return list
end

-- Of a method the first parameter is the object, whatever it is called.
local function functions_in(class, members, is_method)
  local found, internal = {}, INTERNAL[class] or {}
  for name, member in pairs(members) do
    if type(member) == "function" and not internal[name] then
      local list = parameters_of(member, class .. "." .. name)
      if is_method then table.remove(list, 1) end
      found[name] = list
    end
  end
  return found
end

local function front()
  local members = {}
  for name in files.read("lua/perigee.lua"):match("SOURCES = (%b{})"):gmatch "\n  ([%w_]+) =" do
    members[name] = perigee[name]
  end
  return members
end

local function index_of(object) return getmetatable(object).__index end

-- `guard.new` and `guard.restore` make one, the others are methods of it.
local function split_guard()
  local functions, methods = {}, {}
  for name, member in pairs(guard) do
    local is_first = name == "new" or name == "restore"
    if is_first then functions[name] = member else methods[name] = member end
  end
  return functions_in("guard", functions), functions_in("guard", methods, true)
end

local function objects_on_loop(classes)
  local task = perigee.spawn(function() end)
  classes.task = functions_in("task", index_of(task), true)
  local server = assert(perigee.http.listen { port = 0, handler = function() return "x" end })
  classes.server = functions_in("server", index_of(server), true)
  local url = ("http://127.0.0.1:%d/"):format(server.port)
  local response = assert(perigee.http.stream { url = url })
  classes.response = functions_in("response", index_of(response), true)
  response:close()
  server:stop(0)
end

--- The functions and methods: by class and name, lists of parameters.
function _M.functions()
  local session = agent.open {}
  local tool = agent.cache { resource = "r", name = "public" } (function() end)
  local http = { listen = perigee.http.listen, events = perigee.http.events,
    request = perigee.http.request, stream = perigee.http.stream }
  local of_guard, of_a_guard = split_guard()
  local classes = {
    perigee = functions_in("perigee", front()),
    cache = functions_in("cache", index_of(perigee.new()), true),
    wrapped = functions_in("wrapped", index_of(perigee.lru(function() end)), true),
    http = functions_in("http", http),
    agent = functions_in("agent", agent),
    tool = functions_in("tool", index_of(tool), true),
    session = functions_in("session", index_of(session), true),
    guard = of_guard,
    a_guard = of_a_guard,
    testing = functions_in("testing", testing),
  }
  session:close()
  perigee.run(objects_on_loop, classes)
  return classes
end

local function options_of(call, ...)
  local ok, why = pcall(call, ...)
  assert(not ok, "an option that there is not was taken")
  local list = {}
  for name in assert(why:match "the options are (.*)$", why):gmatch "[%w_]+" do
    list[#list + 1] = name
  end
  return list
end

--- The options of each call that has some.
function _M.options()
  local cache, wrong = perigee.new(), { ["?"] = 1 }
  local wrapped = perigee.lru(function() end)
  local function with(more)
    more["?"] = 1
    return more
  end
  local url = "http://127.0.0.1/"
  return {
    ["perigee.new"] = options_of(perigee.new, wrong),
    ["cache:get"] = options_of(cache.get, cache, "a", wrong),
    ["cache:set"] = options_of(cache.set, cache, "a", 1, wrong),
    ["cache:warmup"] = options_of(cache.warmup, cache, {}, wrong),
    ["perigee.lru"] = options_of(perigee.lru, wrong),
    ["perigee.ttl"] = options_of(perigee.ttl, wrong),
    ["perigee.lru_invalidator"] = options_of(perigee.lru_invalidator, wrapped, wrong),
    ["perigee.disk"] = options_of(perigee.disk, wrong),
    ["perigee.redis"] = options_of(perigee.redis, wrong),
    ["perigee.run"] = options_of(perigee.run, with { main = print }),
    ["perigee.exec"] = options_of(perigee.exec, with { "true" }),
    ["perigee.http.request"] = options_of(perigee.http.request, with { url = url }),
    ["perigee.http.stream"] = options_of(perigee.http.stream, with { url = url }),
    ["perigee.http.listen"] = options_of(perigee.http.listen, wrong),
    ["agent.cache"] = options_of(agent.cache, with { resource = "r" }),
    ["agent.invalidator"] = options_of(agent.invalidator, with { resource = "r" }),
    ["agent.open"] = options_of(agent.open, wrong),
    ["guard.new"] = options_of(guard.new, wrong),
  }
end

return _M

-- SPDX-License-Identifier: MIT
-- suites: dev
-- The annotations for the Lua language server, in library/, are those of the library: the same
-- functions with the same parameters, the same options, and nothing else.
local files = require "spec.support.files"
local public = require "spec.support.public"

local FILES = { "library/perigee.lua", "library/perigee/testing.lua", "library/perigee/agent.lua",
  "library/perigee/agent/guard.lua" }

-- What the classes of functions are called there.
local HOLDERS = { perigee = "perigee", cache = "Cache", wrapped = "Wrapped", http = "http",
  agent = "agent", tool = "Tool", session = "Session", task = "Task", server = "Server",
  response = "Response", guard = "guard", a_guard = "Guard", testing = "testing" }

-- The classes of the options that a call takes.
local OPTIONS = { ["perigee.new"] = "perigee.CacheOptions", ["cache:get"] = "perigee.GetOptions",
  ["cache:set"] = "perigee.SetOptions", ["cache:warmup"] = "perigee.WarmupOptions",
  ["perigee.lru"] = "perigee.LruOptions", ["perigee.ttl"] = "perigee.TtlOptions",
  ["perigee.lru_invalidator"] = "perigee.InvalidatorOptions",
  ["perigee.disk"] = "perigee.DiskOptions", ["perigee.redis"] = "perigee.RedisOptions",
  ["perigee.run"] = "perigee.RunOptions", ["perigee.exec"] = "perigee.ExecOptions",
  ["perigee.http.request"] = "perigee.HttpRequestOptions",
  ["perigee.http.stream"] = "perigee.HttpStreamOptions",
  ["perigee.http.listen"] = "perigee.ListenOptions", ["agent.cache"] = "perigee.ToolOptions",
  ["agent.invalidator"] = "perigee.WriterOptions", ["agent.open"] = "perigee.SessionOptions",
  ["guard.new"] = "perigee.GuardOptions" }

-- Reads the lines of one file into `functions` and `classes`.
local function read_lines(path, functions, classes)
  local documented = {}
  local class
  for line in files.read(path):gmatch "[^\n]+" do
    local name = line:match "^%-%-%-@class ([%w_.]+)"
    local param = line:match "^%-%-%-@param ([%w_.]+)"
    local holder, call, list = line:match "^function ([%w_]+)[.:]([%w_]+)%((.-)%) end$"
    if name then
      class = { fields = {}, parent = line:match "^[^:]+: (perigee%.%w+)" }
      classes[name] = class
    elseif param then
      documented[#documented + 1] = param
    elseif call then
      local parameters = {}
      for parameter in list:gmatch "[%w_.]+" do parameters[#parameters + 1] = parameter end
      functions[holder .. "." .. call] = { parameters = parameters, documented = documented }
    end
    local field = line:match "^%-%-%-@field ([%w_]+)"
    if field then class.fields[field] = true end
    if not line:find "^%-%-%-" then documented = {} end
  end
end

-- What the annotations say: functions by "holder.name", each with the parameters that it has and
-- those that its comments name; and classes by name, each with its fields and its parent.
local function annotations()
  local functions, classes = {}, {}
  for _, path in ipairs(FILES) do read_lines(path, functions, classes) end
  return functions, classes
end

local function fields_of(classes, name)
  local all, class = {}, assert(classes[name], name)
  for field in pairs(class.fields) do all[field] = true end
  if class.parent then
    for field in pairs(fields_of(classes, class.parent)) do all[field] = true end
  end
  return all
end

local function set_of(list)
  local set = {}
  for _, name in ipairs(list) do set[name] = true end
  return set
end

describe("library/", function()
  local functions, classes = annotations()

  it("has every public function, and no other", function()
    local expected = {}
    for class, members in pairs(public.functions()) do
      for name, parameters in pairs(members) do
        expected[assert(HOLDERS[class], class) .. "." .. name] = parameters
      end
    end
    for name in pairs(functions) do assert.is_truthy(expected[name], name .. " is not public") end
    for name, parameters in pairs(expected) do
      local there = assert.is_table(functions[name], name .. " is missing")
      assert.same(parameters, there.parameters, name)
      assert.same(parameters, there.documented, name .. ", its @param lines")
    end
  end)

  it("has every option, and no other", function()
    local options = public.options()
    for call, class in pairs(OPTIONS) do
      assert.same(set_of(assert.is_table(options[call], call)), fields_of(classes, class), call)
    end
    for call in pairs(options) do assert.is_truthy(OPTIONS[call], call) end
  end)

  it("has every metric, and no other", function()
    local perigee = require "perigee"
    local function nothing() return {} end
    local cache = perigee.new { name = "library",
      backup = { load = nothing, save = function() return true end, clear = nothing },
      remote_cache = { get = function() return false end, set = nothing, delete = nothing,
        clear = nothing, close = nothing } }
    local known = fields_of(classes, "perigee.Metrics")
    for name in pairs(cache:get_metrics()) do
      assert.is_true(known[name], name)
      known[name] = nil
    end
    cache:close()
    for name in pairs(known) do assert.matches("^shared_", name) end -- of workers in nginx
    local agent = require "perigee.agent"
    local counted = {}
    for name in pairs(agent.get_metrics()) do counted[name] = true end
    assert.same(counted, fields_of(classes, "perigee.ToolMetrics"))
  end)

  it("is Lua, and names no type that it does not have", function()
    local aliases = {}
    for _, path in ipairs(FILES) do
      assert(loadfile(path))
      for name in files.read(path):gmatch "@alias ([%w_.]+)" do aliases[name] = true end
    end
    for _, path in ipairs(FILES) do
      for line in files.read(path):gmatch "%-%-%-(@[cfpra][^\n]*)" do
        for name in line:gsub("@meta.*", ""):gmatch "perigee%.%u%w+" do
          assert.is_truthy(classes[name] or aliases[name], path .. ": " .. name)
        end
      end
    end
  end)
end)

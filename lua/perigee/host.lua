-- SPDX-License-Identifier: MIT

--- The `perigee` command: runs a script as the first task of the loop.
--
-- It takes LuaJIT's options; what it is asked to run (LUA_INIT, `-e`, `-l`, the script, the
-- prompt) runs in one task, in LuaJIT's order. SIGINT and SIGTERM cancel that task, and the run
-- ends as any other: tasks are cancelled, tiers flushed.
-- @module perigee.host

local cancel = require "perigee.runtime.cancel"
local context = require "perigee.context"
local each = require("perigee.value.names").each
local failures = require "perigee.runtime.failures"
local libev = require "perigee.runtime.libev"
local prompt = require "perigee.host.prompt"
local scheduler = require "perigee.runtime.scheduler"
local task = require "perigee.task"
local C = require("perigee.lib").rt

-- What specs and scripts share must be loaded before a runner like busted takes its snapshot.
require "perigee.exec"
require "perigee.testing"

local _M = {}

local USAGE = [[
usage: perigee [options]... [script [args]...]

Runs a script as the first task of the event loop; every require finds Perigee.

  -e chunk       run the text 'chunk'
  -l name        require the library 'name'
  -i             enter a prompt after running the script; what is typed may wait
  -v, --version  show the versions
  -E             ignore environment variables
  --dashboard[=port]  serve the dashboard at http://127.0.0.1:port (5001), beside
                 the script or alone
  -j cmd         control LuaJIT (on, off, flush, or a module of jit.*)
  -O[opt]        set LuaJIT's optimization options
  -b ...         save or list bytecode (see luajit -b)
  --help         show this
  --             end the options
  -              run standard input
]]

local function fail(text)
  io.stderr:write("perigee: ", text, "\n")
end

local function version()
  return ("Perigee %s on %s"):format(require "perigee.version", jit.version)
end

-- Options ---------------------------------------------------------------------------------

local function split(text)
  local list = {}
  for item in text:gmatch "[^,]+" do list[#list + 1] = item end
  return unpack(list)
end

local function set_jit(command)
  local name, arguments = command:match "^([^=]*)=?(.*)$"
  local control = jit[name]
  if type(control) ~= "function" then control = require("jit." .. name).start end
  control(split(arguments))
end

local function set_optimization(options)
  require("jit.opt").start(split(options))
end

local function run_chunk(text, name)
  assert(loadstring(text, name or "=(command line)"))()
end

-- `-bl file` is `-b -l file`.
local function save_bytecode(arguments, i)
  local list = { unpack(arguments, i + 1, #arguments) }
  local letters = arguments[i]:sub(3)
  if letters ~= "" then table.insert(list, 1, "-" .. letters) end
  require("jit.bcsave").start(unpack(list))
end

-- Options that take a text, glued to them or as the next argument.
local ACTIONS = {
  e = run_chunk,
  l = function(name) require(name) end,
  j = set_jit,
}

local FLAGS = { ["-i"] = "interactive", ["-v"] = "version", ["--version"] = "version",
  ["-E"] = "no_environment", ["--help"] = "help" }

local DASHBOARD_PORT = 5001

local function read_text_option(arguments, i, plan)
  local letter, text = arguments[i]:match "^%-([elj])(.*)$"
  if not letter then return nil, "unrecognized option '" .. arguments[i] .. "'" end
  if text == "" then
    i = i + 1
    text = arguments[i]
    if not text then return nil, ("'-%s' needs an argument"):format(letter) end
  end
  plan[#plan + 1] = { run = ACTIONS[letter], text = text }
  if letter == "e" then plan.has_chunk = true end
  return i
end

local function read_dashboard(option)
  if option == "--dashboard" then return DASHBOARD_PORT end
  local port = tonumber(option:match "^%-%-dashboard=(%d+)$")
  return port and port <= 65535 and port or nil
end

--- Reads the command line into a list of actions and the index of the script.
-- @tparam table arguments `arg`
-- @treturn table|nil the plan
-- @treturn string what is wrong
function _M.parse(arguments)
  local plan, i = {}, 1
  while arguments[i] and arguments[i]:sub(1, 1) == "-" and arguments[i] ~= "-" do
    local option = arguments[i]
    if option == "--" then
      i = i + 1
      break
    elseif FLAGS[option] then
      plan[FLAGS[option]] = true
    elseif read_dashboard(option) then
      plan.dashboard = read_dashboard(option)
    elseif option:sub(1, 2) == "-O" then
      plan[#plan + 1] = { run = set_optimization, text = option:sub(3) }
    elseif option:sub(1, 2) == "-b" then
      plan.bytecode = i
      return plan
    else
      local last, err = read_text_option(arguments, i, plan)
      if not last then return nil, err end
      i = last
    end
    i = i + 1
  end
  plan.script = arguments[i] and i
  return plan
end

-- The script ------------------------------------------------------------------------------

local function publish_arguments(arguments, script)
  local shifted = {}
  for i, value in each(arguments) do shifted[i - script] = value end
  rawset(_G, "arg", shifted)
end

local function run_init()
  local init = os.getenv "LUA_INIT"
  if not init then return end
  if init:sub(1, 1) == "@" then dofile(init:sub(2)) else run_chunk(init, "=LUA_INIT") end
end

local function run_script(arguments, script)
  local name = arguments[script]
  local chunk, err
  if name == "-" then chunk, err = loadfile() else chunk, err = loadfile(name) end
  -- A file that cannot be opened is reported with the place of this call.
  if not chunk then error((err:gsub("^%S*host%.lua:%d+: ", "")), 0) end
  chunk(unpack(arguments, script + 1, #arguments))
end

local function run_stdin()
  if C.perigee_loop_is_terminal(0) == 1 then
    print(version())
    prompt.run()
  else
    assert(loadfile())()
  end
end

-- Where nothing else is run, it has caches of its own to show.
local function serve_dashboard(plan)
  local server, why = require("perigee.dashboard").listen { port = plan.dashboard, scenes = true }
  if not server then error(why .. " (--dashboard=PORT chooses another port)", 0) end
  io.stderr:write("perigee: the dashboard: ", server.url, "\n")
  local is_alone = not (plan.script or plan.interactive or plan[1])
  if is_alone then require("perigee.dashboard.demo").start() end
  return server
end

-- The first task.
local function run_plan(plan, arguments)
  if plan.version then print(version()) end
  if not plan.no_environment then run_init() end
  local server = plan.dashboard and serve_dashboard(plan)
  for _, action in ipairs(plan) do action.run(action.text) end
  if plan.script then run_script(arguments, plan.script) end
  if plan.interactive then
    prompt.run()
  elseif not (plan.script or plan.has_chunk or plan.version) then
    if server then server:wait() else run_stdin() end
  end
end

-- Signals ---------------------------------------------------------------------------------

-- Waits for a signal, notes it, and cancels the first task.
local function heed_signal(state)
  local port = context.port
  local ticket = port.can_wait()
  C.perigee_signals_await(libev.world.loop, ticket)
  port.park(ticket)
  state.signal = C.perigee_signals_take()
  cancel.cancel(state.first)
end

local function run_first(state, plan, arguments)
  state.first = scheduler.current()
  if state.first then context.port.spawn(heed_signal, state) end
  return run_plan(plan, arguments)
end

local function exit_code(state, ok, err)
  local signal = state.signal or C.perigee_signals_take()
  C.perigee_signals_restore(libev.world.loop)
  if not ok and not (signal > 0 and err == "cancelled") then
    fail(failures.describe(err))
  end
  if signal > 0 then return 128 + signal end
  return ok and 0 or 1
end

local function run(plan, arguments)
  local state = {}
  publish_arguments(arguments, plan.script or 0)
  C.perigee_signals_listen(libev.world.loop)
  local code = exit_code(state, pcall(task.run, run_first, state, plan, arguments))
  io.stdout:flush()
  return code
end

--- Does what the command line says.
-- @tparam table arguments `arg`, the program's name at 0
-- @treturn number the exit code
function _M.main(arguments)
  local plan, err = _M.parse(arguments)
  if not plan then
    fail(err)
    io.stderr:write(USAGE)
    return 1
  elseif plan.help then
    io.stdout:write(USAGE)
    return 0
  elseif plan.bytecode then
    save_bytecode(arguments, plan.bytecode)
    return 0
  end
  return run(plan, arguments)
end

return _M

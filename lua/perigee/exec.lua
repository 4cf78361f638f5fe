-- SPDX-License-Identifier: MIT
--- `perigee.exec`: runs a program while other tasks go on.
-- @module perigee.exec

local ffi = require "ffi"
local cancel = require "perigee.runtime.cancel"
local context = require "perigee.context"
local scheduler = require "perigee.runtime.scheduler"
local C = require("perigee.lib").rt

local MAX_OUTPUT = 16 * 1024 * 1024
local TERM_GRACE_S, KILL_GRACE_S = 0.5, 0.4 -- together within the grace of a cancelled task
local SIGTERM, SIGKILL = 15, 9

local OPTIONS = { stdin = true, timeout = true, max_output = true }

local function mistake(argument, wanted, value)
  error(("perigee.exec: %s must be %s, got %s"):format(argument, wanted, tostring(value)), 4)
end

local function is_argument(value)
  return type(value) == "string" and not value:find("\0", 1, true) or type(value) == "number"
end

local function check(spec)
  if type(spec) ~= "table" then mistake("spec", "a table", spec) end
  local n = #spec
  for key in pairs(spec) do
    local is_index = type(key) == "number" and key % 1 == 0 and key >= 1 and key <= n
    if not is_index and not OPTIONS[key] then
      error(("perigee.exec: unknown option '%s'; it takes stdin, timeout and max_output")
        :format(tostring(key)), 3)
    end
  end
  if n == 0 or spec[1] == "" then mistake("the program (the first item)", "a name", spec[1]) end
  for i = 1, n do
    if not is_argument(spec[i]) then
      mistake(("item %d"):format(i), "a string without NUL bytes, or a number", spec[i])
    end
  end
  local stdin, timeout, max_output = spec.stdin, spec.timeout, spec.max_output
  if stdin ~= nil and type(stdin) ~= "string" then mistake("stdin", "a string", stdin) end
  if timeout ~= nil and not (type(timeout) == "number" and timeout >= 0) then
    mistake("timeout", "a number of seconds >= 0", timeout)
  end
  if max_output ~= nil and not (type(max_output) == "number" and max_output >= 0) then
    mistake("max_output", "a number of bytes >= 0", max_output)
  end
end

local function ticket_here(port)
  local ticket, why = port.can_wait()
  if not ticket then error("perigee.exec: " .. why, 0) end
  return ticket
end

-- True when the process has ended, false after `timeout` seconds.
local function wait(process, timeout)
  local port, time = context.port, scheduler.world().time
  local ends = timeout and time() + timeout
  local ticket = ticket_here(port)
  while C.perigee_exec_await(process.loop, process.id, ticket) == 0 do
    port.park(ticket, ends and ends - time())
    if ends and time() >= ends then
      return C.perigee_exec_await(process.loop, process.id, 0) == 1
    end
    ticket = ticket_here(port)
  end
  return true
end

-- Ends the whole group: asks, waits, kills.
local function stop(process)
  C.perigee_exec_stop(process.loop, process.id, SIGTERM)
  if wait(process, TERM_GRACE_S) then return end
  C.perigee_exec_stop(process.loop, process.id, SIGKILL)
  wait(process, KILL_GRACE_S)
end

local function start(spec)
  local argv = {}
  for i = 1, #spec do argv[i] = tostring(spec[i]) end
  local loop, stdin = scheduler.world().loop, spec.stdin
  local c_argv = ffi.new("const char *[?]", #argv + 1, argv)
  c_argv[#argv] = nil -- an initializer does not fill what it leaves open
  local id = C.perigee_exec_start(loop, c_argv, stdin, stdin and #stdin or 0,
    spec.max_output or MAX_OUTPUT)
  if id < 0 then
    return nil, ("perigee.exec: cannot start '%s': %s")
      :format(argv[1], ffi.string(C.perigee_rt_strerror(-id)))
  end
  -- Should the task be abandoned, the process goes with its coroutine.
  local result = ffi.gc(ffi.new("perigee_exec_result"), function()
    C.perigee_exec_free(loop, id)
  end)
  return { loop = loop, id = id, result = result }
end

local function close(process)
  ffi.gc(process.result, nil)
  C.perigee_exec_free(process.loop, process.id)
end

local function collect(process, spec)
  local result = process.result
  C.perigee_exec_result_of(process.loop, process.id, result)
  if result.overflow == 1 then
    return nil, ("perigee.exec: '%s' wrote more than max_output (%d bytes) and was killed")
      :format(tostring(spec[1]), spec.max_output or MAX_OUTPUT)
  end
  local signal = result.signal
  return {
    stdout = ffi.string(result.out, result.out_bytes),
    stderr = ffi.string(result.err, result.err_bytes),
    status = signal > 0 and 128 + signal or result.status,
    signal = signal > 0 and signal or nil,
  }
end

--- Runs a program and waits until it has ended. Its arguments go as they are, through no shell.
-- It runs in a process group of its own; when the time is up or the task is cancelled, the
-- group gets SIGTERM and half a second later SIGKILL.
-- @tparam table spec the program and its arguments; `stdin` (a string, default nothing),
-- `timeout` (seconds), `max_output` (bytes of each of its outputs, default 16 MiB)
-- @treturn table|nil `{ stdout =, stderr =, status = }`; a program ended by a signal has
-- `signal` and the status 128 + signal
-- @treturn string why not: it could not be started, `"timeout"`, too much output
local function exec(spec)
  check(spec)
  ticket_here(context.port)
  local process, err = start(spec)
  if not process then return nil, err end
  local ok, ended = pcall(wait, process, spec.timeout)
  if not ok or not ended then
    cancel.shielded(stop, process)
    close(process)
    if not ok then error(ended, 0) end
    return nil, "timeout"
  end
  local result, why = collect(process, spec)
  close(process)
  return result, why
end

return exec

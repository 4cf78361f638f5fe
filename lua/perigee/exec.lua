-- SPDX-License-Identifier: MIT

--- `perigee.exec`: runs a program while other tasks go on.
-- @module perigee.exec

local ffi = require "ffi"
if require "perigee.runtime.nginx" then
  return function()
    return nil, "perigee.exec: not inside nginx, whose loop knows no processes of ours; where "
      .. "nginx is built for it, ngx.pipe runs them"
  end
end

local cancel = require "perigee.runtime.cancel"
local context = require "perigee.context"
local each = require("perigee.value.names").each
local options = require "perigee.options"
local scheduler = require "perigee.runtime.scheduler"
local C = require("perigee.lib").rt

local MAX_OUTPUT = 16 * 1024 * 1024
local TERM_GRACE_S, KILL_GRACE_S = 0.5, 0.4 -- together within the grace of a cancelled task
local SIGTERM, SIGKILL = 15, 9

local OPTIONS = {
  stdin = options.kinds.string,
  timeout = { "a number of seconds >= 0", function(v) return type(v) == "number" and v >= 0 end },
  max_output = { "a number of bytes >= 0", function(v) return type(v) == "number" and v >= 0 end },
}

local function is_argument(value)
  return type(value) == "string" and not value:find("\0", 1, true) or type(value) == "number"
end

-- The items of the list, as text; the rest must be options.
local function check(spec)
  if type(spec) ~= "table" then
    options.fail("perigee.exec", "spec", "a table { program, argument, ... }", spec, 3)
  end
  local argv, rest = {}, {}
  for i = 1, #spec do
    if not is_argument(spec[i]) then
      options.fail("perigee.exec", ("item %d"):format(i),
        "a string without NUL bytes, or a number", spec[i], 3)
    end
    argv[i] = tostring(spec[i])
  end
  for key, value in each(spec) do
    if type(key) ~= "number" or argv[key] == nil then rest[key] = value end
  end
  options.check("perigee.exec", rest, OPTIONS, 3)
  if argv[1] == nil or argv[1] == "" then
    options.fail("perigee.exec", "item 1", "the name of a program", spec[1], 3)
  end
  return argv
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

local function start(argv, spec)
  local world, stdin = scheduler.world(), spec.stdin
  local loop, life = world.loop, world.life
  local c_argv = ffi.new("const char *[?]", #argv + 1, argv)
  c_argv[#argv] = nil -- an initializer does not fill what it leaves open
  local id = C.perigee_exec_start(loop, c_argv, stdin, stdin and #stdin or 0,
    spec.max_output or MAX_OUTPUT)
  if id < 0 then
    return nil, ("perigee.exec: cannot start '%s': %s")
      :format(argv[1], ffi.string(C.perigee_rt_strerror(-id)))
  end
  -- Should the task be abandoned, the process goes with its coroutine, if not with its loop: a
  -- closing Lua state finalizes in any order.
  local result = ffi.gc(ffi.new("perigee_exec_result"), function()
    if not life.is_over then C.perigee_exec_free(loop, id) end
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
  local argv = check(spec)
  ticket_here(context.port)
  local process, err = start(argv, spec)
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

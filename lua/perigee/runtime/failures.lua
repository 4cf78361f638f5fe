-- SPDX-License-Identifier: MIT

--- Tasks that failed, until somebody heard of it or it is reported on standard error.
--
-- A coroutine that died of an error keeps its stack, so a traceback costs nothing until it is
-- printed.
-- @module perigee.runtime.failures

local log = require "perigee.log"

local _M = {}

local unheard = {}
local last_err, last_trace

local function text_of(err)
  if type(err) == "string" or type(err) == "number" then return tostring(err) end
  local mt = getmetatable(err)
  if type(mt) == "table" and mt.__tostring then
    local ok, text = pcall(tostring, err)
    if ok and type(text) == "string" then return text end
  end
  return ("(error object is a %s value)"):format(type(err))
end

local function trace_of(trace)
  return type(trace) == "thread" and debug.traceback(trace) or trace
end

--- Remembers where an error came from while it travels through other tasks.
-- @param err the error object
-- @tparam thread|string trace the coroutine that died of it, or a traceback
function _M.note(err, trace)
  last_err, last_trace = err, trace
end

local here = debug.getinfo(1, "S").source:match("^(.*)runtime/failures%.lua$") or "@?"

--- The place in the user's code where a coroutine stands.
-- @tparam thread thread
-- @treturn string like `app.lua:12`
function _M.where(thread)
  for level = 0, 50 do
    local info = thread and debug.getinfo(thread, level, "Sl")
    if not info then break end
    if info.what ~= "C" and info.source:sub(1, #here) ~= here then
      return ("%s:%d"):format(info.short_src, info.currentline)
    end
  end
  return "its start"
end

--- An error as text, with the traceback of the place where it was raised if that is known.
-- @param err an error object of any type
-- @tparam[opt] string trace another traceback, for when it is not
-- @treturn string
function _M.describe(err, trace)
  if last_trace and rawequal(err, last_err) then trace = trace_of(last_trace) end
  return trace and text_of(err) .. "\n" .. trace or text_of(err)
end

--- A handler for xpcall that notes the traceback and passes the error on unchanged.
function _M.handler(err)
  if not rawequal(err, last_err) then last_err, last_trace = err, debug.traceback() end
  return err
end

--- A task died of `err`. Being cancelled is no failure.
function _M.add(task, err, thread)
  if task.cancelled and err == "cancelled" then return end
  task.thread, task.awaited = thread, task.waiter and true or false
  table.insert(unheard, task)
end

--- The error of a failed task has reached somebody.
function _M.hear(task)
  task.heard = true
  if task.thread then
    if not rawequal(task.err, last_err) then last_err, last_trace = task.err, task.thread end
    task.thread = nil
  end
end

local function tell(write, text)
  local ok, err = pcall(write, text)
  if not ok then io.stderr:write("perigee: the log failed: ", text_of(err), "\n", text, "\n") end
end

--- Something that nobody waits for raised an error and goes on.
function _M.tell(err, what)
  tell(log.error, ("%s failed: %s"):format(what, text_of(err)))
end

local function report(task)
  local kind = task.internal and "internal work" or "a task that nobody waited for"
  local text = ("%s failed: %s"):format(kind, text_of(task.err))
  if task.thread then text = text .. "\n" .. debug.traceback(task.thread) end
  task.thread = nil
  tell(log.error, text)
end

--- A task was given up because it went on after it was cancelled.
function _M.abandoned(task, trace)
  local kind = task.internal and "internal work" or "a task"
  tell(log.warn, kind .. " was abandoned: it went on waiting after it was cancelled\n" .. trace)
end

--- Reports the failures that nobody heard of: those of the turn before, and those whose waiter
-- has had a turn to hear them.
function _M.report()
  if unheard[1] == nil then return end
  local list = unheard
  unheard = {}
  for i = 1, #list do
    local task = list[i]
    if task.awaited then
      task.awaited = false
      table.insert(unheard, task)
    elseif not task.heard then
      report(task)
    end
  end
end

--- Reports now what nobody heard of in `scope` (nil: anywhere).
function _M.report_all(scope)
  local list = unheard
  unheard = {}
  for i = 1, #list do
    local task = list[i]
    if scope and task.scope ~= scope then
      table.insert(unheard, task)
    elseif not task.heard then
      report(task)
    end
  end
end

-- What failed in the last turn of the program is still told when the Lua state closes.
local at_exit = newproxy(true)
getmetatable(at_exit).__gc = function() pcall(_M.report_all) end
_M.at_exit = at_exit

return _M

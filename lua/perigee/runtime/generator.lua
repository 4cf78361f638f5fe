-- SPDX-License-Identifier: MIT

--- Coroutines made inside a task in which waiting works.
--
-- A naive park would hand its yield to whoever resumes the coroutine. Here the one who resumes
-- is ours: a yield of the scheduler is passed on outwards, so that the whole task parks, and the
-- outcome is passed back in. All other yields belong to the user. A generator belongs to the
-- session in which it was made, whoever resumes it.
-- @module perigee.runtime.generator

local context = require "perigee.context"
local failures = require "perigee.runtime.failures"
local scheduler = require "perigee.runtime.scheduler"

local resume, yield, running = coroutine.resume, coroutine.yield, coroutine.running
local PARKED, GONE = scheduler.PARKED, scheduler.GONE

local _M = {}

-- `self` is { generator, session }.
local function relay(self, thread, session, ok, what, ...)
  if what == PARKED or what == GONE then
    local task = scheduler.current()
    task.waits_in = task.waits_in or self.generator -- the innermost: for tracebacks
    local unparked = yield(what)
    task.waits_in = nil
    return relay(self, thread, session, resume(self.generator, unparked))
  end
  self.session, context.session = context.session, session
  scheduler.set_thread(thread)
  if not ok then
    failures.note(what, self.generator)
    error(what, 0)
  end
  return what, ...
end

local function step(self, ...)
  local thread, session = scheduler.thread(), context.session
  if thread and running() == thread then scheduler.set_thread(self.generator) end
  context.session = self.session
  return relay(self, thread, session, resume(self.generator, ...))
end

--- Makes a function that behaves like the one of `coroutine.wrap(fn)`.
-- @tparam function fn the body
-- @treturn function
function _M.new(fn)
  local generator = coroutine.create(type(fn) == "function" and fn
    or function(...) return fn(...) end)
  local self = { generator = generator, session = context.session }
  return function(...) return step(self, ...) end
end

return _M

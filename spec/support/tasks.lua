-- SPDX-License-Identifier: MIT
--- Tasks and time for the specs: test bodies on the virtual clock, jobs that remember how they
-- ended, and time that passes without anybody sleeping for it.
local perigee = require "perigee"
local testing = require "perigee.testing"

local _M = {}

local STEP_MS = 10
local is_virtual = false

--- A test body that runs on the virtual clock.
function _M.virtual(body)
  return function()
    is_virtual = true
    testing.run(body)
  end
end

--- A test body that runs on the real loop.
function _M.real(body)
  return function()
    is_virtual = false
    perigee.run(body)
  end
end

--- Lets every task that is ready run, a few turns long; no time passes.
function _M.settle()
  for _ = 1, 6 do
    perigee.sleep(0)
  end
end

--- Lets `seconds` pass. Virtual time moves in small steps, so that a task that sleeps twice in
-- a row wakes when it should.
function _M.pass(seconds)
  if not is_virtual then
    perigee.sleep(seconds)
    return
  end
  local left = math.floor(seconds * 1000 + 0.5)
  local step = math.max(1, math.min(STEP_MS, left), math.floor(left / 100))
  _M.settle()
  while left > 0 do
    local now = math.min(step, left)
    testing.advance(now / 1000)
    _M.settle()
    left = left - now
  end
end

local function finish_job(job, ok, ...)
  job.done, job.ok, job.n = true, ok, select("#", ...)
  for i = 1, job.n do
    job[i] = (select(i, ...))
  end
end

--- Starts `fn(...)` as a task. The job says `done`, `ok`, and holds what came back (or the
-- error) from 1 to `n`; `job.task` is the task.
function _M.start(fn, ...)
  local job = { done = false }
  job.task = perigee.spawn(function(...)
    finish_job(job, pcall(fn, ...))
  end, ...)
  return job
end

--- Starts `fn(i)` for i = 1..n.
function _M.start_many(n, fn)
  local jobs = {}
  for i = 1, n do
    jobs[i] = _M.start(fn, i)
  end
  return jobs
end

local function all_done(jobs)
  for _, job in ipairs(jobs) do
    if not job.done then
      return false
    end
  end
  return true
end

--- Lets time pass until all jobs have ended; fails after `limit` seconds (30).
function _M.finish(jobs, limit)
  if jobs.task then
    jobs = { jobs }
  end
  local passed = 0
  _M.settle()
  while not all_done(jobs) do
    assert(passed < (limit or 30), "a task still waits after " .. passed .. " s")
    _M.pass(STEP_MS / 1000)
    passed = passed + STEP_MS / 1000
  end
  return jobs
end

--- `start_many` and `finish` in one.
function _M.together(n, fn)
  return _M.finish(_M.start_many(n, fn))
end

--- Runs one function as a task until it has ended and returns what it returned, or raises.
function _M.await(fn, ...)
  local job = _M.start(fn, ...)
  _M.finish(job)
  if not job.ok then
    error(job[1], 0)
  end
  return unpack(job, 1, job.n)
end

--- A loader that takes `seconds`, returns `value` (or what it computes from the key when it is
-- a function) and counts its calls in the second result's `calls`.
function _M.slow(seconds, value)
  local count = { calls = 0, keys = {} }
  return function(key)
    local call = count.calls + 1
    count.calls, count.keys[call] = call, key
    perigee.sleep(seconds)
    if type(value) == "function" then
      return value(key, call)
    end
    return value
  end, count
end

--- A table like a function: the API takes it wherever it takes one.
function _M.callable(fn)
  return setmetatable({}, { __call = function(_, ...)
    return fn(...)
  end })
end

return _M

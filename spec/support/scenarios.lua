-- SPDX-License-Identifier: MIT
--- Stories of agents for the specs of the guard: honest work that no guard may refuse, and loops
-- that it must. Each is a list of calls `{ t =, round =, tool =, args =, result =, kind = }`; and
-- how they are played.
local guard = require "perigee.agent.guard"

local _M = {}

local function story(label, title, build)
  local calls, at = {}, 0
  local function call(tool, args, result, more)
    local one = { tool = tool, args = args, result = result, kind = "read" }
    for name, value in pairs(more or {}) do one[name] = value end
    at = one.t or at + (one.after or 1)
    one.t, one.round = at, one.round or #calls + 1
    calls[#calls + 1] = one
  end
  build(call)
  return { label = label, title = title, calls = calls }
end

local function honest(title, build) return story("legit", title, build) end
local function loop(title, build) return story("loop", title, build) end

_M.STORIES = {
  honest("a job whose state changes with each look", function(call)
    for i = 0, 20 do call("job_status", { id = 7 }, i * 5 .. " %") end
  end),
  honest("a build that is looked at every half minute, fifty times the same", function(call)
    for _ = 1, 50 do call("read_output", { h = 1 }, "building", { after = 30, kind = "exec" }) end
    call("read_output", { h = 1 }, "done", { after = 30, kind = "exec" })
  end),
  honest("sleep and look, in turn", function(call)
    for _ = 1, 25 do
      call("sleep", { s = 20 }, "", { after = 1, kind = "exec" })
      call("look", {}, "not yet", { after = 20 })
    end
  end),
  honest("checking and changing the stock, which changes", function(call)
    for i = 1, 20 do
      call("check_stock", { item = "apple" }, 100 - i)
      call("update_stock", { item = "apple", by = -1 }, "ok " .. 100 - i, { kind = "write" })
    end
  end),
  honest("forty pages, one after the other", function(call)
    for i = 1, 40 do call("list", { page = i }, "page " .. i) end
  end),
  honest("edit and test until it passes, the failure being the same", function(call)
    for i = 1, 8 do
      call("edit", { change = i }, "ok", { kind = "write" })
      call("test", {}, "1 of 20 failed", { kind = "exec", error = true })
    end
    call("edit", { change = 9 }, "ok", { kind = "write" })
    call("test", {}, "passed", { kind = "exec" })
  end),
  honest("one file that is read again between many others", function(call)
    for i = 1, 12 do
      call("read", { path = "README" }, "text", { cached = i > 1 })
      call("read", { path = "file" .. i }, "text " .. i)
    end
  end),
  honest("ten equal calls in one answer of the model", function(call)
    for _ = 1, 10 do call("weather", { city = "Bonn" }, "rain", { round = 1 }) end
    call("report", {}, "sent", { kind = "write", round = 2 })
  end),
  honest("a service that is away for a moment", function(call)
    for _ = 1, 4 do
      call("fetch", { url = "u" }, "503", { error = true, transient = true, after = 2 })
    end
    call("fetch", { url = "u" }, "the page")
  end),
  honest("the same questions to ten customers", function(call)
    for i = 1, 10 do
      call("customer", { id = i }, "customer " .. i)
      call("orders", { id = i }, i % 3 == 0 and "none" or "order " .. i)
      call("mail", { to = i }, "sent", { kind = "write" })
    end
  end),
  honest("searches without a result, then another way", function(call)
    for i = 1, 7 do call("grep", { pattern = "p" .. i }, "no matches") end
    call("read", { path = "index" }, "found")
  end),
  honest("two things that are compared in turn, and change", function(call)
    for i = 1, 15 do
      call("left", {}, "l" .. i)
      call("right", {}, "r" .. i)
    end
  end),
  loop("one call, again and again", function(call)
    for _ = 1, 30 do call("search", { q = "x" }, "nothing") end
  end),
  loop("two calls in turn", function(call)
    for _ = 1, 15 do
      call("check", {}, "no")
      call("act", {}, "done", { kind = "write" })
    end
  end),
  loop("five calls in turn", function(call)
    for i = 1, 60 do call("step", { n = i % 5 }, "result " .. i % 5) end
  end),
  loop("nineteen calls in turn, which no window holds", function(call)
    for i = 1, 160 do call("step", { n = i % 19 }, "result " .. i % 19) end
  end),
  loop("a loop after long honest work", function(call)
    for i = 1, 60 do call("read", { path = i }, "text " .. i) end
    for i = 1, 60 do call("step", { n = i % 3 }, "same") end
  end),
  loop("three calls at once, in another order each time", function(call)
    local order = { { "a", "b", "c" }, { "c", "a", "b" }, { "b", "c", "a" } }
    for round = 1, 12 do
      for _, name in ipairs(order[round % 3 + 1]) do
        call("read", { path = name }, "text " .. name, { round = round })
      end
    end
  end),
  loop("many arguments, one answer", function(call)
    for i = 1, 40 do call("grep", { pattern = "variant " .. i }, "the same 906 bytes") end
  end),
  loop("many arguments, one error", function(call)
    for i = 1, 20 do
      call("write_file", { path = "/f" .. i }, "read-only file system",
        { kind = "write", error = true })
    end
  end),
  loop("a cached answer, which stays true", function(call)
    for i = 1, 30 do call("config", {}, "v", { cached = i > 1 }) end
  end),
  loop("polling without a pause", function(call)
    for _ = 1, 40 do call("job_status", { id = 1 }, "running", { after = 0.2 }) end
  end),
  loop("polling for ever", function(call)
    for _ = 1, 200 do call("job_status", { id = 1 }, "running", { after = 30, kind = "poll" }) end
  end),
  loop("a message that is sent again, each time with a new number", function(call)
    for i = 1, 20 do
      call("send", { text = "hi" }, { id = i }, { kind = "write", result_key = "sent" })
    end
  end),
  loop("two answers in turn, to the same question", function(call)
    for i = 1, 80 do call("flag", {}, i % 2 == 0 and "on" or "off") end
  end),
}

--- Plays a story: a refresh is answered by `fresh`, and a result equal to `goal` ends it.
-- @treturn table|nil the verdict that halted it, with `at`, the number of the call
function _M.play(trace, opts)
  local now, current = 0, nil
  local all = { clock = function() return now end,
    loop_key = function(_, args) return current.loop_key or args end,
    result_key = function(_, result) return current.result_key or result end }
  for name, value in pairs(opts or {}) do all[name] = value end
  local g = guard.new(all)
  for i, call in ipairs(trace.calls) do
    now, current = call.t, call
    local v = g:check { tool = call.tool, args = call.args, kind = call.kind, cached = call.cached,
      round = call.round + 1 }
    if v.action == "block" or v.action == "stop" then
      v.at = i
      return v, g
    end
    local result, cached = call.result, call.cached
    if v.action == "refresh" then
      cached = false
      if call.fresh ~= nil then result = call.fresh end
    end
    if call.goal ~= nil and result == call.goal then return nil, g end
    g:record(v, result, { error = call.error, transient = call.transient, cached = cached })
  end
  return nil, g
end

return _M

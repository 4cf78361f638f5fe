-- SPDX-License-Identifier: MIT
--- What the JIT compiler did while a function ran: for the rule "the hot path is compiled, and
-- that is tested".
--
--    local traces = require "spec.support.traces"
--    local report = traces.watch(function()
--      for _ = 1, 1000 do cache:get("key") end
--    end)
--    assert.same({}, report.aborts)   -- { { why =, where = }, … } recordings given up
--    assert.same({}, report.stitches) -- { { where = }, … } traces that end in an interpreted call
--    assert.is_true(#report.traces > 0) -- { { number =, where =, link = }, … }
--
-- The function starts with no compiled code (`jit.flush`), so what earlier code compiled is not
-- taken for its work. What LuaJIT has blacklisted stays so, and then no trace is formed: always
-- ask for `report.traces` too, and give each hot path a spec file of its own where it matters.
--
-- Two aborts are no failure but how LuaJIT finds its loops: a recording that leaves its loop, or
-- meets an inner loop, is given up and begins again at a better place. They are in
-- `report.retries`. `where` is "file:line" of the place: where a trace begins, where an abort
-- struck. In a spec, take the globals that `fn` uses into locals first: busted gives its files an
-- environment of their own, and each global is a call of busted's.

local util = require "jit.util"
local vmdef = require "jit.vmdef"

jit.off(true, true) -- the watcher itself is never compiled

local _M = {}

local RETRIES = {
  ["leaving loop in root trace"] = true,
  ["inner loop in root trace"] = true,
}

local function place(func, pc)
  local info = util.funcinfo(func, pc)
  if not info.source then
    return info.ffid and "built-in " .. tostring(vmdef.ffnames[info.ffid]) or "C function"
  end
  local file = info.source:gsub("^@", ""):gsub("^.*/(lua/perigee[./])", "%1"):gsub("^%./", "")
  return file .. ":" .. (info.currentline or info.linedefined)
end

local function reason(code, extra)
  if type(code) ~= "number" then return tostring(code) end
  local text = vmdef.traceerr[code] or ("trace error %d"):format(code)
  if type(extra) == "number" and text:find "bytecode" then
    extra = vmdef.bcnames:sub(extra * 6 + 1, extra * 6 + 6):gsub(" ", "")
  elseif type(extra) == "function" then
    extra = place(extra)
  end
  return (text:gsub("%%[sd]", { ["%s"] = tostring(extra), ["%d"] = tostring(extra) }))
end

local function new_report()
  return { traces = {}, aborts = {}, retries = {}, stitches = {}, flushes = 0 }
end

local function recorder(report)
  local started = {}
  local handlers = {}

  function handlers.start(number, func, pc)
    started[number] = place(func, pc)
  end

  function handlers.stop(number)
    local info = util.traceinfo(number)
    local trace = { number = number, where = started[number], link = info.linktype }
    table.insert(report.traces, trace)
    if info.linktype == "stitch" then table.insert(report.stitches, trace) end
  end

  function handlers.abort(_, func, pc, code, extra)
    local why = reason(code, extra)
    table.insert(RETRIES[why] and report.retries or report.aborts,
      { why = why, where = place(func, pc) })
  end

  function handlers.flush()
    report.flushes = report.flushes + 1
  end

  local function on_event(what, ...)
    local handler = handlers[what]
    if handler then handler(...) end
  end
  return on_event
end

-- A finalizer that runs in the middle of a recording aborts it, whoever's garbage it is.
local function collect_finalizers()
  collectgarbage()
  collectgarbage()
end

--- Runs `fn` and tells what was compiled meanwhile. What `fn` raises is raised.
-- @tparam function fn what to run; it should do its work some hundred times, or nothing is hot
-- @tparam[opt] string only keep aborts and stitches whose place contains this text
-- @treturn table `traces`, `aborts`, `retries`, `stitches` (lists) and `flushes` (how often the
--   code cache was thrown away)
function _M.watch(fn, only)
  assert(jit.status(), "the JIT compiler is off: there is nothing to watch")
  local report = new_report()
  local on_event = recorder(report)
  collect_finalizers()
  jit.flush()
  jit.attach(on_event, "trace")
  local ok, err = xpcall(fn, debug.traceback)
  jit.attach(on_event)
  if not ok then error(err, 0) end
  if only then
    report.aborts = _M.at(report.aborts, only)
    report.stitches = _M.at(report.stitches, only)
  end
  return report
end

--- Those of a report's list whose place contains `text`.
-- @tparam table list of a report
-- @tparam string text for example `"lua/perigee/"`
-- @treturn table a list
function _M.at(list, text)
  local found = {}
  for _, item in ipairs(list) do
    if item.where:find(text, 1, true) then table.insert(found, item) end
  end
  return found
end

return _M

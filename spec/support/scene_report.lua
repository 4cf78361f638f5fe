-- SPDX-License-Identifier: MIT
--- What a report of `perigee.dashboard.scenes` must look like, and ways to look into one.
local assert = require "luassert"

local _M = {}

local KINDS = { call = true, load = true, hit = true, stale = true, wait = true, change = true,
  error = true, note = true }
local FIELDS = { title = true, summary = true, facts = true, lanes = true, events = true,
  length = true }
local EVENT_FIELDS = { at = true, till = true, lane = true, kind = true, text = true,
  count = true }

local function check_fields(t, allowed, what)
  for name in pairs(t) do
    assert.is_true(allowed[name], ("%s has a field %s"):format(what, tostring(name)))
  end
end

local function is_text(value) return type(value) == "string" and value ~= "" end

local function check_event(event, report, before)
  check_fields(event, EVENT_FIELDS, "an event")
  assert.is_true(KINDS[event.kind], "kind " .. tostring(event.kind))
  assert.is_true(is_text(event.text))
  assert.is_string(report.lanes[event.lane])
  assert.is_true(event.at >= before and event.at <= report.length, "order of " .. event.text)
  if event.till ~= nil then
    assert.is_true(event.till > event.at and event.till <= report.length)
  end
  if event.count ~= nil then
    assert.is_true(event.count > 1 and event.count % 1 == 0)
  end
end

--- Fails on anything that is not as promised.
function _M.check(report)
  check_fields(report, FIELDS, "the report")
  assert.is_true(is_text(report.title) and is_text(report.summary))
  assert.is_true(#report.facts > 0 and #report.lanes > 0)
  for _, fact in ipairs(report.facts) do
    assert.equal(2, #fact)
    assert.is_true(is_text(fact[1]) and is_text(fact[2]), tostring(fact[1]))
  end
  for _, lane in ipairs(report.lanes) do assert.is_true(is_text(lane)) end
  assert.is_true(#report.events > 0 and #report.events <= 200, #report.events .. " events")
  local before = 0
  for _, event in ipairs(report.events) do
    check_event(event, report, before)
    before = event.at
  end
  assert.is_true(report.length > 0)
end

--- The fact of this name, as a number if it begins with one.
function _M.fact(report, name)
  for _, fact in ipairs(report.facts) do
    if fact[1] == name then
      local digits = fact[2]:gsub(",", ""):match "^%d+"
      return digits and tonumber(digits) or fact[2]
    end
  end
  error("there is no fact: " .. name, 2)
end

--- The events of a lane (by its name) and of a kind.
function _M.events(report, lane, kind)
  local list = {}
  for _, event in ipairs(report.events) do
    if report.lanes[event.lane] == lane and event.kind == kind then list[#list + 1] = event end
  end
  return list
end

--- How many of them there were, counting those that were folded.
function _M.count(report, lane, kind)
  local n = 0
  for _, event in ipairs(_M.events(report, lane, kind)) do n = n + (event.count or 1) end
  return n
end

return _M

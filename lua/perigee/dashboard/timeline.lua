-- SPDX-License-Identifier: MIT

--- What happened, and when: recorded while it happens, and told as a list that a page can draw.
--
-- Equal events at nearly one time are one with a `count`. A list is never longer than `MOST`
-- events: if there are more, time is taken coarser until they are not.
-- @module perigee.dashboard.timeline

local _M = {}
local mt = { __index = _M, __name = "perigee.dashboard.timeline" }

--- What an event may be.
_M.KINDS = { call = true, load = true, hit = true, stale = true, wait = true, change = true,
  error = true, note = true }

--- How many events a list has at most.
_M.MOST = 200

local NEAR_MS = 5     -- equal events that begin, and end, within so long are one
local MOMENT_MS = 0.1 -- what took less took no time

--- Begins to record.
-- @tparam table lanes names of the rows, from top to bottom
-- @tparam function now seconds, which only grow
-- @treturn table the timeline
function _M.new(lanes, now)
  local self = setmetatable({ lanes = lanes, now = now, began = now(), numbers = {},
    events = {}, last = {} }, mt)
  for i, name in ipairs(lanes) do self.numbers[name] = i end
  return self
end

--- Milliseconds since recording began.
-- @treturn number
function _M:time()
  return (self.now() - self.began) * 1000
end

-- Whether two equal events can be one.
local function is_near(one, other, near_ms)
  if math.abs(one.at - other.at) > near_ms then return false end
  if not one.till or not other.till then return one.till == other.till end
  return math.abs(one.till - other.till) <= near_ms
end

local function join(into, event)
  into.count = into.count + event.count
  into.mixed = into.mixed or event.mixed or into.text ~= event.text
  into.at = math.min(into.at, event.at)
  if into.till then into.till = math.max(into.till, event.till) end
end

-- Adds an event to a list, in which `last` has the last one of each sort.
local function add(list, last, sort, event, near_ms)
  local before = last[sort]
  if before and is_near(before, event, near_ms) then return join(before, event) end
  list[#list + 1], last[sort] = event, event
end

--- Records an event.
-- @tparam string lane name of its row
-- @tparam string kind one of `KINDS`
-- @tparam string text for people
-- @tparam[opt] number at when it began, as `time` tells it; default: now
-- @tparam[opt] number till when it ended; default: it took no time
-- @raise on a lane or a kind that does not exist
function _M:add(lane, kind, text, at, till)
  local number = self.numbers[lane]
  if not number or not _M.KINDS[kind] then
    error(("timeline:add: no lane %q, or no kind %q"):format(tostring(lane), tostring(kind)), 2)
  end
  at = at or self:time()
  if till and till - at < MOMENT_MS then till = nil end
  local event = { at = at, till = till, lane = number, kind = kind, text = text, count = 1 }
  add(self.events, self.last, ("%d %s %s"):format(number, kind, text), event, NEAR_MS)
end

local function is_earlier(a, b)
  if a.at ~= b.at then return a.at < b.at end
  return a.number < b.number
end

-- Copies in the order of time; of one time, in the order in which they were recorded.
local function sorted(events)
  local list = {}
  for i, event in ipairs(events) do
    list[i] = { number = i, at = event.at, till = event.till, lane = event.lane,
      kind = event.kind, text = event.text, count = event.count, mixed = event.mixed }
  end
  table.sort(list, is_earlier)
  return list
end

-- The same, with time taken coarser; different texts do not keep events apart any more. In the end
-- there is one event, or two, of each kind in each lane.
local function coarser(events, near_ms)
  local list, last = {}, {}
  for _, event in ipairs(events) do
    local sort = ("%d %s %s"):format(event.lane, event.kind, tostring(event.till ~= nil))
    add(list, last, sort, event, near_ms)
  end
  return sorted(list)
end

local function tenths(ms)
  return math.floor(ms * 10 + 0.5) / 10
end

--- What was recorded.
-- @treturn table a list, at most `MOST` long, ordered by `at`, of `{ at =, till =, lane =, kind =,
--   text =, count = }`: milliseconds, `till` where it took time; the number of a lane; `count`
--   where there were several
function _M:list()
  local list, near_ms = sorted(self.events), NEAR_MS
  while #list > _M.MOST do
    near_ms = near_ms * 2
    list = coarser(list, near_ms)
  end
  for _, event in ipairs(list) do
    if event.mixed then event.text = event.text .. ", and the like" end
    event.number, event.mixed, event.at = nil, nil, tenths(event.at)
    event.till = event.till and tenths(event.till)
    if event.count == 1 then event.count = nil end
  end
  return list
end

return _M

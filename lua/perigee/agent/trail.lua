-- SPDX-License-Identifier: MIT

--- The last calls of a session: who wants to know what an agent did, and what it was told, asks
-- here.
--
-- A ring in one flat list, which takes little room. [0] is the number of calls so far; then there
-- are five places for each call: the tool, the key of its arguments, its round, what came of
-- it (a word, or a verdict that has that word as `outcome`), its answer (a box of
-- `perigee.value.returns`, or false).
-- @module perigee.agent.trail

local legible = require "perigee.agent.legible"

local _M = {}
local mt = { __index = _M, __name = "perigee.agent.trail" }

local WIDTH, LENGTH = 5, 25

--- Makes a trail without calls.
-- @treturn table
function _M.new()
  return setmetatable({ [0] = 0 }, mt)
end

--- Adds a call.
-- @tparam table tool with `name`
-- @param key key of its arguments
-- @tparam number round of the session
-- @tparam string|table what came of it
-- @tparam table|false answer its answer
function _M:add(tool, key, round, what, answer)
  local at = self[0] % LENGTH * WIDTH
  self[0] = self[0] + 1
  self[at + 1], self[at + 2], self[at + 3] = tool, key, round
  self[at + 4], self[at + 5] = what, answer
end

-- Where the call with this number stands, from 0; nil: it is not kept any more.
local function place(self, number)
  if number < 0 or number < self[0] - LENGTH then return nil end
  return number % LENGTH * WIDTH
end

--- The last answer to a call.
-- @tparam table tool the tool
-- @param key key of its arguments
-- @tparam[opt] boolean any whether the answer to a call with other arguments will do
-- @treturn table|nil the answer
function _M:answer(tool, key, any)
  for number = self[0] - 1, self[0] - LENGTH, -1 do
    local at = place(self, number)
    if not at then return nil end
    local is_it = self[at + 1] == tool and (any or self[at + 2] == key)
    if is_it and self[at + 5] then return self[at + 5] end
  end
end

--- The tools of the last rounds and of one call more: what a cycle consists of.
-- @tparam table tool of the call
-- @tparam number period rounds, the call's among them
-- @treturn string
function _M:steps(tool, period)
  local names, rounds, seen = { tool.name }, 1, nil
  for number = self[0] - 1, self[0] - LENGTH, -1 do
    local at = place(self, number)
    if not at then break end
    if self[at + 3] ~= seen then
      seen, rounds = self[at + 3], rounds + 1
      if rounds > period then break end
      table.insert(names, 1, self[at + 1].name)
    else
      names[1] = self[at + 1].name .. " + " .. names[1]
    end
  end
  if rounds < period then table.insert(names, 1, "...") end
  return table.concat(names, " -> ")
end

-- Explaining ---------------------------------------------------------------------------------

local function explain_call(self, at, number)
  local what, answer = self[at + 4], self[at + 5]
  local call = { number = number + 1, tool = self[at + 1].name, round = self[at + 3],
    arguments = legible.key(self[at + 2]), action = "ok", outcome = what,
    answer = answer and legible.answer(answer) or nil }
  if type(what) == "table" then
    call.action, call.outcome, call.kind = what.action, what.outcome, what.kind
    call.count, call.period, call.since = what.count, what.period, what.since
    call.loop_id, call.message = what.loop_id, what.message
  end
  return call
end

--- The last calls, oldest first.
-- @treturn table list of tables: see `agent.explain`
function _M:calls()
  local list = {}
  for number = math.max(0, self[0] - LENGTH), self[0] - 1 do
    list[#list + 1] = explain_call(self, place(self, number), number)
  end
  return list
end

local function line(call)
  local text = ("%4d  %s(%s)  %s"):format(call.number, call.tool, call.arguments, call.outcome)
  if call.answer then text = text .. ": " .. call.answer end
  if call.message then text = text .. "\n      " .. call.message end
  return text
end

--- What `calls` gave, as text.
-- @tparam table calls the list
-- @treturn string a line for each, and one for each message
function _M.lines(calls)
  local lines = {}
  for i, call in ipairs(calls) do lines[i] = line(call) end
  return table.concat(lines, "\n")
end

return _M

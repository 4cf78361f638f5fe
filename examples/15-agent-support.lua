-- SPDX-License-Identifier: MIT
-- Two support agents side by side, with copies of their own, which vanish with their sessions. One
-- writes for itself, then for both. Where a line is indented, the desk was really asked.
--
--     luajit examples/15-agent-support.lua
local perigee = require "perigee"
local agent = require "perigee.agent"

local tickets = { ["T-100"] = "open" } -- the help desk: think of a web service

local function read_status(ticket_id)
  print("    the desk reads " .. ticket_id)
  perigee.sleep(0.005)
  return tickets[ticket_id]
end

local function write_status(ticket_id, status)
  print(("    the desk writes that %s is %s"):format(ticket_id, status))
  perigee.sleep(0.005)
  tickets[ticket_id] = status
end

local get_ticket = agent.cache { resource = "ticket", scope = "session" } (read_status)
local update_own = agent.invalidator { resource = "ticket", scope = "session" } (write_status)
local update_all = agent.invalidator { resource = "ticket", scope = "global" } (write_status)

local function both_look(a, b)
  local seen = perigee.gather {
    function() return a:run(get_ticket, "T-100") end,
    function() return b:run(get_ticket, "T-100") end,
  }
  print(("%s: %s, %s: %s"):format(a.session_id, seen[1], b.session_id, seen[2]))
end

-- Two sessions at once, so neither can be inside the other: they are opened, and closed.
local function work(update, status)
  local a, b = agent.open { session_id = "agent-A" }, agent.open { session_id = "agent-B" }
  both_look(a, b) -- two reads: nothing is shared, and nothing is left of earlier sessions
  both_look(a, b) -- from memory
  a:run(update, "T-100", status)
  both_look(a, b)
  a:close()
  b:close()
end

perigee.run(function()
  print "agent-A writes for itself; agent-B keeps its copy:"
  work(update_own, "in progress")
  print "\nnew sessions; agent-A writes for everybody:"
  work(update_all, "solved")
end)

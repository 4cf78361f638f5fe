-- SPDX-License-Identifier: MIT

--- An agent that goes in circles: it calls one tool with the same arguments again and again, and
-- then two tools in turn, until the guard stops it.

local agent = require "perigee.agent"
local perigee = require "perigee"
local words = require "perigee.dashboard.words"

local TOOL_S, THINK_S = 0.03, 0.04
local CALLS = 20 -- so many the agent would make
local PREFIX = "scene: agent, "

local _M = {
  name = "agent",
  title = "An agent in a loop",
  about = "An agent makes the same call again and again, or two calls in turn, and is told so.",
  lanes = { "agent", "guard", "tools" },
}

-- Two tools that read, and how often they really ran.
local function new_tools(stage)
  local ran = { count = 0 }
  local function tool(name, answer)
    local made = agent.cache { resource = "scene: agent", name = name } (function(argument)
      local began = stage:time()
      perigee.sleep(TOOL_S)
      ran.count = ran.count + 1
      stage:add("tools", "load", name .. " runs", began, stage:time())
      return answer .. argument
    end)
    stage:later(made.cache.close, made.cache)
    return made
  end
  return tool("search", "one page about "), tool("open_page", "the text of "), ran
end

-- Tells what the guard says.
local function watch(stage)
  stage:later(perigee.on("loop", function(info)
    if info.session_id:sub(1, #PREFIX) ~= PREFIX then return end
    local is_refused = info.action == "block" or info.action == "stop"
    stage:add("guard", is_refused and "error" or "note", info.message)
  end))
end

-- One call of the agent. Returns the refusal, if it was refused.
local function call(stage, tool, argument, ran)
  local began, before = stage:time(), ran.count
  local ok, err = pcall(tool, argument)
  local now, text = stage:time(), ("%s(%q)"):format(tool.name, argument)
  if ok then
    local from_memory = ran.count == before
    stage:add("agent", from_memory and "hit" or "call",
      text .. (from_memory and ", answered from memory" or ""), began, now)
    return nil
  end
  if not agent.is_loop_error(err) then error(err, 0) end
  stage:add("agent", "error", text .. " is refused")
  return err
end

-- Plays an agent that makes the calls of a plan in turn. Returns how many were made, with the one
-- that was refused, and what the session has to say.
local function play(stage, id, plan, ran)
  local session = agent.open { session_id = PREFIX .. id }
  stage:later(session.close, session)
  stage:add("agent", "note", id)
  local result = { calls = 0, ran = ran.count }
  session:run(function()
    while result.calls < CALLS and not result.refusal do
      local step = plan[result.calls % #plan + 1]
      result.calls = result.calls + 1
      result.refusal = call(stage, step[1], step[2], ran)
      perigee.sleep(THINK_S)
    end
    if result.refusal then -- and a blind retry goes nowhere
      result.retry = call(stage, plan[1][1], plan[1][2], ran)
    end
  end)
  result.ran = ran.count - result.ran
  result.told = tostring(agent.explain(session))
  return result
end

local function verdict(result)
  if not result.refusal then return "was not stopped" end
  return "was stopped at call " .. result.calls
end

local function add_facts(facts, id, result)
  for _, fact in ipairs {
    { id .. ": calls", words.count(result.calls) },
    { id .. ": times that a tool ran", words.count(result.ran) },
    { id .. ": stopped", result.refusal and "at call " .. result.calls or "no" },
    { id .. ": tried once more", result.retry and "refused again" or "not refused" },
    { id .. ": the agent was told", result.refusal and result.refusal.message or "nothing" },
    { id .. ": the session says", result.told },
  } do facts[#facts + 1] = fact end
  return facts
end

function _M.run(stage)
  local search, open_page, ran = new_tools(stage)
  watch(stage)
  local same = play(stage, "one call", { { search, "opening hours" } }, ran)
  local circle = play(stage, "two calls in turn",
    { { search, "opening hours" }, { open_page, "page 7" } }, ran)

  local summary = ("one call, repeated, %s; two calls in turn, %s"):format(verdict(same),
    verdict(circle))
  return summary, add_facts(add_facts({}, "one call", same), "two calls in turn", circle)
end

return _M

-- SPDX-License-Identifier: MIT

--- Scenes: what Perigee is for, done for real while one watches. Each makes caches of its own,
-- uses them through the public functions, and tells what happened as a timeline.
--
--     local report = scenes.run "herd"
--     print(report.summary)               --> 1,000 callers, 1 load; without the cache 1,000 loads
--
-- A report is `{ title =, summary =, facts =, lanes =, events =, length = }`: `facts` is a list of
-- pairs of texts, `lanes` the names of the timeline's rows, `length` milliseconds; for `events` see
-- `perigee.dashboard.timeline`. Nothing in it is made up: times are measured, figures come from
-- metrics and from what the callers got. While a scene is played its caches are in the metrics,
-- as "scene: " and its name; afterwards they are gone.
-- @module perigee.dashboard.scenes

local context = require "perigee.context"
local perigee = require "perigee"
local stages = require "perigee.dashboard.stage"

local _M = {}

local SCENES = {
  require "perigee.dashboard.scenes.herd",
  require "perigee.dashboard.scenes.batch",
  require "perigee.dashboard.scenes.expiry",
  require "perigee.dashboard.scenes.race",
  require "perigee.dashboard.scenes.outage",
  require "perigee.dashboard.scenes.agent",
}

local scenes = {} -- by name

--- The scenes, in order: a list of `{ name =, title =, about = }`, texts for people but the name.
_M.list = {}

for i, scene in ipairs(SCENES) do
  scenes[scene.name] = scene
  _M.list[i] = { name = scene.name, title = scene.title, about = scene.about }
end

local stage = false -- where a scene is played

local LOOK_S = 0.1

-- Inside nginx: clears away what a request left that was ended midway.
local function look_after(watched)
  while not watched.closed do
    if watched:is_left() then watched:close() end
    perigee.sleep(LOOK_S)
  end
end

local function tell(scene, its_stage)
  return its_stage:report(scene.run(its_stage))
end

-- Plays on the stage, and clears it however that ends.
local function play(scene)
  if perigee.runtime() == "none" then return nil, "a scene needs a loop: see perigee.run" end
  stage = stages.open(scene)
  if context.port.is_over then context.port.spawn(look_after, stage) end
  local ok, report = pcall(tell, scene, stage)
  perigee.shield(stage.close, stage)
  if not ok then error(report, 0) end
  return report
end

--- Plays a scene, which takes a second or two; waits for its end. One at a time in this process.
-- @tparam string name one of `list`
-- @treturn table|nil the report
-- @treturn string|nil why there is none: `"busy"`; there is no such scene
-- @raise `"cancelled"`, when the caller is: by then everything is cleared away
function _M.run(name)
  local scene = scenes[name]
  if not scene then return nil, ("there is no scene called %q"):format(tostring(name)) end
  if stage and not stage.closed then
    if not stage:is_left() then return nil, "busy" end
    stage:close() -- nobody else would, or not soon
  end
  return perigee.run(play, scene)
end

return _M

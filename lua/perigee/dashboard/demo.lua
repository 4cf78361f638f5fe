-- SPDX-License-Identifier: MIT

--- Two caches and somebody who asks them, for a dashboard that has nothing else to show.
-- @module perigee.dashboard.demo

local cache_face = require "perigee.cache"
local task = require "perigee.task"

local _M = {}

local ARTICLES, READERS, VISITORS = 600, 6, 250
local WORDS = { "tides", "orbits", "moons", "comets", "light", "clocks", "maps", "winds" }

local random = math.random

-- A few articles are asked for much more often than the rest.
local function popular(n) return math.floor(n ^ random()) end

local function load_article(key)
  task.sleep(0.002 + 0.01 * random() ^ 4) -- as a database would take it
  local number = tonumber(key:match "%d+")
  local word = WORDS[number % #WORDS + 1]
  return { title = "On " .. word .. ", part " .. number, words = 400 + number * 7 % 900,
    tags = { "essay", word } }, nil, { tags = { "article:" .. number } }
end

local function load_visitor(number)
  task.sleep(0.001)
  return { name = "visitor " .. number, seen = os.date "!%Y-%m-%dT%H:%M:%SZ" }
end

local function read_on(articles, visitors)
  while true do
    articles:get("article/" .. popular(ARTICLES), load_article)
    if random() < 0.4 then visitors:get(random(VISITORS), load_visitor) end
    task.sleep(0.01 + 0.05 * random())
  end
end

--- Makes the caches, and lets some tasks read from them until the run ends.
function _M.start()
  local articles = cache_face.new { name = "articles", maxsize = 200, default_ttl = 20,
    ttl_jitter = 0.5, stale_while_revalidate = 5 }
  local visitors = cache_face.new { name = "visitors", maxsize = 1000, default_ttl = 120 }
  for _ = 1, READERS do task.spawn(read_on, articles, visitors) end
end

return _M

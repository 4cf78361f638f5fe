-- SPDX-License-Identifier: MIT
-- A research agent that makes the same search over and over is stopped, is told why, and stays
-- stopped until somebody resets its session. Where a line is indented, the web was really asked.
--
--     luajit examples/16-agent-research.lua
local perigee = require "perigee"
local agent = require "perigee.agent"

local function search(query) -- think of a search engine
  print("    searching for " .. query)
  perigee.sleep(0.005)
  return { "https://example.org/caches" }
end

local function download(url)
  print("    downloading " .. url)
  perigee.sleep(0.005)
  return "a page"
end

local search_web = agent.cache { resource = "search", ttl = 600, name = "search_web" } (search)
local fetch_page = agent.cache { resource = "page", ttl = 600, name = "fetch_page" } (download)

local QUERY, URL = "coroutines and caches", "https://example.org/caches"

-- A refused call raises a table, which says what was found, and to the model what to do.
local function try(tool, argument)
  local ok, err = pcall(tool, argument)
  if ok then return print("answered: " .. argument) end
  if not agent.is_loop_error(err) then error(err, 0) end
  print(("refused: %s (kind %q, count %d)"):format(argument, err.kind, err.count))
  return err
end

local function research(session)
  try(search_web, QUERY)
  try(fetch_page, URL)
  try(search_web, QUERY) -- from memory
  try(search_web, QUERY)
  print(try(search_web, QUERY).message)

  print "\ntrying again does not help, nor does another tool:"
  try(search_web, QUERY)
  try(fetch_page, URL)

  print "\nafter session:reset():"
  session:reset()
  try(search_web, QUERY)
end

perigee.run(function()
  agent.session({ max_tool_repeats = 3, max_execution_depth = 20, on_loop = "raise" }, research)
end)

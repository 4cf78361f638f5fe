-- SPDX-License-Identifier: MIT

--- Tags of tools as lists of parts: templates, and the paths of sessions and of single calls.
--
--     cart  user_1            what everybody shares
--     S     7  cart  user_1   the same in the copies that session 7 has
--     A     3  key            calls of tool 3 with these arguments: session's copies, and what was
--                             made of their answers
--
-- S and A begin with a byte that no resource may begin with.
-- @module perigee.agent.paths

local options = require "perigee.options"
local tags = require "perigee.tags"

local select, tonumber, tostring, type, unpack = select, tonumber, tostring, type, unpack

local _M = {}

local RESERVED = "\254"
local SESSION, CALL = RESERVED .. "session", RESERVED .. "call"

--- A resource: what the tags of its tools begin with.
_M.RESOURCE = { "a string that is not empty, and does not begin with byte 254", function(v)
  return type(v) == "string" and v ~= "" and v:sub(1, 1) ~= RESERVED
end }

local function begins_with(path, prefix)
  return #path >= #prefix and tags.conflict(path, prefix)
end

-- What stands for an argument in a tag; nil: nothing does.
local function text_of(value)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" then
    return ("%.17g"):format(value + 0) -- -0 + 0 is 0
  end
  if kind == "boolean" then return tostring(value) end
  if kind == "cdata" then return (tostring(value):gsub("U?LL$", "")) end
  return nil
end

local function join(first, second, path)
  local joined = { first, second }
  for i = 1, #path do joined[i + 2] = path[i] end
  return joined
end

--- A path among a session's own copies.
-- @tparam number session number of the session
-- @tparam[opt] table path list of parts; default: all that it has
-- @treturn table list of parts
function _M.of_session(session, path)
  return join(SESSION, tostring(session), path or {})
end

--- The path of a tool's calls with the same arguments.
-- @tparam string mark the tool's: see `perigee.agent.definition`
-- @tparam[opt] string|number|boolean key key of the arguments; default: of all its calls
-- @treturn table list of parts
function _M.of_call(mark, key)
  if key == nil then return { CALL, mark } end
  return { CALL, mark, type(key):sub(1, 1) .. text_of(key) }
end

-- Templates --------------------------------------------------------------------------------

-- A part as text and numbers of arguments in turn: "user_{1}" is { "user_", 1, "" }.
local function parse_part(part, where, what, count, open)
  local pieces, at = {}, 1
  for before, number, after in part:gmatch "([^{}]*){(%d+)}()" do
    pieces[#pieces + 1], pieces[#pieces + 2] = before, tonumber(number)
    at = after
  end
  pieces[#pieces + 1] = part:sub(at)
  for i = 2, #pieces, 2 do
    if pieces[i] < 1 or pieces[i] > count and not open then
      error(("%s: %s names argument {%d}, but the function has %d parameter%s"):format(where, what,
        pieces[i], count, count == 1 and "" or "s"), 0)
    end
  end
  return pieces
end

local function fill_part(pieces, ...)
  local text = pieces[1]
  for i = 2, #pieces, 2 do
    local value = text_of((select(pieces[i], ...)))
    if not value then return nil end
    text = text .. value .. pieces[i + 1]
  end
  return text
end

-- Up to the first part that has no value.
local function fill(template, ...)
  local path = {}
  for i = 1, #template do
    local part = fill_part(template[i], ...)
    if not part then break end
    path[i] = part
  end
  return path
end

local function check_paths(list, where, resource)
  for i = 1, #list do
    list[i] = tags.parts(list[i])
    if not begins_with(list[i], resource) then
      error(("%s: tags[%d] must begin with the resource %q, got %q"):format(where, i,
        table.concat(resource, ":"), table.concat(list[i], ":")), 0)
    end
  end
  return list
end

local function by_function(where, resource, fn)
  return function(...)
    local list = fn(...)
    options.result(where, "the result of option \"tags\"", tags.LIST, list)
    local copy = {}
    for i = 1, #list do copy[i] = list[i] end
    if #copy == 0 then copy[1] = resource end
    return check_paths(copy, where, resource)
  end
end

local function by_templates(where, resource, list, count, open)
  local templates = {}
  for i, path in ipairs(check_paths({ unpack(list) }, where, resource)) do
    templates[i] = {}
    for k, part in ipairs(path) do
      templates[i][k] = parse_part(part, where, ("tags[%d]"):format(i), count, open)
    end
  end
  return function(...)
    local paths = {}
    for i = 1, #templates do paths[i] = fill(templates[i], ...) end
    return paths
  end
end

--- Makes a function that knows the tags of calls.
-- @tparam string where the function's name, for messages
-- @tparam table resource list of parts
-- @tparam nil|table|function given list of templates (`"cart:{1}"`), or `tags(...)` -> list of
--   tags; nil: the resource
-- @tparam number count parameters of the function
-- @tparam boolean open whether it takes more
-- @treturn function `tags_of(...)` -> list of paths
-- @raise (level 0) on tags that do not begin with the resource
function _M.tagger(where, resource, given, count, open)
  if given == nil or type(given) == "table" and #given == 0 and next(given) == nil then
    local list = { resource }
    return function() return list end
  end
  if options.is_callable(given) then return by_function(where, resource, given) end
  return by_templates(where, resource, given, count, open)
end

--- What option `tags` may be.
_M.TAGS = { "a list of tags (\"cart:{1}\": with argument 1), or a function of the arguments",
  function(value) return options.is_callable(value) or tags.LIST[2](value) end }

return _M

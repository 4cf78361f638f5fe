-- SPDX-License-Identifier: MIT
--- What Perigee can say: the messages in its sources, found by reading them. Strings that are put
-- together by `..` are one message; what is not known before it runs is an ellipsis.
local files = require "spec.support.files"

local _M = {}

local ELLIPSIS = "…"
local ESCAPES = { n = "\n", t = "\t", r = "\r", ["0"] = "\0" }

local function unescape(body)
  return (body:gsub("\\(.)", function(c) return ESCAPES[c] or c end))
end

-- Where a quoted string that begins at `at` ends.
local function end_of_quoted(text, at)
  local quote, stop = text:sub(at, at), at + 1
  while text:sub(stop, stop) ~= quote do
    stop = stop + (text:sub(stop, stop) == "\\" and 2 or 1)
  end
  return stop
end

local function end_of_long(text, at, level)
  return select(2, text:find("]" .. level .. "]", at, true))
end

-- What begins at `at`: a kind, what it says, and its last byte. Spaces and comments have no kind.
local function token_at(text, at)
  local comment, long = text:match("^%-%-%[(=*)%[", at), text:match("^%[(=*)%[", at)
  local name = text:match("^[%a_][%w_]*", at)
  if text:find("^%s", at) then return nil, nil, at end
  if comment then return nil, nil, end_of_long(text, at, comment) end
  if text:find("^%-%-", at) then return nil, nil, (text:find("\n", at, true) or #text + 1) - 1 end
  if long then return "long", "", end_of_long(text, at, long) end
  if text:find("^[\"']", at) then
    local stop = end_of_quoted(text, at)
    return "string", unescape(text:sub(at + 1, stop - 1)), stop
  end
  if name then return "name", name, at + #name - 1 end
  local stop = text:sub(at, at + 1) == ".." and at + 1 or at
  return "other", text:sub(at, stop), stop
end

-- The tokens of a Lua file: { kind = "string" | "name" | "other", text =, line = }. Long strings
-- (scripts, declarations) are of the kind "long".
local function tokens_of(text)
  local tokens, at, line = {}, 1, 1
  while at <= #text do
    local kind, value, stop = token_at(text, at)
    if kind then tokens[#tokens + 1] = { kind = kind, text = value, line = line } end
    local _, newlines = text:sub(at, stop):gsub("\n", "")
    at, line = stop + 1, line + newlines
  end
  return tokens
end

-- The end of an operand of `..` that is no string: a call, an index, a bracket.
local function skip_operand(tokens, i)
  local depth = 0
  while tokens[i] do
    local text = tokens[i].kind == "other" and tokens[i].text or tokens[i].kind == "name"
      and tokens[i].text
    if text == "(" or text == "{" or text == "[" then depth = depth + 1 end
    if text == ")" or text == "}" or text == "]" then
      if depth == 0 then return i end
      depth = depth - 1
    end
    if depth == 0 then
      if text == ".." or text == "," or text == ";" then return i end
      local following, line = tokens[i + 1], tokens[i].line
      if not following or following.line > line and following.text ~= ".." then return i + 1 end
    end
    i = i + 1
  end
  return i
end

-- The message that begins at token i, a string, and the token after it.
local function message_at(tokens, i)
  local parts = { tokens[i].text }
  i = i + 1
  while tokens[i] and tokens[i].text == ".." and tokens[i].kind == "other" do
    if tokens[i + 1].kind == "string" then
      parts[#parts + 1] = tokens[i + 1].text
      i = i + 2
    else
      parts[#parts + 1] = ELLIPSIS
      i = skip_operand(tokens, i + 1)
    end
  end
  return table.concat(parts), i
end

local function tidy(text)
  return (text:gsub('"?%%[%-%.%d]*[sdqxg]"?', ELLIPSIS):gsub("%s+", " "):gsub("^ ", "")
    :gsub(" $", ""))
end
_M.tidy = tidy

-- The names of the functions in whose calls a token stands, the innermost last.
local function follow_calls(calls, tokens, i)
  local token, before = tokens[i], tokens[i - 1]
  if token.kind ~= "other" then return end
  if token.text == "(" or token.text == "{" or token.text == "[" then
    calls[#calls + 1] = before and before.kind == "name" and before.text or token.text
  elseif token.text == ")" or token.text == "}" or token.text == "]" then
    calls[#calls] = nil
  end
end

local function text_at(tokens, i) return tokens[i] and tokens[i].text or "" end

--- The messages of a Lua file.
-- @treturn table a list of `{ text =, line =, path =, calls =, before =, after = }`: the names of
--   the calls around each, and the tokens beside it
function _M.of_lua(path)
  local tokens, found, calls, i = tokens_of(files.read(path)), {}, {}, 1
  while tokens[i] do
    if tokens[i].kind == "string" then
      local start = i
      local text, stop = message_at(tokens, start)
      i = stop
      found[#found + 1] = { text = tidy(text), line = tokens[start].line, path = path,
        calls = table.concat(calls, " "), before = text_at(tokens, start - 1),
        after = text_at(tokens, i) .. " " .. text_at(tokens, i + 1) }
    else
      follow_calls(calls, tokens, i)
      i = i + 1
    end
  end
  return found
end

--- The strings of a C file, without those of assertions and of the preprocessor.
function _M.of_c(path)
  local found, line = {}, 0
  for text in (files.read(path) .. "\n"):gmatch "([^\n]*)\n" do
    line = line + 1
    if not text:find "^%s*[/%*#]" and not text:find "_Static_assert" then
      for literal in text:gsub('\\"', "'"):gmatch '"([^"]*)"' do
        found[#found + 1] = { text = tidy(literal:gsub("\\n", " ")), line = line, path = path,
          calls = "", before = text:match '^%s*(.-)"' or "", after = "" }
      end
    end
  end
  return found
end

return _M

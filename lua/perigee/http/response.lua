-- SPDX-License-Identifier: MIT

--- What a handler returns: a string, or `{ status =, headers =, body = }`.
-- @module perigee.http.response

local options = require "perigee.options"

local _M = {}

local type, next = type, next
local HANDLER = "the handler of perigee.http.listen"

local RESPONSE = { "a string or a table { status =, headers =, body = }" }
local STATUS = { "a whole number from 200 to 599", function(v)
  return type(v) == "number" and v >= 200 and v <= 599 and v % 1 == 0
end }
local BODY = { "a string or a function(write)",
  function(v) return type(v) == "string" or options.is_callable(v) end }
local FIELDS = { status = STATUS, headers = options.kinds.list, body = BODY }

-- No byte that ends a line or a text.
local VALUE = { "a string without control characters, a number, or a list of these", function(v)
  local kind = type(v)
  return kind == "number" or kind == "string" and not v:find "[%z\1-\8\10-\31\127]"
end }
local NAME = { "a word of letters, digits and - (RFC 9110, section 5.6.2)",
  function(v) return type(v) == "string" and v:find "^[%w!#$%%&'*+.^_`|~-]+$" ~= nil end }

-- These say how the answer travels, which is the server's affair.
local IGNORED = { ["content-length"] = true, ["transfer-encoding"] = true, ["keep-alive"] = true,
  ["upgrade"] = true, ["trailer"] = true }

-- Lines of headers share their connection's memory with the request. When they do not fit,
-- libmicrohttpd closes the connection without a word to anybody.
local HEADER_BYTES_MAX = 16384
local BETWEEN = 4 -- a colon, a space and a line end

local function add(list, name, value)
  options.result(HANDLER, ("header %q"):format(name), VALUE, value)
  local n = #list
  list[n + 1], list[n + 2] = name, tostring(value)
  list.bytes = list.bytes + #name + #list[n + 2] + BETWEEN
  if list.bytes > HEADER_BYTES_MAX then
    error(HANDLER .. ": response.headers must be at most 16384 bytes", 0)
  end
end

-- A list of names and values, in turns; and whether it names a type.
local function read_headers(headers)
  local list, has_type = { bytes = 0 }, false
  local name, value = next(headers)
  while name ~= nil do
    options.result(HANDLER, "the name of a header", NAME, name)
    local lower = name:lower()
    if lower == "content-type" then has_type = true end
    if not IGNORED[lower] then
      if type(value) == "table" then
        for i = 1, #value do add(list, name, value[i]) end
      else
        add(list, name, value)
      end
    end
    name, value = next(headers, name)
  end
  return list, has_type
end

local NONE, PLAIN = {}, { "Content-Type", "text/plain; charset=utf-8" }

local function read_table(response)
  local name, value = next(response)
  while name ~= nil do
    if not FIELDS[name] then
      options.fail(HANDLER, "its response", RESPONSE[1] .. " and nothing else", name, -2)
    end
    options.result(HANDLER, ("response.%s"):format(name), FIELDS[name], value)
    name, value = next(response, name)
  end
  local status, body = response.status or 200, response.body or ""
  local list, has_type = NONE, false
  if response.headers then list, has_type = read_headers(response.headers) end
  if status == 204 or status == 205 or status == 304 then return status, list, "" end -- have none
  if not has_type and body ~= "" then
    if list == NONE then return status, PLAIN, body end
    add(list, PLAIN[1], PLAIN[2])
  end
  return status, list, body
end

--- Reads a response.
-- @param response what the handler returned
-- @treturn number its status
-- @treturn table its headers: names and values, in turns
-- @treturn string|function its body
-- @raise what is wrong with it
function _M.read(response)
  if type(response) == "string" then return 200, PLAIN, response end
  if type(response) == "table" then return read_table(response) end
  options.fail(HANDLER, "its response", RESPONSE[1], response, -2)
end

return _M

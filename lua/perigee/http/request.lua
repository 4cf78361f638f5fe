-- SPDX-License-Identifier: MIT

--- A request as a handler gets it, made of what `http_server.h` lends.
-- @module perigee.http.request

local ffi = require "ffi"

local _M = {}

local text = ffi.string
local byte, char, find, sub = string.byte, string.char, string.find, string.sub
local tonumber = tonumber

local SLASH = byte "/"
local VERSIONS = { ["HTTP/1.1"] = "1.1", ["HTTP/1.0"] = "1.0" }

local function byte_of(digits) return char(tonumber(digits, 16)) end

local function unescape(escaped)
  if not escaped:find("%", 1, true) then return escaped end
  return (escaped:gsub("%%(%x%x)", byte_of))
end

--- The values of a query, by name; of those of one name the last.
-- @tparam string raw such as `a=1&b=two+words`
-- @treturn table
function _M.query(raw)
  local query = {}
  if raw == "" then return query end
  for pair in raw:gmatch "[^&]+" do
    local name, value = pair:gsub("+", " "):match "^([^=]*)=?(.*)$"
    query[unescape(name)] = unescape(value)
  end
  return query
end

-- "http://host/path?query" is what a proxy is asked for, and means "/path?query" here. What LuaJIT
-- does not compile (`match`) is left for the rare ones.
local function split(target)
  local rest = target
  if byte(target) ~= SLASH then rest = target:match "^%a[%w+.-]*://[^/?]*(.*)$" or target end
  local mark = find(rest, "?", 1, true)
  local path, raw = rest, ""
  if mark then path, raw = sub(rest, 1, mark - 1), sub(rest, mark + 1) end
  return path == "" and "/" or path, raw
end

local function read_fields(c)
  local headers, fields = {}, c.fields
  for i = 0, c.fields_count - 1 do
    local field = fields[i]
    local name = text(field.name, field.name_bytes):lower()
    local value = text(field.value, field.value_bytes)
    local before = headers[name]
    if before then value = before .. (name == "cookie" and "; " or ", ") .. value end
    headers[name] = value
  end
  return headers
end

--- Makes the request.
-- @tparam cdata c a `perigee_http_request`
-- @treturn table|nil `method`, `path`, `raw_query`, `query`, `headers`, `body`, `peer`, `version`;
-- nil: its path holds a NUL byte, which no path does
function _M.read(c)
  local raw_path, raw_query = split(text(c.target))
  local path = unescape(raw_path)
  if find(path, "\0", 1, true) then return nil end
  local version = text(c.version)
  return {
    method = text(c.method), path = path, raw_query = raw_query, query = _M.query(raw_query),
    headers = read_fields(c), body = c.body ~= nil and text(c.body, c.body_bytes) or nil,
    peer = text(c.peer), version = VERSIONS[version] or version:match "^HTTP/(.*)$",
  }
end

return _M

-- SPDX-License-Identifier: MIT

--- What a request is: its options, checked, and the order that C takes (`http_client.h`).
--
-- What is shown of a wrong value may end up in a log: a url is shown without user and password, and
-- of headers only the name.
-- @module perigee.http.client.order

local ffi = require "ffi"
local each = require("perigee.value.names").each
local options = require "perigee.options"

local _M = {}

local kinds = options.kinds
local huge = math.huge

local TIMEOUT_S, CONNECT_TIMEOUT_S = 30, 5
local MAX_BODY = 16 * 1024 * 1024
local MAX_REDIRECTS = 100
local TOKEN = "^[%w!#$%%&'*+.^_`|~-]+$" -- RFC 9110, 5.6.2

local function without_userinfo(url)
  return (url:gsub("//.*@", "//***@"))
end

local function is_url(value)
  if type(value) ~= "string" then return false end
  local is_http = value:find "^[hH][tT][tT][pP][sS]?://[^/]"
  if is_http and not value:find "[%c ]" then return true end
  return false, without_userinfo(value)
end

local function is_value(value)
  local kind = type(value)
  return kind == "number" or kind == "string" and not value:find "[%z\r\n]"
end

local function is_field(name, value)
  if type(name) ~= "string" or not name:find(TOKEN) then return false end
  if type(value) ~= "table" then return is_value(value) end
  for i = 1, #value do
    if not is_value(value[i]) then return false end
  end
  return next(value, #value > 0 and #value or nil) == nil
end

local function are_headers(value)
  if type(value) ~= "table" then return false end
  for name, field in each(value) do
    if not is_field(name, field) then return false, name end
  end
  return true
end

local URL = { "a url that begins with http:// or https://, without spaces and control characters",
  is_url }
local METHOD = { "the name of a method, but not CONNECT", function(value)
  return type(value) == "string" and value:find(TOKEN) ~= nil and value:upper() ~= "CONNECT"
end }
local HEADERS = { "a table of values (strings without CR, LF and NUL, numbers, lists of these) by "
  .. "name", are_headers }
local REDIRECTS = { "a whole number from 0 to " .. MAX_REDIRECTS, function(value)
  return type(value) == "number" and value >= 0 and value <= MAX_REDIRECTS and value % 1 == 0
end }
local FILE = { "the name of a file", function(value)
  return type(value) == "string" and value ~= "" and not value:find "%z"
end }

local OPTIONS = {
  url = URL, method = METHOD, headers = HEADERS, body = kinds.string,
  timeout = kinds.duration, connect_timeout = kinds.duration, max_body = kinds.bound,
  redirects = REDIRECTS, ca_file = FILE, insecure = kinds.boolean, compressed = kinds.boolean,
}

local WITH_ON_DATA = { on_data = kinds.callable }
for name, kind in each(OPTIONS) do WITH_ON_DATA[name] = kind end

-- Lengths are C's business, and two that differ let a request hide in another's body.
local function check_framing(where, headers, body, level)
  for name, value in each(headers) do
    local lower = name:lower()
    local is_wrong = lower == "transfer-encoding"
      or lower == "content-length" and tonumber(value) ~= #(body or "")
    if is_wrong then
      error(("%s: option \"headers\" must agree with the body, whose length is sent anyway, got %q")
        :format(where, name), level + 1)
    end
  end
end

--- Checks what a request is asked with.
-- @tparam string where the function's name
-- @tparam string|table spec a url, or options
-- @tparam boolean is_stream whether it is read bit by bit by its caller
-- @tparam number level as for `error`, counted from the caller
-- @treturn table the options, with their defaults
-- @raise a mistake
function _M.check(where, spec, is_stream, level)
  if type(spec) == "string" then spec = { url = spec } end
  if type(spec) ~= "table" then
    options.fail(where, "spec", "a url or a table of options", spec, level + 1)
  end
  options.check(where, spec, is_stream and OPTIONS or WITH_ON_DATA, level + 1)
  options.argument(where, 'option "url"', URL, spec.url, level + 1)
  local method, headers, body = (spec.method or "GET"):upper(), spec.headers or {}, spec.body
  if method == "HEAD" and body then
    options.fail(where, 'option "body"', "nil, for a HEAD has none", "", level + 1)
  end
  check_framing(where, headers, body, level + 1)
  is_stream = is_stream or spec.on_data ~= nil
  return {
    where = where, url = spec.url, method = method, headers = headers, body = body,
    timeout = spec.timeout or TIMEOUT_S,
    connect_timeout = spec.connect_timeout or CONNECT_TIMEOUT_S,
    max_body = spec.max_body or is_stream and huge or MAX_BODY,
    redirects = spec.redirects or 0, ca_file = spec.ca_file, insecure = spec.insecure,
    compressed = spec.compressed, on_data = spec.on_data, is_stream = is_stream,
  }
end

--- A url that cannot be read after all.
-- @tparam table asked what `check` returned
-- @tparam number level as for `error`, counted from the caller
-- @raise always
function _M.fail_url(asked, level)
  options.fail(asked.where, 'option "url"', "a url", without_userinfo(asked.url), level + 1)
end

-- What curl would add by itself and nobody asked for.
local UNASKED = { ["content-type"] = "Content-Type:", expect = "Expect:" }

local function line_of(name, value)
  value = tostring(value):match "^%s*(.-)%s*$"
  return value == "" and name .. ";" or name .. ": " .. value
end

local function lines_of(headers)
  local lines, is_given = {}, { ["content-length"] = true }
  for name, value in each(headers) do
    local lower = name:lower()
    local is_sent_anyway = lower == "content-length"
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      if not is_sent_anyway then lines[#lines + 1] = line_of(name, one) end
    end
    is_given[lower] = true
  end
  table.sort(lines)
  for name, line in each(UNASKED) do
    if not is_given[name] then lines[#lines + 1] = line end
  end
  if not is_given["user-agent"] then lines[#lines + 1] = "User-Agent: perigee" end
  return lines
end

--- The order for C.
-- @tparam table asked what `check` returned
-- @treturn cdata a `perigee_http_client_order`
-- @treturn table what it points at: to be kept as long
function _M.new(asked)
  local lines = lines_of(asked.headers)
  local c_lines = ffi.new("const char *[?]", #lines + 1, lines)
  c_lines[#lines] = nil -- an initializer does not fill what it leaves open
  local body = asked.body
  local order = ffi.new("perigee_http_client_order", {
    url = asked.url, method = asked.method, headers = c_lines, body = body,
    body_bytes = body and #body or 0, ca_file = asked.ca_file, max_body = asked.max_body,
    connect_timeout_s = asked.connect_timeout, redirects = asked.redirects,
    insecure = asked.insecure and 1 or 0, compressed = asked.compressed and 1 or 0,
    stream = asked.is_stream and 1 or 0,
  })
  return order, { lines, c_lines, asked }
end

return _M

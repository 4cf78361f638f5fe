-- SPDX-License-Identifier: MIT
--- Fuzz target: what comes in a request, and what handlers put into answers. A query gives what was
-- put into it; a path has no NUL; names of fields are in lower case; no answer has a field with a
-- line end, and a stream of events is heard as it was sent.
local plan = require "spec.fuzz.plan"
local events = require "perigee.http.events"
local ffi = require "ffi"
local request = require "perigee.http.request"
local response = require "perigee.http.response"

ffi.cdef(require "perigee.cdef.rt")

-- Requests ------------------------------------------------------------------------------------

local function escaped(text, how)
  return (text:gsub(".", function(char)
    if char:find "[%w]" and how % 2 == 0 then return char end
    if char == " " and how % 3 == 0 then return "+" end
    return ("%%%02" .. (how % 4 < 2 and "x" or "X")):format(char:byte())
  end))
end

local function query(reader)
  local parts, expected = {}, {}
  for i = 1, reader:byte() % 6 do
    local name, value, how = reader:text(), reader:text(), reader:byte()
    parts[i] = escaped(name, how) .. "=" .. escaped(value, how)
    expected[name] = value
  end
  assert(plan.equal(expected, request.query(table.concat(parts, "&"))), "another query")
end

local function any_query(bytes)
  local length = 0
  for name, value in pairs(request.query(bytes)) do length = length + #name + #value end
  assert(length <= #bytes, "more came out than went in")
end

local function read(reader)
  local count = reader:byte() % 5
  local fields, texts = ffi.new("perigee_http_field[?]", math.max(count, 1)), {}
  for i = 0, count - 1 do
    local name, value = reader:text(), reader:text()
    texts[#texts + 1], texts[#texts + 2] = name, value
    fields[i].name, fields[i].name_bytes = name, #name
    fields[i].value, fields[i].value_bytes = value, #value
  end
  local body = reader:text()
  local target = reader:rest():gsub("%z", "/") .. "\0"
  local c = ffi.new("perigee_http_request", {
    fields_count = count, fields = fields, method = "GET", target = target, version = "HTTP/1.1",
    peer = "127.0.0.1", body = body, body_bytes = #body,
  })
  local got = request.read(c)
  assert(#texts == 2 * count)
  if not got then return assert(target:find "%%00", "a request without a reason is no request") end
  assert(not got.path:find "%z" and got.path ~= "", "a path that is none")
  assert(got.body == body and type(got.query) == "table")
  for name in pairs(got.headers) do assert(name == name:lower(), "a name in upper case") end
end

-- Answers -------------------------------------------------------------------------------------

local function answer(reader)
  local headers = {}
  for _ = 1, reader:byte() % 4 do
    local name = reader:byte() % 2 == 0 and "X-" .. reader:byte() or reader:text()
    headers[name] = reader:byte() % 3 == 0 and { reader:text(), 1 } or reader:text()
  end
  local status = reader:byte() % 2 == 0 and 200 + reader:byte() or plan.value(reader, 1)
  local ok, _, list = pcall(response.read, { status = status, headers = headers,
    body = plan.value(reader, 1) })
  if not ok then return end
  for i = 1, #list do assert(not list[i]:find "[%z\r\n]", "a field ends a line") end
  for i = 1, #list, 2 do assert(list[i]:find "^[^%s:]+$", "a name that is none") end
end

-- What a browser makes of a stream: WHATWG HTML, 9.2.6.
local function heard(stream)
  local list, event, data = {}, {}, nil
  for line in stream:gmatch "([^\n]*)\n" do
    if line == "" then
      event.data = data
      list[#list + 1], event, data = event, {}, nil
    else
      local field, value = line:match "^([^:]*): ?(.*)$"
      assert(field == "data" or field == "id" or field == "event", "a field from nowhere")
      if field == "data" then
        data = data and data .. "\n" .. value or value
      else
        event[field] = value
      end
    end
  end
  return list
end

local function stream(reader)
  local sent, said = {}, {}
  local answered = events.response(function(send)
    for _ = 1, reader:byte() % 4 do
      local event = { data = reader:text(), id = reader:byte() % 2 == 0 and reader:text() or nil,
        event = reader:byte() % 2 == 0 and reader:text() or nil }
      if pcall(send, event) then
        event.data = event.data:gsub("\r\n", "\n"):gsub("\r", "\n")
        sent[#sent + 1] = event
      end
    end
  end)
  answered.body(function(text) said[#said + 1] = text end)
  assert(plan.equal(sent, heard(table.concat(said))), "heard otherwise than said")
end

local WAYS = { query, read, answer, stream }

return function(bytes)
  local how = (bytes:byte(1) or 0) % 5
  if how == 4 then return any_query(bytes:sub(2)) end
  WAYS[how + 1](plan.reader(bytes:sub(2)))
end

-- SPDX-License-Identifier: MIT

--- The host's prompt: reads Lua from standard input and runs it; the loop turns meanwhile, and
-- what is typed may wait.
-- @module perigee.host.prompt

local ffi = require "ffi"
local context = require "perigee.context"
local failures = require "perigee.runtime.failures"
local scheduler = require "perigee.runtime.scheduler"
local C = require("perigee.lib").rt

local _M = {}

local STDIN, BUFFER_BYTES = 0, 4096

local unread = ""

-- Waits for more input; false at its end.
local function fill()
  local port = context.port
  local ticket, why = port.can_wait()
  if not ticket then error(why, 0) end
  if C.perigee_loop_readable(scheduler.world().loop, STDIN, ticket) ~= 0 then
    error("perigee: no memory to wait for input", 0)
  end
  port.park(ticket)
  local buffer = ffi.new("char[?]", BUFFER_BYTES)
  local n = C.perigee_loop_read(STDIN, buffer, BUFFER_BYTES)
  if n <= 0 then return false end
  unread = unread .. ffi.string(buffer, n)
  return true
end

local function read_line(sign)
  io.stdout:write(sign)
  io.stdout:flush()
  while not unread:find("\n", 1, true) do
    if not fill() then
      local rest = unread
      unread = ""
      return rest ~= "" and rest or nil
    end
  end
  local line
  line, unread = unread:match "^([^\n]*)\n(.*)$"
  return line
end

-- A chunk of one or more lines: an expression, or statements until they are complete.
local function read_chunk()
  local text = read_line(rawget(_G, "_PROMPT") or "> ")
  if not text then return nil end
  text = text:gsub("^=", "return ")
  local chunk = loadstring("return " .. text, "=stdin")
  if chunk then return chunk end
  while true do
    local err
    chunk, err = loadstring(text, "=stdin")
    if chunk then return chunk end
    local line = err:find("'<eof>'", 1, true) and read_line(rawget(_G, "_PROMPT2") or ">> ")
    if not line then return false, err end
    text = text .. "\n" .. line
  end
end

local function show(ok, ...)
  if not ok then
    io.stderr:write(failures.describe((...)), "\n")
  elseif select("#", ...) > 0 then
    print(...)
  end
end

--- Reads and runs until the end of the input.
function _M.run()
  while true do
    local chunk, err = read_chunk()
    if chunk then
      show(xpcall(chunk, failures.handler))
    elseif chunk == nil then
      break
    else
      io.stderr:write(err, "\n")
    end
  end
  io.stdout:write("\n")
end

return _M

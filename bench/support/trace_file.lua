-- SPDX-License-Identifier: MIT
--- A folder of access traces: `NAME.gz`, one key per line in the order of the requests, and
-- `hit-ratios.tsv`, what other policies and Belady's optimum made of them.
--
-- The text of a trace stays in memory as one string, and a key is made from it at its request, as
-- a program makes it from what it reads: an evicted key is collected, and comes back elsewhere.
-- @module bench.support.trace_file

local ffi = require "ffi"

local process = require "bench.support.process"

local quote = process.quote

local _M = {}

local NEWLINE = 10
local STATUS = "status=%d\n"

-- What a command writes, where the text of that ends, and whether all went well.
local function output_of(command)
  local pipe = assert(io.popen(("{ %s\n} 2>/dev/null; printf 'status=%%d\\n' $?"):format(command)))
  local text = pipe:read "*a"
  pipe:close()
  local good = STATUS:format(0)
  return text, #text - #good, text:sub(-#good) == good
end

--- The traces of a folder.
-- @tparam string folder
-- @treturn table|nil list of names, in order of the alphabet; nil when there is no such folder
function _M.names(folder)
  local text, length, good = output_of("cd -- " .. quote(folder) .. " && ls -1")
  if not good then return nil end
  local names = {}
  for name in text:sub(1, length):gmatch "([^\n]+)%.gz\n" do table.insert(names, name) end
  table.sort(names)
  return names
end

-- The fields of a line.
local function split(line)
  local fields = {}
  for field in (line .. "\t"):gmatch "([^\t]*)\t" do table.insert(fields, field) end
  return fields
end

--- The rows of a folder's `hit-ratios.tsv`.
-- @tparam string folder
-- @treturn table|nil list of those that have a `trace` and a `cache_size`: `{ [column] = number }`,
--   without what is no number; nil when there is no such file
function _M.references(folder)
  local file = io.open(folder .. "/hit-ratios.tsv")
  if not file then return nil end
  local columns, rows = split(file:read "*l" or ""), {}
  for line in file:lines() do
    local row = {}
    for i, field in ipairs(split(line)) do
      local column = columns[i] or i
      row[column] = column == "trace" and field or tonumber(field)
    end
    if row.trace and row.cache_size then table.insert(rows, row) end
  end
  file:close()
  return rows
end

-- Notes where each line begins and how long it is; empty ones hold no key. Without arrays it only
-- counts them.
local function find_lines(bytes, length, starts, lengths)
  local count, from = 0, 0
  for at = 0, length do
    if at == length or bytes[at] == NEWLINE then
      if at > from then
        if starts then starts[count], lengths[count] = from, at - from end
        count = count + 1
      end
      from = at + 1
    end
  end
  return count
end

--- Reads a trace.
-- @tparam string path of a file made by gzip
-- @treturn table|nil with `count`, how many requests it has
-- @treturn string why it cannot be read
function _M.open(path)
  local text, length, good = output_of("gzip -dc -- " .. quote(path))
  if not good then return nil, path .. " cannot be decompressed" end
  local bytes = ffi.cast("const char *", text)
  local count = find_lines(bytes, length)
  if count == 0 then return nil, path .. " has no keys" end
  local starts, lengths = ffi.new("uint32_t[?]", count), ffi.new("uint32_t[?]", count)
  find_lines(bytes, length, starts, lengths)
  return { text = text, bytes = bytes, starts = starts, lengths = lengths, count = count }
end

--- How many different keys a trace has.
-- @tparam table trace
-- @treturn number
function _M.distinct(trace)
  local bytes, starts, lengths = trace.bytes, trace.starts, trace.lengths
  local seen, count = {}, 0
  for i = 0, trace.count - 1 do
    local key = ffi.string(bytes + starts[i], lengths[i])
    if not seen[key] then
      seen[key] = true
      count = count + 1
    end
  end
  return count
end

--- Asks a cache for every key in turn, and puts in what it does not have.
-- @tparam table trace
-- @tparam table cache with the methods `get` and `set`
-- @treturn number hits
function _M.replay(trace, cache)
  local bytes, starts, lengths = trace.bytes, trace.starts, trace.lengths
  local hits = 0
  for i = 0, trace.count - 1 do
    local key = ffi.string(bytes + starts[i], lengths[i])
    if cache:get(key) then
      hits = hits + 1
    else
      cache:set(key, true)
    end
  end
  return hits
end

return _M

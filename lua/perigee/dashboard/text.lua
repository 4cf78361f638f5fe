-- SPDX-License-Identifier: MIT

--- Texts of the dashboard: any bytes as HTML, as JSON, and as a piece of a link; numbers for
-- people.
--
-- Names, keys and values are anybody's bytes. What is printed is always valid UTF-8; what is none,
-- and every control character, is shown by its number, as \xff.
-- @module perigee.dashboard.text

local sorted = require("perigee.value.names").sorted

local _M = {}

local huge = math.huge

-- Bytes -------------------------------------------------------------------------------------------

local function number_of(character)
  return ("\\x%02x"):format(character:byte())
end

local function numbers_of(bytes)
  return (bytes:gsub(".", number_of))
end

-- Of lead bytes that are not everything: the least and the most second byte (RFC 3629, section 4).
local SECOND = { [0xE0] = { 0xA0, 0xBF }, [0xED] = { 0x80, 0x9F }, [0xF0] = { 0x90, 0xBF },
  [0xF4] = { 0x80, 0x8F } }

-- How many bytes of `bytes`, which are a lead byte and continuation bytes, are one character; 0:
-- none. C1 controls, U+0080 to U+009F, are shown by their numbers, too.
local function length_of(bytes)
  local lead, second = bytes:byte(1, 2)
  local length = lead < 0xE0 and 2 or lead < 0xF0 and 3 or 4
  if lead < 0xC2 or lead > 0xF4 or #bytes < length then return 0 end
  if lead == 0xC2 and second < 0xA0 then return 0 end
  local range = SECOND[lead]
  return range and (second < range[1] or second > range[2]) and 0 or length
end

-- Characters that turn the direction of what follows, or are not seen: the controls of direction,
-- those that break lines, and what Unicode calls default-ignorable. They could make one key look
-- like another.
local HIDDEN = { { 0xAD, 0xAD }, { 0x34F, 0x34F }, { 0x61C, 0x61C }, { 0x115F, 0x1160 },
  { 0x17B4, 0x17B5 }, { 0x180B, 0x180F }, { 0x200B, 0x200F }, { 0x2028, 0x202E },
  { 0x2060, 0x206F }, { 0x3164, 0x3164 }, { 0xFE00, 0xFE0F }, { 0xFEFF, 0xFEFF },
  { 0xFFA0, 0xFFA0 }, { 0xFFF0, 0xFFFB }, { 0x1BCA0, 0x1BCA3 }, { 0x1D173, 0x1D17A },
  { 0xE0000, 0xE0FFF } }

-- The number of a well-formed character of two bytes or more.
local function point_of(character)
  local lead = character:byte()
  local point = #character == 2 and lead % 32 or #character == 3 and lead % 16 or lead % 8
  for i = 2, #character do point = point * 64 + character:byte(i) % 64 end
  return point
end

local function is_hidden(character)
  local point = point_of(character)
  for _, range in ipairs(HIDDEN) do
    if point <= range[2] then return point >= range[1] end
  end
  return false
end

local function clean_sequence(bytes)
  local length = length_of(bytes)
  local character = bytes:sub(1, length)
  if length == 0 or is_hidden(character) then return numbers_of(bytes) end
  return character .. numbers_of(bytes:sub(length + 1))
end

--- Bytes as printable UTF-8; line feeds and tabs stay.
-- @tparam string bytes anything
-- @treturn string
function _M.clean(bytes)
  if not bytes:find "[%z\1-\8\11-\31\127-\255]" then return bytes end
  bytes = bytes:gsub("[%z\1-\8\11-\31\127]", number_of)
  -- What comes out of the first of these two is valid, so the second sees strays only.
  local parts, at = {}, 1
  while at <= #bytes do
    local from, to = bytes:find("[\192-\255][\128-\191]*", at)
    local plain = bytes:sub(at, (from or #bytes + 1) - 1)
    parts[#parts + 1] = (plain:gsub("[\128-\191]", number_of))
    if not from then break end
    parts[#parts + 1] = clean_sequence(bytes:sub(from, to))
    at = to + 1
  end
  return table.concat(parts)
end

--- The same on one line.
-- @tparam string bytes anything
-- @treturn string
function _M.line(bytes)
  return (_M.clean(bytes):gsub("[\n\t]", { ["\n"] = "\\n", ["\t"] = "\\t" }))
end

--- The first bytes, without a part of a character at their end.
-- @tparam string bytes anything
-- @tparam number most how many at most
-- @treturn string
function _M.cut(bytes, most)
  if #bytes <= most then return bytes end
  local text = bytes:sub(1, most)
  local tail = text:match "[\194-\244][\128-\191]*$"
  if tail and length_of(tail) == 0 and #tail < 4 then text = text:sub(1, -#tail - 1) end
  return text
end

-- HTML, JSON, links -------------------------------------------------------------------------------

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;",
  ["'"] = "&#39;" }

--- Any bytes as text of an element, or of an attribute in quotes.
-- @tparam string bytes anything
-- @treturn string
function _M.html(bytes)
  return (_M.clean(bytes):gsub("[&<>\"']", ENTITIES))
end

--- The same on one line.
-- @tparam string bytes anything
-- @treturn string
function _M.html_line(bytes)
  return (_M.line(bytes):gsub("[&<>\"']", ENTITIES))
end

--- Any bytes as a piece of a link.
-- @tparam string bytes anything
-- @treturn string
function _M.url(bytes)
  return (bytes:gsub("[^%w._~-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function json_string(bytes)
  return '"' .. _M.clean(bytes):gsub('[%c"\\]', function(c)
    return ("\\u%04x"):format(c:byte())
  end) .. '"'
end

--- A value as JSON. Tables with a first element are lists, others objects; names come in order.
-- @param value a string, a number, a boolean or a table of these
-- @treturn string
function _M.json(value)
  local kind = type(value)
  if kind == "string" then return json_string(value) end
  if kind == "number" then return value - value == 0 and ("%.14g"):format(value) or "null" end
  if kind ~= "table" then return tostring(value) end
  local parts = {}
  if value[1] ~= nil then
    for i = 1, #value do parts[i] = _M.json(value[i]) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for i, name in ipairs(sorted(value)) do
    parts[i] = json_string(name) .. ":" .. _M.json(value[name])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

-- Numbers -----------------------------------------------------------------------------------------

local function grouped(digits)
  local text, times = digits, 1
  while times > 0 do text, times = text:gsub("^(%d+)(%d%d%d)", "%1,%2") end
  return text
end

local LARGE = { { 1e12, "T" }, { 1e9, "G" }, { 1e7, "M", 1e6 } }

--- A number of things: `1,204`, from ten millions on `12.3M`.
-- @tparam number n
-- @treturn string
function _M.count(n)
  if n == huge then return "∞" end
  for _, unit in ipairs(LARGE) do
    if n >= unit[1] then return ("%.1f%s"):format(n / (unit[3] or unit[1]), unit[2]) end
  end
  return grouped(("%.0f"):format(n))
end

--- How many in a second: `0.4/s`, `12/s`.
-- @tparam number n
-- @treturn string
function _M.rate(n)
  if n > 0 and n < 9.95 then return ("%.1f/s"):format(n) end
  return _M.count(n) .. "/s"
end

--- A part of a whole: `94.2%`. Only all of it is 100%.
-- @tparam number part 0 to 1
-- @treturn string
function _M.percent(part)
  if part == 0 or part == 1 then return ("%d%%"):format(part * 100) end
  return ("%.1f%%"):format(math.min(part * 100, 99.9))
end

local SPANS = { { 86400, 172800, "d" }, { 3600, 7200, "h" }, { 60, 120, "min" }, { 1, 1, "s" },
  { 1e-3, 1e-3, "ms" } }

--- A span of time: `840 µs`, `2.1 ms`, `42 s`, `5 min`.
-- @tparam number seconds
-- @treturn string
function _M.span(seconds)
  if seconds == huge then return "for ever" end
  for _, unit in ipairs(SPANS) do
    if seconds >= unit[2] then
      local n = seconds / unit[1]
      return (n < 9.95 and "%.1f %s" or "%.0f %s"):format(n, unit[3])
    end
  end
  return ("%.0f µs"):format(seconds * 1e6)
end

--- An amount of memory: `512 B`, `4.9 KB`, `12 MB`.
-- @tparam number n bytes
-- @treturn string
function _M.bytes(n)
  if n < 1024 then return ("%d B"):format(n) end
  local amount, unit = n / 1024, "KB"
  if amount >= 1024 then amount, unit = amount / 1024, "MB" end
  return (amount < 9.95 and "%.1f %s" or "%.0f %s"):format(amount, unit)
end

return _M

-- SPDX-License-Identifier: MIT
--- Checks of arguments and options, in one place, with one wording:
-- `<function>: <argument> must be <what was expected>, got <what came>`.
-- @module perigee.options

local names = require "perigee.value.names"

local type = type

local _M = {}

local INFINITY = math.huge

--- Says what a value is, briefly, for an error message.
-- @param value anything
-- @treturn string such as `nil`, `number -1`, `string "x"`, `table`
function _M.describe(value)
  local kind = type(value)
  if kind == "string" then
    local text = #value > 40 and value:sub(1, 40) .. "..." or value
    return ("string %q"):format(text)
  elseif kind == "number" or kind == "boolean" then
    return kind .. " " .. tostring(value)
  end
  return kind
end

--- Raises the error of a wrong argument.
-- @tparam string where the function's name, as the caller wrote it
-- @tparam string what the argument or option
-- @tparam string expected what it must be
-- @param came what it was
-- @tparam number level where the error points, as for `error`, counted from the caller
function _M.fail(where, what, expected, came, level)
  error(("%s: %s must be %s, got %s"):format(where, what, expected, _M.describe(came)), level + 1)
end

--- Whether a value can be called: a function, or a table with `__call`.
-- @param value anything
-- @treturn boolean
function _M.is_callable(value)
  local kind = type(value)
  if kind == "function" then return true end
  if kind ~= "table" then return false end
  local mt = debug.getmetatable(value)
  return mt ~= nil and rawget(mt, "__call") ~= nil
end

local is_callable = _M.is_callable

--- The kinds of values: how an error words what is expected, and a check, which may return beside
-- false the part of the value that is to blame.
_M.kinds = {
  string = { "a string", function(v) return type(v) == "string" end },
  name = { "a string that is not empty", function(v) return type(v) == "string" and v ~= "" end },
  boolean = { "a boolean", function(v) return type(v) == "boolean" end },
  callable = { "a function or a callable table", is_callable },
  duration = { "a number of seconds > 0 (math.huge: for ever)",
    function(v) return type(v) == "number" and v > 0 end },
  neg_duration = { "a number of seconds > 0 (math.huge: for ever) or false",
    function(v) return v == false or type(v) == "number" and v > 0 end },
  grace = { "a number of seconds >= 0 (math.huge: for ever)",
    function(v) return type(v) == "number" and v >= 0 end },
  milliseconds = { "a number of milliseconds >= 0",
    function(v) return type(v) == "number" and v >= 0 and v < INFINITY end },
  fraction = { "a number from 0 to 1",
    function(v) return type(v) == "number" and v >= 0 and v <= 1 end },
  bound = { "a whole number >= 0, or math.huge", function(v)
    return type(v) == "number" and v >= 0 and (v == INFINITY or v % 1 == 0)
  end },
  count = { "a whole number > 0",
    function(v) return type(v) == "number" and v > 0 and v < 2 ^ 31 and v % 1 == 0 end },
  weight = { "a number > 0",
    function(v) return type(v) == "number" and v > 0 end },
  key = { "a string, a number (not NaN) or a boolean (perigee.key makes keys of other values)",
    function(v)
      local kind = type(v)
      return kind == "string" or kind == "number" and v == v or kind == "boolean"
    end },
  list = { "a table", function(v) return type(v) == "table" end },
}

--- One of several words.
-- @tparam table words the list of them
-- @treturn table a kind, for a table of specifications
function _M.one_of(words)
  local known, quoted = {}, {}
  for i, word in ipairs(words) do
    known[word] = true
    quoted[i] = ("%q"):format(word)
  end
  local text = "one of " .. table.concat(quoted, ", ")
  return { text, function(v) return v ~= nil and known[v] == true end }
end

--- Checks one argument.
-- @tparam string where the function's name
-- @tparam string what the argument's name
-- @tparam table kind one of `kinds`
-- @param value what came
-- @tparam number level as for `error`, counted from the caller
-- @return the value
function _M.argument(where, what, kind, value, level)
  local ok, culprit = kind[2](value)
  if not ok then
    if culprit == nil then culprit = value end
    _M.fail(where, what, kind[1], culprit, level + 1)
  end
  return value
end

--- Checks that a method of a cache was called with a colon.
-- @tparam string where the method
-- @param self what came before the arguments
-- @tparam number level as for `error`, counted from the caller
function _M.method(where, self, level)
  if type(self) == "table" then return end
  error(where .. ": call it with a colon, on a cache", level + 1)
end

--- Checks what a function of the user's returned. The error has no position: it is no line's.
-- @tparam string where the function that was given it
-- @tparam string what what it is called
-- @tparam table kind one of `kinds`
-- @param value what came
-- @return the value
function _M.result(where, what, kind, value)
  return _M.argument(where, what, kind, value, -2)
end

local function known_names(specs)
  return table.concat(names.sorted(specs), ", ")
end

local function fail_unknown(where, name, specs, level)
  error(("%s: there is no option %s; the options are %s")
    :format(where, _M.describe(name):gsub("^string ", ""), known_names(specs)), level + 1)
end

--- Checks a table of options against their specifications. `nil` is always allowed.
-- @tparam string where the function's name
-- @tparam table opts what the user gave
-- @tparam table specs kind by option name
-- @tparam number level as for `error`, counted from the caller
-- @treturn table opts
function _M.check(where, opts, specs, level)
  -- Not `pairs`: its compiled loop can spin for ever where a finalizer runs while it is recorded
  -- (seen with LuaJIT 2.1.0-beta3+git20220320).
  local name, value = next(opts)
  while name ~= nil do
    local kind = specs[name]
    if kind == nil then fail_unknown(where, name, specs, level + 1) end
    local ok, culprit = kind[2](value)
    if not ok then
      if culprit == nil then culprit = value end
      _M.fail(where, ("option %q"):format(name), kind[1], culprit, level + 1)
    end
    name, value = next(opts, name)
  end
  return opts
end

return _M

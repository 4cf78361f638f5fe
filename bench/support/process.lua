-- SPDX-License-Identifier: MIT
--- One measurement, one process: the runner starts itself again for each, and reads what the
-- child measured from its output, a series of numbers per line.
-- @module bench.support.process

local _M = {}

--- A word as the shell wants it.
-- @tparam string text
-- @treturn string
function _M.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local quote = _M.quote

--- The interpreter that runs this script: what stands in front of it on the command line.
-- @treturn string
function _M.interpreter()
  local first = 0
  while arg[first - 1] do first = first - 1 end
  return arg[first]
end

--- Writes series for the parent: `{ [name] = list of numbers }`.
function _M.write(series)
  for name, list in pairs(series) do
    local texts = {}
    for i = 1, #list do texts[i] = ("%.9g"):format(list[i]) end
    print("series\t" .. name .. "\t" .. table.concat(texts, " "))
  end
end

--- Reads series out of what a child wrote.
-- @tparam string text
-- @treturn table `{ [name] = list of numbers }`
function _M.read(text)
  local series = {}
  for name, numbers in text:gmatch "series\t([^\t]+)\t([^\n]+)\n" do
    series[name] = {}
    for number in numbers:gmatch "%S+" do table.insert(series[name], tonumber(number)) end
  end
  return series
end

--- Runs this script with `arguments` in a new process.
-- @tparam table arguments list of strings
-- @treturn table|nil the series it wrote
-- @treturn string its output when it failed
function _M.run(arguments)
  local words = { quote(_M.interpreter()), quote(arg[0]) }
  for i = 1, #arguments do table.insert(words, quote(arguments[i])) end
  local pipe = assert(io.popen(table.concat(words, " ") .. " 2>&1; echo \"status=$?\""))
  local output = pipe:read "*a"
  pipe:close()
  if not output:find "status=0\n$" then return nil, output end
  local series = _M.read(output)
  if not next(series) then return nil, "it measured nothing\n" .. output end
  return series
end

return _M

-- SPDX-License-Identifier: MIT
--- The options of the benchmarks.
-- @module bench.support.options

local _M = {}

local MOST_ROUNDS = 100000

--- What there is.
_M.USAGE = "usage: bench/run.lua [--quick | --tiny] [--iterations N] [--json FILE]"
  .. " [--markdown FILE] [name]"

local function number_of_rounds(text)
  local n = tonumber(text)
  if n and n >= 1 and n <= MOST_ROUNDS and n % 1 == 0 then return n end
  return nil, ("--iterations: a whole number from 1 to %d, not %q"):format(MOST_ROUNDS, text)
end

local function same(text) return text end

-- What the options with a value make of it.
local WITH_VALUE = {
  ["--iterations"] = { "iterations", number_of_rounds },
  ["--json"] = { "json", same },
  ["--markdown"] = { "markdown", same },
}

local EFFORTS = { ["--quick"] = "quick", ["--tiny"] = "tiny" }

local function take_value(options, word, value)
  local name, convert = unpack(WITH_VALUE[word])
  if not value or value == "" or value:find "^%-%-" then return word .. " needs a value" end
  local converted, why = convert(value)
  options[name] = converted
  return why
end

--- Reads the command line.
-- @tparam table words list of strings
-- @treturn table|nil `effort` ("full", "quick" or "tiny"), and `iterations`, `json`, `markdown` and
--   `name` as far as they are given
-- @treturn string what is wrong with them, if there are none
function _M.parse(words)
  local options, i = { effort = "full" }, 1
  while i <= #words do
    local word = words[i]
    if WITH_VALUE[word] then
      i = i + 1
      local wrong = take_value(options, word, words[i])
      if wrong then return nil, wrong end
    elseif EFFORTS[word] then
      options.effort = EFFORTS[word]
    elseif word:find "^%-" or options.name then
      return nil, _M.USAGE
    else
      options.name = word
    end
    i = i + 1
  end
  return options
end

return _M

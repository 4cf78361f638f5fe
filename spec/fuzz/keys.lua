-- SPDX-License-Identifier: MIT
--- Fuzz target: two lists of arguments have equal keys exactly when they are equal, whichever way
-- the keys are made.
local plan = require "spec.fuzz.plan"
local keys = require "perigee.value.keys"

local ARGUMENTS_MAX = 4

local function arguments(reader)
  local list = { n = reader:byte() % (ARGUMENTS_MAX + 1) }
  for i = 1, list.n do list[i] = plan.value(reader, 4, true) end
  return list
end

-- What had a key first, in this run of the program; and how many keys that are.
local first, count, COUNT_MAX = {}, 0, 50000

local function note(key, list)
  local spelt = plan.spell(list)
  if first[key] then return assert(first[key] == spelt, "one key, of two lists") end
  if count == COUNT_MAX then first, count = {}, 0 end
  first[key], count = spelt, count + 1
end

local function key_of(list)
  local key = keys.key(unpack(list, 1, list.n))
  note(key, list)
  if list.n ~= 1 then
    assert(keys.list("f", list.n, unpack(list, 1, list.n)) == key, "a shorter way, another key")
  end
  return key
end

-- One place of a value is another one.
local function changed(reader, value)
  if type(value) ~= "table" or next(value) == nil then return plan.value(reader, 2, true) end
  local copy = plan.copy(value)
  local key = next(copy)
  copy[key] = changed(reader, copy[key])
  return copy
end

local function compare(one, other)
  local same = plan.equal(one, other)
  assert((key_of(one) == key_of(other)) == same,
    same and "equal arguments, different keys" or "different arguments, one key")
end

return function(bytes)
  local reader = plan.reader(bytes)
  local one, other = arguments(reader), arguments(reader)
  compare(one, plan.copy(one))
  compare(one, other)
  if one.n == 0 then return end
  local third = plan.copy(one)
  third[1] = changed(reader, third[1])
  compare(one, third)
  local alone = keys.one("f", one[1])
  assert(type(alone) ~= "string" or alone:byte() ~= 0xFE or alone == keys.key(one[1]),
    "a text that looks like a key stands for itself")
end

-- SPDX-License-Identifier: MIT
--- A strict little reader of Prometheus' text exposition format 0.0.4.
local _M = {}

local types = { counter = true, gauge = true, histogram = true, summary = true, untyped = true }
local escapes = { ["\\\\"] = "\\", ["\\\""] = "\"", ["\\n"] = "\n" }

local function fail(line, why)
  error(("line %q: %s"):format(line, why), 0)
end

-- Reads `{a="b",c="d"}` from position `at`; returns the labels and where they end.
local function read_labels(line, at)
  local labels = {}
  at = at + 1
  while line:sub(at, at) ~= "}" do
    local name, from = line:match('^([%a_][%w_]*)="()', at)
    if not name then
      fail(line, "a label was expected at " .. at)
    end
    local value = ""
    at = from
    while line:sub(at, at) ~= '"' do
      local char = line:sub(at, at)
      if char == "" then
        fail(line, "a label's value does not end")
      elseif char == "\\" then
        char = escapes[line:sub(at, at + 1)] or fail(line, "an unknown escape")
        at = at + 1
      end
      value, at = value .. char, at + 1
    end
    if labels[name] then
      fail(line, "the label " .. name .. " comes twice")
    end
    labels[name] = value
    at = at + 1
    if line:sub(at, at) == "," then
      at = at + 1
    elseif line:sub(at, at) ~= "}" then
      fail(line, "a comma or } was expected at " .. at)
    end
  end
  return labels, at + 1
end

local function read_number(line, text)
  local special = { ["+Inf"] = math.huge, ["-Inf"] = -math.huge, NaN = 0 / 0 }
  local decimal = text:match("^[+-]?%d") or text:match("^[+-]?%.%d")
  return special[text] or decimal and tonumber(text)
    or fail(line, ("%q is no number"):format(text))
end

local function read_sample(line)
  local name, at = line:match("^([%a_:][%w_:]*)()")
  if not name then
    fail(line, "a metric's name was expected")
  end
  local labels = {}
  if line:sub(at, at) == "{" then
    labels, at = read_labels(line, at)
  end
  local number, stamp = line:match("^%s+(%S+)%s*(%-?%d*)$", at)
  if not number then
    fail(line, "a value was expected at " .. at)
  end
  return { name = name, labels = labels, value = read_number(line, number), stamp = stamp }
end

local function series_id(sample)
  local parts = {}
  for name, value in pairs(sample.labels) do
    parts[#parts + 1] = ("%s=%q"):format(name, value)
  end
  table.sort(parts)
  return sample.name .. "{" .. table.concat(parts, ",") .. "}"
end

-- A histogram's and a summary's samples have names of their own.
local function family_of(name, families)
  local base = name:gsub("_bucket$", ""):gsub("_sum$", ""):gsub("_count$", "")
  local kind = families[base] and families[base].type
  return (kind == "histogram" or kind == "summary") and base or name
end

local function read_comment(line, families, state)
  local word, name, rest = line:match("^# (%u+) ([%a_:][%w_:]*) ?(.*)$")
  if word ~= "HELP" and word ~= "TYPE" then
    return
  end
  local family = families[name] or { samples = {} }
  families[name] = family
  local field = word:lower()
  if family[field] then
    fail(line, "a second " .. word)
  elseif #family.samples > 0 then
    fail(line, word .. " after the samples")
  elseif word == "TYPE" and not types[rest] then
    fail(line, "an unknown type")
  elseif state.family ~= name and family.closed then
    fail(line, "the family is in two places")
  end
  family[field] = rest
  state.family = name
end

--- Reads a whole text; raises where it breaks the format. Returns the families by name:
-- `{ help =, type =, samples = { { name =, labels =, value = }, … } }`.
function _M.read(text)
  assert(text == "" or text:sub(-1) == "\n", "the last line does not end")
  local families, seen, state = {}, {}, {}
  for line in text:gmatch("([^\n]*)\n") do
    if line:sub(1, 1) == "#" then
      read_comment(line, families, state)
    elseif line ~= "" then
      local sample = read_sample(line)
      local name = family_of(sample.name, families)
      local family = families[name] or fail(line, "no TYPE before it")
      local id = series_id(sample)
      if seen[id] then
        fail(line, "the series comes twice")
      elseif family.closed then
        fail(line, "the family is in two places")
      elseif state.last and state.last ~= name then
        families[state.last].closed = true
      end
      seen[id], state.last = true, name
      family.samples[#family.samples + 1] = sample
    end
  end
  return families
end

-- What one label set of a histogram's family says; made when its first sample comes.
local function histogram_of(found, cache)
  found[cache] = found[cache] or { bounds = {}, counts = {} }
  return found[cache]
end

local function check_histogram(name, one)
  local last = #one.bounds
  for i = 2, last do
    assert(one.bounds[i] > one.bounds[i - 1], name .. ": the bounds do not ascend")
    assert(one.counts[i] >= one.counts[i - 1], name .. ": the buckets are not cumulative")
  end
  assert(one.bounds[last] == math.huge, name .. ": no bucket +Inf")
  assert(one.counts[last] == one.count, name .. ": +Inf is not the count")
  assert(one.sum and one.sum >= 0, name .. ": no sum")
end

--- The histograms of a family by the label `cache`, each checked to be one:
-- `{ bounds = {…}, counts = {…, cumulative}, sum =, count = }`.
function _M.histograms(families, name)
  local found = {}
  assert(families[name] and families[name].type == "histogram", name .. " is no histogram")
  for _, sample in ipairs(families[name].samples) do
    local one, what = histogram_of(found, sample.labels.cache), sample.name:sub(#name + 2)
    if what == "bucket" then
      table.insert(one.bounds, read_number(sample.name, sample.labels.le))
      table.insert(one.counts, sample.value)
    else
      one[what] = sample.value
    end
  end
  for _, one in pairs(found) do check_histogram(name, one) end
  return found
end

--- The value of the one sample of `name` with these labels, or nil.
function _M.value(families, name, labels)
  for _, sample in ipairs(families[name] and families[name].samples or {}) do
    local same = true
    for label, value in pairs(labels) do
      same = same and sample.labels[label] == value
    end
    if same then
      return sample.value
    end
  end
end

return _M

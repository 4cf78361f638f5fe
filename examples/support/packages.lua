-- SPDX-License-Identifier: MIT
--- Facts about the packages of this Debian machine, asked of `dpkg-query`: something slow that
-- one would like to ask less often. Each question is a real process.

local perigee = require "perigee"

local _M = {
  processes = 0,            -- how many were started
  closing_time = math.huge, -- no process is started after this time of `perigee.now`
  CLOSED = "it is past closing time",
}

local AT_ONCE = 8 -- so many of them run at a time, at most
local FORMAT = "${Package}\t${Version}\t${Installed-Size}\t${Section}\t${binary:Summary}\n"

-- Processes take turns in lanes: each starts when the one before it in its lane has ended.
local lanes, started = {}, 0

local function run(command)
  local lane = started % AT_ONCE
  local before = lanes[lane]
  started = started + 1
  lanes[lane] = perigee.spawn(function()
    if before then pcall(before.wait, before) end
    if perigee.now() > _M.closing_time then return nil, _M.CLOSED end
    _M.processes = _M.processes + 1
    return perigee.exec(command)
  end)
  return lanes[lane]:wait()
end

-- The output of dpkg-query, as facts by package name.
local function parse(text)
  local facts = {}
  for line in text:gmatch "[^\n]+" do
    local name, version, size, section, summary =
      line:match "^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$"
    facts[name] = facts[name] or { name = name, version = version, section = section,
      kilobytes = tonumber(size) or 0, summary = summary }
  end
  return facts
end

-- Status 1 only says that some name is unknown; it is then not among the facts.
local function query(names)
  local done, err = run { "dpkg-query", "--show", "--showformat=" .. FORMAT, unpack(names) }
  if not done then return nil, err end
  if done.status > 1 then return nil, "dpkg-query: " .. done.stderr end
  return parse(done.stdout)
end

--- All packages of this machine.
-- @treturn table|nil a list of facts, by name
-- @treturn string|nil what went wrong
function _M.all()
  local facts, err = query {}
  if not facts then return nil, err end
  local list = {}
  for _, package in pairs(facts) do list[#list + 1] = package end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- A loader: the facts about one package, nil if there is none of that name.
function _M.load(name)
  local facts, err = query { name }
  return facts and facts[name], err
end

--- A batch loader: the facts about many packages, from one process.
function _M.load_many(names)
  return query(names)
end

return _M

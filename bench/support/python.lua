-- SPDX-License-Identifier: MIT
--- Caches of Python, measured by bench/support/python_peers.py with the keys of this process.
-- @module bench.support.python

local process = require "bench.support.process"

local _M = {}

local SCRIPT = process.quote(debug.getinfo(1, "S").source:match "^@(.*)%.lua$" .. "_peers.py")

-- The loops of each peer, `{ [peer] = { [loop] = true } }`; or false, where there is no python3.
local found

local function find()
  if os.execute "command -v python3 >/dev/null" ~= 0 then return false end
  local loops = {}
  local pipe = assert(io.popen("python3 " .. SCRIPT .. " list 2>/dev/null"))
  for line in pipe:lines() do
    local peer, loop = line:match "^(%S+) (%S+)$"
    if peer then
      loops[peer] = loops[peer] or {}
      loops[peer][loop] = true
    end
  end
  pipe:close()
  return loops
end

--- Why there is no figure for a peer on this machine: a text, or nil.
-- @tparam string peer "cachetools.LRUCache"
-- @tparam string loop "hits", "get-else-set" or "functions"
-- @tparam string package where Python has it from
-- @treturn string|nil
function _M.missing(peer, loop, package)
  if found == nil then found = find() end
  if not found then return "python3 is not installed" end
  if not (found[peer] or {})[loop] then return "python3 has no " .. package end
end

local function write_keys(sequence)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(table.concat(sequence, "\n"), "\n")
  file:close()
  return path
end

--- Nanoseconds per operation.
-- @tparam string peer see above
-- @tparam string loop see above
-- @tparam table sequence list of keys, none with a space in it
-- @tparam number capacity entries
-- @tparam number count rounds
-- @treturn table list, one number per round
function _M.measure(peer, loop, sequence, capacity, count)
  local path = write_keys(sequence)
  local pipe = assert(io.popen(("python3 %s measure %s %s %s %d %d 2>&1"):format(SCRIPT,
    process.quote(peer), loop, process.quote(path), capacity, count)))
  local output = pipe:read "*a"
  pipe:close()
  os.remove(path)
  return assert(process.read(output)[peer], output)
end

return _M

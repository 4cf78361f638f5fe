-- SPDX-License-Identifier: MIT
--- On what, of what and with what seed is measured.
-- @module bench.support.circumstances

local keys = require "bench.support.keys"
local peers = require "bench.support.peers"

local _M = {}

local function read(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text or ""
end

local function system()
  local name = read("/etc/os-release"):match 'PRETTY_NAME="([^"\n]+)"' or jit.os
  local kernel = read("/proc/sys/kernel/osrelease"):match "%S+"
  return kernel and ("%s, kernel %s"):format(name, kernel) or name
end

local function python()
  local pipe = io.popen "python3 --version 2>/dev/null"
  local version = pipe:read "*l"
  pipe:close()
  return version
end

--- All of it.
-- @treturn table `machine`, `processors`, `os`, `arch`, `luajit`, `perigee`, `seed`, `clock`,
--   `date`, and `python` if there is one
function _M.get()
  local text = read "/proc/cpuinfo"
  local _, processors = text:gsub("processor%s*:", "")
  return {
    machine = text:match "model name%s*:%s*([^\n]+)" or jit.arch,
    processors = processors,
    os = system(),
    arch = jit.arch,
    luajit = jit.version,
    perigee = require "perigee.version",
    python = python(),
    seed = keys.SEED,
    clock = peers.CLOCK,
    date = os.date "!%Y-%m-%dT%H:%M:%SZ",
  }
end

--- The end of each line that is printed.
-- @tparam table about what `get` returned
-- @treturn string
function _M.brief(about)
  return ("seed %d; %s x%d, %s %s; %s"):format(about.seed, about.machine, about.processors,
    about.luajit, jit.os, about.clock)
end

return _M

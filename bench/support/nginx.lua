-- SPDX-License-Identifier: MIT
--- A real nginx for a benchmark, the same that the specs start; where it finds lua-resty-mlcache;
-- and `wrk`, which asks it.
--
-- Debian has neither lua-resty-mlcache nor lua-resty-lock, which that needs. They may stand on
-- LUA_PATH; or `PERIGEE_MLCACHE` names folders, with ":" between them, in which their sources have
-- been unpacked.
-- @module bench.support.nginx

local _M = {}

local WRK_S = 1
local WRK_CONNECTIONS = 16
local LONGEST_S = 1800

-- A line at a time is measured: none of these is filled by more than one of them.
local HTTP = [[
  lua_shared_dict perigee 192m;
  lua_shared_dict mlcache 192m;
  lua_shared_dict plain 192m;
  init_by_lua_block {
    package.path = "$path;" .. package.path
    require "perigee"
  }
]]

local function search_path()
  local list = {}
  for folder in (os.getenv "PERIGEE_MLCACHE" or ""):gmatch "[^:]+" do
    table.insert(list, folder .. "/lib/?.lua")
  end
  table.insert(list, package.path)
  return table.concat(list, ";")
end

--- Why nothing can be measured inside nginx on this machine: a text, or nil.
function _M.missing()
  local found, server = pcall(require, "spec.support.nginx")
  if not found then return "lua-socket or lua-filesystem is not installed" end
  return server.missing()
end

--- Why there are no figures of lua-resty-mlcache: a text, or nil.
function _M.missing_mlcache()
  for _, name in ipairs { "resty.mlcache", "resty.lock" } do
    if not package.searchpath(name, search_path()) then
      return name .. " is neither on LUA_PATH nor below a folder in PERIGEE_MLCACHE"
    end
  end
end

--- Why there are no requests: a text, or nil.
function _M.missing_wrk()
  if os.execute "command -v wrk >/dev/null" ~= 0 then return "wrk is not installed" end
end

--- Runs `work(server)` with a server of one worker, which is stopped whatever happens.
-- @tparam string locations directives for its `server` block
-- @tparam function work what to do
-- @return what it returns
function _M.with_server(locations, work)
  local nginx = require "spec.support.nginx"
  local server = nginx.start { locations = locations, timeout = LONGEST_S,
    http = HTTP:gsub("%$path", (search_path():gsub("%%", "%%%%"))) }
  local done, result = xpcall(work, debug.traceback, server)
  local errors = table.concat(server:errors(), "\n")
  nginx.clean()
  if not done then error(result, 0) end
  assert(errors == "", errors)
  return result
end

--- Calls a function of a module in a worker of a new server.
-- @tparam string module its name
-- @tparam string name of the function
-- @param ... its arguments: numbers, strings, and tables of them
-- @return what it returns
function _M.call(module, name, ...)
  local chunk = ("return require(%q)[%q](...)"):format(module, name)
  local arguments, count = { ... }, select("#", ...)
  return _M.with_server("", function(server)
    return server:lua(chunk, unpack(arguments, 1, count))
  end)
end

--- Seconds that a server needs for `n` requests, sixteen at a time.
-- @tparam table server which
-- @tparam string path what is requested
-- @tparam number n how many: so long that their number can be counted on, it works anyway
-- @treturn number seconds
function _M.request(server, path, n)
  local pipe = assert(io.popen(("wrk -t1 -c%d -d%ds http://127.0.0.1:%d%s 2>&1"):format(
    WRK_CONNECTIONS, WRK_S, server.port, path)))
  local said = pipe:read "*a"
  pipe:close()
  assert(not said:find "Non%-2xx" and not said:find "Socket errors", said)
  return n / assert(tonumber(said:match "Requests/sec:%s*([%d.]+)"), said)
end

return _M

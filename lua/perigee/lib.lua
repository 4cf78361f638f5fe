-- SPDX-License-Identifier: MIT
--- The C libraries: the only `ffi.cdef` and the only `ffi.load` of Perigee.
--
-- `lib.core` is loaded at once; `lib.rt` (libev, processes) and `lib.disk` (SQLite) on first use,
-- so that a host that brings its own loop never loads the former. Libraries are looked for along
-- `package.cpath` as `perigee/<name>.so`, next to where a rock or `cmake --install` puts C modules.
-- @module perigee.lib

local ffi = require "ffi"

local _M = {}

local function load_library(name)
  local path, tried = package.searchpath("perigee." .. name, package.cpath)
  if not path then
    error("perigee: the C library 'perigee/" .. name .. ".so' is not on package.cpath; "
      .. "build it with './dev build' or install the rock" .. tried, 0)
  end
  ffi.cdef(require("perigee.cdef." .. name))
  local C = ffi.load(path)
  local abi, wanted = C["perigee_" .. name .. "_abi"](), C["PERIGEE_" .. name:upper() .. "_ABI"]
  if abi ~= wanted then
    error(("perigee: %s has ABI %d, the Lua modules need %d: two versions are mixed on "
      .. "package.path and package.cpath"):format(path, abi, wanted), 0)
  end
  return C
end

--- A library of somebody else's.
-- @tparam string declarations in C, as `ffi.cdef` takes them
-- @tparam table names file names that it may have, the likeliest first
-- @treturn cdata|nil the library; nil: it is not installed
function _M.foreign(declarations, names)
  ffi.cdef(declarations)
  for _, name in ipairs(names) do
    local found, library = pcall(ffi.load, name)
    if found then return library end
  end
end

--- What the program around us exports.
-- @tparam string declarations in C, as `ffi.cdef` takes them
-- @tparam string name one of the declared symbols
-- @treturn cdata|nil the namespace; nil: the program has no such symbol
function _M.host(declarations, name)
  local declared = pcall(ffi.cdef, declarations)
  local found = declared and pcall(function() return ffi.C[name] end)
  return found and ffi.C or nil
end

setmetatable(_M, {
  __index = function(self, name)
    local C = load_library(name)
    rawset(self, name, C)
    return C
  end,
})

return _M

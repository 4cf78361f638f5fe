-- SPDX-License-Identifier: MIT
--- Files for the specs of backups, and caches that come back.
local lfs = require "lfs"
local perigee = require "perigee"

local _M = {}

local folder, opened, numbers = nil, {}, 0

local function remove_tree(path)
  for name in lfs.dir(path) do
    local inside = path .. "/" .. name
    if name ~= "." and name ~= ".." then
      if lfs.symlinkattributes(inside, "mode") == "directory" then
        remove_tree(inside)
      else
        os.remove(inside)
      end
    end
  end
  lfs.rmdir(path)
end

--- A folder of this spec's own, which `clean` removes.
function _M.folder()
  if not folder then
    folder = os.tmpname()
    os.remove(folder)
    assert(lfs.mkdir(folder))
  end
  return folder
end

--- A path in it that nothing has yet.
function _M.path()
  numbers = numbers + 1
  return ("%s/%d.db"):format(_M.folder(), numbers)
end

--- Opens a cache that `clean` closes, if the test has not.
function _M.begin(opts)
  local cache = perigee.new(opts)
  opened[#opened + 1] = cache
  return cache
end

--- The same, and waits until it is loaded: where a loop runs, it is not at once.
function _M.open(opts)
  local cache = _M.begin(opts)
  if cache.restoring then cache:contains "what waits until it is loaded" end
  return cache
end

--- A cache named "c" with its backup in a file, loaded.
function _M.cache(path, more)
  local opts = { name = "c", maxsize = 1000, backup = perigee.disk { path = path, sync = "off" } }
  for name, value in pairs(more or {}) do opts[name] = value end
  return _M.open(opts)
end

function _M.clean()
  for _, cache in ipairs(opened) do
    if not cache.closed then cache:close() end
  end
  opened = {}
  if folder then remove_tree(folder) end
  folder = nil
end

--- What a cache holds: values by key.
function _M.contents(cache)
  local map = {}
  for key, value in cache:entries() do map[key] = value end
  return map
end

function _M.write(path, bytes)
  local file = assert(io.open(path, "wb"))
  assert(file:write(bytes))
  file:close()
end

function _M.read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "*a"
  file:close()
  return bytes
end

--- The names of the files in the folder that match a pattern.
function _M.files(pattern)
  local list = {}
  for name in lfs.dir(folder) do
    if name:find(pattern) then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

return _M

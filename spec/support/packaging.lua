-- SPDX-License-Identifier: MIT
--- What the specs of packages share: a checkout of this tree to make releases of, commands in an
-- empty environment, and a program that says whether an installed copy works.
local lfs = require "lfs"
local files = require "spec.support.files"

local _M = {}

local SMOKE = [[
  local perigee = require "perigee"
  local cache = perigee.new { maxsize = 10 }
  cache:set("set", 1)
  assert(cache:get("set") == 1)
  local loaded = perigee.run(function()
    local task = perigee.spawn(function()
      perigee.sleep(0.01)
      return "slept"
    end)
    return cache:get("loaded", function() return task:wait() end)
  end)
  assert(cache:get("loaded") == "slept")
  local file = os.tmpname()
  local kept = perigee.new { name = "kept", backup = perigee.disk(file) }
  kept:set("k", 1)
  assert(kept:save_to_backup() == 1)
  os.remove(file)
  print("smoke: " .. loaded .. ", " .. require "perigee.version")
]]

--- The version that this tree says it has.
function _M.version()
  return (files.read "VERSION":gsub("%s+$", ""))
end

--- Runs a command, which must succeed: its output.
function _M.must(command)
  local output, status = files.run(command)
  assert(status == 0, command .. "\n" .. output)
  return output
end

local must = _M.must

--- A folder of the spec's own, with an empty home in it, and the words in front of a command that
-- give it an environment in which nothing is set.
-- @treturn string the folder
-- @treturn string the words
function _M.folder()
  local folder = must("mktemp -d"):gsub("%s+$", "")
  must(("mkdir %s/home %s/empty"):format(folder, folder))
  files.write(folder .. "/smoke.lua", SMOKE)
  return folder, ("env -i HOME=%s/home PATH=/usr/local/bin:/usr/bin:/bin"):format(folder)
end

--- Runs `program .. " <folder>/smoke.lua"` in an empty folder, and checks what it says.
function _M.smoke(folder, clean, program)
  local output, status =
    files.run(("cd %s/empty && %s %s %s/smoke.lua"):format(folder, clean, program, folder))
  assert(status == 0 and output == "smoke: slept, " .. _M.version() .. "\n", output)
end

--- Commits all that is in a checkout; git's output.
function _M.commit(path, clean)
  return must(([[cd %s && %s sh -c 'git add -A &&
    git -c user.name=Spec -c user.email=spec@localhost commit -q -m "All of it"']])
    :format(path, clean))
end

--- Copies this tree to `path`, ready to be released: in a git repository of its own, all committed,
-- and with a changelog that ends in this version.
function _M.checkout(path, clean)
  must(("mkdir %s && tar -c --exclude=./build --exclude=./build.luarocks --exclude=./.git . "
    .. "| tar -x -C %s"):format(path, path))
  local entry = ("\n## [%s] - 2000-01-01\n"):format(_M.version())
  local changelog = files.read(path .. "/CHANGELOG.md")
  files.write(path .. "/CHANGELOG.md", (changelog:gsub("\n## %[Unreleased%]\n", entry, 1)))
  must(("cd %s && %s git init -q -b main"):format(path, clean))
  _M.commit(path, clean)
end

--- The lines of a text, sorted.
function _M.lines(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = line end
  table.sort(list)
  return list
end

--- The files below a folder, as a sorted list of paths from there.
function _M.files_in(folder)
  return _M.lines(must(("cd %s && find . ! -type d -printf '%%P\\n'"):format(folder)))
end

local GENERATED = { "cdef/core.lua", "cdef/disk.lua", "cdef/rt.lua", "version.lua" }
local DOCUMENTED = { docs = true, examples = true, library = true }

-- Where a file of the tree is installed; nil: nowhere.
local function destination(path, folders, texts)
  local top, rest = path:match "^([^/]+)/(.+)$"
  if top == "lua" then return folders.lua .. "/" .. rest end
  if DOCUMENTED[top] and not path:find "/%." then return folders.doc .. "/" .. path end
  if texts[path] then return folders.doc .. "/" .. path end
end

--- The files that an installation of the tree at `source` has, as a sorted list.
-- @tparam string source an unpacked release
-- @tparam table folders `bin`, `lua`, `lib`, `doc`; `man` is the manual page itself
-- @tparam {string,...} texts names of files that belong into the last, beside its folders
function _M.expected(source, folders, texts)
  local set, list = {}, { folders.bin .. "/perigee", folders.man }
  for _, name in ipairs(texts) do set[name] = true end
  for _, path in ipairs(_M.files_in(source)) do
    list[#list + 1] = destination(path, folders, set)
  end
  for _, name in ipairs(GENERATED) do list[#list + 1] = folders.lua .. "/perigee/" .. name end
  for _, name in ipairs { "core", "disk", "rt" } do
    list[#list + 1] = ("%s/perigee/%s.so"):format(folders.lib, name)
  end
  table.sort(list)
  return list
end

--- What one list of paths has and the other has not, in lines "- only in the first" and
-- "+ only in the second"; empty if they are the same.
function _M.difference(first, second)
  local set, list = {}, {}
  for _, path in ipairs(first) do set[path] = true end
  for _, path in ipairs(second) do
    if not set[path] then list[#list + 1] = "+ " .. path end
    set[path] = nil
  end
  for path in pairs(set) do list[#list + 1] = "- " .. path end
  table.sort(list)
  return table.concat(list, "\n")
end

--- Whether there is something at a path.
function _M.exists(path)
  return lfs.attributes(path) ~= nil
end

return _M

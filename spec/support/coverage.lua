-- SPDX-License-Identifier: MIT
--- What `./dev coverage` prints: for each file of csrc and lua how many lines ran, and in two texts
-- which did not. Run as: luajit spec/support/coverage.lua COUNTS GCOV OUT: the folder of what
-- lines.c has written, the output of gcov, and the folder where the texts go.
local jit_util = require "jit.util"
local lfs = require "lfs"

local counts_folder, gcov_path, out_folder = arg[1], arg[2], arg[3]

local function lines_of(path)
  local list = {}
  for line in io.lines(path) do list[#list + 1] = line end
  return list
end

local function files_in(folder, pattern)
  local list = {}
  for name in lfs.dir(folder) do
    if name:find(pattern) then list[#list + 1] = folder .. "/" .. name end
  end
  table.sort(list)
  return list
end

-- Lua -----------------------------------------------------------------------------------------

-- The lines that have bytecode, in a function and those within it.
local function note_lines(fn, found)
  local info = jit_util.funcinfo(fn)
  for pc = 1, info.bytecodes - 1 do found[jit_util.funcinfo(fn, pc).currentline] = true end
  for i = -1, -info.gcconsts, -1 do
    local constant = jit_util.funck(fn, i)
    if type(constant) == "proto" then note_lines(constant, found) end
  end
end

-- What only closes a block has bytecode that is seldom reached, or never.
local function says_something(text)
  return not text:find "^%s*[%]})]*%s*$" and not text:find "^%s*end[%s%]}),;]*$"
end

local function lua_files(folder, found)
  for name in lfs.dir(folder) do
    local path = folder .. "/" .. name
    if name:find "%.lua$" then
      found[#found + 1] = path
    elseif not name:find "^%." and lfs.attributes(path, "mode") == "directory" then
      lua_files(path, found)
    end
  end
  return found
end

local function lua_coverage()
  local ran, report = {}, {}
  for _, path in ipairs(files_in(counts_folder, "^lua%-")) do
    for line in io.lines(path) do
      local file, number = line:match "^(%S+) (%d+) "
      if number then
        ran[file] = ran[file] or {}
        ran[file][tonumber(number)] = true
      end
    end
  end
  for _, path in ipairs(lua_files("lua", {})) do
    local found, texts, lines = {}, lines_of(path), {}
    note_lines(assert(loadfile(path)), found)
    for number, text in ipairs(texts) do
      if found[number] and says_something(text) then
        local file = ran[path] or {}
        lines[#lines + 1] = { number = number, text = text, ran = file[number] or false }
      end
    end
    report[#report + 1] = { path = path, lines = lines }
  end
  return report
end

-- C: a file may be compiled several times, and a line have several functions of one header. -----

local function read_gcov(path, files)
  local file
  for line in io.lines(path) do
    local count, number, text = line:match "^%s*([^:]+):%s*(%d+):(.*)$"
    local source = number == "0" and text:match "^Source:(.*)$"
    if source then
      local own = source:match "csrc/.*$"
      file = own and (files[own] or {})
      if own then files[own] = file end
    elseif file and number and tonumber(number) > 0 and count ~= "-" then
      local before = file[tonumber(number)]
      local ran = count:find "^%d" ~= nil or before ~= nil and before.ran
      file[tonumber(number)] = { number = tonumber(number), text = text, ran = ran }
    end
  end
end

local function c_coverage()
  local files, report = {}, {}
  read_gcov(gcov_path, files)
  for path, by_number in pairs(files) do
    local lines = {}
    for _, line in pairs(by_number) do lines[#lines + 1] = line end
    table.sort(lines, function(a, b) return a.number < b.number end)
    report[#report + 1] = { path = path, lines = lines }
  end
  table.sort(report, function(a, b) return a.path < b.path end)
  return report
end

-- The report ------------------------------------------------------------------------------------

local function count(lines)
  local ran = 0
  for _, line in ipairs(lines) do ran = ran + (line.ran and 1 or 0) end
  return ran, #lines
end

local function percent(ran, all) return all > 0 and 100 * ran / all or 100 end

local function write_missing(path, report)
  local out = assert(io.open(path, "w"))
  for _, file in ipairs(report) do
    for _, line in ipairs(file.lines) do
      if not line.ran then out:write(("%s:%d: %s\n"):format(file.path, line.number, line.text)) end
    end
  end
  out:close()
end

local function print_report(title, report)
  local all_ran, all = 0, 0
  for _, file in ipairs(report) do
    local ran, lines = count(file.lines)
    all_ran, all = all_ran + ran, all + lines
    if ran < lines then
      print(("%6.1f %%  %5d of %5d  %s"):format(percent(ran, lines), ran, lines, file.path))
    end
  end
  print(("%6.1f %%  %5d of %5d  %s, %d files; those that are not listed ran as a whole\n")
    :format(percent(all_ran, all), all_ran, all, title, #report))
end

local lua, c = lua_coverage(), c_coverage()
write_missing(out_folder .. "/lua.txt", lua)
write_missing(out_folder .. "/c.txt", c)
print_report("lines of Lua", lua)
print_report("lines of C", c)

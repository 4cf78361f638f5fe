-- SPDX-License-Identifier: MIT
-- suites: dev hard
-- The border between C and Lua: what LuaJIT believes about each library is asked of the library
-- itself and of the C compiler, and what is declared of what csrc/abi.txt has on record.
local ffi = require "ffi"
local lib = require "perigee.lib"
local files = require "spec.support.files"

local LIBRARIES = { "core", "rt", "disk" }
local MOST_ARGUMENTS = 8

local run = files.run

local function without_comments(text)
  return (text:gsub("/%*.-%*/", " "))
end

local function headers_of(cdef)
  local headers = {}
  for name in cdef:gmatch "/%* ([%w_]+%.h) %*/" do table.insert(headers, name) end
  return headers
end

local function functions_of(cdef)
  local functions = {}
  local flat = without_comments(cdef):gsub("%b{}", " ")
  for statement in flat:gmatch "[^;]+" do
    local name, arguments = statement:match "([%w_]+)%s*(%b())%s*$"
    if name then functions[name] = arguments:sub(2, -2) end
  end
  return functions
end

local function structs_of(cdef)
  local structs, text = {}, without_comments(cdef)
  for name, body in text:gmatch "struct%s+([%w_]+)%s*(%b{})" do
    local fields = {}
    for declaration in body:sub(2, -2):gmatch "[^;]*%S[^;]*" do
      assert(not declaration:find "[:({]", "not a plain field: " .. declaration)
      for declarator in declaration:gmatch "[^,]+" do
        table.insert(fields, (declarator:gsub("%b[]", ""):match "([%w_]+)%s*$"))
      end
    end
    structs[name] = fields
  end
  return structs
end

local function constants_of(cdef)
  local constants = {}
  for body in without_comments(cdef):gmatch "enum%s*[%w_]*%s*(%b{})" do
    for item in body:sub(2, -2):gmatch "[^,]+" do
      table.insert(constants, item:match "^%s*([%w_]+)")
    end
  end
  return constants
end

-- A C program that prints what the compiler knows, one "name value" in a line.
local function questions(library, cdef)
  local lines = { "#include <stddef.h>", "#include <stdio.h>" }
  local function ask(name, expression)
    table.insert(lines, ('  printf("%s %%.0f\\n", (double)(%s));'):format(name, expression))
  end
  for _, header in ipairs(headers_of(cdef)) do
    table.insert(lines, ('#include "%s/%s"'):format(library, header))
  end
  table.insert(lines, "int main(void) {")
  for struct, fields in pairs(structs_of(cdef)) do
    ask(struct, ("sizeof(struct %s)"):format(struct))
    for _, field in ipairs(fields) do
      ask(struct .. "." .. field, ("offsetof(struct %s, %s)"):format(struct, field))
    end
  end
  for _, constant in ipairs(constants_of(cdef)) do ask(constant, constant) end
  table.insert(lines, "  return 0;\n}\n")
  return table.concat(lines, "\n")
end

local function answers(library, cdef)
  local base = os.tmpname()
  local file = assert(io.open(base .. ".c", "w"))
  file:write(questions(library, cdef))
  file:close()
  local flags = os.getenv "PERIGEE_PRESET" == "hard" and "-DPERIGEE_HARD" or ""
  local output, status =
    run(("cc -std=gnu11 %s -Icsrc -o %s.out %s.c && %s.out"):format(flags, base, base, base))
  for _, suffix in ipairs { "", ".c", ".out" } do os.remove(base .. suffix) end
  assert(status == 0, output)
  local known = {}
  for name, value in output:gmatch "(%S+) (%S+)\n" do known[name] = tonumber(value) end
  return known
end

-- The same for declarations that differ in comments and white space only.
local function fingerprint(cdef)
  local path = os.tmpname()
  files.write(path, (without_comments(cdef):gsub("%s+", " ")))
  local sum = run("sha256sum " .. path):match "^%x+"
  os.remove(path)
  return sum
end

-- What csrc/abi.txt says of a library: fingerprints by ABI number, and the greatest number.
local function recorded(library)
  local sums, last = {}, 0
  for line in files.read "csrc/abi.txt":gmatch "[^\n]+" do
    local name, abi, sum = line:match "^(%l+) (%d+) (%x+)$"
    if name == library then
      abi = tonumber(abi)
      assert(abi > last, library .. ": numbers go up: " .. line)
      sums[abi], last = sum, abi
    end
  end
  return sums, last
end

local function dynamic_section(path)
  local output, status = run(("readelf -d '%s'"):format(path))
  assert(status == 0, output)
  return output
end

for _, library in ipairs(LIBRARIES) do
  describe("the border of " .. library, function()
    local C, cdef, path, abi

    setup(function()
      C, cdef = lib[library], require("perigee.cdef." .. library)
      path = assert(package.searchpath("perigee." .. library, package.cpath))
      abi = C["perigee_" .. library .. "_abi"]()
    end)

    it("is declared as is on record for its ABI number", function()
      local sums, last = recorded(library)
      local sum = fingerprint(cdef)
      if sums[abi] ~= sum then
        local change = sums[abi] and ("its ffi blocks have changed: raise PERIGEE_%s_ABI")
          :format(library:upper()) or ("ABI %d is new"):format(abi)
        error(("%s: %s, and record it in csrc/abi.txt: %s %d %s"):format(library, change, library,
          sums[abi] and last + 1 or abi, sum), 0)
      end
      assert.equal(last, abi)
    end)

    it("is named in its file, with that number", function()
      local soname = dynamic_section(path):match "%(SONAME%)[^\n]*%[(.-)%]"
      assert.equal(("perigee-%s.so.%d"):format(library, abi), soname)
    end)

    it("has every function that is declared", function()
      local count = 0
      for name in pairs(functions_of(cdef)) do
        assert.has_no.errors(function() return C[name] end)
        count = count + 1
      end
      assert.is_true(count > 1)
    end)

    it("exports nothing that is not declared", function()
      local symbols, status = run(("nm -D --defined-only '%s'"):format(path))
      assert.equal(0, status, symbols)
      local declared = functions_of(cdef)
      for symbol in symbols:gmatch "%x+ %u (%S+)" do
        assert.is_truthy(declared[symbol], symbol .. " is exported, but in no ffi block")
      end
    end)

    it("keeps to few arguments, and to types that cross cheaply", function()
      for name, arguments in pairs(functions_of(cdef)) do
        local _, commas = arguments:gsub(",", "")
        assert.is_true(commas < MOST_ARGUMENTS, name .. " has too many arguments")
        for argument in arguments:gmatch "[^,]+" do
          local by_value = argument:find "perigee_" and not argument:find "*"
          assert.is_falsy(by_value, name .. " takes a struct by value")
        end
      end
    end)

    it("agrees with the compiler on sizes, offsets and constants", function()
      local known = answers(library, cdef)
      for struct, fields in pairs(structs_of(cdef)) do
        assert.equal(known[struct], ffi.sizeof("struct " .. struct), "sizeof " .. struct)
        for _, field in ipairs(fields) do
          local offset = ffi.offsetof("struct " .. struct, field)
          assert.equal(known[struct .. "." .. field], offset, struct .. "." .. field)
        end
      end
      for _, constant in ipairs(constants_of(cdef)) do
        assert.equal(known[constant], tonumber(C[constant]), constant)
      end
    end)
  end)
end

-- SPDX-License-Identifier: MIT
-- suites: dev
-- The examples as a course: none without its line in examples/README.md, none without a spec.
local files = require "spec.support.files"
local lfs = require "lfs"

-- Which are no examples.
local OTHERS = { ["README.md"] = true, support = true }

local function entries(folder)
  local list = {}
  for name in lfs.dir(folder) do
    if not name:find "^%." and not OTHERS[name] then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

local page = files.read "examples/README.md"

-- All specs that may run examples.
local function specs()
  local texts = { files.read "spec/examples_spec.lua" }
  for _, name in ipairs(entries "spec/examples") do
    if name ~= "course_spec.lua" then texts[#texts + 1] = files.read("spec/examples/" .. name) end
  end
  return table.concat(texts)
end

-- Whether a text has this name, not as a part of another one.
local function has(text, name)
  return text:find("%f[%w]" .. name:gsub("%p", "%%%0") .. "%f[^%w-]") ~= nil
end

describe("the course of examples", function()
  it("numbers its parts from 1 on, each number once", function()
    local named = {}
    for number in page:gmatch "\n| %[?(%d%d)%-" do named[#named + 1] = tonumber(number) end
    for i = 1, #named do assert.equal(i, named[i]) end
    local seen = {}
    for _, name in ipairs(entries "examples") do
      local number = tonumber(name:match "^(%d%d)%-")
      if number then
        assert.is_nil(seen[number], name)
        assert.is_truthy(named[number], name)
        seen[number] = true
      end
    end
  end)

  it("has a line for each example, and for each folder of 08-openresty", function()
    local list = entries "examples"
    for _, name in ipairs(entries "examples/08-openresty") do list[#list + 1] = name end
    assert.is_true(#list >= 20)
    for _, name in ipairs(list) do
      assert.is_true(has(page, (name:gsub("^(%d.*)%.lua$", "%1"))), name)
    end
  end)

  it("has a spec that runs each of them", function()
    local text = specs()
    for _, name in ipairs(entries "examples") do assert.is_true(has(text, name), name) end
    for _, name in ipairs(entries "examples/08-openresty") do
      assert.is_true(has(text, name), name)
    end
  end)

  it("has no link to what is not there", function()
    for _, path in ipairs { "examples/", "examples/11-kong/", "examples/12-apisix/" } do
      for target in files.read(path .. "README.md"):gmatch "%]%(([^)#]+)[^)]*%)" do
        assert.is_truthy(lfs.attributes(path .. target), path .. "README.md: " .. target)
      end
    end
  end)

  it("introduces each program in its first lines", function()
    for _, name in ipairs(entries "examples") do
      local path = "examples/" .. name
      if name:find "^%d.*%.lua$" then
        assert.matches("^%-%- SPDX%-License%-Identifier: MIT\n%-%- %u", files.read(path), name)
      end
    end
  end)

  it("has lines that fit", function()
    for _, path in ipairs { "examples/", "examples/11-kong/", "examples/12-apisix/" } do
      for line in files.read(path .. "README.md"):gmatch "[^\n]+" do
        local _, continuations = line:gsub("[\128-\191]", "")
        assert.is_true(#line - continuations <= 100, line)
      end
    end
  end)
end)

-- SPDX-License-Identifier: MIT
--- The pages of the documentation: their blocks of code, their links, and how each is checked.
local files = require "spec.support.files"

local _M = {}

local run = files.run

--- The pages whose code is checked, and all whose text is.
function _M.pages(command)
  local list = {}
  for page in run(command or "ls README.md docs/*.md"):gmatch "[^\n]+" do list[#list + 1] = page end
  return list
end

function _M.all_pages()
  return _M.pages "find README.md CONTRIBUTING.md CHANGELOG.md docs -name '*.md' | sort"
end

--- The fenced blocks of a page: `{ language =, code =, line =, page = }`.
function _M.blocks(page)
  local list, open, number = {}, nil, 0
  for line in (files.read(page) .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    local language = line:match "^%s*```(.*)$"
    if language and open then
      open.code = table.concat(open, "\n") .. "\n"
      list[#list + 1], open = open, nil
    elseif language then
      open = { language = language, line = number + 1, page = page }
    elseif open then
      open[#open + 1] = line
    end
  end
  assert(not open, page .. " has a block that does not end")
  return list
end

--- A page without its blocks.
function _M.prose(page)
  return ("\n" .. files.read(page)):gsub("\n%s*```.-\n%s*```", "\n")
end

--- The anchors of a page, as GitHub makes them of its headings.
function _M.anchors(page)
  local anchors, seen = {}, {}
  for heading in _M.prose(page):gmatch "\n#+ ([^\n]+)" do
    local slug = heading:gsub("%[([^%]]*)%]%([^)]*%)", "%1"):lower()
      :gsub("[^%w%s_\128-\255-]", ""):gsub("%s", "-")
    local count = seen[slug] or 0
    seen[slug] = count + 1
    anchors[count == 0 and slug or slug .. "-" .. count] = true
  end
  return anchors
end

--- The lines that a block says it prints: what follows `-->`.
function _M.expected(code)
  local lines = {}
  for line in code:gmatch "%-%->%s*([^\n]*)" do lines[#lines + 1] = (line:gsub("%s+$", "")) end
  return lines
end

-- What needs the world, and so real time.
local WORLDLY = { "perigee.redis", "perigee.disk", "perigee.http", "perigee.exec", "testing" }

-- Whether sleeping is all that a block does: then it runs on the virtual clock, where nothing hangs
-- on how busy the machine is.
local function only_sleeps(code)
  for _, word in ipairs(WORLDLY) do
    if code:find(word, 1, true) then return false end
  end
  return code:find("perigee.sleep", 1, true) ~= nil
end

--- Runs the code of a Lua block as a program of its own, in a new folder.
-- @treturn string what it printed
-- @treturn number its exit status
-- @treturn string what it said on standard error
function _M.run_lua(code, redis_port)
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir -m 700 " .. folder) == 0)
  files.write(folder .. "/block.lua", code)
  local output, status = run(("cd %s && DOCS_REDIS_PORT=%s PERIGEE_RUNTIME=%s timeout -k 1 200 "
    .. "luajit -e %s 2>err"):format(folder, redis_port or 0, only_sleeps(code) and "virtual" or "",
      "'require(\"spec.support.doc_fixtures\").run \"block.lua\"'"))
  local said = files.read(folder .. "/err")
  os.execute("rm -rf " .. folder)
  return output, status, said
end

return _M

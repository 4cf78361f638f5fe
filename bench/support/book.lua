-- SPDX-License-Identifier: MIT
--- All that was measured, for a program to read (JSON) and for people (Markdown).
--
-- A book is `{ about =, effort = { name =, processes =, rounds =, operations = }, command =,
-- chapters = }`; a chapter is `{ case =, text =, lines = }`; a line is what `report.results`
-- returns, or `{ name =, what =, missing = }` where this machine has no figures.
-- @module bench.support.book

local report = require "bench.support.report"

local _M = {}

local COLUMNS = 100

local show = report.show

-- Calls `visit(line, chapter)` for each line that was measured.
local function each_line(book, visit)
  for _, chapter in ipairs(book.chapters) do
    for _, line in ipairs(chapter.lines) do
      if not line.missing then visit(line, chapter) end
    end
  end
end

-- How many targets there are, and the missed ones, as `{ line =, target = }`.
local function count_targets(book)
  local count, missed = 0, {}
  each_line(book, function(line)
    for _, target in ipairs(line.targets) do
      count = count + 1
      if not target.met then table.insert(missed, { line = line, target = target }) end
    end
  end)
  return count, missed
end

-- JSON ----------------------------------------------------------------------------------------

-- What JSON cannot say is null.
local function number(cjson, value)
  if value ~= value or value == math.huge or value == -math.huge then return cjson.null end
  return value
end

local function by_name(cjson, items)
  local object = {}
  for _, item in ipairs(items) do object[item.name] = number(cjson, item.median) end
  return object
end

local function plain_target(cjson, target)
  return { name = target.name, value = number(cjson, target.value), met = target.met,
    limit = target.at_most or target.at_least, bound = target.at_most and "at_most" or "at_least" }
end

local function plain_line(cjson, chapter, line)
  if line.missing then
    return { case = chapter.case, name = line.name, what = line.what, skipped = line.missing }
  end
  local targets = {}
  for i, target in ipairs(line.targets) do targets[i] = plain_target(cjson, target) end
  return {
    case = chapter.case, name = line.name, what = line.what, entries = line.entries,
    figure = { name = line.figure, median = number(cjson, line.median),
      best = number(cjson, line.best), unit = line.unit },
    peers = by_name(cjson, line.beside), notes = by_name(cjson, line.notes), targets = targets,
    yardstick = line.yardstick, processes = line.processes, rounds = line.rounds,
  }
end

--- The book as JSON.
-- @tparam table book see above
-- @tparam table cjson the module
-- @treturn string
function _M.json(book, cjson)
  local count, missed = count_targets(book)
  local lines, about = {}, book.about
  for _, chapter in ipairs(book.chapters) do
    for _, line in ipairs(chapter.lines) do
      table.insert(lines, plain_line(cjson, chapter, line))
    end
  end
  return cjson.encode {
    machine = { model = about.machine, processors = about.processors, arch = about.arch },
    versions = { perigee = about.perigee, luajit = about.luajit, os = about.os,
      python = about.python },
    seed = about.seed, date = about.date, clock = about.clock, effort = book.effort,
    targets = { met = count - #missed, missed = #missed }, lines = lines,
  } .. "\n"
end

-- Markdown ------------------------------------------------------------------------------------

local HARD = "\1" -- a space at which no line ends

local function wrap(text, first, others)
  local lines, line, empty = {}, first, true
  for word in text:gmatch "%S+" do
    if not empty and #line + 1 + #word > COLUMNS then
      table.insert(lines, line)
      line, empty = others, true
    end
    line, empty = line .. (empty and "" or " ") .. word, false
  end
  table.insert(lines, line)
  return (table.concat(lines, "\n"):gsub(HARD, " "))
end

local function escape(text) return (text:gsub("[|*<>]", "\\%0")) end

local function item(text) return wrap(text, "- ", "  ") end

local function title_of(name) return name == "perigee" and "Perigee" or escape(name) end

local function row(...) return "| " .. table.concat({ ... }, " | ") .. " |" end

local function outcome(target) return target.met and "met" or "**MISSED**" end

local function add_rows(rows, line)
  local function figure(value) return show(value) .. " " .. line.unit end
  table.insert(rows, row("`" .. line.name .. "`", "**" .. title_of(line.figure) .. "**",
    "**" .. figure(line.median) .. "**"))
  for _, peer in ipairs(line.beside) do
    table.insert(rows, row("", escape(peer.name), figure(peer.median)))
  end
  for _, note in ipairs(line.notes) do
    table.insert(rows, row("", escape(note.name), show(note.median)))
  end
  for _, target in ipairs(line.targets) do
    local text = ("target: %s %s"):format(escape(target.name), report.limit(target))
    table.insert(rows, row("", text, show(target.value) .. ", " .. outcome(target)))
  end
end

local function about_line(line)
  if line.missing then return "skipped, " .. line.missing end
  local n = ("n = %s"):format(report.whole(line.entries)):gsub(" ", HARD)
  return escape(line.what .. "; " .. n)
end

local function chapter_of(chapter)
  local parts, rows = { "## " .. chapter.case, "", chapter.text, "" }, {}
  for _, line in ipairs(chapter.lines) do
    table.insert(parts, item(("`%s`: %s"):format(line.name, about_line(line))))
    if not line.missing then add_rows(rows, line) end
  end
  if #rows > 0 then
    table.insert(parts, "\n| line | | figure |\n|---|---|---:|")
    table.insert(parts, table.concat(rows, "\n"))
  end
  return table.concat(parts, "\n")
end

local function counted(n, word, plural)
  return ("%d %s%s"):format(n, word, n == 1 and "" or plural)
end

local function introduction(book)
  local about, effort = book.about, book.effort
  return table.concat({
    "# Benchmarks",
    "",
    "<!-- Generated: do not edit. -->",
    "",
    "This file is generated. It is made anew, on any machine, by",
    "",
    "```sh\n" .. book.command .. "\n```",
    "",
    item(("machine: %s, %d processors (%s)"):format(about.machine, about.processors, about.arch)),
    item("system: " .. about.os),
    item("versions: Perigee " .. table.concat({ about.perigee, about.luajit, about.python }, ", ")),
    item(("seed %d, %s"):format(about.seed, about.date)),
    item(("each figure is the median of %s of its own, with %s in each; some cases take more or"
      .. " fewer"):format(counted(effort.processes, "process", "es"),
      counted(effort.rounds, "round", "s"))),
    item(about.clock),
    "",
    wrap("A limit in nanoseconds holds where the yardstick, a bare table read at 1,000 keys, takes"
      .. " 3.5 ns: on this machine it was measured too, and such figures are scaled by it. What is"
      .. " compared is compared round by round: so the median of the ratios need not be the ratio"
      .. " of the medians.", "", ""),
  }, "\n")
end

local function verdict(book)
  local count, missed = count_targets(book)
  if count == 0 then return "Nothing was measured." end
  if #missed == 0 then return ("All %d targets are met."):format(count) end
  local parts = { ("%d of %d targets are met; %d missed:\n"):format(count - #missed, count,
    #missed) }
  for _, miss in ipairs(missed) do
    table.insert(parts, item(("`%s`: %s is %s, and should be %s"):format(miss.line.name,
      escape(miss.target.name), show(miss.target.value), report.limit(miss.target))))
  end
  return table.concat(parts, "\n")
end

--- The book as Markdown, in lines of 100 columns at most.
-- @tparam table book see above
-- @treturn string
function _M.markdown(book)
  local parts = { introduction(book), verdict(book) }
  for _, chapter in ipairs(book.chapters) do table.insert(parts, chapter_of(chapter)) end
  return table.concat(parts, "\n\n") .. "\n"
end

--- What a case says about itself: the comment at its beginning.
-- @tparam string path of the case's file
-- @treturn string
function _M.text_of(path)
  local lines = {}
  for line in io.lines(path) do
    local text = line:match "^%-%- ?(.*)$"
    if not text then break end
    if not text:find "^SPDX" then table.insert(lines, text) end
  end
  return table.concat(lines, "\n")
end

return _M

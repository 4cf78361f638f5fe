-- SPDX-License-Identifier: MIT

--- The page of a cache's entries, and the one that asks before a cache is cleared.
-- @module perigee.dashboard.listing

local entries = require "perigee.dashboard.entries"
local legible = require "perigee.agent.legible"
local ngx = require "perigee.runtime.nginx"
local page = require "perigee.dashboard.page"
local template = require "perigee.dashboard.template"
local text = require "perigee.dashboard.text"
local values = require "perigee.dashboard.value"

local _M = {}

local fill, each = template.fill, template.each
local LINE = 160 -- bytes of a key or a value that are shown before it is opened

-- Names ------------------------------------------------------------------------------------------

--- How a cache is called on the page.
-- @tparam perigee.cache cache
-- @treturn string
function _M.title_of(cache)
  return cache.name or ("(unnamed, number %d)"):format(cache.number)
end

-- A cache's name in a form: letters, whatever its bytes are.
local function field_of(cache)
  return text.url(cache.name or "")
end

--- A link to a cache's entries.
-- @tparam perigee.cache cache
-- @treturn string relative
function _M.link_to(cache)
  local link = "entries?cache=" .. text.url(field_of(cache))
  return cache.name and link or link .. "&number=" .. cache.number
end

-- The hidden fields by which a form says which cache is meant, and in whose memory.
local HIDDEN = [[<input type="hidden" name="$name" value="$value">]]

local function fields_of(cache)
  return each(HIDDEN, {
    { name = "cache", value = field_of(cache) },
    { name = "number", value = cache.number },
    { name = "worker", value = ngx and ngx.worker.pid() or 0 },
  })
end

-- An entry ----------------------------------------------------------------------------------------

-- The arguments that a wrapped function's key is made of are shown as such, unless they are many:
-- all of them would be read.
local ENCODED = "\254"

local function key_text(key)
  if type(key) ~= "string" then return tostring(key), type(key) end
  if key:sub(1, 1) == ENCODED and #key <= values.MOST then
    local ok, shown = pcall(legible.key, key)
    if ok then return shown, "arguments" end
  end
  local shown, note = values.show(key)
  return shown, note
end

local function note_html(note)
  return note and fill([[<small>$note</small>]], { note = note }) or ""
end

local WHOLE = [[<details><summary>$line</summary><pre>$!whole</pre>$!note</details>]]
local PLAIN = [[<span class="plain">$line</span>$!note]]

-- One line, which opens if there is more.
local function openable(shown, note)
  if #shown <= LINE and not shown:find "\n" then
    return fill(PLAIN, { line = shown, note = note_html(note) })
  end
  local line = shown:gsub("%s+", " "):gsub(", }", " }")
  if #line > LINE then line = text.cut(line, LINE) .. " …" end
  return fill(WHOLE, { line = line, whole = text.html(shown), note = note_html(note) })
end

local ENTRY = [[
<li><div class="key">$!key$!tags</div><div class="value">$!value</div>
<div class="left">$left</div>$!delete</li>
]]

local DELETE = [[<form method="post" action="delete">$!fields<input type="hidden" name="key" ]]
  .. [[value="$name"><button class="quiet" aria-label="Delete $label">Delete</button></form>]]

local function delete_form(cache, entry, fields, label)
  local name = entries.name_of(cache, entry)
  if not name then return [[<span class="left">its key is too long for a form</span>]] end
  return fill(DELETE, { fields = fields, name = name, label = text.cut(label, 40) })
end

local function tags_html(tags)
  if not tags then return "" end
  local list = {}
  for i, tag in ipairs(tags) do list[i] = { tag = text.cut(tostring(tag), LINE) } end
  return each([[<span class="tag">$tag</span>]], list)
end

local function left_text(seconds)
  return seconds < math.huge and text.span(seconds) .. " left" or "for ever"
end

local function row(cache, entry, fields)
  local shown, note = key_text(entry.key)
  return fill(ENTRY, { key = openable(shown, note), tags = tags_html(entry.tags),
    value = openable(values.show(entry.value)), left = left_text(entry.left),
    delete = delete_form(cache, entry, fields, shown) })
end

-- The page ----------------------------------------------------------------------------------------

local SEARCH = [[
<form class="search" method="get" action="entries" role="search">
<input type="hidden" name="cache" value="$cache">$!number
<label for="search">Keys that contain</label>
<input id="search" name="search" value="$search" autocomplete="off" spellcheck="false">
<button>Search</button>
</form>
]]

local CHANGES = [[
<form class="search" method="post" action="invalidate">$!fields
<label for="tag">Forget what has the tag</label>
<input id="tag" name="tag" autocomplete="off" spellcheck="false" placeholder="user:1" required>
<button class="quiet">Forget</button>
</form>
<a class="button quiet" href="clear?$query">Clear the cache …</a>
]]

local PAGE = [[
<nav class="crumbs" aria-label="Where you are"><a href="./">Caches</a><span>$title</span></nav>
<h1>$title</h1>
<p class="lead">$size entries$!others</p>
$!done
<div class="tools">$!search$!changes</div>
$!notice
$!list
$!more
]]

local DONE = { deleted = "The entry was deleted.", cleared = "The cache was cleared.",
  forgotten = "What had the tag was forgotten." }

local EMPTY = [[<div class="empty"><h2>$title</h2><p>$hint</p></div>]]

local function list_html(cache, list, search, is_whole)
  if list[1] then
    local rows, fields = {}, fields_of(cache)
    for i, entry in ipairs(list) do rows[i] = row(cache, entry, fields) end
    return [[<ul class="entries">]] .. table.concat(rows) .. "</ul>"
  end
  if search == "" then
    return fill(EMPTY, { title = "No entries",
      hint = "What is loaded or set appears here, as long as it lives." })
  end
  return fill(EMPTY, { title = is_whole and "No key contains that" or "None so far",
    hint = is_whole and "The search is for text within keys, in any case."
      or "The search goes on with the link below." })
end

local function more_html(cache, search, next_slot, looked)
  if not next_slot then return "" end
  local template_of_link = looked == entries.MOST_LOOKED
    and [[<a class="button" href="$link">Search on, after $looked entries</a>]]
    or [[<a class="button" href="$link">More entries</a>]]
  return fill(template_of_link, { looked = text.count(looked),
    link = ("%s&search=%s&after=%d"):format(_M.link_to(cache), text.url(search), next_slot) })
end

-- Those without a name have each other's links.
local function others_html(cache)
  local list = {}
  for _, other in ipairs(cache.name and {} or entries.caches "") do
    if other ~= cache then
      list[#list + 1] = { link = _M.link_to(other), title = _M.title_of(other) }
    end
  end
  return each([[ · <a href="$link">$title</a>]], list)
end

local NOTICE = [[<p class="notice">Each worker of nginx has a memory of its own. This is that of
worker $id of $count; another request may meet another worker.$shared</p>]]

local function notice_html(cache)
  if not ngx or ngx.worker.count() == 1 then return "" end
  return fill(NOTICE, { id = tostring(ngx.worker.id()), count = ngx.worker.count(),
    shared = cache.shared and " What you change here, all of them forget." or "" })
end

local function search_html(cache, search)
  return fill(SEARCH, { cache = field_of(cache), search = search,
    number = cache.name and "" or fill(HIDDEN, { name = "number", value = cache.number }) })
end

--- The page of a cache's entries.
-- @tparam perigee.cache cache
-- @tparam table query `after`, `search`, `done`
-- @treturn table|nil a response; nil: it was closed while it was looked through
function _M.show(cache, query)
  local after = tonumber((query.after or ""):match "^%d+$") or -1
  local search = text.cut(query.search or "", 200)
  local list, next_slot, looked = entries.list(cache, math.min(after, 2 ^ 31 - 2), search)
  if cache.closed then return nil end
  local done = DONE[query.done]
  local body = fill(PAGE, {
    title = _M.title_of(cache), size = text.count(cache:get_metrics().size),
    others = others_html(cache), search = search_html(cache, search),
    done = done and fill([[<p class="done" role="status">$text</p>]], { text = done }) or "",
    changes = fill(CHANGES, { fields = fields_of(cache),
      query = _M.link_to(cache):match "%?(.*)$" }),
    notice = notice_html(cache), list = list_html(cache, list, search, not next_slot),
    more = more_html(cache, search, next_slot, looked),
  })
  return page.respond(_M.title_of(cache), body)
end

local CONFIRM = [[
<nav class="crumbs" aria-label="Where you are"><a href="./">Caches</a><a href="$link">$title</a>
<span>Clear</span></nav>
<section class="refusal"><h1>Clear $title?</h1>
<p>All its $size entries are forgotten$!where. What is asked for next is loaded again.</p>
<form method="post" action="clear">$!fields
<button class="danger">Clear it</button> <a class="button quiet" href="$link">Leave it</a></form>
</section>
]]

--- The page that asks whether a cache is to be cleared.
-- @tparam perigee.cache cache
-- @treturn table a response
function _M.confirm_clear(cache)
  return page.respond("Clear " .. _M.title_of(cache), fill(CONFIRM, {
    title = _M.title_of(cache), size = text.count(cache:get_metrics().size),
    fields = fields_of(cache), link = _M.link_to(cache),
    where = cache.below and ", also in the levels below its memory" or "",
  }))
end

return _M

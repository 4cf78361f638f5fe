-- SPDX-License-Identifier: MIT

--- The first page: all caches, and the scenes.
-- @module perigee.dashboard.overview

local numbers = require "perigee.dashboard.numbers"
local page = require "perigee.dashboard.page"
local template = require "perigee.dashboard.template"
local text = require "perigee.dashboard.text"
local drawing = require "perigee.dashboard.drawing"

local _M = {}

local fill, each = template.fill, template.each

-- Pieces ------------------------------------------------------------------------------------------

local SPARK = [[<svg class="spark $class" viewBox="0 0 120 32" preserveAspectRatio="none" ]]
  .. [[aria-hidden="true"><path data-path="$id" d="$d"/></svg>]]

local function spark(now, id, class)
  return fill(SPARK, { class = class or "", id = id, d = now.paths[id] })
end

local FIGURE = [[<div class="figure"><dt>$label</dt><dd data-text="$id">$value</dd></div>]]

local function figures(now, list)
  local values = {}
  for i, item in ipairs(list) do
    values[i] = { id = item[1], label = item[2], value = now.texts[item[1]] }
  end
  return each(FIGURE, values)
end

local SUMMARY = {
  { "all-hit_rate", "Hit rate" }, { "all-gets_rate", "Gets" }, { "all-loads_rate", "Loads" },
  { "all-coalesced", "Coalesced" }, { "all-size", "Entries" },
  { "all-bytes", "Native memory" },
}

-- A cache -----------------------------------------------------------------------------------------

local CARD = [[
<article class="card" aria-labelledby="$id">
<header><h3 id="$id">$name</h3>$!link</header>
<div class="hero">
<p class="rate"><strong data-text="$!p_hit_rate">$hit_rate</strong><span>hit rate</span></p>
<div class="plot"><svg class="spark large" viewBox="0 0 120 32" preserveAspectRatio="none"
aria-hidden="true"><path class="area" data-path="$!p_hit_area" d="$hit_area"/><path
data-path="$!p_hit_rate" d="$hit_line"/></svg>
<p class="under"><span data-text="$!p_gets_rate">$gets_rate</span>
<span><span data-text="$!p_gets">$gets</span> gets</span></p></div>
</div>
<dl class="tiles">$!tiles</dl>
$!latencies
<details><summary>All counters</summary><dl class="others">$!others</dl></details>
</article>
]]

local TILE = [[<div class="tile"><dt>$label</dt><dd><b data-text="$id">$value</b>]]
  .. [[<span$!rate_id>$rate</span></dd>$!spark</div>]]

local LABELS = { loads = "Loads", coalesced = "Coalesced", evictions = "Evictions" }

local function tiles(now, id)
  local list = {}
  for i, rate in ipairs(numbers.RATES) do
    local own = id .. rate[1]
    list[i] = fill(TILE, { label = LABELS[rate[1]], id = own, value = now.texts[own],
      rate_id = (' data-text="%s_rate"'):format(own), rate = now.texts[own .. "_rate"],
      spark = spark(now, own) })
  end
  list[#list + 1] = fill(TILE, { label = "Entries", id = id .. "size",
    value = now.texts[id .. "size"], rate_id = (' data-text="%sbytes"'):format(id),
    rate = now.texts[id .. "bytes"], spark = spark(now, id .. "size") })
  return table.concat(list)
end

local LATENCY = [[
<div class="latency"><div class="plot"><p class="label">$label</p>$!chart$!ends</div>
<dl>$!figures</dl></div>
]]

local ENDS = [[<p class="under"><span>$least</span><span>$most</span></p>]]

local QUANTILES = { { "p50", "p50" }, { "p95", "p95" }, { "p99", "p99" } }

local function latency(now, id, row)
  local list = {}
  for i, item in ipairs(QUANTILES) do
    list[i] = { id .. row.id .. "_" .. item[1], item[2] }
  end
  return fill(LATENCY, { label = row.label, figures = figures(now, list),
    ends = fill(ENDS, row), chart = spark(now, id .. row.id .. "_chart", "bars") })
end

local function latencies(now, cache)
  local list = {}
  for i, row in ipairs(cache.latencies) do list[i] = latency(now, cache.id, row) end
  return table.concat(list)
end

local function others(now, id)
  local list = {}
  for _, other in ipairs(numbers.OTHERS) do
    if now.texts[id .. other[1]] then list[#list + 1] = { id .. other[1], other[2] } end
  end
  return figures(now, list)
end

local function link(cache, is_known)
  if not is_known then return "" end
  local name = text.url(text.url(cache.name)) -- see `perigee.dashboard.listing`
  return fill([[<a href="entries?cache=$!name">Entries</a>]], { name = name })
end

local function card(now, cache, is_known)
  local id, texts = cache.id, now.texts
  return fill(CARD, {
    id = id .. "name", name = cache.name == "" and "(unnamed)" or cache.name,
    link = link(cache, is_known), hit_line = now.paths[id .. "hit_rate"],
    p_hit_area = id .. "hit_area", hit_area = now.paths[id .. "hit_area"],
    p_hit_rate = id .. "hit_rate", hit_rate = texts[id .. "hit_rate"],
    p_gets = id .. "gets", gets = texts[id .. "gets"],
    p_gets_rate = id .. "gets_rate", gets_rate = texts[id .. "gets_rate"],
    tiles = tiles(now, id), latencies = latencies(now, cache),
    others = others(now, id),
  })
end

local EMPTY = [[
<div class="empty"><h3>No caches yet</h3>
<p>As soon as <code>perigee.new { name = "users" }</code> has run in this process, its numbers are
here.$!hint</p></div>
]]

local function cards(now, is_known, has_scenes)
  if not now.caches[1] then
    return fill(EMPTY, { hint = has_scenes and " Or run a scene below: it makes a cache." or "" })
  end
  local list = {}
  for i, cache in ipairs(now.caches) do list[i] = card(now, cache, is_known) end
  if now.left_out > 0 then
    list[#list + 1] = fill([[<p class="more">and $n more</p>]], { n = text.count(now.left_out) })
  end
  return table.concat(list)
end

-- Scenes ------------------------------------------------------------------------------------------

local SCENES = [[
<section class="scenes" aria-labelledby="scenes"><h2 id="scenes">Try it</h2>
<p class="lead">Each runs for real, in this process, on caches of its own.</p>
<div class="stages">$!stages</div>
<div id="report" tabindex="-1">$!report</div>
</section>
]]

local STAGE = [[
<form class="stage" method="post" action="scene#report" data-scene="$name">
<div><h3>$title</h3><p>$about</p></div>
<button name="name" value="$name"$!disabled><span class="play" aria-hidden="true"></span>
Run</button>
</form>
]]

local function stages(scenes, is_known)
  local list = {}
  for i, scene in ipairs(scenes.list) do
    list[i] = { name = scene.name, title = scene.title, about = scene.about,
      disabled = is_known and "" or " disabled" }
  end
  return each(STAGE, list)
end

local function scenes_section(self, is_known, report)
  if not self.scenes then return "" end
  return fill(SCENES, { stages = stages(self.scenes, is_known),
    report = report and drawing.draw(report) or "" })
end

-- The page ----------------------------------------------------------------------------------------

local PAGE = [[
$!notice
<h1 class="hidden">Perigee’s caches</h1>
<dl class="summary">$!summary</dl>
<section aria-labelledby="caches"><h2 id="caches">Caches</h2>
<div class="cards" id="cards" data-shape="$shape">$!cards</div>
</section>
$!scenes
]]

local LOCKED = [[
<p class="notice">These are the numbers. Keys, values and changes need the token. $!hint</p>
]]

--- The page.
-- @tparam table self the dashboard
-- @tparam boolean is_known whether who asks has the token
-- @tparam[opt] table report of a scene that has just run
-- @tparam[opt] table opts of the page: `status`, `notice` (HTML)
-- @treturn table a response
function _M.show(self, is_known, report, opts)
  local now = numbers.now()
  local notice = opts and opts.notice or ""
  if not is_known then notice = fill(LOCKED, { hint = self.hint }) .. notice end
  local body = fill(PAGE, { notice = notice, summary = figures(now, SUMMARY), shape = now.shape,
    cards = cards(now, is_known, self.scenes), scenes = scenes_section(self, is_known, report) })
  return page.respond("Caches", body, { is_live = true, status = opts and opts.status })
end

return _M

-- SPDX-License-Identifier: MIT
-- suites: dev host
-- The first page: its numbers, which need no script, its charts, and the scenes.
local histogram = require "perigee.metrics.histogram"
local history = require "perigee.dashboard.history"
local latency = require "perigee.dashboard.latency"
local numbers = require "perigee.dashboard.numbers"
local perigee = require "perigee"
local testing = require "perigee.testing"
local visitor = require "spec.support.visitor"

local function text_of(html, id)
  return visitor.unescape(html:match('data%-text="' .. id:gsub("%p", "%%%0") .. '">([^<]*)<'))
end

local function load() return "value" end

describe("the dashboard's page", function()
  local open, me = {}, nil

  local function new(opts)
    local cache = perigee.new(opts)
    open[#open + 1] = cache
    return cache
  end

  before_each(function()
    collectgarbage()
    collectgarbage()
    history.reset()
    me = visitor.new()
  end)
  after_each(function()
    for i, cache in ipairs(open) do
      if not cache.closed then cache:close() end
      open[i] = nil
    end
  end)

  it("has the numbers in itself", function()
    local cache = new { name = "numbers", maxsize = 2 }
    for i = 1, 1000 do cache:get("k" .. i % 4, load) end
    local html = me:get "/".body
    local metrics = cache:get_metrics()
    local id = html:match '<h3 id="(c%d+%-)name">numbers</h3>'
    assert.equal(("%.1f%%"):format(metrics.hit_rate * 100), text_of(html, id .. "hit_rate"))
    assert.equal("1,000", text_of(html, id .. "gets"))
    assert.equal(tostring(metrics.loads), text_of(html, id .. "loads"))
    assert.equal(tostring(metrics.evictions), text_of(html, id .. "evictions"))
    assert.equal("2", text_of(html, id .. "size"))
    assert.equal(tostring(metrics.hits), text_of(html, id .. "hits"))
    assert.is_nil(html:find(id .. "remote_hits", 1, true), "it has no remote cache")
    assert.matches("µs$", text_of(html, id .. "load_p50"))
  end)

  it("has the same numbers for its script", function()
    local cache = new { name = "polled", maxsize = 10 }
    cache:get("k", load)
    local html = me:get "/".body
    local answer = me:get "/data"
    assert.equal("application/json", answer.headers["Content-Type"])
    local data = require("cjson").decode(answer.body)
    local ids = 0
    for id in html:gmatch 'data%-text="([^"]*)"' do
      assert.is_string(data.texts[id], id)
      ids = ids + 1
    end
    for id in html:gmatch 'data%-path="([^"]*)"' do assert.is_string(data.paths[id], id) end
    assert.is_true(ids > 10)
    assert.equal(visitor.unescape(html:match 'data%-shape="([^"]*)"'), data.shape)
    new { name = "one more" }
    assert.are_not.equal(data.shape, require("cjson").decode(me:get "/data".body).shape)
  end)

  it("helps where there is nothing yet", function()
    local html = me:get "/".body
    assert.matches("No caches yet", html, 1, true)
    assert.matches("perigee.new", html, 1, true)
  end)

  it("shows a hundred caches, and how many more there are", function()
    for i = 1, numbers.MOST_CACHES + 5 do new { name = ("cache %03d"):format(i), maxsize = 1 } end
    local html = me:get "/".body
    assert.matches("cache 100", html, 1, true)
    assert.is_nil(html:find("cache 101", 1, true))
    assert.matches("and 5 more", html, 1, true)
  end)

  it("looks back for those that it shows, and adds up all", function()
    local of, asked = history.of, 0
    testing.run(function()
      history.reset()
      local caches = {}
      for i = 1, numbers.MOST_CACHES + 50 do caches[i] = new { name = "of many " .. i } end
      numbers.now()
      for _, cache in ipairs(caches) do cache:get("k", load) end
      perigee.sleep(1)
      history.of = function(name)
        asked = asked + 1
        return of(name)
      end
      local now = numbers.now()
      history.of = of
      assert.equal("150/s", now.texts["all-loads_rate"])
    end)
    history.reset()
    assert.equal(numbers.MOST_CACHES, asked)
  end)

  it("works below any path, and never points above itself", function()
    local cache = new { name = "below", maxsize = 10 }
    cache:set("k", 1)
    for _, target in ipairs { "/a/b/", "/a/b/entries?cache=below", "/a/b/clear?cache=below" } do
      local html = me:get(target).body
      for _, name in ipairs { "href", "action", "src" } do
        for link in html:gmatch(" " .. name .. '="([^"]*)"') do
          assert.is_truthy(link:find "^%./" or link:find "^#" or link:find "^%l", link)
          assert.is_nil(link:find("//", 1, true), link)
        end
      end
    end
  end)

  it("draws the last minute, and tells rates from it", function()
    testing.run(function()
      history.reset()
      local cache = new { name = "drawn", maxsize = 100 }
      me:get "/data" -- somebody watches
      for second = 1, 70 do
        for i = 1, 20 do cache:get(second .. "-" .. (i + i % 2), load) end -- each key twice
        perigee.sleep(1)
      end
      local now = numbers.now()
      local id
      for _, each in ipairs(now.caches) do id = each.name == "drawn" and each.id or id end
      assert.same({ "50.0%", "20/s", "10/s" }, { now.texts[id .. "hit_rate"],
        now.texts[id .. "gets_rate"], now.texts[id .. "loads_rate"] })
      local line = now.paths[id .. "hit_rate"]
      local _, points = line:gsub("[ML]", "")
      assert.is_true(points >= 60 and points <= 62, points)
      assert.matches("^M0.0 16.5L", line)
      assert.matches("L120.0 16.5$", line)
      assert.matches("L120.0 2.0$", now.paths[id .. "size"])
      cache:close()
    end)
    history.reset()
  end)

  it("stops taking samples when nobody has asked for ten minutes", function()
    testing.run(function()
      history.reset()
      local cache = new { name = "unwatched", maxsize = 100 }
      me:get "/data"
      perigee.sleep(599)
      me:get "/data"
      assert.equal(60, #history.of "unwatched")
      perigee.sleep(3600)
      me:get "/data"
      assert.equal(1, #history.of "unwatched")
      cache:close()
    end)
    history.reset()
  end)

  it("shows quantiles and bars where the distribution is known", function()
    local known = latency.latencies_of
    latency.latencies_of = function()
      return {
        { id = "load", label = "Load", mean = 0.002, p50 = 0.001, p95 = 0.004, p99 = 0.005,
          bars = { 2, 0, 1 }, least = "1 ms", most = "> 1 s" },
        { id = "remote", label = "Remote", mean = false, bars = { 0, 0, 0 }, least = "",
          most = "" },
      }
    end
    local cache = new { name = "slow", maxsize = 10 }
    cache:get("k", load)
    local html = me:get "/".body
    latency.latencies_of = known
    assert.matches("<span>1 ms</span><span>&gt; 1 s</span>", html, 1, true)
    local id = html:match '<h3 id="(c%d+%-)name">slow</h3>'
    assert.same({ "1.0 ms", "4.0 ms", "5.0 ms", "–" }, { text_of(html, id .. "load_p50"),
      text_of(html, id .. "load_p95"), text_of(html, id .. "load_p99"),
      text_of(html, id .. "remote_p50") })
    assert.matches('data%-path="' .. id:gsub("%-", "%%-") .. 'load_chart" d="M0.5 32h39', html)
  end)

  it("has a row of durations for loads, and one for reads of a remote cache", function()
    local load_durations, remote = histogram.new(), histogram.new()
    local rows = latency.latencies_of { load = load_durations, remote = remote }
    assert.same({ "load", "remote" }, { rows[1].id, rows[2].id })
    assert.is_false(rows[1].mean)
    assert.is_nil(rows[1].p50)
    for _ = 1, 4 do histogram.observe(load_durations, 0.002) end
    rows = latency.latencies_of { load = load_durations }
    assert.equal(1, #rows)
    assert.equal(0.002, rows[1].mean)
    assert.equal(histogram.quantile(load_durations, 0.99), rows[1].p99)
    assert.same({ 0, 0, 4, 0 }, { unpack(rows[1].bars, 1, 4) })
  end)
end)

local REPORT = {
  title = "A <herd>", summary = "1,000 callers, 1 load",
  facts = { { "callers", "1,000" }, { "a <b>", 1 }, { "said", ("long "):rep(20) .. "\n<end>" } },
  lanes = { "callers", "data <base>" },
  events = {
    { at = 0, lane = 1, kind = "call", text = "ask & wait", count = 1000 },
    { at = 0.5, till = 80, lane = 2, kind = "load", text = "SELECT '<x>'" },
    { at = 30, lane = 2, kind = "error", text = "refused" },
    { at = 80, lane = 1, kind = "unheard of", text = "$d done" },
  }, length = 100,
}

describe("a scene", function()
  local me, ran, answer

  before_each(function()
    ran, answer = {}, { REPORT }
    package.loaded["perigee.dashboard.scenes"] = {
      list = { { name = "herd", title = "A herd", about = "One <load>." },
        { name = "race", title = "A race", about = "Late." } },
      run = function(name)
        ran[#ran + 1] = name
        return unpack(answer, 1, 2)
      end,
    }
    me = visitor.new { scenes = true }
  end)
  after_each(function() package.loaded["perigee.dashboard.scenes"] = nil end)

  it("has a button, which needs the token", function()
    local html = me:get "/".body
    assert.matches("One &lt;load&gt;.", html, 1, true)
    assert.equal(2, #visitor.forms_for(html, "scene#report"))
    assert.is_nil(html:find(" disabled", 1, true))
    local plain = me:get("/", { cookie = false }).body
    local _, disabled = plain:gsub(" disabled", "")
    assert.equal(2, disabled)
    assert.equal(403, me:send("/scene", { name = "herd" }, { cookie = false }).status)
    assert.same({}, ran)
  end)

  it("is run, and told as a drawing and as a table", function()
    local page = me:send("/scene", { name = "herd" })
    assert.same({ 200, { "herd" } }, { page.status, ran })
    local html = page.body:match '<article class="report">.-</article>'
    assert.matches("1,000 callers, 1 load", html, 1, true)
    assert.matches("<dt>a &lt;b&gt;</dt><dd>1</dd>", html, 1, true)
    assert.matches("<summary>said</summary><pre>" .. ("long "):rep(20) .. "\n&lt;end&gt;</pre>",
      html, 1, true)
    assert.matches("SELECT &#39;&lt;x&gt;&#39;", html, 1, true)
    assert.matches('<rect x="0.50%%" y="%d+" width="79.50%%"', html)
    assert.matches(">×1,000</text>", html, 1, true)
    assert.matches('class="event error"', html, 1, true)
    assert.matches('class="event note"', html, 1, true)
    local rows = {}
    for when, lane, what in html:gmatch
      '<tr><td class="when">(.-)</td><td>(.-)</td><td>(.-)</td></tr>' do
      rows[#rows + 1] = { when, lane, what }
    end
    assert.same({
      { "0", "callers", "ask &amp; wait ×1,000" },
      { "500 µs – 80 ms", "data &lt;base&gt;", "SELECT &#39;&lt;x&gt;&#39;" },
      { "30 ms", "data &lt;base&gt;", "refused" },
      { "80 ms", "callers", "$d done" },
    }, rows)
  end)

  it("that does not run says why", function()
    answer = { nil, "busy" }
    local page = me:send("/scene", { name = "race" })
    assert.equal(409, page.status)
    assert.matches("A race did not run: another scene is running.", page.body, 1, true)
    answer = { nil, "no <redis>" }
    assert.matches("did not run: no &lt;redis&gt;.", me:send("/scene", { name = "race" }).body, 1,
      true)
    assert.equal(404, me:send("/scene", { name = "os.execute" }).status)
    assert.equal(404, me:send("/scene", {}).status)
  end)

  it("is not there unless it was asked for", function()
    me = visitor.new()
    assert.equal(0, #visitor.forms_for(me:get "/".body, "scene#report"))
    assert.equal(404, me:send("/scene", { name = "herd" }).status)
    assert.same({}, ran)
  end)
end)

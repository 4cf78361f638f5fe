-- SPDX-License-Identifier: MIT
-- suites: dev host
-- The page of a cache's entries, and what its forms do.
local entries = require "perigee.dashboard.entries"
local perigee = require "perigee"
local visitor = require "spec.support.visitor"

describe("the entries on the dashboard", function()
  local open, me = {}, nil

  local function new(opts)
    local cache = perigee.new(opts)
    open[#open + 1] = cache
    return cache
  end

  before_each(function() me = visitor.new() end)
  after_each(function()
    for i, cache in ipairs(open) do
      if not cache.closed then cache:close() end
      open[i] = nil
    end
  end)

  local function page(target)
    local answer = me:get("/" .. target)
    assert.equal(200, answer.status, answer.body)
    return answer.body
  end

  it("are not those of a cache that the form does not name", function()
    local cache = new { maxsize = 10 }
    cache:set("k", 1)
    assert.equal(404, me:send("/clear", {}).status)
    assert.equal(404, me:send("/clear", { number = tostring(cache.number) }).status)
    assert.equal(1, cache:get "k")
    assert.equal(303, me:send("/clear", { cache = "", number = tostring(cache.number),
      worker = "0" }).status)
    assert.is_nil((cache:get "k"))
  end)

  it("have keys of many arguments, which are not all read", function()
    local cache = new { name = "many", maxsize = 10 }
    cache:set("\254" .. ("n"):rep(1e5), 1)
    cache:set("\254" .. ("t"):rep(5), 1)
    local html = page "entries?cache=many"
    assert.matches("true, true, true, true, true", html, 1, true)
    assert.matches("\\xfennn", html, 1, true)
    assert.is_nil(html:find("nil, nil", 1, true))
  end)

  local function deletions(target) return visitor.forms_for(page(target), "delete") end

  it("are shown with their keys, their values and the time that is left", function()
    local cache = new { name = "shown", maxsize = 10 }
    cache:set("user:1", { name = "Ada", tags = { "x" } }, 90)
    cache:set(42, false)
    local html = page "entries?cache=shown"
    assert.matches("user:1", html, 1, true)
    assert.matches("{ name = &quot;Ada&quot;, tags = { &quot;x&quot; } }", html, 1, true)
    assert.matches("\n  name = &quot;Ada&quot;,\n", html, 1, true)
    assert.matches("90 s left", html, 1, true)
    assert.matches("42</span><small>number</small>", html, 1, true)
    assert.matches("for ever", html, 1, true)
    assert.matches("2 entries", html, 1, true)
  end)

  it("are text, whatever is in them", function()
    local name = [[<script>alert("n")</script> & 'n']]
    local cache = new { name = name, maxsize = 10 }
    cache:set("<script>alert(1)</script>", "<img src=x onerror=alert(2)>")
    cache:set("'\"&", "</pre></details><script>alert(3)</script>")
    cache:set("$name $!body", "%1 %0 %%")
    local html = page("entries?cache=" .. name:gsub("%W", function(c)
      return ("%%25%02X"):format(c:byte())
    end))
    assert.is_nil(html:find("<script>alert", 1, true))
    assert.is_nil(html:find("<img", 1, true))
    assert.is_nil(html:find("</pre></details><script", 1, true))
    assert.matches("&lt;script&gt;alert(1)&lt;/script&gt;", html, 1, true)
    assert.matches("&lt;img src=x onerror=alert(2)&gt;", html, 1, true)
    assert.matches("&#39;&quot;&amp;", html, 1, true)
    assert.matches("$name $!body", html, 1, true)
    assert.matches("%1 %0 %%", html, 1, true)
    local overview = page ""
    assert.is_nil(overview:find("<script>alert", 1, true))
    local link = overview:match '<h3 id="[^"]*">&lt;script.-<a href="(entries%?cache=[^"]*)">'
    assert.equal(html:match "<h1>.-</h1>", page(visitor.unescape(link)):match "<h1>.-</h1>")
  end)

  it("are deleted, whatever their key is", function()
    local cache = new { name = "odd keys", maxsize = 100 }
    local keys = { "", "plain", "\0\1\255binary\r\n", "<script>alert(1)</script>", "'\"&=+%41",
      "Ä €", 0, -1.5, 1e300, math.huge, 2 ^ 53, true, false, "42", "true", ("k"):rep(4000),
      "\254", "\254(", "\254s\255\255\255\127x", "\254" .. ("("):rep(4000) }
    for _, key in ipairs(keys) do cache:set(key, "v") end
    for left = #keys, 1, -1 do
      local forms = deletions "entries?cache=odd%2520keys"
      assert.equal(math.min(left, entries.PAGE), #forms)
      local answer = me:send("/delete", forms[1].fields)
      assert.equal(303, answer.status)
      assert.equal("entries?cache=odd%2520keys&done=deleted", answer.headers.Location)
      assert.equal(left - 1, cache:get_metrics().size)
    end
    local html = page "entries?cache=odd%2520keys&done=deleted"
    assert.matches("The entry was deleted.", html, 1, true)
    assert.matches("No entries", html, 1, true)
  end)

  it("whose key or value is long are cut at 4 KB, and say so", function()
    local cache = new { name = "long", maxsize = 10 }
    cache:set("k", ("v"):rep(5000))
    local html = page "entries?cache=long"
    assert.matches("cut at 4 KB of 4.9 KB", html, 1, true)
    assert.matches(("v"):rep(4096), html, 1, true)
    assert.is_nil(html:find(("v"):rep(4097), 1, true))
    cache:clear()
    cache:set(("k"):rep(1e6), 1)
    html = page "entries?cache=long"
    assert.is_true(#html < 40000)
    assert.matches("cut at 4 KB of 977 KB", html, 1, true)
    assert.matches("its key is too long for a form", html, 1, true)
  end)

  it("come in pages that leave none out, and none twice", function()
    local cache = new { name = "many", maxsize = 1000 }
    for i = 1, 110 do cache:set("key " .. i, i) end
    local seen, pages, link = {}, 0, "entries?cache=many"
    while link do
      local html = page(link)
      for key in html:gmatch '"plain">(key %d+)<' do
        assert.is_nil(seen[key])
        seen[key], seen[#seen + 1] = true, key
      end
      pages = pages + 1
      link = html:match '<a class="button" href="([^"]*)">More entries'
      link = link and visitor.unescape(link)
    end
    assert.same({ 110, 5 }, { #seen, pages })
  end)

  it("are found by a part of their key, in any case", function()
    local cache = new { name = "searched", maxsize = 1000 }
    for i = 1, 200 do cache:set("Item " .. i, i) end
    cache:set(177, true)
    local html = page "entries?cache=searched&search=M+177"
    assert.matches("Item 177", html, 1, true)
    assert.equal(1, #visitor.forms_for(html, "delete"))
    assert.matches('value="M 177"', html, 1, true)
    assert.equal(2, #deletions "entries?cache=searched&search=177")
    assert.equal(0, #deletions "entries?cache=searched&search=%25d")
    assert.matches("No key contains that", page "entries?cache=searched&search=nothing", 1, true)
  end)

  it("of a large cache are looked at some at a time", function()
    local cache = new { name = "large", maxsize = 1e6 }
    for i = 1, entries.MOST_LOOKED + 10 do cache:set(i, i) end
    cache:set("needle", 1)
    local html = page "entries?cache=large&search=needle"
    assert.equal(0, #visitor.forms_for(html, "delete"))
    assert.matches("Search on, after 20,000 entries", html, 1, true)
    local link = html:match '<a class="button" href="([^"]*)"'
    assert.equal(1, #deletions(visitor.unescape(link)))
  end)

  it("of a wrapped function are shown by its arguments, and deleted in its part", function()
    local calls = 0
    local cache = new { name = "whole", maxsize = 100 }
    local double = perigee.lru { cache = cache } (function(n, m)
      calls = calls + 1
      return n * m
    end)
    local triple = perigee.lru { cache = cache } (function(n, m) return 3 * n * m end)
    double(2, 5)
    triple(2, 5)
    cache:set("own", 1)
    local html = page "entries?cache=whole"
    assert.matches("2, 5</span><small>arguments", html, 1, true)
    assert.equal(3, #visitor.forms_for(html, "delete"))
    for _, form in ipairs(visitor.forms_for(html, "delete")) do
      assert.equal(303, me:send("/delete", form.fields).status)
    end
    assert.equal(0, cache:get_metrics().size)
    double(2, 5)
    assert.equal(2, calls)
  end)

  it("of a wrapped function that is gone can be deleted, too", function()
    local cache = new { name = "orphans", maxsize = 100 }
    local store = cache.store
    store:put(store:new_space(), "k", "v", math.huge, 0)
    local form = deletions "entries?cache=orphans"[1]
    assert.equal(303, me:send("/delete", form.fields).status)
    assert.equal(0, cache:get_metrics().size)
  end)

  it("of caches without a name are told apart by the caches' numbers", function()
    local one, other = new { maxsize = 10 }, new { maxsize = 10 }
    one:set("in one", 1)
    other:set("in other", 2)
    local html = page("entries?cache=&number=" .. other.number)
    assert.matches("in other", html, 1, true)
    assert.is_nil(html:find("in one", 1, true))
    assert.matches(('href="entries?cache=&amp;number=%d"'):format(one.number), html, 1, true)
    me:send("/delete", visitor.forms_for(html, "delete")[1].fields)
    assert.same({ 1, nil }, { one:peek "in one", other:peek "in other" })
  end)

  it("are forgotten by a tag, and all together once it was asked", function()
    local cache = new { name = "tagged", maxsize = 10 }
    cache:set("a", 1, { tags = { "user:1" } })
    cache:set("b", 2, { tags = { "user:2" } })
    cache:set("c", 3)
    local form = visitor.forms_for(page "entries?cache=tagged", "invalidate")[1]
    form.fields.tag = "user:1"
    assert.matches("done=forgotten", me:send("/invalidate", form.fields).headers.Location, 1, true)
    assert.same({ false, true, true }, { cache:contains "a", cache:contains "b",
      cache:contains "c" })
    local asked = page "clear?cache=tagged"
    assert.matches("Clear tagged?", asked, 1, true)
    assert.is_true(cache:contains "c")
    me:send("/clear", visitor.forms_for(asked, "clear")[1].fields)
    assert.same({ false, false }, { cache:contains "b", cache:contains "c" })
  end)

  it("are looked at without a trace in the counters", function()
    local cache = new { name = "quiet", maxsize = 10 }
    cache:set("k", 1)
    local before = cache:get_metrics()
    page "entries?cache=quiet"
    assert.same(before, cache:get_metrics())
  end)
end)

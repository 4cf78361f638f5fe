-- SPDX-License-Identifier: MIT
-- suites: dev host
local chart = require "perigee.dashboard.chart"
local random = require "spec.support.random"
local template = require "perigee.dashboard.template"
local text = require "perigee.dashboard.text"

-- Whether bytes are UTF-8 as RFC 3629 has it, without control characters but tab and line feed.
local function is_printable(bytes)
  local at = 1
  while at <= #bytes do
    local rest = bytes:sub(at, at + 3)
    local character = rest:match "^[\t\n\32-\126]" or rest:match "^[\194-\223][\128-\191]"
      or rest:match "^\224[\160-\191][\128-\191]" or rest:match "^[\225-\236][\128-\191][\128-\191]"
      or rest:match "^\237[\128-\159][\128-\191]" or rest:match "^[\238-\239][\128-\191][\128-\191]"
      or rest:match "^\240[\144-\191][\128-\191][\128-\191]"
      or rest:match "^[\241-\243][\128-\191][\128-\191][\128-\191]"
      or rest:match "^\244[\128-\143][\128-\191][\128-\191]"
    if not character then return false end
    at = at + #character
  end
  return true
end

describe("a text of the dashboard", function()
  it("is UTF-8, whatever the bytes were", function()
    assert.equal("plain", text.clean "plain")
    assert.equal("Ä €\240\159\152\128", text.clean "Ä €\240\159\152\128")
    assert.equal("\\x00\\xff\\x1b[31m\\x7f", text.clean "\0\255\27[31m\127")
    assert.equal("\\xc3", text.clean "\195")
    assert.equal("\\xc3A", text.clean "\195A")
    assert.equal("\\x80\\xbf", text.clean "\128\191")
    assert.equal("Ä\\x84", text.clean "Ä\132")
    assert.equal("\\xc0\\xaf", text.clean "\192\175", "an overlong slash")
    assert.equal("\\xed\\xa0\\x80", text.clean "\237\160\128", "half of a pair")
    assert.equal("\\xf4\\x90\\x80\\x80", text.clean "\244\144\128\128", "beyond the last")
    assert.equal("\\xc2\\x85", text.clean "\194\133", "a C1 control character")
  end)

  it("shows what would turn its direction, or hide", function()
    assert.equal("a\\xe2\\x80\\xaeb", text.clean "a\226\128\174b")
    assert.equal("a\\xe2\\x80\\x8bb", text.clean "a\226\128\139b")
    assert.equal("\\xef\\xbb\\xbfa", text.clean "\239\187\191a")
    local hidden = { "\194\173", "\205\143", "\216\156", "\225\133\160", "\225\160\142",
      "\226\128\168", "\226\129\169", "\227\133\164", "\239\184\143", "\243\160\129\129" }
    for _, character in ipairs(hidden) do
      assert.matches("^a[\\x%x]+b$", text.clean("a" .. character .. "b"))
    end
    local seen = "\194\172\194\174\226\128\167\226\128\175\239\184\144\240\159\152\128"
    assert.equal(seen, text.clean(seen))
  end)

  it("is UTF-8 for random bytes, too", function()
    local below = random.generator(7)
    for _ = 1, 3000 do
      local bytes = {}
      for i = 1, below(12) do bytes[i] = string.char(below(256)) end
      assert.is_true(is_printable(text.clean(table.concat(bytes))))
    end
  end)

  it("cannot end an element or an attribute", function()
    assert.equal("&lt;script&gt;&quot;&#39;&amp;amp;", text.html "<script>\"'&amp;")
    assert.equal("a\\nb", text.html_line "a\nb")
    assert.equal("<b>&lt;i&gt;</b>$name<u>",
      template.fill("<b>$name</b>$!raw", { name = "<i>", raw = "$name<u>" }))
    assert.has_error(function() template.fill("$nothing", {}) end, "no value for nothing")
  end)

  it("is cut between characters", function()
    assert.equal("abc", text.cut("abcdef", 3))
    assert.equal("ab", text.cut("abÄ", 3))
    assert.equal("ab\255", text.cut("ab\255x", 3), "what is no character may be cut anywhere")
    assert.equal("abÄ", text.cut("abÄ", 4))
  end)

  it("is JSON, and a piece of a link", function()
    assert.equal([[{"a":[1,"x\u0022\u005c\u000a"],"b":null,"c":true}]],
      text.json { a = { 1, 'x"\\\n' }, b = 0 / 0, c = true })
    assert.same({ text = "\\xff</script>" }, require("cjson").decode(text.json {
      text = "\255</script>" }))
    assert.equal("a%20b%26%FF~", text.url "a b&\255~")
  end)
end)

describe("a number of the dashboard", function()
  it("is written for people", function()
    assert.same({ "0", "999", "1,000", "9,999,999", "12.3M", "∞" }, { text.count(0),
      text.count(999), text.count(1000), text.count(9999999), text.count(12345678),
      text.count(math.huge) })
    assert.same({ "0/s", "0.4/s", "12/s" }, { text.rate(0), text.rate(0.4), text.rate(12.2) })
    assert.same({ "0%", "94.2%", "99.9%", "100%" }, { text.percent(0), text.percent(0.9424),
      text.percent(0.99999), text.percent(1) })
    assert.same({ "840 µs", "2.1 ms", "42 s", "5.0 min", "3.0 d", "for ever" },
      { text.span(0.00084), text.span(0.0021), text.span(42), text.span(300),
        text.span(3 * 86400), text.span(math.huge) })
    assert.same({ "512 B", "4.9 KB", "12 KB", "3.4 MB" }, { text.bytes(512), text.bytes(5000),
      text.bytes(12 * 1024), text.bytes(3.4 * 1024 * 1024) })
  end)
end)

describe("a chart", function()
  it("is a line that is broken where nothing is known", function()
    assert.equal("", chart.line {})
    assert.equal("M0.0 31.0L60.0 2.0M120.0 16.5",
      chart.line { { 0, 0 }, { 0.5, 4 }, { 0.75, false }, { 1, 2 } })
    assert.equal("M0.0 31.0L120.0 31.0", chart.line { { 0, 0 }, { 1, 0 } })
    assert.equal("M0.0 32L0.0 2.0L120.0 16.5V32z", chart.area({ { 0, 1 }, { 1, 0.5 } }, 1))
  end)

  it("is bars, of which none is too low to be seen", function()
    assert.equal("M0.5 32h59.0v-32.0h-59.0zM60.5 32h59.0v-1.5h-59.0z", chart.bars { 1000, 1 })
    assert.equal("", chart.bars { 0, 0 })
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev
-- The dashboard as a browser shows it: the real program, and a headless Chromium.
local chromium = require "spec.support.chromium"
local files = require "spec.support.files"
local ports = require "spec.support.ports"
local processes = require "spec.support.processes"
local socket = require "socket"

if chromium.missing() then
  describe("the dashboard in a browser", function()
    pending("this machine cannot: " .. chromium.missing())
  end)
  return
end

local SCRIPT = [[
local perigee = require "perigee"
local busy = perigee.new { name = "busy", maxsize = 50 }
local odd = perigee.new { name = "<script>fail('name')</script>", maxsize = 50 }
odd:set("<script>fail('key')</script>", "<img src=x onerror=fail('value')>")
odd:set("\0\255", ("a long value "):rep(500))
odd:set(("wide"):rep(500), { list = { 1, 2, 3 }, text = ("word"):rep(300) })
local function load(key)
  perigee.sleep(0.001)
  return key
end
for i = 1, 200 do perigee.new { name = i == 1 and "short lived" or nil, maxsize = 1 }:close() end
while true do
  for _ = 1, 20 do busy:get("key " .. math.random(100), load) end
  perigee.sleep(0.01)
end
]]

local PHONE, DESK = { 390, 844 }, { 1280, 900 }

describe("the dashboard in a browser", function()
  local browser, folder, pid, url

  lazy_setup(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir -m 700 " .. folder) == 0)
    files.write(folder .. "/script.lua", SCRIPT)
    files.write(folder .. "/out", "")
    os.execute(("%s/bin/perigee --dashboard=%d %s/script.lua >%s/out 2>&1 & echo $! >%s/pid")
      :format(assert(os.getenv "PERIGEE_BUILD"), ports.free(), folder, folder, folder))
    pid = tonumber(files.read(folder .. "/pid"))
    for _ = 1, 6000 do
      url = files.read(folder .. "/out"):match "http://%S+"
      if url then break end
      processes.pause(10)
    end
    browser = chromium.start()
  end)

  lazy_teardown(function()
    browser:stop()
    processes.signal(pid, 15)
    os.execute("rm -rf " .. folder)
  end)

  local function open(size, target, dark)
    browser:open(size[1], size[2], dark)
    browser:visit(url)
    if target then browser:visit(url:match "^http://[^/]*" .. target) end
  end

  local function assert_fits(size)
    assert.equal(size[1], browser:value "document.documentElement.scrollWidth")
    -- Nothing that can be read ends beyond the edge, but in boxes that scroll.
    assert.equal("", browser:value([[
      [...document.querySelectorAll("main *, header *")].filter((element) =>
        !element.closest(".scroll, pre, svg, .hidden, .skip")
          && element.getBoundingClientRect().right > innerWidth + 1)
        .map((element) => element.outerHTML.slice(0, 80)).join("\n") ]]))
  end

  local function assert_quiet() assert.same({}, browser:complaints()) end

  it("takes the token out of the address, and keeps it where no script sees it", function()
    open(DESK)
    assert.equal(url:match "^(.-)%?", browser:value "location.href")
    assert.equal("", browser:value "document.cookie")
    assert.equal(0, browser:value "document.querySelectorAll('button:disabled').length")
    assert_quiet()
  end)

  it("moves its numbers and its charts", function()
    open(DESK)
    browser:wait_for "document.getElementById('status').textContent === 'live'"
    browser:value [[
      window.found = [...document.querySelectorAll("h3")].find((h) => h.textContent === "busy")
        .closest(".card");
      window.gets = () => found.querySelector("[data-text$=-gets]").textContent;
      window.line = () => found.querySelector(".large path:not(.area)").getAttribute("d");
      window.before = [gets(), line()]; 0 ]]
    browser:wait_for "gets() !== before[0] && line() !== before[1] && line().includes('L')"
    assert_quiet()
  end)

  it("fits on a phone and on a desk", function()
    for _, size in ipairs { PHONE, DESK } do
      open(size)
      browser:value "document.querySelectorAll('details').forEach((d) => { d.open = true; })"
      browser:wait_for "document.getElementById('status').dataset.state === 'live'"
      assert_fits(size)
      open(size, "/entries?cache=%253Cscript%253Efail%2528%2527name%2527%2529%253C%252Fscript%253E")
      browser:value "document.querySelectorAll('details').forEach((d) => { d.open = true; })"
      assert_fits(size)
      open(size, "/nothing")
      assert_fits(size)
    end
  end)

  it("can be read: texts stand out from what is behind them", function()
    for _, dark in ipairs { false, true } do
      open(DESK, nil, dark)
      local worst = browser:value [[
        (() => {
          const part = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
          const light = (c) => c.slice(0, 3).map((v) => part(v / 255))
            .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
          const colour = (text) => text.match(/[\d.]+/g).map(Number);
          const behind = (element) => {
            for (; element; element = element.parentElement) {
              const c = colour(getComputedStyle(element).backgroundColor);
              if (c.length < 4 || c[3] === 1) return c;
            }
          };
          let worst = 99;
          for (const element of document.querySelectorAll("main *, header *")) {
            if (element.closest("svg, .hidden") || ![...element.childNodes]
              .some((node) => node.nodeType === 3 && node.data.trim())) continue;
            const [a, b] = [light(colour(getComputedStyle(element).color)), light(behind(element))];
            worst = Math.min(worst, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
          }
          return worst;
        })() ]]
      assert.is_true(worst >= 4.5, "contrast " .. worst) -- WCAG 2.2, 1.4.3
    end
  end)

  it("says when it has lost its server, and goes on when it is back", function()
    open(DESK)
    browser:wait_for "document.getElementById('status').dataset.state === 'live'"
    browser:call("Network.emulateNetworkConditions",
      { offline = true, latency = 0, downloadThroughput = -1, uploadThroughput = -1 })
    browser:wait_for "document.getElementById('status').textContent === 'not connected'"
    browser:call("Network.emulateNetworkConditions",
      { offline = false, latency = 0, downloadThroughput = -1, uploadThroughput = -1 })
    browser:wait_for "document.getElementById('status').textContent === 'live'"
  end)

  it("deletes an entry by its button, without a script", function()
    browser:open(DESK[1], DESK[2])
    browser:call("Emulation.setScriptExecutionDisabled", { value = true })
    browser:visit(url)
    browser:visit(url:match "^http://[^/]*"
      .. "/entries?cache=%253Cscript%253Efail%2528%2527name%2527%2529%253C%252Fscript%253E")
    assert.equal(3, browser:value "document.querySelectorAll('.entries li').length")
    browser:value "document.querySelector('.entries form button').click()"
    browser:await "Page.loadEventFired"
    assert.equal("The entry was deleted.",
      browser:value "document.querySelector('.done').innerText")
    assert.equal(2, browser:value "document.querySelectorAll('.entries li').length")
    assert_quiet()
  end)

  it("lets a page of another port of this machine change nothing", function()
    open(DESK)
    local other = assert(socket.bind("127.0.0.1", 0))
    local _, port = other:getsockname()
    browser:value(("setTimeout(() => { location = 'http://127.0.0.1:%d/'; }); 0"):format(port))
    local client = other:accept()
    repeat until client:receive "*l" == ""
    local html = ([[<form method="post" action="%s"><input name="cache" value="busy"></form>
      <script>document.forms[0].submit()</script>]]):format(url:match "^http://[^/]*" .. "/clear")
    client:send(("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n"
      .. "Connection: close\r\n\r\n%s"):format(#html, html))
    client:close()
    other:close()
    repeat browser:await "Page.loadEventFired"
    until browser:value "document.title.includes('Not from here')"
    assert.equal("403", browser:value "document.querySelector('.code').textContent")
  end)
end)

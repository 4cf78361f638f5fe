-- SPDX-License-Identifier: MIT
--- A headless Chromium for the specs, driven over its DevTools pipe (`--remote-debugging-pipe`):
-- commands go in and answers come out as JSON, each ended by a NUL byte. Here the pipes are FIFOs.
local json = require "cjson"
local lfs = require "lfs"

local _M = {}
local Browser = {}
Browser.__index = Browser

local PROGRAM = "/usr/bin/chromium" -- of Debian
local LIMIT_S = 500 -- then it is ended, and whoever reads from it gets no more

local FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run "
  .. "--disable-extensions --disable-background-networking --disable-component-update "
  .. "--disable-sync --hide-scrollbars --force-color-profile=srgb --remote-debugging-pipe"

--- Why no browser can be started on this machine: a text, or nil.
function _M.missing()
  if not lfs.attributes(PROGRAM) then return "Chromium is not installed (Debian: chromium)" end
end

--- Starts one.
function _M.start()
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute(("mkdir -m 700 %s && mkfifo %s/in %s/out"):format(folder, folder, folder)) == 0)
  os.execute(("HOME=%s timeout %d %s %s --user-data-dir=%s/profile 3<%s/in 4>%s/out "
    .. ">%s/log 2>&1 & echo $! >%s/pid"):format(folder, LIMIT_S, PROGRAM, FLAGS, folder, folder,
    folder, folder, folder))
  local self = setmetatable({ folder = folder, number = 0, session = nil, events = {} }, Browser)
  self.input = assert(io.open(folder .. "/in", "w"))
  self.output = assert(io.open(folder .. "/out", "r"))
  self.input:setvbuf "no"
  return self
end

local function read_message(self)
  local bytes = {}
  while true do
    local byte = self.output:read(1)
    if not byte then error("Chromium has ended", 0) end
    if byte == "\0" then return json.decode(table.concat(bytes)) end
    bytes[#bytes + 1] = byte
  end
end

--- Gives a command, and waits for its result; what happens meanwhile is kept in `events`.
function Browser:call(method, params)
  self.number = self.number + 1
  local order = { id = self.number, method = method, params = params, sessionId = self.session }
  self.input:write(json.encode(order), "\0")
  while true do
    local message = read_message(self)
    if message.id == self.number then
      if message.error then error(method .. ": " .. message.error.message, 2) end
      return message.result
    end
    if message.method then self.events[#self.events + 1] = message end
  end
end

--- Waits until something has happened, and takes it out of `events`.
function Browser:await(method)
  while true do
    for i, event in ipairs(self.events) do
      if event.method == method then return table.remove(self.events, i).params end
    end
    self.events[#self.events + 1] = read_message(self)
  end
end

--- A new tab of this size, without cookies of others.
function Browser:open(width, height, dark)
  self.session = nil
  local own = self:call("Target.createBrowserContext", {}).browserContextId
  local target = self:call("Target.createTarget", { url = "about:blank", browserContextId = own })
  self.session = self:call("Target.attachToTarget",
    { targetId = target.targetId, flatten = true }).sessionId
  self.events = {}
  for _, domain in ipairs { "Page", "Runtime", "Log", "Network" } do
    self:call(domain .. ".enable")
  end
  self:call("Emulation.setDeviceMetricsOverride",
    { width = width, height = height, deviceScaleFactor = 1, mobile = false })
  self:call("Emulation.setEmulatedMedia",
    { features = { { name = "prefers-color-scheme", value = dark and "dark" or "light" } } })
end

--- Goes to an address, and waits until the page is there.
function Browser:visit(url)
  self:call("Page.navigate", { url = url })
  self:await "Page.loadEventFired"
end

--- The value of an expression of JavaScript; a promise is waited for.
function Browser:value(expression)
  local result = self:call("Runtime.evaluate",
    { expression = expression, awaitPromise = true, returnByValue = true })
  if result.exceptionDetails then
    error(result.exceptionDetails.exception.description or result.exceptionDetails.text, 2)
  end
  return result.result.value
end

--- Waits, for some seconds, until an expression is true, and returns its value.
function Browser:wait_for(expression)
  return self:value(([[new Promise((done, fail) => {
    const ends = Date.now() + 60000;
    (function look() {
      const value = (%s);
      if (value) return done(value);
      if (Date.now() > ends) return fail(new Error("waited in vain"));
      setTimeout(look, 20);
    })();
  })]]):format(expression))
end

--- What the page complained of: exceptions, what the console was told as an error or a warning, and
-- what its policy refused.
function Browser:complaints()
  self:value "1" -- what has happened until now
  local list = {}
  for _, event in ipairs(self.events) do
    local params = event.params
    if event.method == "Runtime.exceptionThrown" then
      list[#list + 1] = params.exceptionDetails.text
    elseif event.method == "Log.entryAdded" then
      list[#list + 1] = params.entry.text
    elseif event.method == "Runtime.consoleAPICalled" then
      list[#list + 1] = params.type
    end
  end
  return list
end

--- Ends it.
function Browser:stop()
  self.session = nil
  pcall(self.call, self, "Browser.close")
  self.input:close()
  self.output:close()
  os.execute(("pid=$(cat %s/pid); while kill -0 $pid 2>/dev/null; do sleep 0.01; done; rm -rf %s")
    :format(self.folder, self.folder))
end

return _M

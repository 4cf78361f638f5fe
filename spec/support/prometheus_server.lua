-- SPDX-License-Identifier: MIT
--- Real Prometheus servers for the specs: each is started by the spec in a folder and on a loopback
-- port of its own, and stopped by its process id. To be used in tasks.
local cjson = require "cjson"
local files = require "spec.support.files"
local perigee = require "perigee"
local ports = require "spec.support.ports"
local processes = require "spec.support.processes"

local TERM = 15
local START_S = 60

local CONFIG = [[
global: { scrape_interval: 200ms }
scrape_configs:
  - job_name: perigee
    static_configs: [ { targets: ["127.0.0.1:%d"] } ]
]]

local START = [[
exec 2>'%s/log' >&2
prometheus --config.file='%s/prometheus.yml' --storage.tsdb.path='%s/data' \
  --web.listen-address=127.0.0.1:%d --log.level=warn &
echo $! >'%s/pid'
]]

local _M = {}
local Server = {}
Server.__index = Server

local function until_true(what, seconds, condition)
  local ends = perigee.now() + seconds
  while true do
    local value = condition()
    if value then return value end
    if perigee.now() > ends then error("waited in vain for " .. what, 2) end
    perigee.sleep(0.02)
  end
end

--- What a query says now: a list of `{ labels =, value = }`.
function Server:query(expression)
  local response = assert(perigee.http.request {
    url = ("http://127.0.0.1:%d/api/v1/query"):format(self.port), method = "POST",
    headers = { ["Content-Type"] = "application/x-www-form-urlencoded" },
    body = "query=" .. expression:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end),
  })
  local answer = cjson.decode(response.body)
  assert(answer.status == "success", answer.error)
  local list = {}
  for i, sample in ipairs(answer.data.result) do
    list[i] = { labels = sample.metric, value = tonumber(sample.value[2]) }
  end
  return list
end

--- Waits until a query has an answer, and returns it.
function Server:wait_for(expression)
  return until_true(expression, START_S, function()
    local list = self:query(expression)
    return #list > 0 and list
  end)
end

--- Stops it, and removes its folder.
function Server:stop()
  processes.signal(self.pid, TERM)
  until_true("the end of prometheus", START_S, function()
    return not processes.is_running(self.pid)
  end)
  files.run(("rm -rf '%s'"):format(self.folder))
end

--- Starts a server that scrapes what listens on a loopback port.
function _M.start(scraped)
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute(("mkdir -m 700 '%s'"):format(folder)) == 0)
  local self = setmetatable({ folder = folder, port = ports.free() }, Server)
  files.write(folder .. "/prometheus.yml", CONFIG:format(scraped))
  os.execute(START:format(folder, folder, folder, self.port, folder))
  self.pid = assert(tonumber(files.read(folder .. "/pid")))
  local ok, err = pcall(until_true, "the start of prometheus", START_S, function()
    if not processes.is_running(self.pid) then error(files.read(folder .. "/log"), 0) end
    local url = ("http://127.0.0.1:%d/-/ready"):format(self.port)
    local response = perigee.http.request { url = url }
    return response and response.status == 200
  end)
  if ok then return self end
  self:stop()
  error(err, 0)
end

return _M

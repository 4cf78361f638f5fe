-- SPDX-License-Identifier: MIT
-- A plugin for Kong. It asks a service which plan a consumer has, tells the upstream, and remembers
-- it: of all workers one asks, the others wait for it, and while the service is down the last
-- answer is good enough.
-- luacheck: globals kong ngx
local cjson = require "cjson.safe"
local http = require "resty.http"
local perigee = require "perigee"

local NAME = "plans"
local PLAN, CHANGED = "X-Consumer-Plan", "X-Plan-Changed"

-- Kong requires its plugins in init_by_lua, before the workers are forked: so they share the memory
-- that Perigee maps. The dictionary is one that kong.conf names.
local plans = perigee.new {
  name = NAME,
  shared = "perigee",
  maxsize = 10000,             -- consumers in the memory of each worker
  stale_while_revalidate = 30, -- the old plan at once, and a look whether it is still that
  stale_if_error = 3600,
}

local Plugin = {
  VERSION = "0.1.0",
  PRIORITY = 930, -- after authentication and acl (950), before rate-limiting (910)
}

-- What a consumer has; nil if the service does not know him; or nil and an error.
local function ask(conf, id)
  local client = http.new()
  client:set_timeout(conf.timeout_ms)
  local url = conf.url:gsub("/$", "") .. "/" .. ngx.escape_uri(id)
  local response, err = client:request_uri(url, { method = "GET" })
  if not response then return nil, err end
  if response.status == 404 then return nil end
  if response.status ~= 200 then return nil, "status " .. response.status end
  local plan = cjson.decode(response.body)
  if type(plan) ~= "table" or type(plan.name) ~= "string" then return nil, "not a plan" end
  return { name = plan.name }
end

-- The key has all that the answer depends on: two routes may ask two services. The load has no
-- request: it may be for many, and a refresh behind a stale value runs in a timer.
local function plan_of(conf, id)
  return plans:get(perigee.key(conf.url, id), {
    loader = function() return ask(conf, id) end,
    ttl = conf.ttl, neg_ttl = conf.neg_ttl,
    tags = { { "consumer", id } },
  })
end

--- In each worker, when it begins.
function Plugin.init_worker()
  perigee.on("load_error", function(info)
    if info.cache == NAME then kong.log.warn("the plans' service: ", tostring(info.err)) end
  end)
end

--- Before a request goes to the upstream. `kong.response.exit` leaves by a coroutine that nobody
-- resumes: it belongs here, never into a load, which others wait for.
function Plugin:access(conf)
  kong.service.request.clear_header(PLAN) -- whatever the client says
  local consumer = kong.client.get_consumer()
  if not consumer then return end
  local plan, err, source = plan_of(conf, consumer.id)
  if plan then
    local ctx = kong.ctx.plugin
    ctx.plan, ctx.source, ctx.bytes = plan.name, source, 0
    return kong.service.request.set_header(PLAN, plan.name)
  end
  if not err then return kong.response.exit(403, { message = "You have no plan" }) end
  if not conf.fail_open then
    return kong.response.exit(503, { message = "Your plan is not known" })
  end
end

--- An upstream that has sold somebody another plan says whose: it is forgotten, in all workers.
-- Nothing can wait in this phase, and forgetting does not.
function Plugin:header_filter()
  local id = kong.service.response.get_header(CHANGED)
  if not id then return end
  plans:invalidate_tags { "consumer", id }
  kong.response.clear_header(CHANGED)
end

--- For each piece of an answer.
function Plugin:body_filter()
  local ctx = kong.ctx.plugin
  if ctx.plan then ctx.bytes = ctx.bytes + #(ngx.arg[1] or "") end
end

--- When all is over: what plugins that log will find.
function Plugin:log()
  local ctx = kong.ctx.plugin
  if not ctx.plan then return end
  kong.log.set_serialize_value("plan", { name = ctx.plan, from = ctx.source, bytes = ctx.bytes })
end

return Plugin

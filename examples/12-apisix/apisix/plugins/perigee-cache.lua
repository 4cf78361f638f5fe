-- SPDX-License-Identifier: MIT
-- A plugin for APISIX. It asks an authorization server what an opaque token stands for (RFC 7662),
-- tells the upstream whose it is, and remembers it no longer than the token lives: of all workers
-- one asks, and the others wait for it.
-- luacheck: globals ngx
local core = require "apisix.core"
local http = require "resty.http"
local perigee = require "perigee"

local SUBJECT = "X-Subject"

local schema = {
  type = "object",
  properties = {
    url = { type = "string" },
    client_id = { type = "string" },
    client_secret = { type = "string" },
    timeout_ms = { type = "integer", minimum = 1, default = 1000 },
    ttl = { type = "integer", minimum = 1, default = 60 },    -- seconds: a revoked token's last
    neg_ttl = { type = "integer", minimum = 1, default = 5 }, -- seconds
  },
  required = { "url", "client_id", "client_secret" },
  encrypt_fields = { "client_secret" },
}

local _M = {
  version = 0.1,
  priority = 2504, -- among the plugins that authenticate
  name = "perigee-cache",
  schema = schema,
}

function _M.check_schema(conf) return core.schema.check(schema, conf) end

local tokens

--- When APISIX loads the plugin, in each worker.
function _M.init()
  tokens = perigee.new {
    name = "tokens",
    shared = "perigee", -- a dictionary that config.yaml names
    maxsize = 10000,    -- tokens in the memory of each worker
    -- No stale values: a token that was revoked, or has expired, must not live on.
  }
end

--- Before APISIX loads it again: its name will be used again.
function _M.destroy() tokens:close() end

-- The server's answer as it is kept: nil for a token that is not valid; or nil and an error.
local function read_answer(response, conf)
  if response.status ~= 200 then return nil, "status " .. response.status end
  local claims = core.json.decode(response.body)
  if type(claims) ~= "table" or type(claims.active) ~= "boolean" then return nil, "no claims" end
  if not claims.active or type(claims.sub) ~= "string" then return nil end
  local left = (tonumber(claims.exp) or math.huge) - ngx.time()
  if left <= 0 then return nil end
  return { subject = claims.sub }, nil,
    { ttl = math.min(conf.ttl, left), tags = { { "subject", claims.sub } } }
end

local function introspect(conf, token)
  local client = http.new()
  client:set_timeout(conf.timeout_ms)
  local response, err = client:request_uri(conf.url, {
    method = "POST",
    headers = {
      ["Content-Type"] = "application/x-www-form-urlencoded",
      ["Authorization"] = "Basic "
        .. ngx.encode_base64(conf.client_id .. ":" .. conf.client_secret),
    },
    body = ngx.encode_args { token = token },
  })
  if not response then return nil, err end
  return read_answer(response, conf)
end

-- Tokens are secrets: what stands in shared memory has a digest as its key.
local function claims_of(conf, token)
  return tokens:get(perigee.key(conf.url, conf.client_id, ngx.sha1_bin(token)), {
    loader = function() return introspect(conf, token) end,
    neg_ttl = conf.neg_ttl,
  })
end

local function refuse(code, message)
  if code == 401 then core.response.set_header("WWW-Authenticate", "Bearer") end
  return code, { message = message }
end

--- APISIX ends a request with what is returned here: a plugin calls no `ngx.exit` itself.
function _M.rewrite(conf, ctx)
  core.request.set_header(ctx, SUBJECT, nil) -- whatever the client says
  local header = core.request.header(ctx, "Authorization") or ""
  local token = header:match "^[Bb]earer +(%S+)$"
  if not token then return refuse(401, "no token") end
  local claims, err, source = claims_of(conf, token)
  ctx.perigee_cache = source
  if claims then return core.request.set_header(ctx, SUBJECT, claims.subject) end
  if not err then return refuse(401, "the token is not valid") end
  core.log.error("the authorization server: ", tostring(err))
  return refuse(503, "the token cannot be checked")
end

--- Says where the answer came from: for trying it out.
function _M.header_filter(_, ctx)
  core.response.set_header("X-Token-Cache", ctx.perigee_cache)
end

function _M.log(_, ctx)
  core.log.info("token from ", ctx.perigee_cache or "nowhere")
end

-- Forgets the tokens of a subject who was logged out, in all workers.
local function forget()
  local subject = ngx.req.get_uri_args().subject
  if type(subject) ~= "string" then return 400, { message = "give a subject" } end
  tokens:invalidate_tags { "subject", subject }
  return 200, { forgotten = subject }
end

--- What APISIX serves on its control port, which is for this machine only.
function _M.control_api()
  return { {
    methods = { "POST" },
    uris = { "/v1/plugin/perigee-cache/forget" },
    handler = forget,
  } }
end

return _M

-- SPDX-License-Identifier: MIT
-- Answers of a web API, cached by URL: see nginx.conf.
-- luacheck: globals ngx
local perigee = require "perigee"
local fetch = require "fetch"

local _M = {}

local HOST, PORT = "127.0.0.1", 8081 -- the way to the API, in nginx.conf

local cache = perigee.new {
  name = "api",
  shared = "perigee",          -- the lua_shared_dict: one load for all workers
  maxsize = 10000,             -- in the memory of each worker: so many entries,
  maxweight = 32 * 2 ^ 20,     -- and so many bytes of bodies
  weigh = function(_, answer) return answer and #answer.body or 0 end,
  default_ttl = 60,            -- where the API says nothing
  neg_ttl = 5,                 -- of a 404, which is a nil here
  stale_while_revalidate = 30, -- then the old answer at once, and a fresh one behind it
  stale_if_error = 3600,       -- the old answer while the API is down
  load_timeout = 5,
  detach = true,               -- loads run in timers: a client who leaves takes none along
}

local function tags_of(headers)
  local tags = {}
  for tag in (headers["cache-tag"] or headers["surrogate-key"] or ""):gmatch "[^%s,]+" do
    tags[#tags + 1] = tag
  end
  return tags
end

-- Lifetime in seconds, nil for the default; 0: not to be kept.
local function ttl_of(headers)
  local control = (headers["cache-control"] or ""):lower()
  for _, word in ipairs { "no-store", "no-cache", "private" } do
    if control:find(word, 1, true) then return 0 end
  end
  return tonumber(control:match "s%-maxage=(%d+)" or control:match "max%-age=(%d+)")
end

local function load(url)
  local answer, err = fetch.get(HOST, PORT, url)
  if not answer then return nil, err end
  local status, headers = answer.status, answer.headers
  if status >= 500 or status == 429 then return nil, "status " .. status end -- not kept
  local tags = tags_of(headers)
  if status == 404 then return nil, nil, { tags = tags } end -- kept: "there is none"
  local ttl = ttl_of(headers)
  local keep = status == 200 and ttl ~= 0
  return { status = status, type = headers["content-type"], body = answer.body }, nil,
    { ttl = keep and ttl or nil, tags = tags, cache = keep }
end

-- Cookies and credentials make answers that are not for everybody.
local function is_for_all()
  local method, var = ngx.req.get_method(), ngx.var
  return (method == "GET" or method == "HEAD") and not var.http_authorization
    and not var.http_cookie
end

--- Answers a request.
function _M.answer()
  if not is_for_all() then return ngx.exec "@uncached" end
  local answer, err, source = cache:get(ngx.var.request_uri, load)
  ngx.header["X-Cache"] = source
  if not answer then
    if err then ngx.log(ngx.ERR, "no answer from the API: ", err) end
    return ngx.exit(err and 502 or 404)
  end
  ngx.status = answer.status
  ngx.header.content_type = answer.type
  ngx.header.content_length = #answer.body
  ngx.print(answer.body)
end

local function each(values, forget)
  for _, value in ipairs(type(values) == "table" and values or { values }) do
    if type(value) == "string" and value ~= "" then forget(cache, value) end
  end
end

--- Forgets what is at `?url=`, or what is tagged with `?tag=`, in all workers.
function _M.purge()
  local method = ngx.req.get_method()
  if method ~= "PURGE" and method ~= "POST" then
    ngx.header.allow = "PURGE, POST"
    return ngx.exit(405)
  end
  local arguments = ngx.req.get_uri_args()
  if not arguments.url and not arguments.tag then
    ngx.status = 400
    return ngx.say "give ?url= or ?tag="
  end
  each(arguments.url, cache.delete)
  each(arguments.tag, cache.invalidate_tags)
  ngx.say "forgotten"
end

return _M

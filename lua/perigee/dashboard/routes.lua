-- SPDX-License-Identifier: MIT

--- From a request to a response: who may, what is asked for, and the changes.
--
-- A dashboard, `self`, has `token`, `hosts`, `allow`, `port`, `scenes` (a module, or false) and
-- `hint`, which says where the token is, in HTML. A request is one of `perigee.http.listen`, with
-- `mount` (the path that the dashboard is below), `is_secure`, and inside nginx `worker`, its pid.
-- @module perigee.dashboard.routes

local access = require "perigee.dashboard.access"
local entries = require "perigee.dashboard.entries"
local listing = require "perigee.dashboard.listing"
local numbers = require "perigee.dashboard.numbers"
local overview = require "perigee.dashboard.overview"
local page = require "perigee.dashboard.page"
local parse = require("perigee.http.request").query
local tags = require "perigee.tags"
local template = require "perigee.dashboard.template"
local token = require "perigee.dashboard.token"

local _M = {}

local fill = template.fill

-- Refusals ----------------------------------------------------------------------------------------

local function refuse_peer(request)
  return page.refuse(403, "Only from this machine", {
    fill("This request comes from <code>$peer</code>. The dashboard answers connections from "
      .. "this machine only.", { peer = request.peer or "an unknown address" }),
    "Other addresses have to be named: <code>allow = { \"192.0.2.7\" }</code>.",
  })
end

local function refuse_host(self, request)
  local host = request.headers.host or ""
  return page.refuse(403, "Unknown host", {
    fill("The address that you opened says <code>Host: $host</code>. The dashboard answers to "
      .. "<code>127.0.0.1</code>, <code>localhost</code> and <code>[::1]</code>$port only, so "
      .. "that no other site can reach it by a name of its own.",
      { host = host, port = self.port and " with port " .. self.port or "" }),
    fill("If this address is yours, name it: <code>hosts = { \"$host\" }</code>.",
      { host = host:gsub('[\\"]', "") }),
  })
end

local function refuse_token(self, wrong)
  local what = wrong and "This token is not the one of this process: each start makes a new one."
    or "Keys, values and changes need the token of this process."
  return page.refuse(403, wrong and "Wrong token" or "No token", { what, self.hint,
    [[The numbers need none: <a href="./">they are here</a>.]] })
end

local function refuse_origin()
  return page.refuse(403, "Not from here", {
    "A change has to be asked for by a page of this dashboard. This request says that it comes "
      .. "from somewhere else." })
end

local function refuse_method(allowed)
  local response = page.refuse(405, "Not this way",
    { fill("This address takes $allowed only.", { allowed = allowed }) })
  response.headers["Allow"] = allowed
  return response
end

local function not_found()
  return page.refuse(404, "Nothing here", { [[<a href="./">To the caches</a>]] })
end

local function bad_form(what)
  return page.refuse(400, "Not understood", { template.fill("$what", { what = what }) })
end

-- Forms -------------------------------------------------------------------------------------------

local FORM = "application/x-www-form-urlencoded"

local function form_of(request)
  local kind = (request.headers["content-type"] or ""):lower():match "^[^;%s]*"
  return kind == FORM and parse(request.body or "") or nil
end

-- The name of a cache is escaped once more within the form, as it may be any bytes. It may be
-- empty, but a form that says nothing of it means no cache.
local function cache_in(form)
  if not form.cache then return nil end
  return entries.cache(parse("name=" .. form.cache).name, tonumber(form.number))
end

-- The cache of a change. A memory that is not shared must be the one that was looked at.
local function cache_of_form(request)
  local form = request.form
  local cache = cache_in(form)
  if not cache then return nil, not_found() end
  local pid = request.worker
  if pid and not cache.shared and tonumber(form.worker) ~= pid then
    return nil, page.refuse(409, "Another worker", {
      "What you looked at is in the memory of another worker of nginx. Go back, load the page "
        .. "anew, and try again." })
  end
  return cache
end

local function done(cache, what)
  return page.redirect(listing.link_to(cache) .. "&done=" .. what)
end

-- What there is -----------------------------------------------------------------------------------

local function show_overview(self, request)
  local given = request.query.token
  if not given then return overview.show(self, request.is_known) end
  if not self.token or not token.is(self.token, given) then return refuse_token(self, true) end
  return page.redirect("./", access.cookie(request, self.token))
end

local function show_data() return page.raw("application/json", numbers.json()) end
local function show_icon() return page.raw("image/svg+xml", page.ICON) end

local function show_entries(_, request)
  local cache = cache_in(request.query)
  return cache and listing.show(cache, request.query) or not_found()
end

local function ask_clear(_, request)
  local cache = cache_in(request.query)
  return cache and listing.confirm_clear(cache) or not_found()
end

local function clear(_, request)
  local cache, refusal = cache_of_form(request)
  if not cache then return refusal end
  cache:clear()
  return done(cache, "cleared")
end

local function delete(_, request)
  local cache, refusal = cache_of_form(request)
  if not cache then return refusal end
  local key, space = entries.key_of(cache, request.form.key or "")
  if key == nil then return bad_form "The form names no key of this cache." end
  entries.delete(cache, key, space)
  return done(cache, "deleted")
end

local function invalidate(_, request)
  local cache, refusal = cache_of_form(request)
  if not cache then return refusal end
  local tag = request.form.tag or ""
  if not tags.TAG[2](tag) then return bad_form("A tag must be " .. tags.TAG[1] .. ".") end
  cache:invalidate_tags(tag)
  return done(cache, "forgotten")
end

local function scene_named(self, name)
  for _, scene in ipairs(self.scenes and self.scenes.list or {}) do
    if scene.name == name then return scene end
  end
end

local function run_scene(self, request)
  local scene = scene_named(self, request.form.name)
  if not scene then return not_found() end
  local report, err = self.scenes.run(scene.name)
  if report then return overview.show(self, true, report) end
  return overview.show(self, true, nil, { status = 409, notice = fill(
    [[<p class="notice" role="alert" id="failed">$title did not run: $err.</p>]],
    { title = scene.title, err = err == "busy" and "another scene is running" or tostring(err) }) })
end

-- By name: GET, and POST; all but those that are `open` need the token.
local ROUTES = {
  [""] = { GET = show_overview, open = true },
  ["data"] = { GET = show_data, open = true },
  ["icon.svg"] = { GET = show_icon, open = true },
  ["entries"] = { GET = show_entries },
  ["clear"] = { GET = ask_clear, POST = clear },
  ["delete"] = { POST = delete },
  ["invalidate"] = { POST = invalidate },
  ["scene"] = { POST = run_scene },
}

--- Whether the dashboard has something of this name.
-- @tparam string name the last piece of a path
-- @treturn boolean
function _M.has(name) return ROUTES[name] ~= nil end

-- The way -----------------------------------------------------------------------------------------

local function post(self, request, action)
  if not access.is_same_origin(request) then return refuse_origin() end
  request.form = form_of(request)
  if not request.form then return bad_form("A form is expected: " .. FORM .. ".") end
  return action(self, request)
end

local function route(self, request, found)
  local method = request.method == "HEAD" and "GET" or request.method
  local action = found[method]
  if not action then return refuse_method(found.GET and found.POST and "GET, HEAD, POST"
    or found.GET and "GET, HEAD" or "POST") end
  request.is_known = access.is_known(request, self.token)
  if not found.open and not request.is_known then return refuse_token(self, false) end
  if method == "POST" then return post(self, request, action) end
  return action(self, request)
end

--- Answers a request.
-- @tparam table self the dashboard
-- @tparam table request
-- @treturn table a response
function _M.answer(self, request)
  if not access.is_allowed(request.peer, self.allow) then return refuse_peer(request) end
  if not access.is_ours(request.headers.host, self.port, self.hosts) then
    return refuse_host(self, request)
  end
  local found = ROUTES[request.path:match "[^/]*$"]
  if not found then return not_found() end
  return route(self, request, found)
end

return _M

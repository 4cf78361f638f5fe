-- SPDX-License-Identifier: MIT

--- What every page of the dashboard has around it, and the pages that refuse.
-- @module perigee.dashboard.page

local access = require "perigee.dashboard.access"
local ngx = require "perigee.runtime.nginx"
local runtime = require "perigee.runtime"
local script = require "perigee.dashboard.script"
local style = require "perigee.dashboard.style"
local template = require "perigee.dashboard.template"
local token = require "perigee.dashboard.token"
local version = require "perigee.version"

local _M = {}

local fill = template.fill

--- The orbit that stands for Perigee.
_M.ICON = [[<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><g fill="none" ]]
  .. [[stroke="#0f8b7f" stroke-width="2.5"><ellipse cx="16" cy="16" rx="13" ry="8" ]]
  .. [[transform="rotate(-28 16 16)"/></g><circle cx="13" cy="17" r="4" fill="#0f8b7f"/>]]
  .. [[<circle cx="26.6" cy="8.4" r="2.6" fill="#e2725b"/></svg>]]

local PAGE = [[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<link rel="icon" href="icon.svg" type="image/svg+xml">
<style nonce="$nonce">$!style</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top">
<a class="brand" href="./"><svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
<ellipse cx="16" cy="16" rx="13" ry="8" transform="rotate(-28 16 16)"/>
<circle class="body" cx="13" cy="17" r="4"/><circle class="moon" cx="26.6" cy="8.4" r="2.6"/>
</svg>Perigee</a>
<span class="where">$where</span>
$!status
</header>
<main id="main">
$!body
</main>
<script nonce="$nonce">$!script</script>
</body>
</html>
]]

local LIVE = [[<span class="status" id="status" role="status" data-state="still">]]
  .. [[as of now</span>]]

local function where()
  if not ngx then return ("%s, %s"):format(version, runtime.name()) end
  return ("%s, nginx, worker %s of %d"):format(version, tostring(ngx.worker.id()),
    ngx.worker.count())
end

--- A page as a response.
-- @tparam string title
-- @tparam string body HTML
-- @tparam[opt] table opts `status` (200), `is_live` (whether its numbers move)
-- @treturn table
function _M.respond(title, body, opts)
  opts = opts or {}
  local nonce = token.random(4)
  local headers = access.headers(nonce)
  headers["Content-Type"] = "text/html; charset=utf-8"
  return { status = opts.status or 200, headers = headers, body = fill(PAGE, {
    title = title .. " · Perigee", nonce = nonce, style = style, script = script, where = where(),
    status = opts.is_live and LIVE or "", body = body,
  }) }
end

local REFUSAL = [[
<section class="refusal">
<p class="code">$status</p>
<h1>$title</h1>
$!paragraphs
</section>
]]

--- A page that says why not.
-- @tparam number status
-- @tparam string title
-- @tparam table paragraphs HTML of each
-- @treturn table a response
function _M.refuse(status, title, paragraphs)
  local body = fill(REFUSAL, { status = status, title = title,
    paragraphs = "<p>" .. table.concat(paragraphs, "</p>\n<p>") .. "</p>" })
  return _M.respond(title, body, { status = status })
end

--- Answers that are no page.
-- @tparam string kind its `Content-Type`
-- @tparam string body
-- @treturn table a response
function _M.raw(kind, body)
  local headers = access.headers(token.random(4))
  headers["Content-Type"] = kind
  return { status = 200, headers = headers, body = body }
end

--- Sends the browser elsewhere, by GET.
-- @tparam string where_to relative to this page
-- @tparam[opt] string cookie
-- @treturn table a response
function _M.redirect(where_to, cookie)
  local headers = access.headers(token.random(4))
  headers["Location"], headers["Set-Cookie"] = where_to, cookie
  return { status = 303, headers = headers, body = "" }
end

return _M

-- SPDX-License-Identifier: MIT
-- The sessions of requests.
--
-- A session lives in the memory of one worker. With several workers, requests of one id that meet
-- different workers are in different sessions. What can travel is `session:snapshot()`: kept in a
-- cache with `shared`, and made a session again by `agent.restore`.
-- luacheck: globals ngx
local agent = require "perigee.agent"
local perigee = require "perigee"

local _M = {}

local IDLE_S, ID_MOST = 1800, 64

-- By id. One that nobody has used for a while is closed, and so is one of too many.
local sessions = perigee.new {
  name = "sessions", maxsize = 10000, default_ttl = IDLE_S,
  on_evict = function(_, session) session:close() end,
}

local function open(id) return agent.open { session_id = id } end

--- Access phase: finds the request's session. Whose the id is must be checked here: behind a
-- log-in, put the user's name in front of it.
function _M.begin()
  local id = ngx.var.http_x_session_id or ""
  if #id > ID_MOST then return ngx.exit(400) end
  if id == "" then
    ngx.ctx.session, ngx.ctx.is_own = agent.open(), true
  else
    ngx.ctx.session = sessions:get(id, open)
    sessions:touch(id, IDLE_S)
  end
end

--- Content phase: runs `fn` in it. Why a tool refuses is for the model to read.
-- @tparam function fn returns the body
function _M.answer(fn)
  local session = ngx.ctx.session
  local ok, body = pcall(session.run, session, fn)
  if not ok and not agent.is_loop_error(body) then error(body, 0) end
  if not ok then ngx.status, body = 429, body.message end
  ngx.say(body)
end

--- Content phase: what has happened in it.
function _M.explain()
  ngx.say(tostring(agent.explain(ngx.ctx.session)))
end

--- Log phase: a session of one request ends with it.
function _M.finish()
  if ngx.ctx.is_own then ngx.ctx.session:close() end
end

return _M

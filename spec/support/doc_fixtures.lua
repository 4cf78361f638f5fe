-- SPDX-License-Identifier: MIT
--- What the code of the documentation finds around it: a database, loaders, a cache, Redis.
-- A block is run in a process and a folder of its own, by `doc_fixtures.run(file)`.
local perigee = require "perigee"

local _M = {}

local function row_of(_, id) return { id = id, name = "user " .. tostring(id) } end

local db = setmetatable({}, { __index = function() return row_of end })

-- Wherever the server is said to be, it is that of the specs, unless a port says that it is not.
-- Users and passwords it has none.
local redis = perigee.redis
local function spec_redis(opts)
  local own = {}
  for name, value in pairs(opts or {}) do own[name] = value end
  own.unix, own.username, own.password = nil, nil, nil
  own.host, own.port = "127.0.0.1", own.port or tonumber(os.getenv "DOCS_REDIS_PORT")
  return redis(own)
end

-- A server serves at a port that is free, and who waits for its end sees it at once.
local listen = perigee.http and perigee.http.listen
local function spec_listen(opts)
  local own = {}
  for name, value in pairs(opts) do own[name] = value end
  own.port = 0
  local server, why = listen(own)
  if not server then return nil, why end
  function server:stop(grace)
    self.stop, self.wait = nil, nil
    return self:stop(grace)
  end
  function server:wait() return self:stop(0) end
  return server
end

local function fixtures()
  return {
    perigee = perigee,
    db = db,
    cache = perigee.new { maxsize = 1000 },
    check_service = function() return "up" end,
    load_user = function(id) return row_of(db, id) end,
    load_page = function(path) return "the page " .. path end,
    load_price = function(name) return #name end,
  }
end

--- Runs a file.
function _M.run(path)
  perigee.redis = spec_redis
  if perigee.http then perigee.http.listen = spec_listen end
  local env = setmetatable(fixtures(), { __index = _G })
  local chunk = assert(loadfile(path))
  setfenv(chunk, env)()
end

return _M

-- SPDX-License-Identifier: MIT

--- Where a scene is played: its timeline, and whatever has to be cleared away when it is over,
-- also when it is cut short.
-- @module perigee.dashboard.stage

local context = require "perigee.context"
local perigee = require "perigee"
local timeline = require "perigee.dashboard.timeline"

local _M = {}
local mt = { __index = _M, __name = "perigee.dashboard.stage" }

local LONGEST_S = 30  -- a scene that is older was abandoned
local ANSWERS_S = 0.5 -- a load goes on when its caller is cancelled; but no longer than this

--- Opens a stage.
-- @tparam table scene `name`, `title`, `lanes`: the first is that of the callers; what caches do
--   is told in the one called "cache", and what loaders ask in "database"; `each`: what a key is
--   called where there are many
-- @treturn table
function _M.open(scene)
  local port = context.port
  return setmetatable({ scene = scene, closing = false, closed = false, closers = {},
    opened = perigee.now(),
    asking = 0, -- questions of loaders that are not answered yet
    life = port.life and port.life() or 0, -- inside nginx: the request that it is played in
    timeline = timeline.new(scene.lanes, perigee.now) }, mt)
end

--- Whether nobody plays here any more, though it was not closed: inside nginx a request ends
-- without a word to its code.
-- @treturn boolean
function _M:is_left()
  local port = context.port
  if self.life ~= 0 and port.is_over and port.is_over(self.life) then return true end
  return perigee.now() - self.opened > LONGEST_S
end

--- Has something done when the scene is over: what is asked for last is done first. Inside nginx
-- the variables of a request that was ended are gone, so `fn` must not use those of a function that
-- runs as long as the scene does.
-- @tparam function fn to be called
-- @param argument what to call it with
function _M:later(fn, argument)
  self.closers[#self.closers + 1] = { fn, argument }
end

-- Does the last thing that is to be done. It stays in the list until then: should this be cut off,
-- somebody else does it.
local function clear_one(self, closer)
  local ok, err = pcall(closer[1], closer[2])
  if self.closers[#self.closers] ~= closer then return end -- somebody else has done it meanwhile
  self.closers[#self.closers] = nil
  if not ok then return err end
end

--- Clears away, when what loaders ask has been answered. An error in one part keeps no other from
-- it, and is raised at the end.
function _M:close()
  self.closing = true
  if not self:is_left() then
    self:wait_until(ANSWERS_S, function() return self.asking == 0 end)
  end
  local failed
  while #self.closers > 0 do
    local err = clear_one(self, self.closers[#self.closers])
    failed = failed or err
  end
  self.closed = true
  if failed then error(failed, 0) end
end

-- Recording ----------------------------------------------------------------------------------

--- Milliseconds since the stage was opened.
-- @treturn number
function _M:time()
  return self.timeline:time()
end

--- Records an event: see `perigee.dashboard.timeline`.
function _M:add(lane, kind, text, at, till)
  self.timeline:add(lane, kind, text, at, till)
end

local function on(self, event, fn)
  self:later(perigee.on(event, fn))
end

-- What was invalidated, for people.
local function subject(info)
  if info.all then return "everything" end
  if info.tags then return "what is tagged " .. tostring(info.tags[1]) end
  return tostring(info.key)
end

-- Records what the events of Perigee say of a cache.
local function watch(self, name)
  local function listen(event, fn)
    on(self, event, function(info)
      if info.cache == name then fn(info, self:time()) end
    end)
  end
  local each = self.scene.each
  listen("load", function(info, now)
    self:add("cache", "load", "loads " .. (each or tostring(info.key)), now - info.seconds * 1000,
      now)
  end)
  listen("load_error", function(info, now)
    self:add("cache", "error", ("the load of %s fails: %s"):format(tostring(info.key),
      tostring(info.err)), now - info.seconds * 1000, now)
  end)
  listen("invalidate", function(info) self:add("cache", "change", "forgets " .. subject(info)) end)
end

--- A cache for the scene, closed when that is over. Its name shows it in the metrics.
-- @tparam table opts of `perigee.new`, but for the name
-- @treturn perigee.cache
function _M:cache(opts)
  opts.name = "scene: " .. self.scene.name
  local cache = perigee.new(opts)
  self:later(cache.close, cache)
  watch(self, opts.name)
  return cache
end

--- A loader's work: something else is asked, which takes its time.
-- @tparam string text what is asked
-- @tparam number seconds how long it takes
-- @tparam[opt] function is_answered called then, and may wait: whether there is an answer
-- @treturn boolean whether there is one
function _M:query(text, seconds, is_answered)
  local began = self:time()
  self.asking = self.asking + 1
  local ok, answered = pcall(function()
    perigee.sleep(seconds)
    return not is_answered or is_answered()
  end)
  self.asking = self.asking - 1
  if not ok then error(answered, 0) end
  self:add("database", answered and "load" or "error", answered and text or text .. ", in vain",
    began, self:time())
  return answered
end

-- By source: the kind of a call's event, and its text.
local TOLD = {
  memory = { "hit", "gets %s from memory" },
  remote = { "hit", "gets %s from the second level" },
  stale = { "stale", "gets %s, which has expired" },
  wait = { "wait", "waits for the load of another, and gets %s" },
  load = { "call", "begins a load, and gets %s" },
}

--- Asks a cache, and records what came of it, in the callers' lane.
-- @tparam perigee.cache cache the cache
-- @param key the key
-- @param opts as for `cache:get`
-- @tparam[opt] string what the value is called; default: itself
-- @treturn table `value`, `err`, `source`, `ms`
function _M:get(cache, key, opts, what)
  local began = self:time()
  local value, err, source = cache:get(key, opts)
  local now = self:time()
  local kind, text = unpack(TOLD[source])
  if value == nil then
    kind, text = "error", "gets an error: " .. tostring(err)
  else
    text = text:format(what or tostring(value))
  end
  self:add(self.scene.lanes[1], kind, text, began, now)
  return { value = value, err = err, source = source, ms = now - began }
end

--- Runs `fn(i)` for i = 1 .. n side by side, and waits for all.
-- @tparam number n how many
-- @tparam function fn
-- @treturn table the results
function _M:together(n, fn)
  local fns = {}
  for i = 1, n do
    fns[i] = function() return fn(i) end
  end
  return perigee.gather(fns)
end

--- Looks every few milliseconds whether something is so.
-- @tparam number seconds after which it is given up
-- @tparam function condition
-- @treturn boolean whether it is so
function _M:wait_until(seconds, condition)
  local ends = perigee.now() + seconds
  while not condition() do
    if perigee.now() >= ends then return false end
    perigee.sleep(0.005)
  end
  return true
end

--- What the scene came to.
-- @tparam string summary one line
-- @tparam table facts a list of pairs of texts
-- @treturn table as `perigee.dashboard.scenes` has it
function _M:report(summary, facts)
  local length, events = self:time(), self.timeline:list()
  for _, event in ipairs(events) do length = math.max(length, event.till or event.at) end
  return { title = self.scene.title, summary = summary, facts = facts, lanes = self.scene.lanes,
    events = events, length = math.ceil(length) }
end

return _M

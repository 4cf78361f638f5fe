-- SPDX-License-Identifier: MIT
--- Readers and writers of a cache with a shared dictionary, at random: runs in each worker.
-- Versions in a dictionary of their own say what is true: a writer moves a key's version and then
-- tells the cache; a loader reads it and then takes its time. Whoever gets a value older than the
-- last write that was finished when he asked, has got a stale one.
local ngx = require "perigee.runtime.nginx"
local perigee = require "perigee"

local truth, finished = ngx.shared.truth, ngx.shared.finished

local _M = {}

local KEYS, THREADS = 24, 12

local function nap() ngx.sleep(math.random() * 0.004) end

local Worker = {}
Worker.__index = Worker

-- Like a database that answers after it has looked.
function Worker:read(key)
  local version = truth:get(key)
  if math.random() < 0.7 then nap() end
  self.loads = self.loads + 1
  return { version = version, pad = self.pad }
end

-- Everything in a row, without a wait, and only in one worker for each key: writers who race each
-- other do so in the database, too.
local WRITES = {
  function(cache, key) cache:delete(key) end,
  function(cache, key, value) cache:set(key, value, { tags = { "t:" .. key } }) end,
  function(cache, key) cache:invalidate_tags("t:" .. key) end,
  function(cache) cache:invalidate_tags "t" end,
  function(cache) cache:clear() end,
}

function Worker:write(key)
  local version = truth:incr(key, 1)
  local act = WRITES[math.random() < 0.05 and #WRITES or math.random(#WRITES - 1)]
  act(self.cache, key, { version = version, pad = self.pad })
  finished:set(key, version)
end

function Worker:check(key, floor, value, how)
  if type(value) == "table" and value.version >= floor then return end
  self.stale[#self.stale + 1] = ("%s %s: %s < %d"):format(how, key,
    type(value) == "table" and value.version or tostring(value), floor)
end

function Worker:get(key)
  local floor = finished:get(key)
  local value, err = self.cache:get(key, self.loader)
  self:check(key, floor, value or err, "get")
end

function Worker:get_many(first)
  local keys, floors, tags = {}, {}, {}
  for i = 1, 4 do
    keys[i] = "k" .. (first + i) % KEYS
    floors[i], tags[i] = finished:get(keys[i]), "t:" .. keys[i]
  end
  local values, errors = self.cache:get_many(keys, { batch_loader = self.batch_loader,
    tags = tags })
  for i = 1, 4 do
    self:check(keys[i], floors[i], values[keys[i]] or errors and errors[keys[i]], "get_many")
  end
end

-- One learns the tags of its value when it has it, the other is told before.
local function loaders(self)
  function self.loader(key)
    local value = self:read(key)
    return value, nil, { tags = { "t:" .. key } }
  end
  function self.batch_loader(keys)
    local values = {}
    for _, key in ipairs(keys) do values[key] = self:read(key) end
    return values
  end
end

function Worker:step()
  local number = math.random(KEYS) - 1
  local key, dice = "k" .. number, math.random()
  if dice < 0.15 then
    if number % 2 == self.number then self:write(key) end
  elseif dice < 0.2 then
    self:get_many(number)
  else
    self:get(key)
  end
end

--- Begins: versions are there.
function _M.prepare()
  for i = 0, KEYS - 1 do
    truth:set("k" .. i, 1)
    finished:set("k" .. i, 1)
  end
end

--- Runs for a while, many at once.
-- @tparam number seed
-- @tparam number seconds
-- @tparam number pad size of the values
-- @treturn table what was stale, as texts
-- @treturn number how many steps
-- @treturn number how many loads
function _M.run(seed, seconds, pad)
  math.randomseed(seed + ngx.worker.id())
  local self = setmetatable({ number = ngx.worker.id(), loads = 0, stale = {}, steps = 0,
    pad = ("x"):rep(pad),
    cache = perigee.new { name = "model", shared = "perigee", maxsize = 12, default_ttl = 0.05 },
  }, Worker)
  loaders(self)
  local threads, ends = {}, ngx.now() + seconds
  for i = 1, THREADS do
    threads[i] = ngx.thread.spawn(function()
      while ngx.now() < ends do
        local ok, err = pcall(self.step, self)
        if not ok then self.stale[#self.stale + 1] = "raised: " .. tostring(err) end
        self.steps = self.steps + 1
        if math.random() < 0.15 then nap() end
      end
    end)
  end
  for i = 1, THREADS do ngx.thread.wait(threads[i]) end
  self.cache:close()
  return { unpack(self.stale, 1, 10) }, self.steps, self.loads
end

return _M

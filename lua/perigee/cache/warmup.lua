-- SPDX-License-Identifier: MIT
--- Filling a cache before it is asked.
-- @module perigee.cache.warmup

local context = require "perigee.context"
local each = require("perigee.value.names").each
local options = require "perigee.options"
local task = require "perigee.task"

local _M = {}

local SPEC = { concurrency = options.kinds.count }

local function check(loaders, opts)
  options.argument("cache:warmup", "loaders",
    { "a table of loaders by key", options.kinds.list[2] }, loaders, 3)
  options.argument("cache:warmup", "opts", options.kinds.list, opts, 3)
  options.check("cache:warmup", opts, SPEC, 3)
  for key, loader in each(loaders) do
    options.argument("cache:warmup", "key", options.kinds.key, key, 3)
    options.argument("cache:warmup", ("loaders[%s]"):format(tostring(key)),
      options.kinds.callable, loader, 3)
  end
end

local function load_one(cache, key, loader, errors)
  local ok, value, err = pcall(cache.get, cache, key, loader)
  if not ok and value == "cancelled" then task.sleep(0) end -- raises if this task is cancelled
  if not ok then
    errors[key] = value
  elseif value == nil and err ~= nil then
    errors[key] = err
  end
end

--- `cache:warmup`.
-- @tparam perigee.cache cache the cache
-- @tparam table loaders loader by key
-- @tparam[opt] table opts `{ concurrency = 16 }`
-- @treturn true|nil
-- @treturn table|nil errors by key
function _M.run(cache, loaders, opts)
  opts = opts or {}
  check(loaders, opts)
  local keys, at, errors = {}, 0, {}
  for key in each(loaders) do
    if not cache:contains(key) then keys[#keys + 1] = key end
  end
  local function work()
    while at < #keys do
      at = at + 1
      load_one(cache, keys[at], loaders[keys[at]], errors)
    end
  end
  local port, workers = context.port, {}
  if port.may_wait and not port.may_wait() then -- one after the other, in this phase of nginx
    work()
    return next(errors) == nil or nil, next(errors) ~= nil and errors or nil
  end
  for i = 1, opts.concurrency or 16 do workers[i] = work end
  task.gather(workers)
  if next(errors) == nil then return true end
  return nil, errors
end

return _M

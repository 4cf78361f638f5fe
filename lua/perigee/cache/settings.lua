-- SPDX-License-Identifier: MIT

--- The options of a cache and of its methods: kind by name, for `options.check`.
-- @module perigee.cache.settings

local backup = require "perigee.backup"
local codec = require "perigee.value.codec"
local options = require "perigee.options"
local remote = require "perigee.remote"
local sharing = require "perigee.sharing"
local tags = require "perigee.tags"

local kinds = options.kinds

local _M = {}

--- Options of `perigee.new`.
_M.NEW = {
  name = kinds.name,
  maxsize = kinds.bound,
  default_ttl = kinds.duration,
  neg_ttl = kinds.neg_duration,
  ttl_jitter = kinds.fraction,
  stale_while_revalidate = kinds.grace,
  stale_if_error = kinds.grace,
  load_timeout = kinds.duration,
  batch_window_ms = kinds.milliseconds,
  max_batch_size = kinds.count,
  policy = options.one_of { "auto", "s3fifo", "lru", "wtinylfu", "sieve", "fifo" },
  maxweight = kinds.weight,
  weigh = kinds.callable,
  copy = kinds.boolean,
  on_evict = kinds.callable,
  backup = backup.KIND,
  remote_cache = remote.KIND,
  single_load = kinds.duration,
  shared = sharing.KIND,
  detach = kinds.boolean,
  takeover = kinds.duration,
  codec = codec.KIND,
}

--- Checks the options of `perigee.new` that need others.
-- @tparam table opts the options, each checked before
-- @tparam number level as for `error`, counted from the caller
-- @raise when one is missing
function _M.check_together(opts, level)
  if (opts.maxweight == nil) ~= (opts.weigh == nil) then
    error("perigee.new: options \"maxweight\" and \"weigh\" go together", level + 1)
  end
  if opts.single_load and not opts.remote_cache then
    error("perigee.new: option \"single_load\" goes with option \"remote_cache\"", level + 1)
  end
  if opts.shared then sharing.check("perigee.new", opts.shared, level + 1) end
  for _, tier in ipairs { "backup", "remote_cache", "shared" } do
    if opts[tier] and not opts.name then
      error(("perigee.new: option %q needs option \"name\": the entries are kept under it")
        :format(tier), level + 1)
    end
  end
end

--- Options of `cache:get` and its kin.
_M.GET = {
  loader = kinds.callable,
  batch_loader = kinds.callable,
  ttl = kinds.duration,
  neg_ttl = kinds.neg_duration,
  tags = tags.LIST,
  timeout = kinds.duration,
  use_cache = kinds.boolean,
  detach = kinds.boolean,
}

--- Options of `cache:set` and its kin.
_M.SET = { ttl = kinds.duration, tags = tags.LIST, write_remote = kinds.boolean }

--- Takes the last argument of `cache:set` and its kin apart.
-- @tparam string where the method, whose caller an error points at
-- @param opts as it came
-- @treturn number|nil ttl
-- @treturn table|nil tags
-- @treturn boolean whether the remote cache is written, too
function _M.check_set(where, opts)
  if opts == nil then return nil, nil, true end
  if type(opts) == "number" then
    return options.argument(where, "ttl", kinds.duration, opts, 3), nil, true
  end
  if type(opts) ~= "table" then
    options.fail(where, "the last argument", "a ttl (seconds > 0) or a table of options", opts, 3)
  end
  options.check(where, opts, _M.SET, 3)
  return opts.ttl, opts.tags, opts.write_remote ~= false
end

return _M

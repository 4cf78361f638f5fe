-- SPDX-License-Identifier: MIT

--- The levels below a cache's memory, from the top: a shared dictionary, a remote cache; and the
-- backup beside them. `cache.below` is the upper one of the first two, and passes on to the other
-- what concerns both.
-- @module perigee.cache.levels

local backup = require "perigee.backup"
local looking = require "perigee.cache.looking"
local remote = require "perigee.remote"
local sharing = require "perigee.sharing"

local _M = {}

--- Whether a cache with these options has any.
-- @tparam table opts options of `perigee.new`
-- @treturn boolean
function _M.are_in(opts)
  return (opts.backup or opts.remote_cache or opts.shared) ~= nil
end

--- Gives a new cache its levels.
-- @tparam perigee.cache cache the cache
-- @tparam table class its methods
-- @tparam table opts options of `perigee.new`, checked before
-- @tparam number level as for `error`, counted from the caller
function _M.attach(cache, class, opts, level)
  local codec = opts.codec or "buffer"
  if opts.remote_cache then remote.attach(cache, opts.remote_cache, opts, level + 1) end
  if opts.shared then sharing.attach(cache, opts.shared, codec, level + 1) end
  if cache.below then looking.wrap(cache, class) end
  if opts.backup then backup.attach(cache, opts.backup, codec, level + 1) end
end

--- Ends them: what waits is written.
-- @tparam perigee.cache cache the cache
function _M.close(cache)
  if cache.below then cache.below:close() end
  if cache.backup then cache.backup:close() end
end

return _M

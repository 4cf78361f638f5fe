-- SPDX-License-Identifier: MIT
--- nginx with `spec.support.shared_rig` in each worker, for the specs of the shared tier.
local nginx = require "spec.support.nginx"

local _M = {}

local HTTP = [[
lua_shared_dict perigee %s;
lua_shared_dict counts 1m;
lua_shared_dict answers 1m;
%s
]]

--- What maps the board in time; and what does not.
_M.MAPPED, _M.UNMAPPED = [[init_by_lua_block { require "perigee" }]], ""

local server

--- Starts a server: `workers` (2), `size` of the dictionary (10m), `init` (`MAPPED`), `code_cache`.
function _M.start(opts)
  opts = opts or {}
  server = nginx.start { workers = opts.workers or 2, code_cache = opts.code_cache,
    http = HTTP:format(opts.size or "10m", opts.init or _M.MAPPED) }
  return server
end

--- A chunk that has the rig as `rig`.
function _M.within(chunk) return "local rig = require 'spec.support.shared_rig' " .. chunk end

--- Runs a chunk in a worker.
function _M.run_in(worker, chunk, ...) return server:lua_in(worker, _M.within(chunk), ...) end

--- Begins to.
function _M.begin_in(worker, chunk, ...) return server:begin_lua(worker, _M.within(chunk), ...) end

--- The same, of a chunk that loads by the rig's loader, and waits until it does.
function _M.begin_loading(worker, chunk, ...)
  local before = _M.run_in(worker, "return rig.counts:get 'loads' or 0")
  local request = _M.begin_in(worker, chunk, ...)
  _M.run_in(worker, "repeat ngx.sleep(0.002) until (rig.counts:get 'loads' or 0) > ...", before)
  return request
end

--- A chunk that gets the key it is given.
_M.GET = "return rig.cache:get(..., rig.loader(0, 'loaded'))"

--- Value and source, of a get in a worker.
function _M.get(worker, key)
  local value, _, source = _M.run_in(worker, _M.GET, key)
  return value, source
end

--- How many loads there were since this was asked last.
function _M.loads() return _M.run_in(0, "return rig.take_loads()") end

--- How often a text is in the log.
function _M.count_in_log(text) return select(2, server:log():gsub(text:gsub("%p", "%%%0"), "")) end

--- Stops the server, whose log must be without errors.
function _M.finish()
  local errors = server:errors()
  nginx.clean()
  assert(#errors == 0, table.concat(errors, "\n"))
end

return _M

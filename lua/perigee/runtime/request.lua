-- SPDX-License-Identifier: MIT

--- Whose code runs inside nginx: which request, whether it still lives, and what the running light
-- thread works for.
--
-- nginx ends a request without a word to its coroutines: they are never resumed, and nothing of
-- theirs unwinds. But it keeps a list of C functions to call then, and one of ours is put there
-- (`life.h`) when a request first begins something that others may wait for. ngx_lua has a node of
-- its own in that list, whose function it clears when it ends the light threads of a request that
-- lives on (by `ngx.exit` in the access phase, by `ngx.exec`, while a slow client is being sent the
-- answer): that node is watched.
--
-- What `perigee.context` holds for a running task, is held here by light thread: light threads
-- switch without telling us. An entry counts only while the request lives that it was made in: the
-- address of a thread is used again. Where there is no life, as in the log phase, it counts for the
-- same *bearer*: a number that stands in the request's list.
-- @module perigee.runtime.request

local ffi = require "ffi"

local lib = require "perigee.lib"
local ngx = require "perigee.runtime.nginx"
local C = lib.core

local found, exdata = pcall(require, "thread.exdata")
if not found then error("perigee: inside nginx, OpenResty's LuaJIT (luajit2) is needed", 0) end
local with_threads, exdata2 = pcall(require, "thread.exdata2")
local thread_of = with_threads and exdata2 or exdata

local uintptr = ffi.typeof "uintptr_t"
local cast, tonumber = ffi.cast, tonumber

local _M = {}

local nginx = lib.host([[
typedef struct perigee_nginx_cleanup {
  void *handler;
  void *data;
  struct perigee_nginx_cleanup *next;
} perigee_nginx_cleanup;
perigee_nginx_cleanup *perigee_nginx_cleanup_add(void *r, size_t size)
  __asm__("ngx_http_cleanup_add");
]], "perigee_nginx_cleanup_add")
local end_life = ffi.cast("void *", C.perigee_life_end)

-- ngx_lua's function in the list; its data is a context, whose second pointer is the request.
local ngx_lua = lib.host([[void perigee_ngx_lua_cleanup(void *data)
  __asm__("ngx_http_lua_request_cleanup_handler");]], "perigee_ngx_lua_cleanup")
local end_threads = ngx_lua and ffi.cast("void *", ngx_lua.perigee_ngx_lua_cleanup)
local pointers = ffi.typeof "void **"

-- What says that ngx_lua has ended the request's light threads, or nil.
local function watch_of(request, node)
  while end_threads and node ~= nil do
    if node.handler == end_threads and ffi.cast(pointers, node.data)[1] == request then
      return ffi.cast(pointers, node)
    end
    node = node.next
  end
  return nil
end

-- Phases that nginx runs when it has called the clean-ups of their request (it does so before it
-- logs), or without ever calling them. A life begun there would never end, and be taken for that of
-- the next request at this address.
local WITHOUT_END = { log = true, init_worker = true, exit_worker = true }

local function begin(request)
  if not nginx or WITHOUT_END[ngx.get_phase()] then return 0 end
  local cleanup = nginx.perigee_nginx_cleanup_add(request, 0)
  if cleanup == nil then return 0 end
  local life = C.perigee_life_begin(request, watch_of(request, cleanup.next))
  cleanup.data = C.perigee_life_data(life)
  cleanup.handler = end_life -- it takes no notice of a NULL
  return life
end

--- The life of the running request, or of the timer; begins it if need be.
-- @treturn number 0 where there is none, or its end cannot be known
local function life_here()
  local request = exdata()
  if request == nil then return 0 end
  local life = C.perigee_life_of(request)
  return life ~= 0 and life or begin(request)
end
_M.life = life_here

--- Whether a life has ended.
-- @tparam number life from `life`, not 0
-- @treturn boolean
function _M.is_over(life)
  return C.perigee_life_is_over(life) == 1
end

--- The phases in which light threads wait: all that ngx_lua lets sleep, but ssl_client_hello and
-- ssl_session_fetch, where that breaks the handshake, unless nginx has OpenResty's patches.
_M.WAITING = { rewrite = true, server_rewrite = true, access = true, content = true,
  timer = true, ssl_cert = true }

local WAITING = _M.WAITING

-- Context -----------------------------------------------------------------------------------

local BEARERS = 2 ^ 24 - 1 -- less than any life: it ends none
local bearers = 0

-- Who runs where there is no life. A request's list is empty when it begins, and again when its
-- clean-ups have been called: a number found there is its own. 0 outside any request.
local function bearer_here()
  local request = exdata()
  if request == nil or not nginx then return 0 end
  local added = nginx.perigee_nginx_cleanup_add(request, 0) -- the only way to see the list
  local node = added
  while node ~= nil do
    if node.handler == end_life then return tonumber(cast(uintptr, node.data)) end
    node = node.next
  end
  bearers = bearers % BEARERS + 1
  if added ~= nil then added.data, added.handler = cast("void *", bearers), end_life end
  return bearers
end

-- By address of the light thread, 0 where there is none: `life`, or else `bearer`; `load`,
-- `session`, `task`, `waits`. Kept and used again, so that the table does not churn; those of dead
-- requests are dropped when it has grown large.
local entries, count = {}, 0
local ENTRIES_MAX = 16384
local limit = ENTRIES_MAX -- twice the living ones at least

local function address_here()
  local thread = thread_of()
  return thread == nil and 0 or tonumber(cast(uintptr, thread))
end

local function drop_dead()
  local living, left = {}, 0
  local address, entry = next(entries)
  while address do
    if entry.life ~= 0 and not _M.is_over(entry.life) then
      living[address], left = entry, left + 1
    end
    address, entry = next(entries, address)
  end
  entries, count = living, left
  limit = math.max(ENTRIES_MAX, 2 * left)
end

local function add_entry(address)
  if count >= limit then drop_dead() end
  local entry = { life = 0, bearer = 0, load = 0, session = nil, task = nil, waits = false }
  entries[address], count = entry, count + 1
  return entry
end

--- What the running light thread works for, to read and to change.
-- @treturn table `load`, `session`, `task`; and `life`, of its request, and `waits`: whether it may
local function own_entry()
  local address, life = address_here(), life_here()
  local entry = entries[address] or add_entry(address)
  if entry.life ~= life or life == 0 and entry.bearer ~= bearer_here() then
    entry.life, entry.bearer = life, life == 0 and bearer_here() or 0
    entry.load, entry.session, entry.task = 0, nil, nil
    entry.waits = WAITING[ngx.get_phase()] or false
  end
  return entry
end
_M.own = own_entry

--- Whether the running code may wait. Nothing but light threads may; filters and the log phase, for
-- one, have none.
-- @treturn boolean
function _M.may_wait()
  return own_entry().waits
end

local DEFAULTS = { load = 0 }

local function get(_, name)
  local entry = entries[address_here()]
  if not entry then return DEFAULTS[name] end
  local value = entry[name]
  if value == nil or value == 0 then return DEFAULTS[name] end
  local request = exdata()
  local life = request ~= nil and C.perigee_life_of(request) or 0
  if entry.life ~= life then return DEFAULTS[name] end
  return (life ~= 0 or entry.bearer == bearer_here()) and value or DEFAULTS[name]
end

local BY_THREAD = { load = true, session = true, task = true }

local function set(context, name, value)
  if not BY_THREAD[name] then return rawset(context, name, value) end
  if (value == nil or value == 0) and not entries[address_here()] then return end
  own_entry()[name] = value
end

--- Lets `perigee.context` hold `load`, `session` and `task` by light thread.
-- @tparam table context without these fields
function _M.bind(context)
  return setmetatable(context, { __index = get, __newindex = set })
end

return _M

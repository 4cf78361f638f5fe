-- SPDX-License-Identifier: MIT
-- What `require "perigee"` gives, for the Lua language server (LuaLS): point `workspace.library` at
-- this folder. It is read, and never run; spec/library_spec.lua compares it with the library.
---@meta perigee

---@alias perigee.Key string|number|boolean
---A path whose parts are split at `:`, or a list of its parts.
---@alias perigee.Tag string|string[]
---Seconds, more than 0; `math.huge`: for ever.
---@alias perigee.Seconds number
---Where a value came from.
---@alias perigee.Source "memory"|"shared"|"remote"|"load"|"wait"|"stale"|"miss"
---@alias perigee.Reason "size"|"expired"|"replaced"|"deleted"|"cleared"|"invalidated"|"rejected"
---@alias perigee.Policy "auto"|"s3fifo"|"lru"|"wtinylfu"|"sieve"|"fifo"
---`value [, err [, hints]]`: hints are a ttl in seconds, or a table.
---@alias perigee.Loader fun(key: perigee.Key): any, any, (perigee.Hints|perigee.Seconds)?
---@alias perigee.ByKey table<perigee.Key, any>
---Results by key (or `perigee.aligned(list)`), and errors by key.
---@alias perigee.BatchLoader fun(keys: perigee.Key[]): perigee.ByKey, perigee.ByKey?

---@class perigee.Hints What a loader says about its value.
---@field ttl? perigee.Seconds
---@field tags? perigee.Tag[]
---@field cache? boolean false: the value is handed out and not kept

---@class perigee.Codec
---@field encode fun(value: any): string
---@field decode fun(bytes: string): any

---@class perigee.Backup A backend of yours: see `perigee.contract.backup`.
---@field load fun(self): table[]?, string?
---@field save fun(self, entries: table[]): true?, string?
---@field clear fun(self)
---@field autosave? perigee.Seconds

---@class perigee.Remote A backend of yours: see `perigee.contract.remote`.
---@field get fun(self, key: perigee.Key, meta: table): boolean?, any, number?
---@field set fun(self, key: perigee.Key, value: any, ttl: number?, meta: table): true?, string?
---@field delete fun(self, key: perigee.Key): true?, string?
---@field clear fun(self): true?, string?
---@field close fun(self)

-- Caches ------------------------------------------------------------------------------------------

---@class perigee.CacheOptions
---@field name? string for metrics, events and messages; unique in the process
---@field maxsize? number entries (128); `math.huge`: unlimited
---@field default_ttl? perigee.Seconds how long an entry lives (for ever)
---@field neg_ttl? perigee.Seconds|false the same for a cached nil; false: never cache nil
---@field ttl_jitter? number each lifetime is shortened by up to this fraction (0)
---@field stale_while_revalidate? number seconds in which an old value is given, and refreshed (0)
---@field stale_if_error? number seconds in which an old value replaces an error (0)
---@field load_timeout? perigee.Seconds a longer load fails (for ever)
---@field batch_window_ms? number how long the first key of a batch waits for company (5)
---@field max_batch_size? integer a batch of this size leaves at once (100)
---@field policy? perigee.Policy who goes when there is no room ("auto")
---@field maxweight? number a bound on the sum of weights; needs `weigh`
---@field weigh? fun(key: perigee.Key, value: any): number
---@field copy? boolean callers give and get deep copies of tables (false)
---@field on_evict? fun(key: perigee.Key, value: any, reason: perigee.Reason)
---@field backup? perigee.Disk|perigee.Backup where the entries survive the process; needs `name`
---@field remote_cache? perigee.Redis|perigee.Remote a level below memory; needs `name`
---@field single_load? perigee.Seconds of all processes one loads; needs `remote_cache`
---@field shared? string name of a lua_shared_dict of nginx; needs `name`
---@field detach? boolean inside nginx: loads run in a timer (false)
---@field takeover? perigee.Seconds inside nginx: between looks whether a load still lives (1)
---@field codec? "buffer"|"json"|perigee.Codec how values travel ("buffer")

---@class perigee.GetOptions
---@field loader? perigee.Loader
---@field batch_loader? perigee.BatchLoader make this function once: batches form per function
---@field ttl? perigee.Seconds
---@field neg_ttl? perigee.Seconds|false
---@field tags? perigee.Tag[]
---@field timeout? perigee.Seconds this caller's patience; the load goes on for the others
---@field use_cache? boolean false: a fresh load
---@field detach? boolean

---@class perigee.SetOptions
---@field ttl? perigee.Seconds
---@field tags? perigee.Tag[]
---@field write_remote? boolean false: leaves the remote cache alone

---@class perigee.WarmupOptions
---@field concurrency? integer loads side by side (16)

---@class perigee.Metrics
---@field hits number
---@field misses number `coalesced` among them
---@field hit_rate number
---@field size number
---@field loads number
---@field load_errors number
---@field load_seconds number
---@field coalesced number
---@field stale_hits number among the hits
---@field evictions number
---@field expirations number
---@field batches number
---@field batched_keys number
---@field invalidated? number dead by a tag, not yet reclaimed
---@field weight? number
---@field bytes? number native memory
---@field backup_saves? number
---@field backup_errors? number
---@field backup_loaded? number
---@field backup_refused? number
---@field backup_unsaved? number
---@field remote_hits? number
---@field remote_misses? number
---@field remote_writes? number
---@field remote_errors? number
---@field remote_refused? number
---@field remote_unsaved? number
---@field remote_notices? number
---@field shared_hits? number
---@field shared_misses? number
---@field shared_writes? number
---@field shared_unsaved? number
---@field shared_notices? number

---@class perigee.Cache
local Cache = {}

---The value, loaded if it is not there.
---@param key perigee.Key
---@param opts? perigee.Loader|perigee.GetOptions
---@return any value
---@return any err
---@return perigee.Source source
function Cache:get(key, opts) end

---Values, errors (nil: none) and sources, by key.
---@param keys perigee.Key[]
---@param opts? perigee.BatchLoader|perigee.GetOptions
---@return perigee.ByKey values
---@return perigee.ByKey? errors
---@return table<perigee.Key, perigee.Source> sources
function Cache:get_many(keys, opts) end

---A fresh load, which starts after this call.
---@param key perigee.Key
---@param loader perigee.Loader|perigee.GetOptions
---@return any value
---@return any err
---@return perigee.Source source
function Cache:refresh(key, loader) end

---Looks without promotion and counting.
---@param key perigee.Key
---@return any value
---@return number? seconds_left nil: it is not there
function Cache:peek(key) end

---@param key perigee.Key
---@return boolean
function Cache:contains(key) end

---@param key perigee.Key
---@return number? seconds_left
function Cache:ttl(key) end

---`for key, value, seconds_left in cache:entries() do`, in no order.
---@return fun(): perigee.Key?, any, number?
function Cache:entries() end

---@param key perigee.Key
---@param value any
---@param opts? perigee.Seconds|perigee.SetOptions
---@return true
function Cache:set(key, value, opts) end

---@param map perigee.ByKey
---@param opts? perigee.Seconds|perigee.SetOptions
---@return true
function Cache:set_many(map, opts) end

---Stores if the key is absent.
---@param key perigee.Key
---@param value any
---@param opts? perigee.Seconds|perigee.SetOptions
---@return boolean stored
function Cache:add(key, value, opts) end

---@param key perigee.Key
---@param by number
---@param initial? number of an absent key (0)
---@param ttl? perigee.Seconds of a new key
---@return number
function Cache:incr(key, by, initial, ttl) end

---Forgets a key; loads of it that run are not kept.
---@param key perigee.Key
---@return true
---@return string? err why the remote cache may not have forgotten it
function Cache:delete(key) end

---Forgets everything, and resets the metrics.
---@return true
---@return string? err
function Cache:clear() end

---Forgets what is under these tags.
---@param ... perigee.Tag
---@return true
---@return string? err
function Cache:invalidate_tags(...) end

---Gives a live entry a new lifetime.
---@param key perigee.Key
---@param ttl perigee.Seconds
---@return boolean
function Cache:touch(key, ttl) end

---@param maxsize number
function Cache:resize(maxsize) end

---Loads side by side what is not there.
---@param loaders table<perigee.Key, perigee.Loader>
---@param opts? perigee.WarmupOptions
---@return true?
---@return perigee.ByKey? errors
function Cache:warmup(loaders, opts) end

---@return perigee.Metrics
function Cache:get_metrics() end

---Writes what has changed.
---@return integer? count how many entries the backup holds
---@return string? err
function Cache:save_to_backup() end

---Takes in what is not there.
---@return integer? count how many came
---@return string? err
function Cache:load_from_backup() end

---Drops the entries and frees the name.
function Cache:close() end

-- Functions ---------------------------------------------------------------------------------------

---@class perigee.LruOptions: perigee.CacheOptions
---@field cache? perigee.Cache a cache of yours; then no options of `perigee.new` but `name`
---@field skip_args? integer so many first arguments do not count
---@field key_fn? fun(...): ... the values to key by

---@class perigee.TtlOptions: perigee.LruOptions
---@field time_to_live? perigee.Seconds (60)

---@class perigee.InvalidatorOptions
---@field clear_all? boolean forgets all results
---@field key_fn? fun(...): ... of the mutation's arguments: those of the cached function

---@class perigee.Wrapped A function that remembers.
---@field cache perigee.Cache
---@field fn function the original
---@field call function the cached call, as a plain function
---@operator call: any
local Wrapped = {}

---A fresh call; the old result stays until it succeeds.
---@param ... any its arguments
function Wrapped:refresh(...) end

---Forgets the result of this call.
---@param ... any its arguments
function Wrapped:invalidate_cache(...) end

function Wrapped:clear_cache() end

---@return perigee.Metrics
function Wrapped:get_metrics() end

---@return integer? count
---@return string? err
function Wrapped:save_to_backup() end

---@return integer? count
---@return string? err
function Wrapped:load_from_backup() end

-- Tiers -------------------------------------------------------------------------------------------

---@class perigee.DiskOptions
---@field path string
---@field autosave? perigee.Seconds between saves
---@field sync? "full"|"normal"|"off" what a save survives ("full")
---@field load? boolean begin loading when the cache is made (true)
---@field secret? string rows are signed with it
---@field max_value_bytes? integer (64 MiB)

---@class perigee.Disk

---@class perigee.RedisOptions
---@field host? string ("127.0.0.1")
---@field port? integer (6379)
---@field unix? string path of a socket, in place of both
---@field db? integer (0)
---@field username? string
---@field password? string
---@field prefix? string of every key ("perigee:")
---@field connect_timeout? perigee.Seconds (1)
---@field timeout? perigee.Seconds that a request may take (0.25)
---@field coherence? boolean hear of what other processes change (true)
---@field secret? string entries are signed with it
---@field max_value_bytes? integer (64 MiB)
---@field tls? boolean|table raises: give a tunnel's address

---@class perigee.Redis

-- Tasks -------------------------------------------------------------------------------------------

---@class perigee.RunOptions
---@field main function
---@field drain? boolean waits for the tasks that still run (false)

---@class perigee.Task
local Task = {}

---Its results, or its error raised; `nil, "timeout"`.
---@param timeout? number seconds
---@return any ...
function Task:wait(timeout) end

---From now on every wait of the task raises "cancelled".
function Task:cancel() end

---@class perigee.ExecOptions
---@field [integer] string|number the program and its arguments
---@field stdin? string
---@field timeout? number seconds
---@field max_output? number bytes (16 MiB)

---@class perigee.ExecResult
---@field stdout string
---@field stderr string
---@field status integer
---@field signal? integer

-- HTTP --------------------------------------------------------------------------------------------

---@class perigee.HttpStreamOptions
---@field url string http or https
---@field method? string ("GET")
---@field headers? table<string, string|number|(string|number)[]>
---@field body? string
---@field timeout? perigee.Seconds (30)
---@field connect_timeout? perigee.Seconds (5)
---@field max_body? number bytes (16 MiB)
---@field redirects? integer how many are followed (0)
---@field ca_file? string
---@field insecure? boolean
---@field compressed? boolean

---@class perigee.HttpRequestOptions: perigee.HttpStreamOptions
---@field on_data? fun(part: string)

---@class perigee.HttpResponse
---@field status integer
---@field headers table<string, string>
---@field body? string
local Response = {}

---The next part of the body; nil: this was all, or why not.
---@param timeout? number seconds
---@return string?
---@return string? err
function Response:read(timeout) end

function Response:close() end

---@class perigee.ServerRequest
---@field method string
---@field path string decoded, without the query
---@field query table<string, string>
---@field raw_query string
---@field headers table<string, string>
---@field body? string
---@field peer string
---@field version string

---@class perigee.ServerResponse
---@field status? integer (200)
---@field headers? table<string, string|number|(string|number)[]>
---@field body? string|fun(write: fun(chunk: string): true?, string?)

---@class perigee.ServerEvent
---@field event? string
---@field data? string
---@field id? string

---@class perigee.ListenOptions
---@field handler fun(request: perigee.ServerRequest): string|perigee.ServerResponse
---@field host? string ("127.0.0.1")
---@field port? integer 0: any (8080)
---@field max_header_bytes? integer (16384)
---@field max_body_bytes? integer (1 MiB)
---@field idle_timeout? perigee.Seconds (60)
---@field timeout? perigee.Seconds for the handler to return (30)
---@field max_connections? integer (1024)

---@class perigee.Server
---@field port integer
local Server = {}

---Waits until it has stopped.
function Server:wait() end

---@param grace? number seconds for the requests that run (5)
function Server:stop(grace) end

---@class perigee.Http
local http = {}

---Asks a server and waits for its whole response.
---@param spec string|perigee.HttpRequestOptions
---@return perigee.HttpResponse?
---@return string? err
function http.request(spec) end

---Waits for the head of a response; its body is read bit by bit.
---@param spec string|perigee.HttpStreamOptions
---@return perigee.HttpResponse?
---@return string? err
function http.stream(spec) end

---Serves in this run.
---@param opts perigee.ListenOptions
---@return perigee.Server?
---@return string? err
function http.listen(opts) end

---A response of server-sent events.
---@param fn fun(send: fun(event: string|perigee.ServerEvent): true?, string?)
---@return perigee.ServerResponse
function http.events(fn) end

-- The front door ----------------------------------------------------------------------------------

---@class perigee
---@field http perigee.Http
---@field _VERSION string
local perigee = {}

---@param opts? perigee.CacheOptions
---@return perigee.Cache
function perigee.new(opts) end

---Marks a batch's results as a list in the order of its keys.
---@param list any[]
---@param n? integer its length, if it has nils
---@return table
function perigee.aligned(list, n) end

---A function that remembers; evicts what was used longest ago.
---@param opts? perigee.LruOptions|function
---@return perigee.Wrapped|fun(fn: function): perigee.Wrapped
function perigee.lru(opts) end

---A function that remembers for a time.
---@param opts? perigee.TtlOptions|function
---@return perigee.Wrapped|fun(fn: function): perigee.Wrapped
function perigee.ttl(opts) end

---Makes mutations forget what they change.
---@param f perigee.Wrapped
---@param opts? perigee.InvalidatorOptions
---@return fun(mutation: function): function
function perigee.lru_invalidator(f, opts) end

---@param f perigee.Wrapped
---@param opts? perigee.InvalidatorOptions
---@return fun(mutation: function): function
function perigee.ttl_invalidator(f, opts) end

---A key of any values, equal in every process.
---@param ... any
---@return string
function perigee.key(...) end

---Runs `main` as a task on a loop until it has ended.
---@param main function|perigee.RunOptions
---@param ... any
---@return any ...
function perigee.run(main, ...) end

---Starts a task.
---@param fn function
---@param ... any
---@return perigee.Task
function perigee.spawn(fn, ...) end

---Side by side; the first error cancels the rest.
---@param fns function[]
---@return any[]
function perigee.gather(fns) end

---At most so long; then `nil, "timeout"`.
---@param seconds number
---@param fn function
---@param ... any
---@return any ...
function perigee.timeout(seconds, fn, ...) end

---For cleaning up: waits inside are not cancelled.
---@param fn function
---@param ... any
---@return any ...
function perigee.shield(fn, ...) end

---@param seconds number
function perigee.sleep(seconds) end

---@return number seconds monotonic
function perigee.now() end

---Like `coroutine.wrap`, but waiting works inside.
---@param fn function
---@return function
function perigee.wrap(fn) end

---Runs a process and waits for it.
---@param spec perigee.ExecOptions
---@return perigee.ExecResult?
---@return string? err
function perigee.exec(spec) end

---@return "libev"|"openresty"|"none"|"virtual"
function perigee.runtime() end

---@return table<string, perigee.Metrics> by cache name
function perigee.metrics() end

---@return string exposition format 0.0.4
function perigee.prometheus() end

---Answers a scrape of Prometheus: a handler of `perigee.http.listen`; inside nginx it sends.
---@return perigee.ServerResponse?
function perigee.serve_metrics() end

---A table for people; in nginx' content phase it is the answer.
---@return string?
function perigee.status() end

---@param event "load"|"load_error"|"evict"|"invalidate"|"remote_error"|"loop"
---@param fn fun(info: table)
---@return fun() stop ends that
function perigee.on(event, fn) end

---Describes a file for option `backup`.
---@param opts string|perigee.DiskOptions
---@return perigee.Disk
function perigee.disk(opts) end

---Describes a server for option `remote_cache`.
---@param opts? perigee.RedisOptions
---@return perigee.Redis
function perigee.redis(opts) end

return perigee

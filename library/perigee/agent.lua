-- SPDX-License-Identifier: MIT
-- What `require "perigee.agent"` gives, for the Lua language server: see library/perigee.lua.
---@meta perigee.agent

---@class perigee.ToolOptions
---@field resource string what its tags begin with
---@field scope? "global"|"session" ("global")
---@field kind? "read"|"poll"|"exec" ("read")
---@field ttl? perigee.Seconds (for ever)
---@field maxsize? number entries, of all sessions together (1024)
---@field name? string in messages; needed with tiers
---@field tags? perigee.Tag[]|fun(...): perigee.Tag[] `"cart:{1}"`: with argument 1
---@field skip_args? integer
---@field key_fn? fun(...): ...
---@field backup? perigee.Disk|perigee.Backup
---@field remote_cache? perigee.Redis|perigee.Remote
---@field shared? string
---@field neg_errors? perigee.Seconds|fun(err: any): perigee.Seconds? how long an error is kept
---@field classify? fun(err: any): "error"|"transient"
---@field loop_key? fun(...): any what stands for the arguments in the guard
---@field result_key? fun(...): any what stands for the result

---@class perigee.WriterOptions
---@field resource string
---@field scope? "global"|"session" ("global")
---@field clear_all? boolean forgets everything of the resource (unless `tags` or `key_fn`)
---@field tags? perigee.Tag[]|fun(...): perigee.Tag[]
---@field key_fn? fun(...): ... the arguments of the reads to forget
---@field name? string
---@field classify? fun(err: any): "error"|"transient"
---@field loop_key? fun(...): any
---@field result_key? fun(...): any

---@class perigee.SessionOptions: perigee.GuardLimits
---@field session_id? string
---@field loop_detection? boolean (true)
---@field on_loop? "raise"|"warn"|"short_circuit" ("raise")
---@field idle_timeout? perigee.Seconds

---@class perigee.ToolMetrics
---@field calls number
---@field hits number
---@field hits_memory number
---@field hits_stale number
---@field hits_remote number
---@field misses number
---@field coalesced number
---@field hit_rate number
---@field executed number
---@field executed_seconds number
---@field errors number
---@field invalidations number
---@field fence_rejects number
---@field refreshes number
---@field refreshes_confirmed number
---@field refreshes_changed number
---@field loop_detections number
---@field loops table<string, number>
---@field refusals number
---@field saved_calls number
---@field saved_seconds number

---@class perigee.Refusal
---@field code "agent_loop_detected"
---@field kind string
---@field tool string
---@field count integer
---@field period? integer
---@field message string for the model
---@field session_id string

---@class perigee.Tool
---@field name string
---@field fn function
---@field call function
---@field cache? perigee.Cache
---@operator call: any
local Tool = {}

---@param ... any
function Tool:refresh(...) end

---@param ... any
function Tool:invalidate_cache(...) end

function Tool:clear_cache() end

---@return perigee.ToolMetrics
function Tool:get_metrics() end

---@return integer? count
---@return string? err
function Tool:save_to_backup() end

---@return integer? count
---@return string? err
function Tool:load_from_backup() end

---@class perigee.Session
---@field session_id string
local Session = {}

---Runs `fn(...)` in the session.
---@param fn function
---@param ... any
---@return any ...
function Session:run(fn, ...) end

function Session:close() end

---The counts of repeats and depth begin again.
function Session:progress() end

---Forgets all it has seen; a stopped session goes on.
function Session:reset() end

---@return perigee.ToolMetrics
function Session:get_metrics() end

---@return string bytes for `agent.restore`
function Session:snapshot() end

---@class perigee.Agent
local agent = {}

---A tool that reads.
---@param opts perigee.ToolOptions
---@return fun(fn: function): perigee.Tool
function agent.cache(opts) end

---A tool that writes.
---@param opts perigee.WriterOptions
---@return fun(fn: function): perigee.Tool
function agent.invalidator(opts) end

---Runs `fn(session, ...)` in a session, and closes it.
---@param opts perigee.SessionOptions|function?
---@param fn? function
---@param ... any
---@return any ...
function agent.session(opts, fn, ...) end

---@param opts? perigee.SessionOptions
---@return perigee.Session
function agent.open(opts) end

---@param bytes string
---@param opts? perigee.SessionOptions
---@return perigee.Session?
---@return string? err
function agent.restore(bytes, opts) end

---@return perigee.ToolMetrics of all sessions
function agent.get_metrics() end

---@param value any
---@return boolean
function agent.is_loop_error(value) end

---The last 25 calls; `tostring` makes a text of them.
---@param session perigee.Session
---@return table
function agent.explain(session) end

return agent

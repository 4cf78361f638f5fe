-- SPDX-License-Identifier: MIT
-- What `require "perigee.agent.guard"` gives, for the Lua language server: see library/perigee.lua.
---@meta perigee.agent.guard

---@class perigee.GuardLimits In calls.
---@field warn? number (3)
---@field block? number (5)
---@field stop? number (8)
---@field recur_warn? number (4)
---@field recur_block? number (8)
---@field stag_warn? number (6)
---@field stag_block? number (10)
---@field err_warn? number (4)
---@field err_block? number (6)
---@field stall_warn? number (16)
---@field stall_block? number (28)
---@field poll_block? number (60)
---@field poll_gap? number seconds (10)
---@field refresh_at? number (3)
---@field veto_stop? number (4)
---@field soft_calls? number (100)
---@field max_calls? number (1000)
---@field max_tool_repeats? number equal calls (none; of a session: 5)
---@field max_execution_depth? number calls (none; of a session: 50)
---@field evidence? "results"|"calls" ("results")

---@class perigee.GuardOptions: perigee.GuardLimits
---@field clock? fun(): number
---@field loop_key? fun(tool: string, args: any): any
---@field result_key? fun(tool: string, result: any): any

---@class perigee.GuardCall
---@field tool string
---@field args? any
---@field kind? "read"|"write"|"exec"|"poll" ("exec")
---@field cached? boolean a cache could answer it
---@field round? number shared by the calls in flight together

---@class perigee.Verdict
---@field action "ok"|"warn"|"refresh"|"block"|"stop"
---@field kind? string
---@field count? integer
---@field period? integer
---@field since? integer
---@field loop_id? string
---@field message? string for the model

---@class perigee.GuardOutcome
---@field error? boolean
---@field transient? boolean
---@field cached? boolean

---@class perigee.Guard
local Guard = {}

---What to do with a call: changes nothing.
---@param spec perigee.GuardCall
---@return perigee.Verdict
function Guard:check(spec) end

---It ran.
---@param v perigee.Verdict
---@param result any
---@param how? perigee.GuardOutcome
function Guard:record(v, result, how) end

---It did not.
---@param v perigee.Verdict
function Guard:refuse(v) end

function Guard:progress() end

function Guard:reset() end

---@return { calls: number, stall: number, vetoes: number, bytes: number }
function Guard:stats() end

---@return string bytes
function Guard:snapshot() end

---@class perigee.GuardModule
local guard = {}

---@param opts? perigee.GuardOptions
---@return perigee.Guard
function guard.new(opts) end

---@param bytes string
---@param opts? perigee.GuardOptions
---@return perigee.Guard?
---@return string? err
function guard.restore(bytes, opts) end

return guard

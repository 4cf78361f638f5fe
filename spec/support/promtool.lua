-- SPDX-License-Identifier: MIT
--- promtool of Prometheus (Debian: `prometheus`), which says what is wrong with metrics, rules and
-- configurations.
local files = require "spec.support.files"

local _M = {}

--- Why a program of Prometheus cannot be used on this machine: a text, or nil.
function _M.missing(program)
  local _, status = files.run("command -v " .. (program or "promtool"))
  if status ~= 0 then return "this machine cannot: no " .. (program or "promtool") end
end

-- Runs a check on a file of this text: what promtool says, and its exit status.
local function check(what, text, suffix)
  local path = os.tmpname()
  files.write(path .. suffix, text)
  local output, status = files.run(("promtool check %s %s%s"):format(what, path, suffix))
  os.remove(path .. suffix)
  os.remove(path)
  return output, status
end

--- Checks a text of metrics: format, names, types, help. Without complaints: "" and 0.
function _M.check_metrics(text) return check("metrics <", text, ".txt") end

--- Checks the text of a file of rules.
function _M.check_rules(text) return check("rules", text, ".yml") end

--- Checks a configuration; only of its syntax if files that it names are not there.
function _M.check_config(text) return check("config --syntax-only", text, ".yml") end

return _M

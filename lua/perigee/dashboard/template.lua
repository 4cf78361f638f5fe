-- SPDX-License-Identifier: MIT

--- HTML with holes. `$name` takes a text, which is escaped; `$!name` takes HTML that was made here.
-- @module perigee.dashboard.template

local text = require "perigee.dashboard.text"

local _M = {}

--- Fills a template.
-- @tparam string template HTML with `$name` and `$!name`
-- @tparam table values by name: strings or numbers
-- @treturn string HTML
-- @raise when a value is missing
function _M.fill(template, values)
  return (template:gsub("%$(!?)([%a_]+)", function(raw, name)
    local value = values[name]
    if value == nil then error("no value for " .. name, 0) end
    return raw == "!" and value or text.html_line(tostring(value))
  end))
end

local fill = _M.fill

--- A template once for each of several tables of values.
-- @tparam string template as for `fill`
-- @tparam table list of tables of values
-- @treturn string HTML
function _M.each(template, list)
  local parts = {}
  for i, values in ipairs(list) do parts[i] = fill(template, values) end
  return table.concat(parts)
end

return _M

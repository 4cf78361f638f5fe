-- SPDX-License-Identifier: MIT
-- A stand-in for Kong's module of this name: the types that the plugin's schema uses.

-- A type is a table that can be called with what a field has besides.
local function define(definition)
  return setmetatable(definition, { __call = function(_, more)
    local field = {}
    for name, value in pairs(definition) do field[name] = value end
    for name, value in pairs(more) do field[name] = value end
    return field
  end })
end

local PROTOCOLS = { "grpc", "grpcs", "http", "https" }

return {
  no_consumer = define { type = "foreign", reference = "consumers" },
  protocols_http = define { type = "set", required = true, default = PROTOCOLS,
    elements = { type = "string", one_of = PROTOCOLS } },
  url = define { type = "string" },
}

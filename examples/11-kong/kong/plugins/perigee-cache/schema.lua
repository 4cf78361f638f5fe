-- SPDX-License-Identifier: MIT
local typedefs = require "kong.db.schema.typedefs"

return {
  name = "perigee-cache",
  fields = {
    { consumer = typedefs.no_consumer }, -- it is configured for services and routes
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { url = typedefs.url { required = true } }, -- a consumer's id is added to it
        { timeout_ms = { type = "number", required = true, default = 1000, gt = 0 } },
        { ttl = { type = "number", required = true, default = 60, gt = 0 } },       -- seconds
        { neg_ttl = { type = "number", required = true, default = 5, gt = 0 } },    -- seconds
        { fail_open = { type = "boolean", required = true, default = false } },
      },
    } },
  },
}

-- SPDX-License-Identifier: MIT
-- What `require "perigee.testing"` gives, for the Lua language server: see library/perigee.lua.
---@meta perigee.testing

---@class perigee.Testing
local testing = {}

---A `perigee.run` whose clock moves only when every task waits.
---@param main function
---@param ... any
---@return any ...
function testing.run(main, ...) end

---Moves the clock.
---@param seconds number
function testing.advance(seconds) end

return testing

-- SPDX-License-Identifier: MIT

--- What wants to be called by the loop: see `perigee.runtime`.
-- @module perigee.runtime.hooks

return { begin = {}, turn = {}, wait = {}, ending = {}, stop = {} }

-- SPDX-License-Identifier: MIT

--- One reading of many entries from a second level: what is asked, and what is learned of each.
-- Lists by number rather than a table for each entry, and used again: nothing is made per entry.
--
-- Asked, for each `i` in 1 .. `n`:
--
--     spaces[i], keys[i]   whose entry; the space is "" for the direct API
--     tags[i]              tags that are known beforehand, or false
--     fresh[i]             whether nothing is to be found: only what a fill compares is wanted
--
-- Learned:
--
--     found[i]             whether there is an entry; then:
--     values[i], lefts[i]  its value, and how many seconds it has left
--     own_tags[i]          its tags, or false
--     refused[i]           false, or why what is there cannot be used
--     seen[i]              if nothing was found: what a fill by `Share:apply` is to compare
--     tokens[i]            after `Share:lease`: our lease, or false
--     holders[i]           and something that tells its holder from another
-- @module perigee.tier.trip

local _M = {}

--- An empty trip.
-- @treturn table
function _M.new()
  return { n = 0, spaces = {}, keys = {}, tags = {}, fresh = {}, found = {}, values = {},
    lefts = {}, own_tags = {}, refused = {}, seen = {}, tokens = {}, holders = {} }
end

--- Asks for one entry more.
-- @tparam table trip from `new`
-- @tparam string space name of its space
-- @tparam string|number|boolean key its key
-- @tparam table|nil tags those known beforehand
-- @tparam boolean fresh whether only what a fill compares is wanted
-- @treturn number its number
function _M.add(trip, space, key, tags, fresh)
  local i = trip.n + 1
  trip.n = i
  trip.spaces[i], trip.keys[i], trip.tags[i], trip.fresh[i] = space, key, tags or false, fresh
  trip.tokens[i] = false
  return i
end

--- Nothing is known of an entry any more, or yet.
-- @tparam table trip from `new`
-- @tparam number i its number
function _M.forget(trip, i)
  trip.found[i], trip.own_tags[i], trip.refused[i], trip.seen[i] = false, false, false, false
end

--- Empties a trip.
-- @tparam table trip from `new`
function _M.clear(trip)
  for i = 1, trip.n do trip.keys[i], trip.values[i], trip.tags[i] = false, false, false end
  trip.n = 0
end

return _M

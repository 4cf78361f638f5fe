-- SPDX-License-Identifier: MIT
--- SIEVE and S3-FIFO as their papers tell them, with lists that are searched from end to end:
-- slow, short, and written without a look at the cache's own.
local _M = {}

-- A list of nodes { key =, visits = } with the oldest first.
local function oldest(list)
  return list[1]
end

local function without(list, node)
  for i = 1, #list do
    if list[i] == node then
      table.remove(list, i)
      return
    end
  end
end

--- SIEVE (Zhang et al., NSDI 2024, algorithm 1). Returns `access(key) -> whether it was there`.
function _M.sieve(capacity)
  local queue, nodes, hand = {}, {}, nil

  local function position(node)
    for i = 1, #queue do
      if queue[i] == node then
        return i
      end
    end
  end

  local function evict()
    local at = hand and position(hand) or 1
    while queue[at].visited do
      queue[at].visited = false
      at = at % #queue + 1
    end
    nodes[queue[at].key] = nil
    hand = queue[at + 1]
    table.remove(queue, at)
  end

  return function(key)
    local node = nodes[key]
    if node then
      node.visited = true
      return true
    end
    if #queue >= capacity then
      evict()
    end
    nodes[key] = { key = key, visited = false }
    queue[#queue + 1] = nodes[key]
    return false
  end
end

--- S3-FIFO (Yang et al., SOSP 2023, algorithm 1) with a small queue of 10 %. Returns
-- `access(key) -> whether it was there`.
function _M.s3fifo(capacity)
  local small, main, ghost = {}, {}, {}
  local nodes, ghosts = {}, {}
  local small_size = math.max(1, math.floor(capacity / 10))

  local function remember(key)
    ghost[#ghost + 1] = key
    ghosts[key] = (ghosts[key] or 0) + 1
    if #ghost > capacity - small_size then
      local gone = table.remove(ghost, 1)
      ghosts[gone] = ghosts[gone] > 1 and ghosts[gone] - 1 or nil
    end
  end

  local function evict_main()
    while true do
      local node = oldest(main)
      table.remove(main, 1)
      if node.visits == 0 then
        nodes[node.key] = nil
        return
      end
      node.visits = node.visits - 1
      main[#main + 1] = node
    end
  end

  local function evict_small()
    while #small > 0 do
      local node = oldest(small)
      table.remove(small, 1)
      if node.visits > 1 then
        node.visits = 0
        main[#main + 1] = node
        if #main > capacity - small_size then
          return evict_main()
        end
      else
        nodes[node.key] = nil
        return remember(node.key)
      end
    end
    evict_main()
  end

  return function(key)
    local node = nodes[key]
    if node then
      node.visits = math.min(node.visits + 1, 3)
      return true
    end
    if #small + #main >= capacity then
      if #small >= small_size then
        evict_small()
      else
        evict_main()
      end
    end
    node = { key = key, visits = 0 }
    nodes[key] = node
    local queue = ghosts[key] and main or small
    queue[#queue + 1] = node
    return false
  end
end

--- Least recently used. Returns `access(key) -> whether it was there`.
function _M.lru(capacity)
  local queue, nodes = {}, {}
  return function(key)
    local node = nodes[key]
    if node then
      without(queue, node)
    elseif #queue >= capacity then
      nodes[table.remove(queue, 1).key] = nil
    end
    nodes[key] = node or { key = key }
    queue[#queue + 1] = nodes[key]
    return node ~= nil
  end
end

return _M

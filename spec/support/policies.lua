-- SPDX-License-Identifier: MIT
--- SIEVE, S3-FIFO and W-TinyLFU as their papers tell them, with lists that are searched from end
-- to end: slow, short, and written without a look at the cache's own.
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
    ghosts[key] = true
    if #ghost > math.floor(capacity * 0.9) then
      ghosts[table.remove(ghost, 1)] = nil
    end
  end

  -- Whether the ghost knows a key, which it forgets by that.
  local function recall(key)
    if not ghosts[key] then
      return false
    end
    ghosts[key] = nil
    for i = 1, #ghost do
      if ghost[i] == key then
        table.remove(ghost, i)
        return true
      end
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
    local queue = recall(key) and main or small
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

--- W-TinyLFU (Einziger, Friedman, Manes, ToS 2017) with a window of 1 %, a protected segment of
-- 80 % of the rest, and exact counts in place of a sketch. Returns `access(key) -> whether it was
-- there`.
function _M.wtinylfu(capacity)
  local window, probation, protected, nodes = {}, {}, {}, {}
  local counts, additions = {}, 0
  local window_size = math.max(1, math.floor(capacity / 100))
  local protected_size = math.floor((capacity - window_size) * 0.8)

  local function count(key)
    counts[key] = math.min((counts[key] or 0) + 1, 15)
    additions = additions + 1
    if additions < 10 * capacity then return end
    additions = additions / 2
    for each, n in pairs(counts) do counts[each] = n > 1 and math.floor(n / 2) or nil end
  end

  local function move(node, queue)
    if node.queue then without(node.queue, node) end
    node.queue, queue[#queue + 1] = queue, node
  end

  local function use(node)
    if node.queue == window then return move(node, window) end
    move(node, protected)
    if #protected > protected_size then move(oldest(protected), probation) end
  end

  local function forget(node)
    without(node.queue, node)
    nodes[node.key] = nil
  end

  local function make_room()
    if #window <= window_size then return end
    local newcomer = oldest(window)
    if #window + #probation + #protected <= capacity then return move(newcomer, probation) end
    local victim = oldest(probation) or oldest(protected)
    if (counts[newcomer.key] or 0) <= (counts[victim.key] or 0) then return forget(newcomer) end
    forget(victim)
    move(newcomer, probation)
  end

  return function(key)
    local node = nodes[key]
    count(key)
    if node then
      use(node)
      return true
    end
    nodes[key] = { key = key }
    move(nodes[key], window)
    make_room()
    return false
  end
end

return _M

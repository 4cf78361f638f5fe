-- SPDX-License-Identifier: MIT
local ffi = require "ffi"
local C = require("perigee.lib").core

local function new_tags()
  return ffi.gc(C.perigee_tags_new(), C.perigee_tags_free)
end

local function node(tags, path)
  local found = C.perigee_tags_path(tags, path, #path)
  assert(found >= 0)
  return found
end

local function held(tags, path)
  local found = node(tags, path)
  C.perigee_tags_hold(tags, found)
  return found
end

local function write(tags, path)
  C.perigee_tags_write(tags, node(tags, path))
end

local function is_valid(tags, at, stamp)
  return C.perigee_tags_valid(tags, at, stamp) == 1
end

local function conflict(a, b)
  local long, short = a .. ":", b .. ":"
  if #long < #short then long, short = short, long end
  return long:sub(1, #short) == short
end

describe("tag versions", function()
  it("invalidate a path, what is below it and what is above it, and nothing else", function()
    local tags = new_tags()
    local paths = { "user", "user:1", "user:1:x", "user:2", "user:10", "users", "team:1" }
    local nodes = {}
    for _, path in ipairs(paths) do nodes[path] = held(tags, path) end
    local stamp = C.perigee_tags_version(tags)
    write(tags, "user:1")
    for _, path in ipairs(paths) do
      assert.equal(not conflict(path, "user:1"), is_valid(tags, nodes[path], stamp), path)
    end
  end)

  it("take a part with colons as one part", function()
    local tags = new_tags()
    local whole = C.perigee_tags_part(tags, C.PERIGEE_TAG_ROOT, "http://x/y", 10)
    C.perigee_tags_hold(tags, whole)
    local stamp = C.perigee_tags_version(tags)
    write(tags, "http")
    assert.is_true(is_valid(tags, whole, stamp))
    C.perigee_tags_write(tags, C.PERIGEE_TAG_ROOT)
    assert.is_false(is_valid(tags, whole, stamp))
  end)

  it("agree with a naive model over random writes", function()
    math.randomseed(9)
    local tags, entries, writes = new_tags(), {}, {}
    local function random_path()
      local parts = {}
      for i = 1, math.random(3) do parts[i] = "p" .. math.random(3) end
      return table.concat(parts, ":")
    end
    for step = 1, 4000 do
      if math.random(4) > 1 then
        local path = random_path()
        entries[#entries + 1] =
          { path = path, at = held(tags, path), stamp = C.perigee_tags_version(tags), step = step }
      else
        local path = random_path()
        write(tags, path)
        writes[#writes + 1] = { path = path, step = step }
      end
      local entry = entries[math.random(math.max(#entries, 1))]
      if entry then
        local expected = true
        for _, done in ipairs(writes) do
          if done.step > entry.step and conflict(done.path, entry.path) then expected = false end
        end
        assert.equal(expected, is_valid(tags, entry.at, entry.stamp))
      end
      if step % 100 == 0 then assert.is_true(C.perigee_tags_verify(tags) == nil) end
    end
  end)

  it("stay bounded when a million tags are written that nothing carries", function()
    local tags = new_tags()
    for i = 1, os.getenv("PERIGEE_PRESET") == "hard" and 10000 or 1000000 do
      write(tags, "user:" .. i)
    end
    assert.is_true(C.perigee_tags_verify(tags) == nil)
    assert.is_true(C.perigee_tags_path(tags, "fresh", 5) < 100000)
  end)

  it("refuse the result of a load older than a write that has been forgotten", function()
    local tags = new_tags()
    local began = C.perigee_tags_version(tags)
    write(tags, "user:1")
    local later = C.perigee_tags_version(tags)
    for i = 1, 10000 do write(tags, "other:" .. i) end
    local again = node(tags, "user:1")
    assert.equal(0, C.perigee_tags_may_keep(tags, again, began))
    assert.equal(0, C.perigee_tags_may_keep(tags, again, later)) -- older than the floor
    assert.equal(1, C.perigee_tags_may_keep(tags, again, C.perigee_tags_version(tags)))
  end)

  it("survive each failing allocation", function()
    for n = 1, 30 do
      local tags = new_tags()
      C.perigee_core_fail_at(n)
      for i = 1, 500 do
        local path = ("a:%d:b"):format(i)
        local found = C.perigee_tags_path(tags, path, #path)
        if found >= 0 then C.perigee_tags_hold(tags, found) end
      end
      C.perigee_core_fail_at(0)
      assert.is_true(C.perigee_tags_verify(tags) == nil)
      assert.is_true(node(tags, "a:1:b") >= 0)
    end
  end)
end)

-- SPDX-License-Identifier: MIT
-- The disk library by itself: jobs, the thread that does them, and forks.
local disk = require "spec.support.disk"
local ffi = require "ffi"
local processes = require "spec.support.processes"
local C = require("perigee.lib").disk

ffi.cdef [[
  int fork(void);
  int waitpid(int pid, int *status, int options);
  void _exit(int status);
]]

local OFF = C.PERIGEE_DISK_SYNC_OFF

local function file(path)
  return ffi.gc(C.perigee_disk_new(path, OFF, 1000), C.perigee_disk_free)
end

local function owned(job)
  assert.is_true(job ~= nil)
  return ffi.gc(job, C.perigee_disk_job_free)
end

local function batch(handle, puts, cache)
  local job = owned(C.perigee_disk_batch(handle, cache or "c", #(cache or "c")))
  for key, value in pairs(puts) do
    assert.equal(0, C.perigee_disk_put(job, key, #key, value, #value))
  end
  return job
end

local function finished(job)
  assert.equal(C.PERIGEE_DISK_DONE, C.perigee_disk_wait(job), ffi.string(C.perigee_disk_error(job)))
  return job
end

local function write(handle, puts, cache)
  local job = batch(handle, puts, cache)
  assert.equal(0, C.perigee_disk_submit(job))
  return finished(job)
end

-- All rows of a cache, read in steps of about so many bytes.
local function rows(handle, bytes, cache)
  local map, row, after, steps = {}, ffi.new "perigee_disk_row", "", 0
  cache = cache or "c"
  while true do
    local job = finished(owned(C.perigee_disk_read(handle, cache, #cache, after, #after, bytes)))
    steps = steps + 1
    while C.perigee_disk_next_row(job, row) == 1 do
      local key = ffi.string(row.key, row.key_length)
      assert.is_nil(map[key])
      map[key] = row.value ~= nil and ffi.string(row.value, row.value_length) or false
    end
    if C.perigee_disk_is_last(job) == 1 then return map, steps end
    assert.equal(1, C.perigee_disk_last_row(job, row))
    after = ffi.string(row.key, row.key_length)
  end
end

local function threads()
  return tonumber(processes.status "Threads")
end

describe("the disk thread", function()
  local path, handle

  before_each(function()
    path = disk.path()
    handle = file(path)
  end)
  after_each(function()
    C.perigee_disk_free(ffi.gc(handle, nil))
    disk.clean()
  end)

  it("writes batches and reads them back, in steps of any size", function()
    local all = {}
    for i = 1, 200 do all["key" .. i] = ("v"):rep(i) end
    write(handle, all)
    for _, bytes in ipairs { 1, 100, 5000, 1000000 } do
      local read, steps = rows(handle, bytes)
      assert.are.same(all, read)
      assert.is_true(bytes > 1 or steps >= 200)
    end
  end)

  it("does the writes of a batch in their order", function()
    local job = batch(handle, { a = "1", b = "1" })
    C.perigee_disk_clear(job)
    C.perigee_disk_put(job, "c", 1, "1", 1)
    C.perigee_disk_put(job, "c", 1, "2", 1)
    C.perigee_disk_put(job, "d", 1, "1", 1)
    C.perigee_disk_delete(job, "d", 1)
    C.perigee_disk_submit(job)
    finished(job)
    assert.are.same({ c = "2" }, rows(handle, 1000))
  end)

  it("keeps caches apart", function()
    write(handle, { k = "one" }, "one")
    write(handle, { k = "two" }, "two")
    local job = batch(handle, {}, "one")
    C.perigee_disk_clear(job)
    C.perigee_disk_submit(job)
    finished(job)
    assert.are.same({}, rows(handle, 1000, "one"))
    assert.are.same({ k = "two" }, rows(handle, 1000, "two"))
  end)

  it("does jobs in the order in which they were submitted, also when nobody waits for them",
    function()
      for i = 1, 50 do
        local job = batch(handle, { k = tostring(i) })
        C.perigee_disk_submit(job)
        if i % 2 == 0 then C.perigee_disk_job_free(ffi.gc(job, nil)) end
      end
      assert.are.same({ k = "50" }, rows(handle, 1000))
    end)

  it("gives no value above the bound, but its key", function()
    write(handle, { small = ("x"):rep(1000), large = ("x"):rep(1001) })
    assert.are.same({ small = ("x"):rep(1000), large = false }, rows(handle, 100))
  end)

  it("shows one process what another one wrote", function()
    local other = file(path)
    write(handle, { a = "1" })
    write(other, { b = "2" })
    assert.are.same({ a = "1", b = "2" }, rows(handle, 1000))
    C.perigee_disk_free(ffi.gc(other, nil))
  end)

  it("closes the file when told to, and opens it again", function()
    write(handle, { a = "1" })
    finished(owned(C.perigee_disk_close(handle)))
    assert.are.same({}, disk.files "%-wal$")
    assert.are.same({ a = "1" }, rows(handle, 1000))
  end)

  it("survives a fork on both sides", function()
    write(handle, { parent = "1" })
    local pid = ffi.C.fork()
    if pid == 0 then
      local ok = pcall(write, handle, { child = "2" })
      ffi.C._exit(ok and 0 or 1)
    end
    write(handle, { later = "3" })
    local status = ffi.new "int[1]"
    ffi.C.waitpid(pid, status, 0)
    assert.equal(0, status[0])
    assert.are.same({ parent = "1", child = "2", later = "3" }, rows(handle, 1000))
  end)

  it("is gone when the last disk is freed, and comes back", function()
    collectgarbage()
    collectgarbage()
    local before = threads()
    write(handle, { a = "1" })
    assert.equal(before + 1, threads())
    C.perigee_disk_free(ffi.gc(handle, nil))
    assert.equal(before, threads())
    handle = file(path)
    assert.are.same({ a = "1" }, rows(handle, 1000))
  end)

  it("reports what fails and goes on", function()
    local nowhere = file(disk.folder() .. "/none/x.db")
    local job = batch(nowhere, { a = "1" })
    C.perigee_disk_submit(job)
    assert.equal(C.PERIGEE_DISK_FAILED, C.perigee_disk_wait(job))
    assert.is_truthy(ffi.string(C.perigee_disk_error(job)):find "No such file")
    write(handle, { a = "1" })
    C.perigee_disk_free(ffi.gc(nowhere, nil))
  end)

  it("leaves a batch as it was when memory is out", function()
    local job = batch(handle, { a = "1" })
    local large = ("x"):rep(100000)
    C.perigee_disk_fail_at(1)
    assert.equal(-1, C.perigee_disk_put(job, "b", 1, large, #large))
    C.perigee_disk_submit(job)
    finished(job)
    assert.are.same({ a = "1" }, rows(handle, 1000))
    for n = 1, 3 do
      C.perigee_disk_fail_at(n)
      local read = C.perigee_disk_read(handle, "c", 1, "", 0, 100)
      if read ~= nil then
        C.perigee_disk_wait(read)
        C.perigee_disk_job_free(read)
      end
      C.perigee_disk_fail_at(0)
    end
  end)
end)

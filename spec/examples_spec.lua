-- SPDX-License-Identifier: MIT
-- suites: dev
-- The examples are programs that people copy: each is run as its reader would run it, with plain
-- luajit and with the host. The code of the documentation is in docs_spec.lua.

local files = require "spec.support.files"

local read, run = files.read, files.run

local function run_example(program, example, arguments)
  return run(("timeout 200 %s examples/%s %s"):format(program, example, arguments or ""))
end

-- The cells of the demo's tables, by the title of their row (of two, the first); numbers without
-- their units.
local function cells_of(output)
  local rows = {}
  for line in output:gmatch "[^\n]+" do
    local title, rest = line:match "^  (%l[%l%d, ]-)%s%s+(%S.*)$"
    if title then
      local cells = {}
      for cell in (rest .. "   "):gmatch "(.-)   +" do
        local digits = cell:gsub(",", ""):match "^[%d.]+"
        cells[#cells + 1] = tonumber(digits) or cell
      end
      rows[title] = rows[title] or cells
    end
  end
  return rows
end

local function has(program)
  local _, status = run("command -v " .. program)
  return status == 0
end

local function has_dpkg() return has "dpkg-query" end

for _, program in ipairs { "luajit", "perigee" } do
  describe("with " .. program .. ", the example", function()
    it("01-hello loads once, then has it in memory", function()
      local output, status = run_example(program, "01-hello.lua")
      assert.equal("user 42\tload\nuser 42\tmemory\n", output)
      assert.equal(0, status)
    end)

    it("02-herd loads once for all who were not cancelled", function()
      local output, status = run_example(program, "02-herd.lua")
      assert.equal("1 loads, 999 answers\n", output)
      assert.equal(0, status)
    end)

    it("03-batch calls its loader once for many callers", function()
      local output, status = run_example(program, "03-batch.lua")
      assert.equal("one call for 10 numbers\n50 callers\none call for 2 numbers\n"
        .. "81\t100\tnegative\n", output)
      assert.equal(0, status)
    end)

    it("04-functions forgets what a mutation changed", function()
      local output, status = run_example(program, "04-functions.lua")
      assert.equal("reading row 7\nAda\nAda\nreading row 7\nAda\nreading row 7\nAda Lovelace\n"
        .. "3 loads, 1 hit\n", output)
      assert.equal(0, status)
    end)

    it("05-stale gives what is old only where it says so, and never to all at once", function()
      local output, status = run_example(program, "05-stale.lua")
      local most = output:match "0%.5: in one second end at most (%d+) of 1000"
      assert.equal([[
stale_while_revalidate:
    the source is asked
edition 1, from load, after 2 s
70 seconds later:
    the source is asked
edition 1, from stale, after 0 s
2 seconds later:
edition 2, from memory, after 0 s
3600 seconds later:
    the source is asked
edition 3, from load, after 2 s

stale_if_error:
    the source is asked
edition 4, from load, after 2 s
70 seconds later:
    the source does not answer
edition 4, from stale, after 2 s
3600 seconds later:
    the source does not answer
the source is down, from load, after 2 s
    the source is asked
edition 5, from load, after 2 s

an early refresh:
    the source is asked
edition 6, from load, after 2 s
18 seconds later:
edition 6, from memory, after 0 s
18 seconds later:
edition 6, from memory, after 0 s
18 seconds later:
    the source is asked
edition 6, from memory, after 0 s
18 seconds later:
edition 7, from memory, after 0 s

jitter:
ttl_jitter = 0: in one second end at most 1000 of 1000
]], (output:gsub("ttl_jitter = 0%.5[^\n]+\n", "")))
      assert.is_true(tonumber(most) >= 33 and tonumber(most) < 100, most) -- 1000 over 30 seconds
      assert.equal(0, status)
    end)

    it("06-disk loads in its first run only", function()
      local file = os.tmpname()
      for _, expected in ipairs { "20 loads, 0 entries", "0 loads, 20 entries" } do
        local output, status = run_example(program, "06-disk.lua", file)
        assert.equal(("%s came from %s\n"):format(expected, file), output)
        assert.equal(0, status)
      end
      for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(file .. suffix) end
    end)

    it("07-redis loads each price once for two processes, until one forgets it", function()
      if not has "redis-server" then return pending "this machine cannot: no redis-server" end
      local output, status = run_example(program, "07-redis.lua")
      assert.equal("first: loading the price of tea\nfirst: tea costs 3, from load\n"
        .. "first: loading the price of coffee\nfirst: coffee costs 6, from load\n"
        .. "second: tea costs 3, from remote\nsecond: coffee costs 6, from remote\n"
        .. "second: tea has a new price\n"
        .. "first: loading the price of tea\nfirst: tea costs 3, from load\n", output)
      assert.equal(0, status)
    end)

    it("07-redis says what it lacks, and does not fail, where there is no redis-server", function()
      local path = run(("command -v %s"):format(program)):gsub("%s+$", "")
      local output, status = run("PATH=/nowhere " .. path .. " examples/07-redis.lua")
      assert.equal("this example needs a Redis server: redis-server is not installed\n", output)
      assert.equal(0, status)
    end)

    it("13-inference keeps whole answers to questions that have one answer", function()
      local output, status = run_example(program, "13-inference.lua")
      assert.equal([[
the same question, however it is written:
    small 1 reads "what is a cache"
small 1 says: WHAT IS A CACHE (load)
small 1 says: WHAT IS A CACHE (memory)
    small 1 reads "what is a cache"
small 1 says: WHAT IS A CACHE (load)

with a temperature, each answer is another one:
    small 1 reads "tell a joke"
small 1 says: TELL A JOKE (not cached)
    small 1 reads "tell a joke"
small 1 says: TELL A JOKE (not cached)

twenty who ask at once:
    small 1 reads "and a herd"
20 answers

what fails, or is cut off, is not kept:
    small 1 reads "are you there"
the model does not answer (load)
    small 1 reads "are you there"
small 1 s (load)
    small 1 reads "are you there"
small 1 says: ARE YOU THERE (load)
small 1 says: ARE YOU THERE (memory)

a new model forgets what the old one said, and no other's answers:
    large 1 reads "what is a tag"
large 1 says: WHAT IS A TAG (load)
    small 2 reads "what is a cache"
small 2 says: WHAT IS A CACHE (load)
large 1 says: WHAT IS A TAG (memory)

vectors of ten texts, asked for one by one:
    vectors-1 makes vectors of 5 texts
10 vectors
2 numbers in one that was there

89 tokens were paid for, 202 were not
]], output)
      assert.equal(0, status)
    end)

    it("14-agent-shopping fetches a cart again when it was written to", function()
      local output, status = run_example(program, "14-agent-shopping.lua")
      assert.equal([[
    the shop looks into the cart of user_1
the cart of user_1 costs 20
    the shop looks up the laptop
a laptop costs 900
    the shop puts a laptop into the cart of user_1
    the shop looks into the cart of user_1
the cart of user_1 costs 920
the cart of user_1 costs 920
    the shop sells the cart of user_1
    the shop looks into the cart of user_1
the cart of user_1 costs 0
1 hit, 4 misses, 2 invalidations, hit rate 0.20

without tags, the carts of others are fetched again:
    the shop looks into the cart of user_2
the cart of user_2 costs 40
    the shop puts a mouse into the cart of user_1
    the shop looks into the cart of user_2
the cart of user_2 costs 40

with tags, they are not:
    the shop looks into the cart of user_2
the cart of user_2 costs 40
    the shop puts a mouse into the cart of user_1
the cart of user_2 costs 40
]], output)
      assert.equal(0, status)
    end)

    it("15-agent-support has copies by session, which one write makes old for all", function()
      local output, status = run_example(program, "15-agent-support.lua")
      assert.equal([[
agent-A writes for itself; agent-B keeps its copy:
    the desk reads T-100
    the desk reads T-100
agent-A: open, agent-B: open
agent-A: open, agent-B: open
    the desk writes that T-100 is in progress
    the desk reads T-100
agent-A: in progress, agent-B: open

new sessions; agent-A writes for everybody:
    the desk reads T-100
    the desk reads T-100
agent-A: in progress, agent-B: in progress
agent-A: in progress, agent-B: in progress
    the desk writes that T-100 is solved
    the desk reads T-100
    the desk reads T-100
agent-A: solved, agent-B: solved
]], output)
      assert.equal(0, status)
    end)

    it("16-agent-research is refused the fourth identical search, and what follows it", function()
      local output, status = run_example(program, "16-agent-research.lua")
      local message = output:match "\n(Refused: [^\n]+)"
      assert.equal([[
    searching for coroutines and caches
answered: coroutines and caches
    downloading https://example.org/caches
answered: https://example.org/caches
answered: coroutines and caches
answered: coroutines and caches
refused: coroutines and caches (kind "repeat", count 4)

trying again does not help, nor does another tool:
refused: coroutines and caches (kind "repeat", count 4)
refused: https://example.org/caches (kind "repeat", count 4)

after session:reset():
answered: coroutines and caches
]], (output:gsub("\nRefused: [^\n]+", "")))
      assert.matches("search_web was called 4 times with the same arguments", message, 1, true)
      assert.equal(0, status)
    end)

    it("17-agent-inventory goes on while results change, and stops when they do not", function()
      local output, status = run_example(program, "17-agent-inventory.lua")
      local message = output:match "\n(Refused: [^\n]+)"
      assert.equal([[
the stock changes:
    SKU-42: 9 left
    SKU-42: -1
    SKU-42: 8 left
    SKU-42: -1
    SKU-42: 7 left
    SKU-42: -1
    SKU-42: 6 left
    SKU-42: -1
    SKU-42: 5 left
    SKU-42: -1
10 calls, and no loop

the stock does not change:
    SKU-42: 9 left
    SKU-42: -1
    SKU-42: 9 left
    SKU-42: -1
    SKU-42: 9 left
    SKU-42: -1
call 7 was refused (kind "cycle", count 4)

the stock changes, and only calls count:
    SKU-42: 9 left
    SKU-42: -1
    SKU-42: 8 left
call 4 was refused (kind "cycle", count 2)
Cycle detected: check_stock -> update_stock
]], (output:gsub("\nRefused: [^\n]+", "")))
      assert.matches("Cycle detected: update_stock -> check_stock", message, 1, true)
      assert.equal(0, status)
    end)

    it("18-agent-payment asks the bank three times, or always where it only warns", function()
      local output, status = run_example(program, "18-agent-payment.lua")
      local repeated = "charge_payment was called 4 times with the same arguments"
      local thrice = ("    charging 99.99 for ORD-1\n"):rep(3)
      local warnings = {}
      output = output:gsub("perigee: warn: ([^\n]+)\n", function(line)
        warnings[#warnings + 1] = line
        return ""
      end)
      assert.equal("on_loop = \"raise\"\n" .. thrice .. "attempt 4 raised: Refused\n"
        .. "on_loop = \"short_circuit\"\n" .. thrice .. "attempt 4 returned: Refused\n"
        .. "on_loop = \"warn\"\n" .. ("    charging 99.99 for ORD-1\n"):rep(10)
        .. "ten attempts, and nothing is paid\n",
        (output:gsub("Refused: " .. repeated .. "[^\n]+", "Refused")))
      assert.matches(repeated, table.concat(warnings, "\n"), 1, true)
      assert.equal(0, status)
    end)

    it("demo makes the same requests three times, of real processes", function()
      if not has_dpkg() then return pending "this machine cannot: it has no dpkg-query" end
      local output, status = run_example(program, "demo.lua", "--requests 120")
      assert.equal(0, status, output)
      local rows = cells_of(output)
      assert.same({ 120, 120, 120 }, rows["requests"], output)
      local plain, cached, batched = unpack(rows["processes started"])
      assert.equal(120, plain)
      assert.is_true(cached < plain and batched < cached and batched > 0, output)
      for _, title in ipairs { "wall time", "a request, p50", "a request, p99" } do
        assert.equal(3, #rows[title], output)
        for i = 1, 3 do assert.is_true(rows[title][i] > 0, output) end
      end
      assert.equal("-", rows["hit rate"][1])
      assert.is_nil(output:find("stopped after", 1, true))
    end)

    it("demo shows one load for a thousand callers", function()
      if not has_dpkg() then return pending "this machine cannot: it has no dpkg-query" end
      local output, status = run_example(program, "demo.lua", "--requests 1")
      assert.equal(0, status, output)
      local rows = cells_of(output)
      assert.same({ 1000 }, rows["callers"], output)
      assert.same({ 1000 }, rows["right answers"])
      assert.same({ 1 }, rows["loads"])
      assert.same({ 1, 1, 1 }, rows["requests"])
    end)

    it("demo shows two processes that share a cache through Redis", function()
      if not has_dpkg() then return pending "this machine cannot: it has no dpkg-query" end
      if not has "redis-server" then return pending "this machine cannot: no redis-server" end
      local output, status = run_example(program, "demo.lua", "--requests 1")
      assert.equal(0, status, output)
      local here, there = output:match "found in Redis +(%d+) +(%d+)"
      assert.equal("0", here, output)
      local asked = output:match "process asks for the same (%d+) packages"
      assert.equal(asked, there, output)
      assert.matches("dpkg%-query started by it +" .. asked .. " +0\n", output)
      local forgotten, held = output:match "here, (%d+) of (%d+)\n"
      assert.is_true(tonumber(held) > 0, output)
      assert.equal(held, forgotten)
    end)

    it("demo says what is missing, and fails, where there is no dpkg-query", function()
      local path = run(("command -v %s"):format(program)):gsub("%s+$", "")
      local output, status = run("PATH=/nowhere " .. path .. " examples/demo.lua")
      assert.equal(1, status, output)
      assert.matches("^demo: this needs a Debian machine.*dpkg%-query", output)
      assert.is_nil(output:find("traceback", 1, true))
    end)

    it("demo refuses options that it does not know", function()
      for _, option in ipairs { "--nonsense", "--requests", "--requests 0", "--requests x" } do
        local output, status = run_example(program, "demo.lua", option)
        assert.equal("demo: usage: demo.lua [--requests N]\n", output)
        assert.equal(1, status)
      end
    end)
  end)
end

describe("the demo's progress", function()
  local function demo(form, requests)
    if not has_dpkg() then return nil end
    local command = ("luajit examples/demo.lua --requests %d"):format(requests)
    return run(form:format(command))
  end

  it("is a line rewritten in place on a terminal", function()
    local _, missing = run "command -v script"
    local output, status = demo("script -qec '%s' /dev/null", 100)
    if missing ~= 0 or not output then return pending "this machine cannot: no script, no dpkg" end
    assert.equal(0, status, output)
    assert.matches("\r  no cache: %d+ of 100", output)
    assert.matches("\r\27%[K", output)
  end)

  it("leaves no control characters in a file", function()
    local output, status = demo("%s", 100)
    if not output then return pending "this machine cannot: it has no dpkg-query" end
    assert.equal(0, status, output)
    assert.is_nil(output:find "[\r\27]")
  end)
end)

describe("README.md", function()
  it("shows examples/01-hello.lua itself", function()
    local code = read("examples/01-hello.lua"):match "\n(local perigee.*)$"
    assert.equal(code, read("README.md"):match "```lua\n(.-)```")
  end)
end)

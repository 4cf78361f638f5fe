-- SPDX-License-Identifier: MIT
-- suites: dev
-- docs/troubleshooting.md has every message that Perigee can give: each text in the sources that
-- reads like one stands on the page, or here with the reason why not; and what stands on the page
-- as a message is in the sources.
local docs = require "spec.support.docs"
local files = require "spec.support.files"
local messages = require "spec.support.messages"

local PAGE = "docs/troubleshooting.md"

-- Files whose texts are no messages.
local NO_MESSAGES = {
  ["lua/perigee/metrics.lua"] = "what metrics mean, for Prometheus",
  ["lua/perigee/metrics/prometheus.lua"] = "likewise",
  ["lua/perigee/metrics/status.lua"] = "heads of a table",
  ["lua/perigee/contract/backup.lua"] = "titles of tests",
  ["lua/perigee/contract/remote.lua"] = "titles of tests",
  ["lua/perigee/agent/legible.lua"] = "answers, spelled for agent.explain",
  ["lua/perigee/agent/trail.lua"] = "lines of agent.explain",
  ["csrc/core/core.h"] = "declarations",
}
local NO_MESSAGES_UNDER = { "lua/perigee/dashboard" } -- text of a page

-- Calls in which a text is none.
local NO_MESSAGE_IN = { "typeof", "new", "cast", "host", "find", "match", "gsub", "gmatch",
  "require", "emit", "loadstring" }

-- Calls that say what was expected: "<function>: <argument> must be <expected>, got <what came>".
local EXPECTATION_IN = { "fail", "argument", "result", "one_of", "fail_unknown" }

-- Texts, and why they are not on the page.
local EXCEPTIONS = {
  ["no request found"] = "what ngx_lua says",
  ["attempt to yield"] = "what LuaJIT says",
  ["cannot wait here:"] = "the beginning of others",
  ["string …"] = "what came, in a mistake",
  ["one of …"] = "what was expected, in a mistake",
  ["a string or a table { status =, headers =, body = }"] = "likewise",
  ["…a load waits for itself: … -> …"] = "the end of one",
  ["an unnamed cache"] = "how messages name a cache",
  ["cache …"] = "likewise",
  ["the tool …"] = "likewise",
  ["… of …"] = "likewise",
  ["a load that has ended"] = "how a deadlock names a load",
  ["its start"] = "where a task stands",
  ["waits at …"] = "likewise",
  ["(it had not started)"] = "likewise",
  ["stopped: …"] = "a line of agent.explain",
  ["session …: … calls, … hits, … executed, … loops found, … calls refused"] = "likewise",
  ["Perigee … on …"] = "the version, as the host tells it",
  ["User-Agent: perigee"] = "a header",
  ["Bad Request"] = "a response",
  ["Internal Server Error"] = "a response",
  ["Service Unavailable"] = "a response",
  ["event: …"] = "a line of server-sent events",
  ["id: …"] = "likewise",
  ["data: …"] = "likewise",
}

local function any(list, text)
  for _, name in ipairs(list) do
    if (" " .. text .. " "):find(" " .. name .. " ", 1, true) then return true end
  end
  return false
end

local function squeeze(text) return (text:gsub("`", ""):gsub("%s+", " ")) end

local function is_prose(text)
  text = text:gsub("…", "@")
  return text:find "%a%a[%a']*[,:;]? [%(%a@]" or text:find "@[:,]? %a%a"
end

-- What is expected of an argument is the first part of a kind: { "a number", function ... }.
local function is_expectation(message)
  if any(EXPECTATION_IN, message.calls) then return true end
  return message.before == "{" and message.after:find "^, [%a_]" ~= nil
end

-- Types of C, and of contents.
local function is_type(text)
  return text:find "^const %l" or text:find "^union {" or text:find "^unsigned "
    or text:find "^text/plain" or text:find "^HTTP/"
end

local function is_of_lua(message)
  return not any(NO_MESSAGE_IN, message.calls) and not is_expectation(message)
    and not is_type(message.text)
end

local function is_of_c(message)
  if message.path == "csrc/host/main.c" and message.before == "" then return false end -- Lua code
  return not message.text:find "%u%u%u%u+ " and not message.text:find "^NOT NULL"
    and not is_type(message.text)
end

local function is_under(path)
  for _, folder in ipairs(NO_MESSAGES_UNDER) do
    if path:sub(1, #folder) == folder then return true end
  end
  return false
end

-- Every message: a list of `{ text =, path =, line = }`.
local function all_messages()
  local list = {}
  for path in files.run("find lua csrc -name '*.lua' -o -name '*.c' | sort"):gmatch "[^\n]+" do
    if not NO_MESSAGES[path] and not is_under(path) then
      local is_lua = path:find "%.lua$"
      local keep = is_lua and is_of_lua or is_of_c
      for _, message in ipairs((is_lua and messages.of_lua or messages.of_c)(path)) do
        if is_prose(message.text) and keep(message) then list[#list + 1] = message end
      end
    end
  end
  return list
end

-- Errors of one word: `return nil, "word"`. Words that say where a value came from are none.
local SOURCES = { memory = true, stale = true, remote = true, shared = true, miss = true,
  load = true, wait = true }
local NEVER_SEEN = { url = "becomes a mistake", expired = "a write that is not sent",
  ["false"] = "a contract", libev = "a runtime" }

local function one_word_errors()
  local words = {}
  for path in files.run("find lua -name '*.lua'"):gmatch "[^\n]+" do
    for word in files.read(path):gmatch 'nil, "(%l+)"' do
      local is_error = not SOURCES[word] and not NEVER_SEEN[word] and not is_under(path)
      if is_error then words[word] = path end
    end
  end
  return words
end

-- Messages on the page that do not stand in the sources as they are, and why.
local ELSEWHERE = {
  ["Connection refused"] = "what the system says",
  ["a task that nobody waited for failed: …"] = "put together from two texts",
  ["perigee: deadlock, the loads wait for each other: …"] = "likewise",
  ["perigee: deadlock, a load waits for itself: … -> …"] = "likewise",
}

describe(PAGE, function()
  it("has every message of the sources", function()
    local page, missing, unseen = squeeze(files.read(PAGE)), {}, {}
    local list = all_messages()
    for text in pairs(EXCEPTIONS) do unseen[text] = true end
    for _, message in ipairs(list) do
      unseen[message.text] = nil
      if not EXCEPTIONS[message.text] and not page:find(squeeze(message.text), 1, true) then
        missing[#missing + 1] = ("%s:%d: %s"):format(message.path, message.line, message.text)
      end
    end
    assert.same({}, missing)
    assert.same({}, unseen, "exceptions that are gone")
    assert.is_true(#list > 200)
  end)

  it("has every error of one word", function()
    local page, count = files.read(PAGE), 0
    for word, path in pairs(one_word_errors()) do
      assert.is_truthy(page:find(("`\"%s\"`"):format(word), 1, true), path .. ": " .. word)
      count = count + 1
    end
    assert.is_true(count >= 4)
  end)

  it("names no message that is not in the sources", function()
    local sources = {}
    for path in files.run("find lua csrc -name '*.lua' -o -name '*.c'"):gmatch "[^\n]+" do
      local of = path:find "%.lua$" and messages.of_lua or messages.of_c
      for _, message in ipairs(of(path)) do sources[#sources + 1] = squeeze(message.text) end
    end
    local text, count = table.concat(sources, "\n"), 0
    for message in docs.prose(PAGE):gmatch "\n%- `([^`]+)`" do
      message = squeeze(message)
      for part in message:gsub("…", "\1"):gmatch "[^\1]+" do
        part = part:gsub("^[%s\"':(]+", ""):gsub("[%s\"':)]+$", "")
        local known = #part < 4 or text:find(part, 1, true) or ELSEWHERE[message]
        assert.is_truthy(known, ("%q of %s"):format(part, message))
      end
      count = count + 1
    end
    assert.is_true(count >= 100)
  end)
end)

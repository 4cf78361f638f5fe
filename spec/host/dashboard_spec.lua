-- SPDX-License-Identifier: MIT
-- suites: dev host
-- `perigee --dashboard`: the real program.
local files = require "spec.support.files"
local host = require "spec.support.host"
local ports = require "spec.support.ports"
local socket = require "socket"

-- Starts it with these arguments, runs `commands` of the shell when it has printed its link, $URL,
-- and ends it by a signal. Returns what both have printed, and its exit code.
local function beside(arguments, commands)
  local out = os.tmpname()
  local result = host.shell(([[
    $PERIGEE %s >%s 2>&1 & p=$!
    i=0; while ! grep -q token= %s && [ $i -lt 6000 ]; do sleep 0.01; i=$((i + 1)); done
    URL=$(grep -o 'http://[^ ]*token=[0-9a-f]*' %s)
    %s
    kill -INT $p; wait $p; code=$?; cat %s; exit $code
  ]]):format(arguments, out, out, out, commands, out))
  os.remove(out)
  return result.stdout, result.status
end

describe("perigee --dashboard", function()
  it("serves the dashboard alone, with something to see, until Ctrl-C", function()
    local port = ports.free()
    local out, status = beside("--dashboard=" .. port, [[
      curl -s -o /dev/null -w '%{http_code} %{redirect_url}\n' "$URL"
      curl -s -L -b '' "$URL" | grep -o 'articles\|visitors\|A herd' | sort -u
    ]])
    assert.matches("303 http://127.0.0.1:" .. port .. "/\n", out, 1, true)
    assert.matches("articles\nvisitors\n", out, 1, true)
    assert.matches("perigee: the dashboard: http://127.0.0.1:" .. port .. "/?token=", out, 1, true)
    assert.equal(130, status)
  end)

  it("runs a script beside it, whose caches it shows", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write [[
      local perigee = require "perigee"
      local cache = perigee.new { name = "of the script" }
      cache:set("k", arg[1])
      print("arguments: " .. cache:peek "k")
      io.stdout:flush()
      perigee.sleep(30)
    ]]
    file:close()
    local out, status = beside("--dashboard=" .. ports.free() .. " " .. path .. " x", [[
      curl -s "${URL%%\?*}" | grep -o 'of the script\|articles' | sort -u
    ]])
    os.remove(path)
    assert.matches("arguments: x", out, 1, true)
    assert.matches("of the script\n", out, 1, true)
    assert.is_nil(out:find("articles", 1, true))
    assert.equal(130, status)
  end)

  it("is what docs/dashboard.md says for programs of one's own", function()
    local blocks = 0
    for block in files.read("docs/dashboard.md"):gmatch "```lua\n(.-)```" do
      local result = host.run_script(block)
      assert.matches("^http://127.0.0.1:%d+/.*token=%x+\n$", result.stdout)
      assert.same({ 0, "" }, { result.status, result.stderr })
      blocks = blocks + 1
    end
    assert.equal(2, blocks)
  end)

  it("ends with the script", function()
    local result = host.run { "--dashboard=" .. ports.free(), "-e", "print 'done'" }
    assert.same({ 0, "done\n" }, { result.status, result.stdout })
    assert.matches("^perigee: the dashboard: http://127.0.0.1:%d+/%?token=%x+\n$", result.stderr)
  end)

  it("says so when the port is taken", function()
    local listener = assert(socket.bind("127.0.0.1", 0))
    local _, port = listener:getsockname()
    local result = host.run { "--dashboard=" .. port }
    listener:close()
    assert.equal(1, result.status)
    assert.matches("cannot listen at 127.0.0.1, port " .. port .. ": Address already in use",
      result.stderr, 1, true)
    assert.matches("--dashboard=PORT", result.stderr, 1, true)
  end)

  it("takes a port only", function()
    for _, option in ipairs { "--dashboard=x", "--dashboard=70000", "--dashboards" } do
      local result = host.run { option }
      assert.equal(1, result.status)
      assert.matches("unrecognized option '" .. option, result.stderr, 1, true)
    end
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev
-- ./dev as a stranger meets it. Programs that would change the machine are replaced by small
-- scripts in front of PATH, which write down that they were called.

local function run(command)
  local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1; echo status=$?"))
  local output = pipe:read "*a"
  pipe:close()
  local text, status = output:match("^(.*)status=(%d+)\n$")
  return text, tonumber(status)
end

local function must(command)
  local output, status = run(command)
  assert(status == 0, command .. "\n" .. output)
  return output
end

describe("./dev", function()
  local root, tools

  local function fake(name, script)
    local path = tools .. "/" .. name
    local file = assert(io.open(path, "w"))
    file:write("#!/bin/sh\n", script, "\n")
    file:close()
    must("chmod +x " .. path)
  end

  local function dev(arguments)
    return run(("PATH=%s:$PATH '%s/dev' %s"):format(tools, root, arguments))
  end

  local function calls()
    return (run(("cat %s/calls"):format(tools)))
  end

  before_each(function()
    root = must("pwd"):gsub("%s+$", "")
    tools = must("mktemp -d"):gsub("%s+$", "")
    must(("touch %s/calls"):format(tools))
    fake("apt-get", ('echo "apt-get $*" >> %s/calls'):format(tools))
  end)

  after_each(function()
    must("rm -rf " .. tools)
  end)

  it("tells what it can do, and refuses what it cannot", function()
    local help = must "./dev help"
    for _, command in ipairs { "demo", "test", "build", "bench", "coverage", "lint", "release",
      "deb", "env" } do
      assert.is_truthy(help:find("./dev " .. command, 1, true), command)
    end
    local text, status = run "./dev nonsense"
    assert.equal(2, status)
    assert.equal(help, text)
  end)

  it("installs nothing when nothing is missing", function()
    fake("dpkg-query", "echo installed")
    fake("cmake", "exit 0")
    local output, status = dev "build"
    assert.equal(0, status, output)
    assert.equal("", calls())
  end)

  it("says plainly what to install when it may not do so itself", function()
    fake("dpkg-query", 'case "$*" in *libev-dev*) exit 1;; *luajit) exit 1;; esac; echo installed')
    fake("id", "echo 1000")
    fake("sudo", "exit 1")
    local output, status = dev "build"
    assert.equal(1, status)
    assert.is_truthy(output:find("apt-get install --no-install-recommends libev-dev\n", 1, true))
    assert.equal("", calls())
  end)

  it("names the package that conflicts with the one it needs", function()
    fake("dpkg-query", 'case "$*" in *luajit2*) exit 1;; esac; echo installed')
    local output, status = dev "build"
    assert.equal(1, status)
    assert.matches("apt%-get remove luajit\n", output)
    assert.equal("", calls())
  end)

  it("prints an environment that works from any folder", function()
    local output = must(([[cd / && env -u LUA_PATH -u LUA_CPATH PATH=/usr/bin:/bin bash -c '
      eval "$("%s/dev" env)"
      echo "$LUA_PATH"
      command -v perigee
      luajit -e "print(require [=[perigee.version]=])"']]):format(root))
    local path, host, version = output:match "^(%S+)\n(%S+)\n(%S+)\n$"
    assert.matches(";;$", path)
    assert.matches("/bin/perigee$", host)
    assert.matches("^%d+%.%d+%.%d+$", version)
  end)
end)

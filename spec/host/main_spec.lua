-- SPDX-License-Identifier: MIT
-- The command line of the host.
local files = require "spec.support.files"
local host = require "spec.support.host"

local function prints(expected, arguments, stdin)
  local result = host.run(arguments, stdin)
  assert.equal(expected, result.stdout)
  assert.equal("", result.stderr)
  assert.equal(0, result.status)
end

describe("the host", function()
  it("runs a script as a task of the loop, with its arguments", function()
    local result, path = host.run_script([[
      local perigee = require "perigee"
      local first, second = ...
      print(perigee.runtime(), arg[0], arg[1], arg[2], #arg, first, second)
      local task = perigee.spawn(function() perigee.sleep(0.01) return "waited" end)
      print(task:wait())
      assert(arg[-1]:find "perigee$")
    ]], "one", "two words")
    assert.equal("", result.stderr)
    assert.equal(("libev\t%s\tone\ttwo words\t2\tone\ttwo words\nwaited\n"):format(path),
      result.stdout)
    assert.equal(0, result.status)
  end)

  it("cancels what the script left behind", function()
    local result = host.run_script [[
      local perigee = require "perigee"
      perigee.spawn(function() pcall(perigee.sleep, 100) print "cancelled" end)
      print "end"
    ]]
    assert.equal("end\ncancelled\n", result.stdout)
    assert.equal(0, result.status)
  end)

  it("takes luajit's options", function()
    prints("1\n2\n", { "-e", "print(1)", "-eprint(2)" })
    prints("table\n", { "-l", "perigee", "-e", "print(type(package.loaded.perigee))" })
    prints("false\n", { "-joff", "-e", "print((jit.status()))" })
    prints("false\n", { "-j", "off", "-e", "print((jit.status()))" })
    prints("true\n", { "-O3", "-Ohotloop=10", "-e", "print((jit.status()))" })
    prints("x\n", { "-", "x" }, "print(...)")
    prints("stdin\n", {}, "print 'stdin'")
    prints("-e\n", { "-e", "arg = nil", "--", "/dev/stdin", "-e" }, "print(...)")
    assert.matches("BYTECODE", host.run({ "-bl", "-e", "return 1" }).stdout, 1, true)
  end)

  it("runs LUA_INIT first", function()
    assert.equal("init\nmain\n",
      host.shell([[LUA_INIT='print "init"' $PERIGEE -e 'print "main"']]).stdout)
  end)

  it("waits in -e and in libraries as in scripts", function()
    prints("waited\n", { "-e", "require('perigee').sleep(0.001) print 'waited'" })
  end)

  it("says its version and its options", function()
    assert.matches("^Perigee %d+%.%d+%.%d+.* on LuaJIT", host.run({ "--version" }).stdout)
    assert.matches("^Perigee %d+%.%d+%.%d+.* on LuaJIT", host.run({ "-v" }).stdout)
    local help = host.run { "--help" }
    assert.equal(0, help.status)
    for _, option in ipairs { "-e", "-l", "-i", "-v", "-j", "-O", "-b", "--help" } do
      assert.matches("  " .. option, help.stdout, 1, true)
    end
  end)

  it("has a manual page that knows the same options", function()
    local page = files.read "csrc/host/perigee.1.in"
    local documented, listed = {}, {}
    for option in page:gmatch "\n%.TP\n%.%u+ (\\%-%S*)" do
      documented[#documented + 1] = option:gsub("\\", "")
    end
    for option in host.run({ "--help" }).stdout:gmatch "\n  (%-[^%s,%[]*)" do
      listed[#listed + 1] = option
    end
    assert.same(listed, documented)
  end)

  it("says what is wrong with an option", function()
    for _, arguments in ipairs { { "-x" }, { "--frobnicate" }, { "-e" }, { "-l" } } do
      local result = host.run(arguments)
      assert.equal(1, result.status)
      assert.matches(arguments[1], result.stderr, 1, true)
      assert.matches("usage:", result.stderr, 1, true)
    end
  end)

  it("prints the traceback of an error and exits 1", function()
    local result = host.run_script [[
      local function inner() error "broken here" end
      local function outer() inner() return 1 end
      require("perigee").sleep(0.001)
      outer()
    ]]
    assert.equal(1, result.status)
    assert.matches("broken here", result.stderr, 1, true)
    assert.matches("stack traceback", result.stderr, 1, true)
    assert.matches("'inner'", result.stderr, 1, true)
    assert.matches("'outer'", result.stderr, 1, true)
  end)

  it("prints error objects of any type", function()
    assert.matches("table value", host.run({ "-e", "error {}" }).stderr, 1, true)
    assert.matches("nil value", host.run({ "-e", "error()" }).stderr, 1, true)
    local text = "error(setmetatable({}, { __tostring = function() return 'mine' end }))"
    local result = host.run { "-e", text }
    assert.matches("perigee: mine\n", result.stderr, 1, true)
    assert.equal(1, result.status)
  end)

  it("exits 1 for a script that cannot be read or compiled", function()
    local missing = host.run { "/no/such/script.lua" }
    assert.equal(1, missing.status)
    assert.matches("perigee: cannot open /no/such/script.lua", missing.stderr, 1, true)
    local broken = host.run_script "x ="
    assert.equal(1, broken.status)
    assert.matches("unexpected symbol near '<eof>'", broken.stderr, 1, true)
  end)

  it("exits with what os.exit says, from any task", function()
    assert.equal(7, host.run({ "-e", "os.exit(7)" }).status)
    assert.equal(8, host.run({ "-e", "os.exit(8, true)" }).status)
    local result = host.run_script [[
      io.write "written"
      require("perigee").spawn(function() require("perigee").sleep(0) os.exit(9) end)
      require("perigee").sleep(5)
    ]]
    assert.equal("written", result.stdout)
    assert.equal(9, result.status)
  end)

  it("finds its modules beside itself, from any folder and with nothing set", function()
    local sources = package.searchpath("perigee", package.path):match "^(.*)/perigee%.lua$"
    local build = host.path():match "^(.*)/bin/perigee$"
    local result = host.shell(([[
      set -e
      at=$(mktemp -d); mkdir -p $at/bin $at/lib/lua/5.1 $at/share/lua/5.1
      cp $PERIGEE $at/bin/; cp -r '%s'/lib/perigee $at/lib/lua/5.1/
      cp -r '%s'/. $at/share/lua/5.1/; cp -r '%s'/lua/. $at/share/lua/5.1/
      cd /
      run='require("perigee").sleep(0) print(LUA_INIT_RAN)'
      env -u LUA_PATH -u LUA_CPATH $at/bin/perigee -e "$run"
      LUA_PATH=nowhere LUA_CPATH=nowhere LUA_INIT='LUA_INIT_RAN = 1' $at/bin/perigee -E -e "$run"
      rm -r $at
    ]]):format(build, sources, build))
    assert.equal("", result.stderr)
    assert.equal("nil\nnil\n", result.stdout)
  end)

  it("says what it misses when its modules are not there", function()
    local result = host.shell [[env LUA_PATH=nowhere $PERIGEE -e 'print(1)']]
    assert.equal(1, result.status)
    assert.matches("perigee: cannot load its Lua modules", result.stderr, 1, true)
  end)
end)

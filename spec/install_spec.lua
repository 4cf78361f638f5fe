-- SPDX-License-Identifier: MIT
-- suites: dev
-- Both ways of installing, really done, into folders of their own; then a program is run from an
-- empty folder, with nothing set but what the way of installing itself says.

local SMOKE = [[
  local perigee = require "perigee"
  local cache = perigee.new { maxsize = 10 }
  cache:set("set", 1)
  assert(cache:get("set") == 1)
  local loaded = perigee.run(function()
    local task = perigee.spawn(function()
      perigee.sleep(0.01)
      return "slept"
    end)
    return cache:get("loaded", function() return task:wait() end)
  end)
  assert(cache:get("loaded") == "slept")
  local file = os.tmpname()
  local kept = perigee.new { name = "kept", backup = perigee.disk(file) }
  kept:set("k", 1)
  assert(kept:save_to_backup() == 1)
  os.remove(file)
  print("smoke: " .. loaded .. ", " .. require "perigee.version")
]]

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

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function version()
  local file = assert(io.open "VERSION")
  local text = file:read "*l"
  file:close()
  return text
end

describe("an installed copy", function()
  local folder, clean

  -- Runs a command in an empty folder, with an empty environment.
  local function smoke(command)
    must(("rm -rf %s/empty && mkdir %s/empty"):format(folder, folder))
    local output, status = run(("cd %s/empty && %s %s"):format(folder, clean, command))
    assert.equal(0, status, output)
    assert.equal("smoke: slept, " .. version() .. "\n", output)
  end

  setup(function()
    folder = must("mktemp -d"):gsub("%s+$", "")
    clean = ("env -i HOME=%s/home PATH=/usr/local/bin:/usr/bin:/bin"):format(folder)
    must(("mkdir %s/source %s/home"):format(folder, folder))
    must(("tar -c --exclude=./build --exclude=./build.luarocks --exclude=./.git . "
      .. "| tar -x -C %s/source"):format(folder))
    write(folder .. "/smoke.lua", SMOKE)
  end)

  teardown(function()
    must("rm -rf " .. folder)
  end)

  describe("by cmake --install", function()
    local prefix

    setup(function()
      prefix = folder .. "/prefix"
      must(([[cd %s/source && %s sh -c '
        cmake -S . -B ../build -DCMAKE_INSTALL_PREFIX=%s &&
        cmake --build ../build -j 2 && cmake --install ../build']]):format(folder, clean, prefix))
    end)

    it("works with its own host, wherever it was put", function()
      smoke(("%s/bin/perigee %s/smoke.lua"):format(prefix, folder))
    end)

    it("works with a host that was linked to from a folder of programs", function()
      must(("mkdir -p %s/programs && ln -sf %s/bin/perigee %s/programs/"):format(
        folder, prefix, folder))
      smoke(("%s/programs/perigee %s/smoke.lua"):format(folder, folder))
    end)

    it("works with plain luajit whose paths cover it", function()
      smoke(([[luajit -e 'package.path = "%s/share/lua/5.1/?.lua"
        package.cpath = "%s/lib/lua/5.1/?.so"' %s/smoke.lua]]):format(prefix, prefix, folder))
    end)

    it("needs nothing with plain luajit when the prefix is /usr/local", function()
      local paths = must(clean .. " luajit -e 'print(package.path, package.cpath)'")
      assert.is_truthy(paths:find("/usr/local/share/lua/5.1/?.lua", 1, true))
      assert.is_truthy(paths:find("/usr/local/lib/lua/5.1/?.so", 1, true))
    end)

    it("still works when the folder it was built from is gone", function()
      must(("mv %s/source %s/away && mv %s/build %s/gone"):format(folder, folder, folder, folder))
      finally(function()
        must(("mv %s/away %s/source && mv %s/gone %s/build"):format(folder, folder, folder, folder))
      end)
      smoke(("%s/bin/perigee %s/smoke.lua"):format(prefix, folder))
    end)
  end)

  describe("by luarocks make, without a network", function()
    local tree, rocks

    setup(function()
      tree = folder .. "/tree"
      rocks = ("luarocks --lua-version 5.1 --tree %s"):format(tree)
      must(("cd %s/source && %s https_proxy=http://127.0.0.1:9 http_proxy=http://127.0.0.1:9 "
        .. "%s make rockspec/perigee-scm-1.rockspec"):format(folder, clean, rocks))
    end)

    it("works with its own host", function()
      smoke(("%s/bin/perigee %s/smoke.lua"):format(tree, folder))
    end)

    it("works with plain luajit after luarocks path", function()
      smoke(([[sh -c 'eval "$(%s path)"; luajit %s/smoke.lua']]):format(rocks, folder))
    end)

    it("is removed without a trace", function()
      must(("%s %s remove perigee"):format(clean, rocks))
      assert.equal("", must(("find %s -name '*perigee*'"):format(tree)))
    end)
  end)
end)

-- SPDX-License-Identifier: MIT
-- suites: dev
-- alone
-- The Debian package: what is in it, and that it works once it is really installed on this machine.
-- It is removed again whatever happens. Other specs wait meanwhile: they could find its modules.
local files = require "spec.support.files"
local nginx = require "spec.support.nginx"
local packaging = require "spec.support.packaging"

local must, run = packaging.must, files.run

local PACKAGE = "lua-perigee"
local VERSION = packaging.version()
local TEXTS = { "README.md", "SECURITY.md", "CONTRIBUTING.md" }
local DEBIAN_TEXTS = { "copyright", "changelog.gz", "changelog.Debian.gz" }

local function first_line(command) return must(command):match "^[^\n]*" end

describe("the Debian package", function()
  local folder, clean, deb, root, triplet, folders

  setup(function()
    folder, clean = packaging.folder()
    packaging.checkout(folder .. "/checkout", clean)
    must(("cd %s/checkout && %s DEBFULLNAME='A Packager' DEBEMAIL=packager@example.org ./dev deb")
      :format(folder, clean))
    deb = first_line(("ls %s/checkout/build/dist/*.deb"):format(folder))
    root = folder .. "/root"
    must(("dpkg-deb -R %s %s"):format(deb, root))
    triplet = first_line "dpkg-architecture -qDEB_HOST_MULTIARCH"
    folders = { bin = "usr/bin", lua = "usr/share/lua/5.1", doc = "usr/share/doc/" .. PACKAGE,
      man = "usr/share/man/man1/perigee.1.gz", lib = "usr/lib/" .. triplet .. "/lua/5.1" }
  end)

  teardown(function()
    must("rm -rf " .. folder)
  end)

  local function paths() -- of the files that are installed
    local list = {}
    for _, path in ipairs(packaging.files_in(root)) do
      if not path:find "^DEBIAN/" then list[#list + 1] = path end
    end
    return list
  end

  local function binaries()
    local list = { "usr/bin/perigee" }
    for _, name in ipairs { "core", "disk", "rt" } do
      list[#list + 1] = ("%s/perigee/%s.so"):format(folders.lib, name)
    end
    return list
  end

  local function field(name) return first_line(("dpkg-deb -f %s %s"):format(deb, name)) end

  it("is named and numbered as Debian does it", function()
    local architecture = first_line "dpkg --print-architecture"
    assert.equal(("%s_%s-1_%s.deb"):format(PACKAGE, VERSION, architecture), deb:match "[^/]+$")
    assert.equal(PACKAGE, field "Package")
    assert.equal(VERSION .. "-1", field "Version")
    assert.equal(architecture, field "Architecture")
    assert.equal("A Packager <packager@example.org>", field "Maintainer")
  end)

  it("has every file of the tree that belongs there, where Debian's LuaJIT looks", function()
    local expected = packaging.expected(folder .. "/checkout", folders, TEXTS)
    for _, name in ipairs(DEBIAN_TEXTS) do expected[#expected + 1] = folders.doc .. "/" .. name end
    assert.equal("", packaging.difference(expected, paths()))
  end)

  it("depends on the package of each library that its binaries need", function()
    local depends, count = field "Depends", 0
    for _, path in ipairs(binaries()) do
      local dynamic = must(("readelf -d %s/%s"):format(root, path))
      for library in dynamic:gmatch "%(NEEDED%)[^\n]*%[(.-)%]" do
        local owner = must(("dpkg -S '*/%s/%s'"):format(triplet, library)):match "^([^:]+):"
        assert.is_truthy((" " .. depends):find(" " .. owner .. " (", 1, true), owner)
        count = count + 1
      end
    end
    assert.is_true(count >= 8)
  end)

  it("belongs to root, to be read by all and written by nobody else", function()
    for line in must(("dpkg-deb -c %s"):format(deb)):gmatch "[^\n]+" do
      local mode, owner = line:match "^(%S+) (%S+)"
      local runs = mode:find "^d" or line:find "/usr/bin/perigee$"
      assert.equal(runs and "rwxr-xr-x" or "rw-r--r--", mode:sub(2), line)
      assert.equal("root/root", owner, line)
    end
  end)

  it("has stripped binaries that look for libraries where the system does", function()
    for _, path in ipairs(binaries()) do
      assert.is_nil(must(("readelf -S %s/%s"):format(root, path)):find "%.symtab", path)
      local dynamic = must(("readelf -d %s/%s"):format(root, path))
      assert.is_nil(dynamic:find "RPATH" or dynamic:find "RUNPATH", path)
      assert.is_truthy(dynamic:find "BIND_NOW", path)
    end
  end)

  it("has no scripts, and the checksums of its files", function()
    assert.same({ "control", "md5sums" }, packaging.files_in(root .. "/DEBIAN"))
    must(("cd %s && md5sum --quiet -c DEBIAN/md5sums"):format(root))
    local _, count = files.read(root .. "/DEBIAN/md5sums"):gsub("\n", "")
    assert.equal(#paths(), count)
  end)

  it("says under which licence it is, and what has changed", function()
    local doc = ("%s/%s/"):format(root, folders.doc)
    local copyright = files.read(doc .. "copyright")
    for line in files.read "LICENSE":gmatch "[^\n]+" do
      if line:find "^[^MC]" then assert.matches("\n " .. line .. "\n", copyright, 1, true) end
    end
    assert.matches("\nCopyright: The Perigee authors\n", copyright, 1, true)
    assert.equal(files.read(folder .. "/checkout/CHANGELOG.md"),
      must(("gzip -dc %schangelog.gz"):format(doc)))
    local changelog = must(("cd %s && gzip -dc %schangelog.Debian.gz | dpkg-parsechangelog -l -")
      :format(folder, doc))
    assert.matches("\nVersion: " .. VERSION .. "-1\n", changelog, 1, true)
  end)

  describe("when it is installed", function()
    local cannot, guard

    -- Another program may be at work in dpkg's database.
    local function dpkg(words)
      for _ = 1, 120 do
        local output, status = run("dpkg " .. words)
        if not output:find("lock", 1, true) then return output, status end
        os.execute "sleep 0.5"
      end
      error "dpkg's database stays locked"
    end

    local function is_known() return select(2, run("dpkg -s " .. PACKAGE)) == 0 end

    local function reason()
      if first_line "id -u" ~= "0" then return "only root can install a package" end
      if is_known() then return PACKAGE .. " is installed already" end
      for _, path in ipairs(paths()) do
        if packaging.exists("/" .. path) then return ("/%s is there already"):format(path) end
      end
    end

    -- If this process is killed, somebody else has to remove the package, and may have to wait for
    -- the dpkg that installs it.
    local function begin_guard()
      guard = first_line(("setsid sh -c 'tail --pid='$PPID' -f /dev/null; "
        .. "for try in $(seq 60); do dpkg -P %s && break; sleep 1; done' "
        .. ">/dev/null 2>&1 </dev/null & echo $!"):format(PACKAGE))
    end

    local function remove()
      if not is_known() then return end
      local output, status = dpkg("-P " .. PACKAGE)
      assert(status == 0, output)
    end

    setup(function()
      cannot = reason()
      if cannot then return end
      begin_guard()
      local output, status = dpkg("-i " .. deb)
      assert(status == 0, output)
    end)

    teardown(function()
      nginx.clean()
      if cannot then return end
      remove()
      must("kill " .. guard)
    end)

    local function installed(title, test)
      it(title, function()
        if cannot then return pending("this machine cannot: " .. cannot) end
        return test()
      end)
    end

    installed("is complete", function()
      assert.matches("\nStatus: install ok installed\n", must("dpkg -s " .. PACKAGE), 1, true)
      assert.equal("", must("dpkg -V " .. PACKAGE))
    end)

    installed("works with plain luajit, with nothing set", function()
      packaging.smoke(folder, clean, "luajit")
    end)

    installed("works with its own host", function()
      assert.equal("/usr/bin/perigee", first_line(clean .. " sh -c 'command -v perigee'"))
      packaging.smoke(folder, clean, "perigee")
      assert.matches("Perigee " .. VERSION .. " on", must(clean .. " perigee --version"), 1, true)
    end)

    installed("works inside nginx, with nothing set", function()
      local missing = nginx.missing()
      if missing then return pending("this machine cannot: " .. missing) end
      local server = nginx.start { bare = true }
      local version, value, path, cpath = server:lua [[
        local perigee = require "perigee"
        local cache = perigee.new { maxsize = 10 }
        return perigee._VERSION, cache:get("k", function() return "loaded" end),
          package.searchpath("perigee", package.path),
          package.searchpath("perigee.core", package.cpath)
      ]]
      assert.same({ VERSION, "loaded", "/usr/share/lua/5.1/perigee.lua",
        ("/%s/perigee/core.so"):format(folders.lib) }, { version, value, path, cpath })
    end)

    installed("is removed without a trace", function()
      remove()
      for _, path in ipairs(paths()) do assert.is_false(packaging.exists("/" .. path), path) end
      assert.is_false(packaging.exists("/" .. folders.doc))
      assert.is_false(packaging.exists("/" .. folders.lua .. "/perigee"))
    end)
  end)
end)

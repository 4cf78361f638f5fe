-- SPDX-License-Identifier: MIT
-- suites: dev
-- Both ways of installing a release, really done from its tarball, into folders of their own; then
-- a program is run from an empty folder, with nothing set but what the way of installing says.
local files = require "spec.support.files"
local packaging = require "spec.support.packaging"

local must = packaging.must

local TEXTS = { "README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE" }

-- Prints which file the LuaJIT library is that this process runs.
local WHICH = [[
  local found = "none"
  for line in io.lines "/proc/self/maps" do found = line:match "%S+/libluajit[^/]*$" or found end
  print(found)
]]

describe("an installed copy", function()
  local folder, clean, source

  local function smoke(program) packaging.smoke(folder, clean, program) end

  setup(function()
    folder, clean = packaging.folder()
    packaging.checkout(folder .. "/checkout", clean)
    must(("cd %s/checkout && %s ./dev release"):format(folder, clean))
    must(("tar -xzf %s/checkout/build/dist/*.tar.gz -C %s"):format(folder, folder))
    source = ("%s/perigee-%s"):format(folder, packaging.version())
  end)

  teardown(function()
    must("rm -rf " .. folder)
  end)

  describe("by cmake --install", function()
    local prefix
    local folders = { bin = "bin", lua = "share/lua/5.1", lib = "lib/lua/5.1",
      doc = "share/doc/perigee", man = "share/man/man1/perigee.1" }

    local function cmake(words) must(("cd %s && %s cmake %s"):format(folder, clean, words)) end

    local function check_files(path)
      local expected = packaging.expected(source, folders, TEXTS)
      assert.equal("", packaging.difference(expected, packaging.files_in(path)))
    end

    setup(function()
      prefix = folder .. "/prefix"
      cmake(("-S %s -B build -DCMAKE_INSTALL_PREFIX=%s"):format(source, prefix))
      cmake "--build build -j 2"
      cmake "--install build"
    end)

    it("works with its own host, wherever it was put", function()
      smoke(prefix .. "/bin/perigee")
    end)

    it("works with a host that was linked to from a folder of programs", function()
      must(("mkdir -p %s/programs && ln -sf %s/bin/perigee %s/programs/"):format(
        folder, prefix, folder))
      smoke(folder .. "/programs/perigee")
    end)

    it("works with plain luajit whose paths cover it", function()
      smoke(([[luajit -e 'package.path = "%s/share/lua/5.1/?.lua"
        package.cpath = "%s/lib/lua/5.1/?.so"']]):format(prefix, prefix))
    end)

    it("needs nothing with plain luajit when the prefix is /usr/local", function()
      local paths = must(clean .. " luajit -e 'print(package.path, package.cpath)'")
      assert.is_truthy(paths:find("/usr/local/share/lua/5.1/?.lua", 1, true))
      assert.is_truthy(paths:find("/usr/local/lib/lua/5.1/?.so", 1, true))
    end)

    it("still works when the folder it was built from is gone", function()
      must(("mv %s %s/away && mv %s/build %s/gone"):format(source, folder, folder, folder))
      finally(function()
        must(("mv %s/away %s && mv %s/gone %s/build"):format(folder, source, folder, folder))
      end)
      smoke(prefix .. "/bin/perigee")
    end)

    it("runs the examples that were installed with it", function()
      local example = prefix .. "/share/doc/perigee/examples/14-agent-shopping.lua"
      local output = must(("cd %s/empty && %s %s/bin/perigee %s")
        :format(folder, clean, prefix, example))
      assert.matches("a laptop costs 900", output)
    end)

    it("has every file of the tree that belongs there, and no other", function()
      check_files(prefix)
    end)

    it("goes whole below DESTDIR, and leaves it whole", function()
      clean = clean .. (" DESTDIR=%s/stage"):format(folder)
      finally(function() clean = clean:gsub(" DESTDIR=.*", "") end)
      cmake "--install build --prefix /opt/lua"
      check_files(folder .. "/stage/opt/lua")
      cmake "--build build --target uninstall"
      assert.same({}, packaging.files_in(folder .. "/stage"))
    end)

    it("is removed without a trace, but for what somebody else put there", function()
      local other = folder .. "/other"
      cmake("--install build --prefix " .. other)
      files.write(other .. "/share/doc/perigee/notes", "mine")
      cmake "--build build --target uninstall"
      assert.same({ "share/doc/perigee/notes" }, packaging.files_in(other))
      os.remove(other .. "/share/doc/perigee/notes")
      cmake("--install build --prefix " .. other)
      cmake "--build build --target uninstall"
      assert.equal("", must(("find %s -name '*perigee*'"):format(other)))
    end)

    describe("with another LuaJIT", function()
      local copy

      local function install() -- of this LuaJIT; returns which one its host runs
        local target = folder .. "/with-copy"
        cmake(("-S %s -B build -DPERIGEE_LUAJIT=%s"):format(source, copy))
        cmake "--build build -j 2"
        cmake(("--install build --prefix %s"):format(target))
        smoke(target .. "/bin/perigee")
        return (must(("%s %s/bin/perigee %s/which.lua"):format(clean, target, folder))
          :gsub("%s+$", ""))
      end

      setup(function()
        copy = folder .. "/opt/luajit"
        files.write(folder .. "/which.lua", WHICH)
        must(([[mkdir -p %s/lib %s/include &&
          cp -r "$(pkg-config --variable=includedir luajit)" %s/include/luajit-2.1 &&
          cp -a "$(pkg-config --variable=libdir luajit)"/libluajit-5.1.so* %s/lib/
        ]]):format(copy, copy, copy, copy))
      end)

      it("runs the system's where none is named", function()
        local which = must(("%s %s/bin/perigee %s/which.lua"):format(clean, prefix, folder))
        assert.matches("^/usr/lib/.*libluajit", which)
        assert.matches("^.*libluajit[^\n]*\n$", which)
        local dynamic = must(("readelf -d %s/bin/perigee"):format(prefix))
        assert.is_nil(dynamic:find "RUNPATH" or dynamic:find "RPATH")
      end)

      it("runs the one in a prefix", function()
        assert.matches(copy .. "/lib/libluajit-5.1.so", install(), 1, true)
        local dynamic = must(("readelf -d %s/with-copy/bin/perigee"):format(folder))
        assert.matches(("[%s/lib]"):format(copy), dynamic, 1, true)
      end)

      it("has it inside where the prefix has no shared one", function()
        must(([[cd %s/lib && rm * &&
          cp "$(pkg-config --variable=libdir luajit)"/libluajit-5.1.a .]]):format(copy))
        assert.equal("none", install())
      end)

      it("says what is missing in a prefix that has none", function()
        local output, status = files.run(("cd %s && %s cmake -S %s -B build -DPERIGEE_LUAJIT=%s")
          :format(folder, clean, source, folder .. "/empty"))
        assert.equal(1, status)
        assert.matches("PERIGEE_LUAJIT is " .. folder .. "/empty", output, 1, true)
      end)
    end)
  end)

  describe("by luarocks make, without a network", function()
    local tree, rocks

    setup(function()
      tree = folder .. "/tree"
      rocks = ("luarocks --lua-version 5.1 --tree %s"):format(tree)
      must(("cd %s && %s https_proxy=http://127.0.0.1:9 http_proxy=http://127.0.0.1:9 "
        .. "%s make rockspec/perigee-scm-1.rockspec"):format(source, clean, rocks))
    end)

    it("works with its own host", function()
      smoke(tree .. "/bin/perigee")
    end)

    it("works with plain luajit after luarocks path", function()
      must(("echo '#!/bin/sh\neval \"$(%s path)\"; exec luajit \"$@\"' > %s/with-rock"):format(
        rocks, folder))
      smoke(("sh %s/with-rock"):format(folder))
    end)

    it("has every file of the tree that belongs there, and no other", function()
      local own = "lib/luarocks/rocks-5.1/perigee/scm-1"
      local folders = { bin = "bin", lua = "share/lua/5.1", lib = "lib/lua/5.1",
        doc = own .. "/doc", man = own .. "/doc/man1/perigee.1" }
      local found = {}
      for _, path in ipairs(packaging.files_in(tree)) do
        local of_luarocks = path:find "manifest$" or path:find "rock_manifest$"
          or path:find "%.rockspec$" or path == own .. "/bin/perigee"
        if not of_luarocks then found[#found + 1] = path end
      end
      local expected = packaging.expected(source, folders, TEXTS)
      assert.equal("", packaging.difference(expected, found))
    end)

    it("is removed without a trace", function()
      must(("%s %s remove perigee"):format(clean, rocks))
      assert.equal("", must(("find %s -name '*perigee*'"):format(tree)))
    end)
  end)
end)

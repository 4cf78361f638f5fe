-- SPDX-License-Identifier: MIT
-- suites: dev
-- The version, which is said in one place, and what `./dev release` makes of a commit.
local files = require "spec.support.files"
local packaging = require "spec.support.packaging"

local must, lines = packaging.must, packaging.lines

local VERSION = packaging.version()
local NAME = "perigee-" .. VERSION

local MODES = { ["drwxr-xr-x"] = true, ["-rwxr-xr-x"] = true, ["-rw-r--r--"] = true }

local function newest_entry(changelog)
  return changelog:match "\n## %[([^%]]+)%]"
end

describe("the version", function()
  it("is three numbers", function()
    assert.matches("^%d+%.%d+%.%d+$", VERSION)
  end)

  it("is said in no other file that is built or installed", function()
    local output = files.run(("grep -rnF '%s' lua csrc cmake CMakeLists.txt CMakePresets.json "
      .. "rockspec dev config.ld"):format(VERSION))
    assert.equal("", output)
  end)

  it("is that of the changelog's newest entry, unless that is not released yet", function()
    local entry = newest_entry(files.read "CHANGELOG.md")
    assert.is_true(entry == "Unreleased" or entry == VERSION, entry)
  end)
end)

describe("./dev release", function()
  local folder, clean, checkout, printed

  local function release(path, environment)
    return files.run(("cd %s && %s %s ./dev release https://example.org/perigee"):format(
      path, clean, environment or ""))
  end

  local function dist(name) return ("%s/build/dist/%s"):format(checkout, name) end

  setup(function()
    folder, clean = packaging.folder()
    checkout = folder .. "/checkout"
    packaging.checkout(checkout, clean)
    local status
    printed, status = release(checkout)
    assert(status == 0, printed)
  end)

  teardown(function()
    must("rm -rf " .. folder)
  end)

  it("puts every committed file into a folder named as the version, and nothing else", function()
    local committed = must(("cd %s && %s git ls-files"):format(checkout, clean))
    local packed = must(("tar -tzf %s | grep -v '/$'"):format(dist(NAME .. ".tar.gz")))
    local expected = lines((committed:gsub("[^\n]+", NAME .. "/%0")))
    assert.equal("", packaging.difference(expected, lines(packed)))
  end)

  it("makes the same bytes elsewhere, at another time, in another place of the world", function()
    local other = folder .. "/other"
    must(("umask 077; %s git clone -q %s %s"):format(clean, checkout, other))
    assert.equal(printed, (release(other, "TZ=Asia/Tokyo LC_ALL=C.UTF-8")))
  end)

  it("gives all files to root, of the commit's date, for everyone to read", function()
    local listed = must(("TZ=UTC tar --numeric-owner --full-time -tvzf %s")
      :format(dist(NAME .. ".tar.gz")))
    local date = must(("cd %s && TZ=UTC git log -1 --format=%%cd "
      .. "--date=format-local:'%%F %%T'"):format(checkout)):gsub("%s+$", "")
    for line in listed:gmatch "[^\n]+" do
      local mode, owner, at = line:match "^(%S+) (%S+) +%d+ (%S+ %S+)"
      assert.is_truthy(MODES[mode], line)
      assert.equal("0/0", owner)
      assert.equal(date, at)
    end
  end)

  it("prints the checksums of both files", function()
    local expected = must(("cd %s/build/dist && sha256sum %s.tar.gz %s-1.rockspec")
      :format(checkout, NAME, NAME))
    assert.equal(expected, printed)
  end)

  it("makes a rockspec that says where the tarball is, and what it must be", function()
    local rockspec = {}
    local chunk = assert(loadfile(dist(NAME .. "-1.rockspec")))
    setfenv(chunk, rockspec)()
    assert.equal(VERSION .. "-1", rockspec.version)
    assert.equal(("https://example.org/perigee/%s.tar.gz"):format(NAME), rockspec.source.url)
    local sum = must("md5sum " .. dist(NAME .. ".tar.gz")):match "^%x+"
    assert.equal(sum, rockspec.source.md5)
    local scm = {}
    setfenv(assert(loadfile "rockspec/perigee-scm-1.rockspec"), scm)()
    scm.version, scm.source = rockspec.version, rockspec.source
    assert.same(scm, rockspec)
  end)

  it("makes a rockspec whose tarball luarocks fetches and unpacks", function()
    must(("cd %s && %s ./dev release"):format(checkout, clean))
    finally(function() release(checkout) end)
    must(("cd %s/empty && %s luarocks unpack %s"):format(folder, clean,
      dist(NAME .. "-1.rockspec")))
    assert.equal(files.read "VERSION",
      files.read(("%s/empty/%s-1/%s/VERSION"):format(folder, NAME, NAME)))
  end)

  local function refusal(change)
    local other = folder .. "/refused"
    must(("rm -rf %s && %s git clone -q %s %s"):format(other, clean, checkout, other))
    change(other)
    local output, status = release(other)
    assert.equal(1, status, output)
    assert.is_false(packaging.exists(other .. "/build/dist"))
    return output
  end

  it("refuses what is not committed", function()
    local output = refusal(function(path) files.write(path .. "/docs/new.md", "new\n") end)
    assert.matches("there are changes:\n?? docs/new.md\n", output, 1, true)
  end)

  it("refuses a version that the changelog does not tell of", function()
    local output = refusal(function(path)
      local text = files.read(path .. "/CHANGELOG.md")
      files.write(path .. "/CHANGELOG.md", (text:gsub("\n## %[", "\n## [Unreleased]\n%0", 1)))
      packaging.commit(path, clean)
    end)
    assert.equal(("VERSION says %s, and the newest entry of CHANGELOG.md is [Unreleased].\n")
      :format(VERSION), output)
  end)

  it("refuses a folder that is no checkout", function()
    local output = refusal(function(path) must(("rm -rf %s/.git"):format(path)) end)
    assert.equal("A release is made from a git checkout, and this is none.\n", output)
  end)
end)

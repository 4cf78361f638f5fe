-- SPDX-License-Identifier: MIT
-- suites: dev
-- Two workers that read and write the same keys at random: nobody ever gets an old value.
local nginx = require "spec.support.nginx"

if nginx.missing() then
  describe("workers at random", function() pending(nginx.missing()) end)
  return
end

local HTTP = [[
lua_shared_dict perigee %s;
lua_shared_dict truth 1m;
lua_shared_dict finished 1m;
%s
]]

local INIT = [[init_by_lua_block { require "perigee" }]]

local RUN = "return require('spec.support.shared_model').run(...)"

describe("workers who read and write at random", function()
  after_each(nginx.clean)

  local function play(size, init, pad)
    local server = nginx.start { workers = 2, http = HTTP:format(size, init) }
    server:lua "require('spec.support.shared_model').prepare()"
    for seed = 1, 3 do
      local first = server:begin_lua(0, RUN, seed, 1.5, pad)
      local second = server:begin_lua(1, RUN, seed, 1.5, pad)
      for _, worker in ipairs { first, second } do
        local stale, steps, loads = worker:values()
        assert.same({}, stale)
        assert.is_true(steps > 100 and loads > 10)
      end
    end
    assert.same({}, server:errors())
  end

  it("never get a value older than the last write that was finished", function()
    play("10m", INIT, 0)
  end)

  it("nor in a dictionary that is full", function() play("64k", INIT, 3000) end)

  it("nor where the board was not mapped in time", function() play("10m", "", 0) end)

  it("nor in a full dictionary that is also the board", function() play("64k", "", 3000) end)
end)

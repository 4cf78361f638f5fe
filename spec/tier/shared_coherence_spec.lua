-- SPDX-License-Identifier: MIT
-- suites: dev
-- What one worker changes is seen by the others, at once.
local nginx = require "spec.support.nginx"
local workers = require "spec.support.shared_workers"

if nginx.missing() then
  describe("the shared tier", function() pending(nginx.missing()) end)
  return
end

local start, finish, get = workers.start, workers.finish, workers.get
local run_in, begin_in = workers.run_in, workers.begin_in

local CHANGES = {
  { "a delete", "rig.cache:delete('k')", "loaded" },
  { "a set", "rig.cache:set('k', 'new')", "new" },
  { "a clear", "rig.cache:clear()", "loaded" },
  { "a write of a tag", "rig.cache:invalidate_tags('t')", "loaded" },
  { "a write of a deeper tag", "rig.cache:invalidate_tags('t:1')", "loaded" },
  { "a set of many", "rig.cache:set_many { k = 'new', other = 1 }", "new" },
}

local SLOWER = "the workers' caches agree by the shared dictionary"

local PREPARE = "rig.cache:set('k', 'old', { tags = { 't:1' } })"

for how, init in pairs { ["where the board is mapped"] = workers.MAPPED,
    ["where it is not"] = workers.UNMAPPED } do
  describe("what one worker changes, " .. how .. ",", function()
    setup(function() start { init = init } end)
    teardown(function()
      assert.equal(init == workers.UNMAPPED and 2 or 0, workers.count_in_log(SLOWER))
      finish()
    end)

    for _, change in ipairs(CHANGES) do
      it("is seen by the next get of another: " .. change[1], function()
        for round = 1, 30 do
          local writer, reader = round % 2, (round + 1) % 2
          run_in(writer, PREPARE)
          assert.equal("old", (get(reader, "k")))
          run_in(writer, change[2])
          assert.equal(change[3], (get(reader, "k")))
        end
      end)
    end

    it("is seen by the next call of another: a wrapped function's invalidator", function()
      local before = select(4, run_in(0, "return rig.many(1, 2)"))
      assert.equal(before, (select(4, run_in(1, "return rig.many(1, 2)"))))
      assert.equal("changed", run_in(1, "return rig.change(1, 2)"))
      local after = select(4, run_in(0, "return rig.many(1, 2)"))
      assert.is_true(after > before)
      run_in(0, "rig.many:clear_cache()")
      assert.is_true(select(4, run_in(1, "return rig.many(1, 2)")) > after)
    end)
  end)
end

describe("what changes while another worker is about to tell of something", function()
  after_each(finish)

  it("is seen all the same", function()
    start()
    run_in(0, PREPARE)
    assert.equal("old", (get(1, "k")))
    -- As if a worker were stopped between the number of its change and the change.
    run_in(0, "rig.dict:incr(rig.cache.shared.journal.head, 1)")
    run_in(0, "rig.cache:set('k', 'new')")
    assert.equal("new", (get(1, "k")))
  end)
end)

describe("old and new workers during a reload", function()
  after_each(finish)

  for how, init in pairs { ["with a board"] = workers.MAPPED,
      ["without one"] = workers.UNMAPPED } do
    it("see what the others change, " .. how, function()
      local server = start { workers = 1, init = init }
      local old = begin_in(0, "return rig.serve()")
      local function tell(chunk) return run_in(0, "return rig.tell(...)", chunk) end
      assert.equal("loaded", tell "return (rig.cache:get('k', rig.loader(0, 'loaded')))")
      server:reload()
      for _, change in ipairs(CHANGES) do
        run_in(0, PREPARE)
        assert.equal("old", tell "return (rig.cache:get('k'))")
        run_in(0, change[2])
        assert.equal(change[3], tell "return (rig.cache:get('k', rig.loader(0, 'loaded')))")
        tell(PREPARE)
        assert.equal("old", (get(0, "k")))
        tell(change[2])
        assert.equal(change[3], (get(0, "k")))
      end
      run_in(0, "ngx.shared.answers:rpush('todo', 'end')")
      assert.equal("ended", (old:values()))
    end)
  end
end)
